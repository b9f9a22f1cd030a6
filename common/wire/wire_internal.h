/* wire_internal: what the files of this folder share. For this folder alone. */
#pragma once

#include "common/wire/wire.h"

/* By type of frame; NULL: a frame without members of its own. */
extern const struct json_table *const wire_tables[WIRE_TYPE_COUNT];
/* All of an execute frame but the steps, for steps that are encoded already. */
extern const struct json_table wire_execute_head_table;
