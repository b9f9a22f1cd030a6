/* commands: the functions behind the table in commands.c. Each gives the exit status. */
#pragma once

#include "orchestrator/cli/cli.h"

int cmd_validate(struct cli *cli);
int cmd_preview(struct cli *cli);
int cmd_simulate(struct cli *cli);
int cmd_submit(struct cli *cli);
int cmd_list(struct cli *cli);
int cmd_show(struct cli *cli);
int cmd_watch(struct cli *cli);
int cmd_events(struct cli *cli);
int cmd_logs(struct cli *cli);
int cmd_pause(struct cli *cli);
int cmd_resume(struct cli *cli);
int cmd_cancel(struct cli *cli);
int cmd_rollback(struct cli *cli);
int cmd_resolve(struct cli *cli);
int cmd_retry(struct cli *cli);
int cmd_lock(struct cli *cli);
int cmd_unlock(struct cli *cli);
int cmd_servers(struct cli *cli);
int cmd_server(struct cli *cli);
int cmd_backup(struct cli *cli);
int cmd_key_new(struct cli *cli);
int cmd_key_show(struct cli *cli);
int cmd_sign(struct cli *cli);
int cmd_verify(struct cli *cli);
int cmd_handlers(struct cli *cli);
int cmd_schema(struct cli *cli);
int cmd_version(struct cli *cli);
int cmd_help(struct cli *cli);

/* Follows a rollout to its end: what `watch` does, and `submit --watch` after submitting. */
int watch_rollout(struct cli *cli, const char *id);
