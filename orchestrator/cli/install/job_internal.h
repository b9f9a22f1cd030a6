/* job_internal: what the files of job share. */
#pragma once

#include "orchestrator/cli/install/job.h"

struct job_run {
    struct job *job;
    struct ssh_config config;
    struct ssh *ssh;
    struct facts facts;
};

struct job_value {
    const char *name, *value;
};
struct job_call {
    const char *function; /* of remote.sh */
    const struct job_value *values;
    size_t value_count;
    const struct buf *data; /* for its standard input; NULL: none */
    int64_t silence_ms;
};

void job_enter(struct job *job, enum job_stage stage);
/* Calls a function of remote.sh. ERR_IO with what it complained about when it failed. */
enum error_code job_call(struct job_run *run, const struct job_call *call,
                         struct ssh_result *ret_result, struct error *err) MUST_CHECK;
/* The last line that a script that failed has said. */
const char *job_complaint(struct ssh_result *result);
/* Waits until the orchestrator sees a connection other than the one it had before (NULL: any). */
enum error_code job_wait_seen(struct job_run *run, const struct job_seen *before,
                              struct error *err) MUST_CHECK;

enum error_code job_install(struct job_run *run, struct error *err) MUST_CHECK;
enum error_code job_uninstall(struct job_run *run, struct error *err) MUST_CHECK;
