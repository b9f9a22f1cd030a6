#include "orchestrator/journal/journal_sum.h"

#include "common/base/sum.h"

int64_t sum_plan(int64_t num, const char *text, size_t len)
{
    return (int64_t)sum_text(sum_int(SUM_INIT, num), text, len);
}

int64_t sum_event(int64_t key, const char *type, const char *json, size_t len)
{
    return (int64_t)sum_text(sum_string(sum_int(SUM_INIT, key), type), json, len);
}

int64_t sum_output(int64_t key, int64_t attempt, const char *text, size_t len)
{
    return (int64_t)sum_text(sum_int(sum_int(SUM_INIT, key), attempt), text, len);
}

int64_t sum_made(int64_t num, const struct journal_rollout *made)
{
    uint64_t sum = sum_string(sum_int(SUM_INIT, num), made->id);
    sum = sum_string(sum_string(sum, made->name), made->by);
    /* Rows from before there were retries stay right. */
    return (int64_t)(made->retry_of == NULL ? sum : sum_string(sum, made->retry_of));
}

int64_t sum_touch(int64_t key, const char *server, int64_t undone)
{
    return (int64_t)sum_int(sum_string(sum_int(SUM_INIT, key), server), undone);
}

int64_t sum_lock(const struct journal_server_lock *lock)
{
    uint64_t sum = sum_string(sum_int(SUM_INIT, lock->locked), lock->server);
    sum = sum_int(sum_string(sum_string(sum, lock->by), lock->reason), lock->time_ms);
    return (int64_t)sum_int(sum_string(sum, lock->unlocked_by), lock->unlocked_ms);
}

int64_t sum_summary(int64_t num, const struct journal_summary *summary, int64_t open,
                    uint64_t last_seq)
{
    const struct engine_counts *counts = &summary->counts;
    const int64_t numbers[] = {
        num,
        open,
        summary->created_ms,
        summary->ended_ms,
        (int64_t)last_seq,
        summary->servers,
        counts->pending,
        counts->in_flight,
        counts->succeeded,
        counts->failed,
        counts->unreachable,
        counts->unknown,
        counts->cancelled,
        counts->skipped,
        counts->rolled_back,
        counts->rollback_failed,
    };
    uint64_t sum = sum_string(SUM_INIT, rollout_state_names[summary->state]);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sum = sum_int(sum, numbers[i]);
    /* Rows from before there were checks stay right. */
    if (summary->check || counts->unchanged > 0)
        sum = sum_int(sum_int(sum, summary->check), counts->unchanged);
    return (int64_t)sum;
}

int64_t sum_meta(const char *identity, const char *epoch, const char *unsummed)
{
    return (int64_t)sum_string(sum_string(sum_string(SUM_INIT, identity), epoch), unsummed);
}
