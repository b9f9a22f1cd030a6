/* plans: the plans that the programs of this folder work with. */
#pragma once

extern const char plan_of_all_fields[];
extern const char plan_of_all_types[];
extern const char plan_of_values[];
extern const char plan_of_value_faults[];
extern const char plan_of_one_server[];
extern const char plan_of_faults[]; /* more than are kept */
/* Servers a and b in batches of two, the steps "write" and "say"; a failure stops it. */
extern const char plan_of_two_servers[];
