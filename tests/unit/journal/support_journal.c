#include "unit/journal/support_journal.h"

#include "common/base/error.h"
#include "common/plan/plan_json.h"

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char rig_plan_text[] = "{\"name\":\"a plan\",\"servers\":[\"s1\",\"s2\",\"s3\"],\"steps\":["
                             "{\"name\":\"one\",\"type\":\"echo\",\"params\":{\"message\":\"1\"}},"
                             "{\"name\":\"two\",\"type\":\"echo\",\"params\":{\"message\":\"2\"}}],"
                             "\"rolloutStrategy\":{\"type\":\"Parallel\",\"maxFailures\":-1}}";

enum { WAIT_SECONDS = 60 };

void rig_wake(void *ctx)
{
    struct rig *rig = ctx;
    (void)pthread_mutex_lock(&rig->mutex);
    rig->wakes++;
    (void)pthread_cond_signal(&rig->changed);
    (void)pthread_mutex_unlock(&rig->mutex);
}

static void rig_init_in(struct rig *rig, const char *base)
{
    *rig = (struct rig){0};
    (void)snprintf(rig->dir, sizeof(rig->dir), "%s/kitsune-test-XXXXXX", base);
    const char *made = mkdtemp(rig->dir);
    assert(made != NULL);
    (void)made;
    (void)pthread_mutex_init(&rig->mutex, NULL);
    (void)pthread_cond_init(&rig->changed, NULL);
    struct error err = {0};
    enum error_code code = plan_read(rig_plan_text, strlen(rig_plan_text), &rig->plan, &err);
    if (code != ERR_OK)
        (void)fprintf(stderr, "plan_read: %s\n", err.message);
    assert(code == ERR_OK);
}

void rig_init(struct rig *rig)
{
    rig_init_in(rig, "/tmp");
}

