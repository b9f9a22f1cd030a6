#include "common/base/cleanup.h"
#include "orchestrator/cli/install/job_internal.h"
#include "orchestrator/cli/install/script.h"

#include <stdio.h>
#include <string.h>

/* Package managers may fetch what a package needs. */
enum { APPLY_SILENCE_MS = 15 * 60 * 1000, UPLOAD_SILENCE_MS = 60 * 1000 };

static const char *flag(bool on)
{
    return on ? "yes" : "";
}

static const struct wanted *wanted_of(const struct job_run *run)
{
    return &run->job->options->wanted;
}

static enum error_code upload(struct job_run *run, struct error *err)
{
    AUTO_SSH_RESULT struct ssh_result result = {0};
    const struct payload *payload = wanted_of(run)->payload;
    const struct job_value values[] = {{"want_payload", payload->sum}};
    const struct job_call call = {.function = "upload",
                                  .values = values,
                                  .value_count = ARRAY_LEN(values),
                                  .data = &payload->data,
                                  .silence_ms = UPLOAD_SILENCE_MS};
    job_enter(run->job, JOB_UPLOAD);
    return job_call(run, &call, &result, err);
}

static enum error_code apply(struct job_run *run, const struct decision *d, struct error *err)
{
    AUTO_SSH_RESULT struct ssh_result result = {0};
    AUTO_WIPED char token[SECRET_MAX] = "";
    const struct job_hooks *hooks = run->job->hooks;
    const struct wanted *w = wanted_of(run);
    enum error_code code = ERR_OK;
    if (d->enrol) {
        job_enter(run->job, JOB_ENROL);
        code = hooks->ticket(hooks->ctx, run->job->target->server, w->replace, token, err);
    }
    if (code != ERR_OK)
        return code;
    const struct job_value values[] = {
        {"want_kind", payload_kind_names[w->payload->kind]},
        {"want_upload", flag(d->upload)},
        {"want_unit", w->unit},
        {"want_users", script_users},
        {"want_conf", d->conf.data},
        {"want_forget", flag(d->enrol && w->replace)},
        {"want_token", token},
        {"want_start", flag(d->start)},
    };
    const struct job_call call = {.function = "apply",
                                  .values = values,
                                  .value_count = ARRAY_LEN(values),
                                  .silence_ms = APPLY_SILENCE_MS};
    job_enter(run->job, JOB_START);
    return job_call(run, &call, &result, err);
}

static enum error_code settle(struct job_run *run, const struct decision *d, struct error *err)
{
    AUTO_SSH_RESULT struct ssh_result result = {0};
    const struct payload *payload = wanted_of(run)->payload;
    const struct job_value values[] = {{"want_kind", payload_kind_names[payload->kind]},
                                       {"want_upload", flag(d->upload)},
                                       {"want_payload", payload->sum}};
    const struct job_call call = {
        .function = "settle", .values = values, .value_count = ARRAY_LEN(values)};
    return job_call(run, &call, &result, err);
}

/* The last line that "log=" begins; the agent's own words on why it does not connect. */
static const char *last_log(struct ssh_result *result)
{
    const char *last = NULL;
    char *text = result->out.len > 0 ? result->out.data : NULL;
    char *rest = NULL;
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "log=", 4) == 0)
            last = line + 4;
    }
    return last;
}

/* Takes everything back, and adds to the error what the agent's log says. */
static void revert(struct job_run *run, const struct decision *d, struct error *err)
{
    AUTO_SSH_RESULT struct ssh_result result = {0};
    struct error failed = {0};
    const struct job_value values[] = {
        {"want_kind", payload_kind_names[wanted_of(run)->payload->kind]}};
    const struct job_call call = {.function = "revert",
                                  .values = values,
                                  .value_count = ARRAY_LEN(values),
                                  .silence_ms = APPLY_SILENCE_MS};
    enum error_code code = err->code;
    char why[ERROR_MESSAGE_MAX];
    memcpy(why, err->message, sizeof(why));
    if (job_call(run, &call, &result, &failed) != ERR_OK) {
        (void)error_set(err, code, "%.100s; and it could not be taken back: %.100s", why,
                        failed.message);
        return;
    }
    const char *log = last_log(&result);
    (void)error_set(err, code, "%.90s; %s%s%.110s%s", why,
                    d->fresh ? "it is removed again" : "what was there before is back",
                    log ? " (it said: " : "", log ? log : "", log ? ")" : "");
}

