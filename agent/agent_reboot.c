/* A step has the server rebooted: the orchestrator is told, if it can be, then the machine's owner
 * is asked. What happens next an agent sees that starts with another boot id. */
#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/base/output.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static bool boot_is_known(const struct agent *a)
{
    const char *boot_id = a->config.identity.boot_id;
    return boot_id && boot_id[0] != '\0' && strlen(boot_id) <= WIRE_MAX_BOOT_ID;
}

const char *reboot_refused(const struct agent *a, const struct execution *x)
{
    if (!x->reboots)
        return "the orchestrator is too old to wait for a reboot: update it";
    if (!boot_is_known(a))
        return "the server's boot id cannot be read, so a reboot could not be told";
    return a->config.owner.reboot ? NULL : "this agent reboots no server";
}

static void reboot_ask(struct agent *a, struct run *run)
{
    run->reboot = REBOOT_ASKED;
    a->config.owner.reboot(a->config.owner.ctx);
}

static bool reboot_is_known(const struct run *run)
{
    return run->execution->acked_seq >= run->reboot_seq;
}

void reboot_start(struct agent *a, struct run *run)
{
    run->reboot_seq = run->execution->last_seq;
    if (reboot_is_known(run)) {
        reboot_ask(a, run);
        return;
    }
    run->reboot = REBOOT_TOLD;
    a->config.clock.set(a->config.clock.ctx, AGENT_REBOOT_ACK_MS);
}

bool reboot_alarm(struct agent *a, struct run *run)
{
    if (run->reboot != REBOOT_TOLD)
        return false;
    reboot_ask(a, run); /* an orchestrator that cannot be reached does not hold it up */
    return true;
}

void reboot_acked(struct agent *a, struct run *run)
{
    if (run->reboot != REBOOT_TOLD || run->halted || !reboot_is_known(run))
        return;
    a->config.clock.stop(a->config.clock.ctx);
    reboot_ask(a, run);
}

static void reboot_end(struct run *run, const struct handler_result *result)
{
    run->reboot = REBOOT_NONE;
    run->has_result = true;
    run->result = *result;
}

void reboot_stop(struct agent *a, struct run *run)
{
    static const struct handler_result stopped = {.outcome = HANDLER_CANCELLED};
    if (run->reboot == REBOOT_TOLD)
        a->config.clock.stop(a->config.clock.ctx);
    else if (!a->config.owner.reboot_withdraw(a->config.owner.ctx))
        return;
    reboot_end(run, &stopped);
}

void agent_stayed_up(struct agent *a, const struct error *why)
{
    struct run *run = a->run;
    struct handler_result result = {.outcome = HANDLER_FAILED};
    if (!run || run->reboot != REBOOT_ASKED || run->halted || a->failed || a->interrupted)
        return;
    (void)snprintf(result.message, sizeof(result.message), "%s", why->message);
    reboot_end(run, &result);
    run_drain(a);
}

/* ---- What was printed before --------------------------------------------------------------------
 */

#define REBOOTED_LINE "[rebooted]\n"

static bool is_of_before(const struct run *run)
{
    return run->before && run->operation.type == EXECUTOR_EXECUTE &&
           run->operation.step == run->before_step && run->operation.attempt == run->before_attempt;
}

/* For want of memory some of it is lost; the journals have it. */
void reboot_output_take(struct run *run, const struct wire_entry *entry)
{
    AUTO_BUF struct buf text = BUF_INIT;
    if (entry->type != REPORT_STEP_REBOOTING)
        return;
    mem_free(TAKE(run->before));
    if (!entry->output)
        return;
    buf_puts(&text, entry->output);
    if (text.len > 0 && text.data[text.len - 1] != '\n')
        buf_putc(&text, '\n');
    buf_puts(&text, REBOOTED_LINE);
    run->before = buf_take(&text, NULL);
    run->before_step = entry->step;
    run->before_attempt = entry->attempt;
}

int64_t reboot_output_length(const struct run *run)
{
    return is_of_before(run) ? (int64_t)strlen(run->before) : 0;
}

void reboot_output_go_on(struct agent *a, const struct run *run)
{
    if (is_of_before(run))
        agent_operation_output(a, -(int64_t)strlen(REBOOTED_LINE), REBOOTED_LINE);
}

char *reboot_output_join(struct run *run, const struct executor_record *record)
{
    AUTO_FREE char *output = TAKE(run->output);
    struct output kept = OUTPUT_INIT;
    AUTO_BUF struct buf text = BUF_INIT;
    if (!is_of_before(run) || record->step != run->before_step)
        return TAKE(output);
    enum error_code code = output_write(&kept, run->before, strlen(run->before), NULL);
    if (code == ERR_OK && output)
        code = output_write(&kept, output, strlen(output), NULL);
    output_text(&kept, &text);
    output_done(&kept);
    mem_free(TAKE(run->before)); /* an attempt that follows begins anew */
    char *joined = code == ERR_OK ? buf_take(&text, NULL) : NULL;
    return joined ? joined : TAKE(output);
}

bool reboot_happened(const struct agent *a, const struct array *entries)
{
    const char *before = NULL;
    for (size_t i = 0; i < entries->count; i++) {
        const struct wire_entry *entry = ARRAY_AT(entries, struct wire_entry, i);
        if (entry->type == REPORT_STEP_REBOOTING)
            before = entry->boot_id;
    }
    return before && boot_is_known(a) && strcmp(before, a->config.identity.boot_id) != 0;
}