void rig_init_in_memory(struct rig *rig)
{
    rig_init_in(rig, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

void rig_open(struct rig *rig)
{
    struct error err = {0};
    enum error_code code = journal_open(rig->dir, rig_wake, rig, &rig->journal, &err);
    if (code != ERR_OK)
        (void)fprintf(stderr, "journal_open: %s\n", err.message);
    assert(code == ERR_OK);
}

void rig_close(struct rig *rig)
{
    journal_close(rig->journal);
    rig->journal = NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void rig_done(struct rig *rig)
{
    rig_close(rig);
    plan_free(rig->plan);
    (void)pthread_cond_destroy(&rig->changed);
    (void)pthread_mutex_destroy(&rig->mutex);
    (void)nftw(rig->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct timespec wait_end(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    return until;
}

/* Waits for a wake after `*seen` of them; false when the time is over. */
static bool wait_wake(struct rig *rig, const struct timespec *until, uint64_t *seen)
{
    int late = 0;
    (void)pthread_mutex_lock(&rig->mutex);
    while (rig->wakes == *seen && late == 0)
        late = pthread_cond_timedwait(&rig->changed, &rig->mutex, until);
    *seen = rig->wakes;
    (void)pthread_mutex_unlock(&rig->mutex);
    return late == 0;
}

bool rig_wait(struct rig *rig, uint64_t settled)
{
    struct timespec until = wait_end();
    uint64_t seen = 0;
    journal_collect(rig->journal);
    while (rig->settled < settled) {
        if (!wait_wake(rig, &until, &seen))
            return false;
        journal_collect(rig->journal);
    }
    return rig->settled == settled;
}

bool rig_collect_next(struct rig *rig)
{
    struct timespec until = wait_end();
    if (!wait_wake(rig, &until, &rig->wakes_seen))
        return false;
    journal_collect(rig->journal);
    return true;
}

bool rig_wait_stall(struct rig *rig, bool *ret_final, struct error *ret_why)
{
    struct timespec until = wait_end();
    uint64_t seen = 0;
    while (!journal_stalled(rig->journal, ret_final, ret_why))
        if (!wait_wake(rig, &until, &seen))
            return false;
    return true;
}

void rig_settled(void *ctx, enum error_code result, const struct error *err)
{
    struct rig *rig = ctx;
    rig->settled++;
    rig->last_result = result;
    rig->last_error = err == NULL ? (struct error){0} : *err;
}

struct event rig_event(enum event_type type, uint32_t server)
{
    return (struct event){
        .type = type,
        .time_ms = INT64_C(1795242356123),
        .server = server,
        .step = EVENT_NO_STEP,
    };
}

void rig_append(struct rig *rig, const char *id, uint64_t expected_seq, bool create,
                const struct event *events, size_t count)
{
    struct journal_append *a = NULL;
    enum error_code code = journal_append_new(id, expected_seq, &a, NULL);
    if (code == ERR_OK && create)
        code =
            journal_append_create(a, rig->plan, rig_plan_text, strlen(rig_plan_text), "me", NULL);
    for (size_t i = 0; i < count && code == ERR_OK; i++)
        code = journal_append_event(a, rig->plan, &events[i], NULL);
    assert(code == ERR_OK);
    journal_append(rig->journal, a, rig_settled, rig);
}

void rig_rollout(struct rig *rig, const char *id, enum rollout_state state)
{
    struct journal_append *a = NULL;
    struct event created = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    enum error_code code = journal_append_new(id, 1, &a, NULL);
    if (code == ERR_OK)
        code =
            journal_append_create(a, rig->plan, rig_plan_text, strlen(rig_plan_text), "me", NULL);
    if (code == ERR_OK)
        code = journal_append_event(a, rig->plan, &created, NULL);
    assert(code == ERR_OK);
    struct journal_summary summary = {.state = state,
                                      .servers = 3,
                                      .created_ms = 1000,
                                      .ended_ms = 2000,
                                      .counts = {.failed = 3}};
    journal_append_summary(a, &summary);
    journal_append(rig->journal, a, rig_settled, rig);
    bool settled = rig_wait(rig, rig->settled + 1);
    assert(settled && rig->last_result == ERR_OK);
    (void)settled;
}

/* ---- A rollout as it is lived ------------------------------------------------------------------
 */

enum { HISTORY_MAX = 64 };

/* All that three servers report of two steps that succeed. */
static size_t history(struct event events[HISTORY_MAX])
{
    size_t count = 0;
    events[count++] = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    for (uint32_t server = 0; server < 3; server++) {
        int64_t agent_seq = 0;
        struct event event = rig_event(EVENT_EXECUTION_STARTED, server);
        event.agent_seq = ++agent_seq;
        events[count++] = event;
        for (int32_t step = 0; step < 2; step++) {
            event = rig_event(EVENT_STEP_STARTED, server);
            event.step = step;
            event.attempt = 1;
            event.agent_seq = ++agent_seq;
            events[count++] = event;
            event.type = EVENT_STEP_ENDED;
            event.step_state = STEP_SUCCEEDED;
            event.changed = true;
            event.agent_seq = ++agent_seq;
            event.message = "well";
            events[count++] = event;
        }
        event = rig_event(EVENT_EXECUTION_ENDED, server);
        event.state = EXECUTION_SUCCEEDED;
        event.agent_seq = ++agent_seq;
        events[count++] = event;
    }
    return count;
}

/* Adds an event with what the engine notes of it; the number of events. */
static size_t live_event(const struct rig *rig, struct journal_append *a, struct engine *engine,
                         const struct event *event)
{
    struct decision decision;
    size_t used = 1;
    enum error_code code = engine_apply(engine, event, NULL);
    if (code == ERR_OK)
        code = journal_append_event(a, rig->plan, event, NULL);
    while (code == ERR_OK && engine_next(engine, &decision)) {
        if (decision.type != DECISION_NOTE)
            continue;
        decision.note.time_ms = event->time_ms;
        code = journal_append_event(a, rig->plan, &decision.note, NULL);
        used++;
    }
    if (code == ERR_OK && event->type == EVENT_STEP_STARTED && event->step == 0)
        code = journal_append_touch(a, rig->plan, event->server, false, NULL);
    if (code == ERR_OK && event->type == EVENT_STEP_ENDED) {
        struct journal_output output = {.server = event->server,
                                        .step = (uint32_t)event->step,
                                        .attempt = 1,
                                        .text = "what it printed\n",
                                        .len = 16};
        code = journal_append_output(a, &output, NULL);
    }
    assert(code == ERR_OK);
    return used;
}

uint64_t rig_live(struct rig *rig, const char *id, struct engine *engine)
{
    struct event events[HISTORY_MAX];
    size_t count = history(events);
    uint64_t seq = 0;
    uint64_t settled = rig->settled;
    for (size_t i = 0; i < count; i++) {
        struct journal_append *a = NULL;
        enum error_code code = journal_append_new(id, seq + 1, &a, NULL);
        if (code == ERR_OK && i == 0)
            code = journal_append_create(a, rig->plan, rig_plan_text, strlen(rig_plan_text), "me",
                                         NULL);
        assert(code == ERR_OK);
        events[i].seq = seq + 1;
        seq += live_event(rig, a, engine, &events[i]);
        bool ended = rollout_state_final(engine_state(engine));
        const struct journal_summary summary = {.state = engine_state(engine),
                                                .counts = engine_counts(engine),
                                                .servers = plan_server_count(rig->plan),
                                                .created_ms = events[0].time_ms,
                                                .ended_ms = ended ? events[i].time_ms : 0};
        journal_append_summary(a, &summary);
        journal_append(rig->journal, a, rig_settled, rig);
    }
    bool done = rig_wait(rig, settled + count);
    assert(done && rig->last_result == ERR_OK);
    (void)done;
    return seq;
}

uint64_t rig_succeeded(struct rig *rig, const char *id)
{
    struct engine *engine = NULL;
    enum error_code code = engine_new(rig->plan, &engine, NULL);
    assert(code == ERR_OK);
    (void)code;
    uint64_t last = rig_live(rig, id, engine);
    assert(engine_state(engine) == ROLLOUT_SUCCEEDED);
    engine_free(engine);
    return last;
}

/* ---- Files -------------------------------------------------------------------------------------
 */

const char *rig_path(struct rig *rig, const char *name)
{
    (void)snprintf(rig->path, sizeof(rig->path), "%s/%s", rig->dir, name);
    return rig->path;
}

char *rig_read_file(struct rig *rig, const char *name, size_t *ret_len)
{
    struct stat st;
    int fd = open(rig_path(rig, name), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    int failed = fstat(fd, &st);
    assert(failed == 0);
    (void)failed;
    char *data = malloc((size_t)st.st_size + 1);
    ssize_t len = read(fd, data, (size_t)st.st_size);
    assert(len == st.st_size);
    (void)close(fd);
    *ret_len = (size_t)len;
    return data;
}

void rig_write_file(struct rig *rig, const char *name, const char *data, size_t len)
{
    if (data == NULL) {
        (void)unlink(rig_path(rig, name));
        return;
    }
    int fd = open(rig_path(rig, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t written = write(fd, data, len);
    assert(fd >= 0 && written == (ssize_t)len);
    (void)written;
    (void)close(fd);
}

void rig_tamper(struct rig *rig, const char *sql)
{
    sqlite3 *handle = NULL;
    int result = sqlite3_open(rig_path(rig, "journal.db"), &handle);
    if (result == SQLITE_OK)
        result = sqlite3_exec(handle, sql, NULL, NULL, NULL);
    if (result != SQLITE_OK)
        (void)fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(handle));
    assert(result == SQLITE_OK);
    result = sqlite3_close(handle);
    assert(result == SQLITE_OK);
    (void)result;
}