static enum error_code change(struct job_run *run, const struct decision *d, struct error *err)
{
    const struct job_hooks *hooks = run->job->hooks;
    struct job_seen before = {0};
    enum error_code code = ERR_OK;
    if (d->start)
        code = hooks->seen(hooks->ctx, run->job->target->server, &before, err);
    if (code != ERR_OK)
        return code;
    if (d->upload)
        code = upload(run, err);
    if (code == ERR_OK && (d->upload || d->configure || d->enrol || d->start))
        code = apply(run, d, err);
    if (code == ERR_OK && wanted_of(run)->start) {
        job_enter(run->job, JOB_VERIFY);
        code = job_wait_seen(run, d->start ? &before : NULL, err);
    }
    if (code != ERR_OK) {
        revert(run, d, err);
        return code;
    }
    return settle(run, d, err);
}

static enum error_code check_only(struct job_run *run, struct error *err)
{
    if (!wanted_of(run)->start)
        return ERR_OK;
    job_enter(run->job, JOB_VERIFY);
    return job_wait_seen(run, NULL, err);
}

enum error_code job_install(struct job_run *run, struct error *err)
{
    AUTO_DECISION struct decision d = {0};
    AUTO_BUF struct buf words = BUF_INIT;
    struct job *job = run->job;
    struct wanted wanted = *wanted_of(run);
    wanted.server = job->target->server;
    enum error_code code = decide(&run->facts, &wanted, &d, err);
    if (code != ERR_OK)
        return code;
    decision_words(&d, &words);
    code = buf_check(&words, err);
    if (code != ERR_OK)
        return code;
    if (job->options->dry_run) {
        job->result = decision_any(&d) ? JOB_PLANNED : JOB_UNCHANGED;
        (void)snprintf(job->text, sizeof(job->text), "would do: %s (%.100s, %.32s)", words.data,
                       run->facts.os[0] ? run->facts.os : run->facts.kernel, run->facts.machine);
        return ERR_OK;
    }
    code = decision_any(&d) ? change(run, &d, err) : check_only(run, err);
    if (code != ERR_OK)
        return code;
    job->result = !decision_any(&d) ? JOB_UNCHANGED : d.fresh ? JOB_INSTALLED : JOB_UPGRADED;
    (void)snprintf(job->text, sizeof(job->text), "%.100s, %.32s",
                   run->facts.os[0] ? run->facts.os : run->facts.kernel, run->facts.machine);
    return ERR_OK;
}

/* ---- Away with it ------------------------------------------------------------------------------
 */

static enum error_code remove_agent(struct job_run *run, struct error *err)
{
    AUTO_SSH_RESULT struct ssh_result result = {0};
    const struct job_value values[] = {{"want_purge", flag(run->job->options->purge)}};
    const struct job_call call = {.function = "uninstall",
                                  .values = values,
                                  .value_count = ARRAY_LEN(values),
                                  .silence_ms = APPLY_SILENCE_MS};
    job_enter(run->job, JOB_REMOVE);
    return job_call(run, &call, &result, err);
}

/* The certificate goes last: were the host not reached, its agent would stay as it was. */
enum error_code job_uninstall(struct job_run *run, struct error *err)
{
    struct job *job = run->job;
    const struct facts *f = &run->facts;
    const struct job_hooks *hooks = job->hooks;
    char server[FACTS_TEXT_MAX + 1] = "";
    bool there = f->package[0] || f->own_binary[0] || f->identity[0] || f->own_unit[0];
    bool named = f->conf.len > 0 && conf_get(f->conf.data, "server-id", server, sizeof(server));
    if (there && named && strcmp(server, job->target->server) != 0 && !wanted_of(run)->replace)
        return error_set(err, ERR_CONFLICT,
                         "its agent is the server %.64s, not %.64s: name it %.64s=%.64s", server,
                         job->target->server, server, job->target->host);
    if (job->options->dry_run) {
        job->result = JOB_PLANNED;
        (void)snprintf(job->text, sizeof(job->text), "would do: %s%s%s",
                       there ? "stop, remove" : "nothing there",
                       wanted_of(run)->tls ? ", revoke" : "", job->options->purge ? ", purge" : "");
        return ERR_OK;
    }
    enum error_code code = ERR_OK;
    if (there || job->options->purge)
        code = remove_agent(run, err);
    if (code == ERR_OK && wanted_of(run)->tls)
        code = hooks->revoke(hooks->ctx, job->target->server, err);
    if (code != ERR_OK)
        return code;
    job->result = there ? JOB_UNINSTALLED : JOB_UNCHANGED;
    (void)snprintf(job->text, sizeof(job->text), "%s",
                   job->options->purge ? "nothing is left"
                   : there ? "what is needed to undo rollouts is kept (--purge removes it)"
                           : "there was no agent");
    return ERR_OK;
}
