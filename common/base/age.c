#include "common/base/age.h"

void age_init(struct age *a, int64_t last_ms, int64_t wall_ms, int64_t mono_ms)
{
    *a = (struct age){
        .wall_ms = last_ms > 0 && last_ms < wall_ms ? last_ms : wall_ms,
        .mono_ms = mono_ms,
    };
}

int64_t age_now(struct age *a, int64_t wall_ms, int64_t mono_ms, bool *ret_doubted)
{
    int64_t expected_ms = a->wall_ms + (mono_ms - a->mono_ms);
    bool ahead = wall_ms > expected_ms + AGE_AHEAD_MS;
    if (ahead && !a->doubted)
        a->doubted_since_ms = mono_ms;
    a->doubted = ahead && mono_ms - a->doubted_since_ms < AGE_DOUBT_MS;
    *ret_doubted = a->doubted;
    if (a->doubted)
        return expected_ms;
    a->wall_ms = wall_ms;
    a->mono_ms = mono_ms;
    return wall_ms;
}
