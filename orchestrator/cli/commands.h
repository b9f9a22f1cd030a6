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
int cmd_login(struct cli *cli);
int cmd_whoami(struct cli *cli);
int cmd_token_create(struct cli *cli);
int cmd_token_list(struct cli *cli);
int cmd_token_revoke(struct cli *cli);
int cmd_agent_ticket(struct cli *cli);
int cmd_agent_list(struct cli *cli);
int cmd_agent_revoke(struct cli *cli);
int cmd_agent_install(struct cli *cli);
int cmd_agent_upgrade(struct cli *cli);
int cmd_agent_uninstall(struct cli *cli);
int cmd_artifact_put(struct cli *cli);
int cmd_artifact_list(struct cli *cli);
int cmd_artifact_get(struct cli *cli);
int cmd_artifact_delete(struct cli *cli);
int cmd_audit_list(struct cli *cli);
int cmd_audit_verify(struct cli *cli);
int cmd_backup(struct cli *cli);
int cmd_key_new(struct cli *cli);
int cmd_key_show(struct cli *cli);
int cmd_sign(struct cli *cli);
int cmd_verify(struct cli *cli);
int cmd_handlers(struct cli *cli);
int cmd_schema(struct cli *cli);
int cmd_version(struct cli *cli);
int cmd_help(struct cli *cli);

/* Prints what a check found: what each step would change, equal results once. */
int check_show(struct cli *cli, const char *id);
/* Follows a rollout to its end: what `watch` does, and `submit --watch` after submitting. */
int watch_rollout(struct cli *cli, const char *id);
/* Sets *ret_s when --ttl is given. CLI_OK, or an exit status after a message. */
int cli_ttl(struct cli *cli, int64_t max_s, int64_t *ret_s);
