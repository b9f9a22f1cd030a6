/*
 * systemd_decode: what systemd's messages say. For systemd.c alone.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/error.h"
#include "handlers/systemd.h"

#include <systemd/sd-bus.h>

/* An answer that is an error: its code and text; ERR_OK when it is none. */
enum error_code systemd_error_decode(sd_bus_message *m, struct error *err) MUST_CHECK;
/* An answer to GetAll; fills *unit, which is empty or one that was read before. */
enum error_code systemd_unit_decode(sd_bus_message *m, struct unit *unit,
                                    struct error *err) MUST_CHECK;
/* An answer to EnableUnitFiles (`flag_first`) or DisableUnitFiles. */
enum error_code systemd_enabling_decode(sd_bus_message *m, bool flag_first,
                                        struct systemd_enabling *ret_enabling,
                                        struct error *err) MUST_CHECK;
/* How a job ended; ERR_OK: well. */
enum error_code systemd_job_result(const char *result, enum unit_job job, const char *unit,
                                   struct error *err) MUST_CHECK;
