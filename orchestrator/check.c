/* check: see check.h. */
#include "orchestrator/check.h"

#include "common/base/cleanup.h"
#include "orchestrator/access/audit.h"
#include "orchestrator/artifacts/artifact_check.h"
#include "orchestrator/journal/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Text out of a damaged file may hold anything: what is no plain character shows as a question
 * mark.
 */
static void put_plain(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        (void)putchar(*c >= ' ' && *c <= '~' ? *c : '?');
}

static void check_print(void *ctx, const struct journal_finding *finding)
{
    (void)ctx;
    put_plain(finding->file);
    if (finding->rollout != NULL) {
        (void)fputs(": rollout ", stdout);
        put_plain(finding->rollout);
    }
    if (finding->seq != 0)
        (void)printf(": event %" PRIu64, finding->seq);
    (void)fputs(": ", stdout);
    put_plain(finding->what);
    (void)putchar('\n');
}

/* ---- Who may come in --------------------------------------------------------------------------
 */

/* True: it is sound, or there is none. */
static bool check_access(const char *data_dir)
{
    struct audit_head head = {0};
    struct error err = {0};
    enum error_code code = access_check(data_dir, &head, &err);
    if (code == ERR_NOT_FOUND)
        return true;
    if (code == ERR_OK) {
        (void)printf("checked %" PRId64 " entries of the audit log: whole, head %" PRId64 ":%s\n",
                     head.seq, head.seq, head.hash);
        return true;
    }
    put_plain(data_dir);
    (void)fputs("/access.db: ", stdout);
    put_plain(err.message);
    (void)putchar('\n');
    return false;
}

/* ---- What plans name --------------------------------------------------------------------------
 */

static void check_print_artifact(void *ctx, const char *name, const char *what)
{
    put_plain(ctx);
    (void)printf("/artifacts/%s: ", name);
    put_plain(what);
    (void)putchar('\n');
}

/* True: all of them are what their names say. */
static bool check_artifacts(const char *data_dir)
{
    struct artifact_checked checked = {0};
    struct error err = {0};
    AUTO_FREE char *dir = mem_strdup(data_dir);
    enum error_code code =
        dir == NULL ? error_set(&err, ERR_NO_MEMORY, NULL)
                    : artifact_check(data_dir, check_print_artifact, dir, &checked, &err);
    if (code != ERR_OK) {
        put_plain(err.message);
        (void)putchar('\n');
        return false;
    }
    if (checked.count > 0)
        (void)printf("checked %" PRIu64 " artifacts in %" PRId64 " bytes: ", checked.count,
                     checked.bytes);
    if (checked.count > 0 && checked.findings == 0)
        (void)puts("sound");
    else if (checked.count > 0)
        (void)printf("%" PRIu64 " finding%s\n", checked.findings, checked.findings == 1 ? "" : "s");
    return checked.findings == 0;
}

int check_run(const char *data_dir)
{
    struct journal_checked checked = {0};
    struct error err = {0};
    if (journal_check(data_dir, check_print, NULL, &checked, &err) != ERR_OK) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "kitsune-orchestrator: %s\n", err.message);
        return EXIT_FAILURE;
    }
    (void)printf("checked %" PRIu64 " rollouts, %" PRIu64 " events and %" PRIu64
                 " outputs in %" PRId64 " bytes: ",
                 checked.rollouts, checked.events, checked.outputs, checked.size_bytes);
    if (checked.findings == 0)
        (void)puts("sound");
    else
        (void)printf("%" PRIu64 " finding%s\n", checked.findings, checked.findings == 1 ? "" : "s");
    bool sound = checked.findings == 0;
    sound = check_access(data_dir) && sound;
    sound = check_artifacts(data_dir) && sound;
    return fflush(stdout) == 0 && sound ? EXIT_SUCCESS : EXIT_FAILURE;
}
