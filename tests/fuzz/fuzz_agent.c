/*
 * An agent on a disk and under an orchestrator that may hold and say anything, a line each:
 *
 *     on r2                              what follows is of that execution (at first: r1)
 *     spec {"v":1,"type":"execute",…}    the disk holds this frame of it
 *     entry {"seq":1,"type":"started",…} and this entry
 *     captured 0                         and a capture of that step
 *     acked 3, settled, restarts 2, old  and this of its state
 *     died                               the agent before died
 *     trusted                            the agent from now on runs signed plans alone
 *     time 1795690000000                 it is that time
 *     used 900                           bytes kept for undo, of 1000
 *     stalled, space                     the disk is full from now on, or no longer
 *     outcomes frxnpbo                   how operations end from now on: see agent_world.c
 *     welcome 3                          the orchestrator of that epoch welcomes it
 *     frame {"v":1,…}                    and says this
 *     ack                                all is acknowledged
 *     run 5                              so many things that are due happen
 *     gone, stop, interrupt, kill        the connection, or the agent, ends
 *
 * The agent is started by the first line that needs it. In the end it is started once more, what it
 * does goes well, and everything comes to an end.
 */
#include "agent/agent_state.h"
#include "tests/fuzz/agent_world.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#include "common/base/log.h"

#define TIME_MAX_MS INT64_C(4102444800000) /* the year 2100 */
enum { LINES_MAX = 64, RUN_MAX = 200, END_MAX = 20000 };

/* That of RFC 8032's first example. */
static const char key_line[] =
    "ed25519 d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

struct play {
    struct agent_world world;
    struct trust *trust;
    char on[ID_BUFFER];
    char *outcomes;
    bool started, stopped;
    bool refused; /* what the disk holds kept the agent from starting */
};

/* Started, if that is possible; false when it is not. */
static bool started(struct play *p)
{
    struct error err = {0};
    if (!p->started && !p->refused) {
        p->refused = agent_world_start(&p->world, &err) != ERR_OK;
        p->started = !p->refused;
        assert(p->started || err.message[0] != '\0');
    }
    return p->started;
}

static void kill_agent(struct play *p)
{
    if (p->world.agent != NULL)
        agent_world_kill(&p->world);
    p->started = p->stopped = p->refused = false;
}

