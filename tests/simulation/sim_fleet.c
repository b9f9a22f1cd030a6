/*
 * sim_fleet: runs worlds, one per seed.
 *
 *     sim_fleet [--seed N] [--seeds COUNT] [--verbose]
 *
 * With one seed, --verbose prints all that happens. From COUNT 2000 on, each path that matters must
 * have been taken in some world. Exit status: 0 all held, 2 something did not, 3 a path was never
 * taken, 1 usage.
 */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COVERAGE_FROM = 2000 /* seeds */ };

struct request {
    uint64_t seed, seeds;
    bool verbose;
};

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end = NULL;
    if (text == NULL || *text < '0' || *text > '9')
        return false;
    *ret = strtoull(text, &end, 10);
    return *end == '\0';
}

static bool parse(int argc, char **argv, struct request *ret)
{
    *ret = (struct request){.seed = 1, .seeds = 1};
    for (int i = 1; i < argc; i++) {
        bool understood = false;
        if (strcmp(argv[i], "--verbose") == 0)
            understood = ret->verbose = true;
        else if (strcmp(argv[i], "--seed") == 0)
            understood = parse_number(argv[++i], &ret->seed);
        else if (strcmp(argv[i], "--seeds") == 0)
            understood = parse_number(argv[++i], &ret->seeds);
        if (!understood)
            return false;
    }
    return true;
}

static bool all_paths_taken(const uint64_t paths[SIM_PATH_COUNT], const struct request *request)
{
    bool all = true;
    for (size_t i = 0; i < SIM_PATH_COUNT; i++) {
        bool missed = paths[i] == 0 && request->seeds >= COVERAGE_FROM;
        if (missed || request->verbose)
            (void)fprintf(missed ? stderr : stdout, "%10" PRIu64 "  %s\n", paths[i],
                          sim_path_names[i]);
        all = all && !missed;
    }
    if (!all)
        (void)fprintf(stderr, "some paths were never taken\n");
    return all;
}

int main(int argc, char **argv)
{
    struct request request;
    if (!parse(argc, argv, &request)) {
        (void)fprintf(stderr, "usage: sim_fleet [--seed N] [--seeds COUNT] [--verbose]\n");
        return 1;
    }
    log_setup(LOG_LOGFMT, LOG_ERROR);
    uint64_t paths[SIM_PATH_COUNT] = {0};
    AUTO_FREE struct sim *sim = sim_checked(MEM_NEW(struct sim));
    sim->paths = paths;
    int64_t began_us = clock_mono_us();
    for (uint64_t i = 0; i < request.seeds; i++) {
        uint64_t seed = request.seed + i;
        if (sim_run(sim, seed, request.verbose && request.seeds == 1))
            continue;
        (void)fprintf(stderr,
                      "seed %" PRIu64 ", at %" PRId64 " ms: %s\n"
                      "reproduce: sim_fleet --seed %" PRIu64 " --verbose\n",
                      seed, sim->now_ms, sim->failure, seed);
        return 2;
    }
    double seconds = (double)(clock_mono_us() - began_us) / 1e6;
    (void)printf("%" PRIu64 " worlds from seed %" PRIu64 " in %.1f s: %" PRIu64
                 " rollouts, %.0f rollouts/s\n",
                 request.seeds, request.seed, seconds, sim->ended, (double)sim->ended / seconds);
    return all_paths_taken(paths, &request) ? 0 : 3;
}
