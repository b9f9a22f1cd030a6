#include "orchestrator/engine/event.h"

#include "common/base/cleanup.h"

const char *const event_type_names[EVENT_TYPE_COUNT] = {
#define X(value, name, input) [value] = (name),
    EVENT_TYPES(X)
#undef X
};

bool event_is_input(enum event_type type)
{
    static const bool input[] = {
#define X(value, name, is_input) [value] = (is_input),
        EVENT_TYPES(X)
#undef X
    };
    _Static_assert(ARRAY_LEN(input) == EVENT_TYPE_COUNT, "each event type is an input or a note");

    return input[type];
}
