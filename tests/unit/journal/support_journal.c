#include "unit/journal/support_journal.h"

#include "common/base/error.h"
#include "common/plan/plan_json.h"

#include <assert.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

void rig_init(struct rig *rig)
{
    *rig = (struct rig){0};
    (void)snprintf(rig->dir, sizeof(rig->dir), "/tmp/kitsune-test-XXXXXX");
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
