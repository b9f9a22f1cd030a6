#include "common/base/failpoint.h"

#ifdef KITSUNE_FAILPOINTS

#include "common/base/alloc.h"
#include "common/base/text.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum action { ACTION_NONE, ACTION_KILL, ACTION_ERROR };

#define VARIABLE "KITSUNE_FAILPOINT"
#define COUNT_PREFIX "count:"

#define X(point, name, can_fail, where) name,
static const char *const names[FAILPOINT_COUNT] = {FAILPOINTS(X)};
#undef X
#define X(point, name, can_fail, where) can_fail,
static const bool fallible[FAILPOINT_COUNT] = {FAILPOINTS(X)};
#undef X

static atomic_uint_fast64_t passed[FAILPOINT_COUNT];

/* Set once, before any thread is begun. */
static struct {
    enum failpoint point;
    enum action action;
    uint64_t when; /* at this pass, from 1 */
    const char *count_path;
} wanted;

/* ---- What is wanted ---------------------------------------------------------------------- */

static void counts_write(void)
{
    FILE *file = fopen(wanted.count_path, "we");
    if (file == NULL)
        return;
    for (size_t i = 0; i < FAILPOINT_COUNT; i++)
        (void)fprintf(file, "%s %" PRIu64 "\n", names[i], (uint64_t)atomic_load(&passed[i]));
    (void)fclose(file);
}

static enum error_code point_find(const char *text, size_t len, struct error *err)
{
    for (size_t i = 0; i < FAILPOINT_COUNT; i++) {
        if (strlen(names[i]) == len && strncmp(names[i], text, len) == 0) {
            wanted.point = (enum failpoint)i;
            return ERR_OK;
        }
    }
    char name[TEXT_CLOSEST_MAX];
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, text);
    const char *closest = text_closest(name, names, FAILPOINT_COUNT);
    return error_set(err, ERR_INVALID, VARIABLE ": there is no failpoint \"%s\"%s%s%s", name,
                     closest == NULL ? "" : " (did you mean \"", closest == NULL ? "" : closest,
                     closest == NULL ? "" : "\"?)");
}

static enum error_code action_read(const char *text, struct error *err)
{
    static const struct {
        const char *prefix;
        enum action action;
    } actions[] = {{"kill@", ACTION_KILL}, {"error@", ACTION_ERROR}};
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        size_t len = strlen(actions[i].prefix);
        if (strncmp(text, actions[i].prefix, len) != 0)
            continue;
        char *end = NULL;
        wanted.action = actions[i].action;
        wanted.when = strtoull(text + len, &end, 10);
        if (text[len] >= '1' && text[len] <= '9' && *end == '\0')
            return ERR_OK;
    }
    return error_set(err, ERR_INVALID, VARIABLE ": \"%s\" is neither kill@N nor error@N, N from 1",
                     text);
}

enum error_code failpoint_setup(struct error *err)
{
    const char *text = getenv(VARIABLE);
    if (text == NULL || text[0] == '\0')
        return ERR_OK;
    if (strncmp(text, COUNT_PREFIX, strlen(COUNT_PREFIX)) == 0) {
        wanted.count_path = mem_strdup(text + strlen(COUNT_PREFIX));
        if (wanted.count_path == NULL || atexit(counts_write) != 0)
            return error_set(err, ERR_NO_MEMORY, NULL);
        return ERR_OK;
    }
    size_t len = strcspn(text, "=");
    if (text[len] == '\0')
        return error_set(err, ERR_INVALID, VARIABLE ": \"%s\" is not NAME=kill@N", text);
    enum error_code code = point_find(text, len, err);
    if (code == ERR_OK)
        code = action_read(text + len + 1, err);
    if (code == ERR_OK && wanted.action == ACTION_ERROR && !fallible[wanted.point])
        code = error_set(err, ERR_INVALID, VARIABLE ": \"%s\" cannot be told to fail",
                         names[wanted.point]);
    return code;
}

/* ---- Passing ----------------------------------------------------------------------------- */

/* Counts this pass, and says what is wanted of it. */
static enum action pass(enum failpoint point)
{
    assert((unsigned)point < FAILPOINT_COUNT);
    uint64_t number = atomic_fetch_add(&passed[point], 1) + 1;
    bool due = wanted.point == point && wanted.when == number;
    if (due && wanted.action == ACTION_KILL)
        (void)raise(SIGKILL);
    return due ? wanted.action : ACTION_NONE;
}

void failpoint_pass(enum failpoint point)
{
    (void)pass(point);
}

bool failpoint_fails(enum failpoint point)
{
    return pass(point) == ACTION_ERROR;
}

#endif
