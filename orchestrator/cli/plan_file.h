/*
 * plan_file: a plan from a file or standard input, checked with the tables of the step types that
 * this program knows. Threading: one thread. I/O: reads the file.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/problems.h"
#include "common/plan/plan.h"
#include "orchestrator/cli/cli.h"

struct plan_file {
    const char *name; /* as given; "-" reads standard input */
    struct buf text;
    struct plan *plan; /* NULL: it has faults */
    struct problems problems;
};

/* Reads and checks. CLI_OK: the file could be read; `plan` and `problems` tell what it is worth.
 * Else an exit status, after a message. */
int plan_file_read(struct cli *cli, const char *name, struct plan_file *ret_file);
/* The same for a command that wants a plan without faults: CLI_OK: it has none. Else the exit
 * status, after all faults were told. */
int plan_file_read_good(struct cli *cli, const char *name, struct plan_file *ret_file);
/* Tells the faults, where a person looks for them. */
void plan_file_say_faults(struct cli *cli, const struct plan_file *file);
/* Appends every fault, a line each: "FILE: steps[0].type: ...". */
void plan_file_faults(const struct plan_file *file, struct buf *b);
void plan_file_done(struct plan_file *file);
#define AUTO_PLAN_FILE __attribute__((cleanup(plan_file_done)))
/* How many batches the plan has. */
uint32_t plan_batches(const struct plan *plan);
