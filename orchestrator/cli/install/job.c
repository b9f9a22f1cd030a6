#include "orchestrator/cli/install/job.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/cli/install/job_internal.h"
#include "orchestrator/cli/install/script.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

const char *const job_stage_names[JOB_STAGE_COUNT] = {
#define X(constant, word) [constant] = (word),
    JOB_STAGES(X)
#undef X
};
const char *const job_result_names[JOB_RESULT_COUNT] = {
#define X(constant, word) [constant] = (word),
    JOB_RESULTS(X)
#undef X
};

enum { SCRIPT_ROOM = 128 * 1024 };

void job_enter(struct job *job, enum job_stage stage)
{
    job->stage = stage;
    job->hooks->stage(job->hooks->ctx, job, stage);
}

/* ---- The host ----------------------------------------------------------------------------------
 */

enum error_code job_call(struct job_run *run, const struct job_call *call,
                         struct ssh_result *ret_result, struct error *err)
{
    AUTO_BUF struct buf script = BUF_INIT;
    AUTO_SSH_RESULT struct ssh_result result = {0};
    /* Room for all of it at once: what grows leaves copies behind, and there may be a ticket in it.
     */
    error_ignore(buf_reserve(&script, SCRIPT_ROOM, NULL));
    for (size_t i = 0; i < call->value_count; i++)
        script_value(&script, call->values[i].name, call->values[i].value);
    script_call(&script, call->function);
    enum error_code code = buf_check(&script, err);
    if (code != ERR_OK)
        return code;
    const struct ssh_job job = {.script = script.data,
                                .script_len = script.len,
                                .data = call->data ? call->data->data : NULL,
                                .data_len = call->data ? call->data->len : 0,
                                .silence_ms = call->silence_ms};
    code = ssh_run(run->ssh, &job, &result, err);
    explicit_bzero(script.data, script.len); /* a ticket may be in it */
    if (code != ERR_OK)
        return code;
    if (result.status != 0)
        return error_set(err, ERR_IO, "%.220s", job_complaint(&result));
    *ret_result = result;
    result = (struct ssh_result){0};
    return ERR_OK;
}

const char *job_complaint(struct ssh_result *result)
{
    struct buf *text = &result->err;
    while (text->len > 0 && strchr("\r\n ", text->data[text->len - 1]))
        text->data[--text->len] = '\0';
    if (text->len == 0)
        return result->status < 0 ? "it was killed" : "it failed without a word";
    const char *start = strrchr(text->data, '\n');
    return start ? start + 1 : text->data;
}

static enum error_code connect(struct job_run *run, struct error *err)
{
    const struct job_options *o = run->job->options;
    enum error_code code =
        ssh_config_resolve(run->job->target, o->ssh.config_file, &o->self, &run->config, err);
    return code == ERR_OK ? ssh_open(&run->config, &o->ssh, &run->ssh, err) : code;
}

static enum error_code probe(struct job_run *run, struct error *err)
{
    AUTO_SSH_RESULT struct ssh_result result = {0};
    const struct job_call call = {.function = "probe"};
    enum error_code code = job_call(run, &call, &result, err);
    if (code == ERR_OK)
        code = buf_check(&result.out, err);
    return code == ERR_OK ? facts_parse(result.out.len > 0 ? result.out.data : "", &run->facts, err)
                          : code;
}

/* ---- Being seen --------------------------------------------------------------------------------
 */

enum error_code job_wait_seen(struct job_run *run, const struct job_seen *before, struct error *err)
{
    enum { FIRST_PAUSE_MS = 100, LAST_PAUSE_MS = 2000 };
    const struct job_hooks *hooks = run->job->hooks;
    int64_t wait_ms = run->job->options->seen_ms > 0 ? run->job->options->seen_ms : JOB_SEEN_MS;
    int64_t deadline = clock_mono_ms() + wait_ms;
    char text[CLOCK_TEXT_MAX];
    for (int pause_ms = FIRST_PAUSE_MS;;
         pause_ms = pause_ms * 2 < LAST_PAUSE_MS ? pause_ms * 2 : LAST_PAUSE_MS) {
        struct job_seen now = {0};
        enum error_code code = hooks->seen(hooks->ctx, run->job->target->server, &now, err);
        /* A connection that was there before the restart is not the one that is waited for. */
        if (code == ERR_OK && now.connected &&
            (!before || !before->connected || strcmp(before->since, now.since) != 0))
            return ERR_OK;
        if (clock_mono_ms() + pause_ms > deadline) {
            duration_format(wait_ms, text);
            return code == ERR_OK ? error_set(err, ERR_TIMEOUT,
                                              "the orchestrator did not see it within %s", text)
                                  : code;
        }
        (void)poll(NULL, 0, pause_ms);
    }
}

/* ---- A run -------------------------------------------------------------------------------------
 */

static enum error_code run_goal(struct job_run *run, struct error *err)
{
    enum error_code code = ERR_OK;
    job_enter(run->job, JOB_CONNECT);
    code = connect(run, err);
    if (code == ERR_OK)
        code = probe(run, err);
    if (code != ERR_OK)
        return code;
    return run->job->options->wanted.goal == GOAL_UNINSTALL ? job_uninstall(run, err)
                                                            : job_install(run, err);
}

void job_run(struct job *job)
{
    struct error err = {0};
    AUTO_FREE struct job_run *run = MEM_NEW(struct job_run);
    job->result = JOB_FAILED;
    if (!run) {
        (void)snprintf(job->text, sizeof(job->text), "out of memory");
        return;
    }
    run->job = job;
    if (run_goal(run, &err) != ERR_OK) {
        job->result = JOB_FAILED;
        (void)snprintf(job->text, sizeof(job->text), "%s", err.message);
    }
    ssh_close(run->ssh);
    facts_done(&run->facts);
}