static void run(struct play *p, long count)
{
    for (long i = 0; i < count && p->started && agent_world_step(&p->world); i++)
        continue;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

static void on_disk(struct play *p, const char *word, const char *rest)
{
    static const char *const words[] = {"spec",    "entry",    "captured", "acked",
                                        "settled", "restarts", "old",      NULL};
    /* A word that is none of these must leave nothing: an execution without a record is another
     * thing than none. */
    struct stored *s = is_one_of(word, words) ? agent_world_store(&p->world, p->on) : NULL;
    long number = strtol(rest, NULL, 10);
    if (s == NULL)
        return;
    if (strcmp(word, "spec") == 0 && s->spec == NULL) {
        s->spec = strdup(rest);
        s->spec_len = strlen(rest);
    } else if (strcmp(word, "entry") == 0) {
        struct wire_entry entry = {0};
        /* The key of the table: it is there though the text may be damaged. */
        if (json_read(rest, strlen(rest), WIRE_MAX_BYTES, &wire_entry_table, &entry, NULL) ==
            ERR_OK) {
            if (entry.seq > s->status.last_seq)
                s->status.last_seq = entry.seq;
            wire_entry_release(&entry);
        }
        (void)stored_add_entry(s, rest, strlen(rest));
    } else if (strcmp(word, "captured") == 0 && number >= 0 && number < WORLD_STEPS) {
        free(s->captures[number]);
        s->captures[number] = strdup("{\"earlier\":true}");
    } else if (strcmp(word, "acked") == 0) {
        s->status.acked_seq = number;
    } else if (strcmp(word, "settled") == 0) {
        s->status.settled = true;
    } else if (strcmp(word, "restarts") == 0) {
        s->status.restarts = number;
    } else if (strcmp(word, "old") == 0) {
        s->old = true;
    }
}

static void to_agent(struct play *p, const char *word, const char *rest)
{
    struct error err = {0};
    enum error_code code = ERR_OK;
    if (strcmp(word, "welcome") == 0) {
        code = agent_world_welcome(&p->world, strtol(rest, NULL, 10), &err);
    } else if (strcmp(word, "frame") == 0) {
        code = agent_world_frame(&p->world, rest, strlen(rest), &err);
        if (code != ERR_OK) /* a reason to end the connection */
            agent_disconnected(p->world.agent);
    } else if (strcmp(word, "ack") == 0) {
        code = agent_world_ack_all(&p->world, &err);
    } else if (strcmp(word, "gone") == 0) {
        agent_disconnected(p->world.agent);
    } else if (strcmp(word, "stop") == 0 && !p->stopped) {
        p->stopped = true;
        agent_stop(p->world.agent);
    } else if (strcmp(word, "interrupt") == 0 && p->stopped) {
        agent_interrupt(p->world.agent);
    } else if (strcmp(word, "run") == 0) {
        long count = strtol(rest, NULL, 10);
        run(p, count < RUN_MAX ? count : RUN_MAX);
    }
    assert(code == ERR_OK || err.message[0] != '\0');
}

static void do_line(struct play *p, char *line)
{
    char *rest = strchr(line, ' ');
    if (rest != NULL)
        *rest++ = '\0';
    else
        rest = line + strlen(line);
    if (strcmp(line, "on") == 0 && id_valid(rest)) {
        (void)snprintf(p->on, sizeof(p->on), "%s", rest);
    } else if (strcmp(line, "outcomes") == 0) {
        free(p->outcomes);
        p->outcomes = strdup(rest);
        p->world.outcomes = p->outcomes;
    } else if (strcmp(line, "died") == 0) {
        p->world.after_death = true;
    } else if (strcmp(line, "used") == 0) {
        p->world.usage = (struct undo_usage){strtol(rest, NULL, 10), 1000};
    } else if (strcmp(line, "stalled") == 0 || strcmp(line, "space") == 0) {
        p->world.stalled = line[1] == 't';
    } else if (strcmp(line, "trusted") == 0 && p->trust == NULL) {
        error_ignore(trust_parse("keys", key_line, sizeof(key_line) - 1, &p->trust, NULL));
        p->world.trust = p->trust;
    } else if (strcmp(line, "time") == 0) {
        long long now_ms = strtoll(rest, NULL, 10);
        p->world.now_ms =
            now_ms > p->world.now_ms && now_ms < TIME_MAX_MS ? now_ms : p->world.now_ms;
    } else if (strcmp(line, "kill") == 0) {
        kill_agent(p);
    } else if (!p->started) {
        on_disk(p, line, rest);
        static const char *const needs[] = {"welcome", "frame", "run", "stop", "interrupt", NULL};
        if (is_one_of(line, needs) && started(p))
            to_agent(p, line, rest);
    } else {
        to_agent(p, line, rest);
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

/* Only an agent that has failed, for a record that nobody can read, leaves something open. */
static void check_ended(struct play *p)
{
    struct agent_world *w = &p->world;
    struct error err = {0};
    kill_agent(p);
    w->outcomes = NULL;
    w->stalled = false;
    if (!started(p))
        return;
    int steps = 0;
    while (!w->failed && agent_world_step(w) && steps < END_MAX)
        steps++;
    assert(steps < END_MAX);
    for (const struct execution *x = w->agent->first; x != NULL && !w->failed; x = x->next)
        assert(x->settled && x->turn == TURN_NONE && w->agent->run == NULL);
    if (w->failed || agent_world_welcome(w, INT64_MAX, &err) != ERR_OK ||
        agent_world_ack_all(w, &err) != ERR_OK)
        return;
    while (agent_world_step(w) && steps < END_MAX)
        steps++;
    assert(steps < END_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play p;
    struct fuzz_input in = {data, size};
    char *line;
    log_setup(LOG_LOGFMT, LOG_ERROR);
    p = (struct play){.on = "r1"};
    agent_world_init(&p.world);
    for (int i = 0; i < LINES_MAX && (line = fuzz_line(&in, NULL)) != NULL; i++) {
        do_line(&p, line);
        free(line);
    }
    check_ended(&p);
    agent_world_done(&p.world);
    trust_free(p.trust);
    free(p.outcomes);
    return 0;
}
