#include "orchestrator/cli/commands.h"

#include "common/base/cleanup.h"

/* Of the commands that go to hosts. */
#define SSH_OPTIONS                                                                                \
    (OPT_BIT(OPT_INVENTORY) | OPT_BIT(OPT_GROUP) | OPT_BIT(OPT_SSH_CONFIG) |                       \
     OPT_BIT(OPT_ACCEPT_NEW) | OPT_BIT(OPT_PARALLEL) | OPT_BIT(OPT_DRY_RUN))
#define INSTALL_OPTIONS                                                                            \
    (SSH_OPTIONS | OPT_BIT(OPT_PACKAGE) | OPT_BIT(OPT_BINARY) | OPT_BIT(OPT_AGENT_URL) |           \
     OPT_BIT(OPT_TIMEOUT) | OPT_BIT(OPT_NO_START) | OPT_BIT(OPT_REPLACE))

const struct command commands[] = {
    {"validate", "PLAN.json", "Check a plan and name every fault",
     "Nothing is sent: the plan is checked here, with the tables that the orchestrator has.\n"
     "PLAN.json may be -, for standard input. Exit status 1 when there is a fault.",
     "kitsune validate plans/nginx.json", 0, 1, 1, cmd_validate},
    {"preview", "PLAN.json", "Show what a plan would do, and what it could do",
     "The batches in order, how many failures stop the rollout, how many servers a bad change can\n"
     "reach until then, and which steps can be undone. Nothing is sent. Of many batches the first\n"
     "and the last are shown, unless --all is given.",
     "kitsune preview plans/canary.json", OPT_BIT(OPT_ALL), 1, 1, cmd_preview},
    {"simulate", "PLAN.json", "Play a plan through with servers that fail",
     "The orchestrator's own engine runs the plan over servers that exist in numbers alone. The\n"
     "same --seed gives the same outcome. Nothing is sent. The exit status is that of watch.",
     "kitsune simulate plans/canary.json --fail 2% --unreachable 1% --seed 7",
     OPT_BIT(OPT_FAIL) | OPT_BIT(OPT_UNREACHABLE) | OPT_BIT(OPT_SEED) | OPT_BIT(OPT_STEP_TIME), 1,
     1, cmd_simulate},
    {"submit", "PLAN.json", "Start a rollout and print its id",
     "The plan is checked here first; with a fault nothing is sent. PLAN.json may be -, for\n"
     "standard input. Submitting again with the same --id starts nothing new. With --check the\n"
     "servers are only looked at, in the same batches: with --watch the changes that the plan\n"
     "would make follow, and exit status 0 says that it could be told of enough servers.",
     "kitsune submit plans/nginx.json --id nginx-1.20.1 --watch",
     OPT_BIT(OPT_ID) | OPT_BIT(OPT_WATCH) | OPT_BIT(OPT_NO_WAIT) | OPT_BIT(OPT_REQUIRE_UNDO) |
         OPT_BIT(OPT_CHECK),
     1, 1, cmd_submit},
    {"list", "", "List rollouts, newest first", NULL, "kitsune list --limit 20",
     OPT_BIT(OPT_LIMIT) | OPT_BIT(OPT_ALL), 0, 0, cmd_list},
    {"show", "ID", "Show a rollout and its servers",
     "When there are many servers, those that failed come first. With --server, that server's\n"
     "steps are shown.",
     "kitsune show nginx-1.20.1 --state failed",
     OPT_BIT(OPT_SERVER) | OPT_BIT(OPT_STATE) | OPT_BIT(OPT_ALL), 1, 1, cmd_show},
    {"watch", "ID", "Follow a rollout to its end",
     "Ctrl-C ends the watching, not the rollout. The exit status tells the outcome: 0 succeeded,\n"
     "2 failed or cancelled, 3 rolled back, 4 rollback failed, 5 the orchestrator was not reached.",
     "kitsune watch nginx-1.20.1", 0, 1, 1, cmd_watch},
    {"events", "ID", "Show what happened, event by event", NULL,
     "kitsune events nginx-1.20.1 --follow", OPT_BIT(OPT_FOLLOW) | OPT_BIT(OPT_AFTER), 1, 1,
     cmd_events},
    {"logs", "ID", "Show what the steps printed", NULL,
     "kitsune logs nginx-1.20.1 --server web-3 --step upgrade",
     OPT_BIT(OPT_SERVER) | OPT_BIT(OPT_STEP) | OPT_BIT(OPT_FOLLOW), 1, 1, cmd_logs},
    {"pause", "ID", "Start no further server until it is resumed", NULL,
     "kitsune pause nginx-1.20.1 --reason \"load is high\"", OPT_BIT(OPT_REASON), 1, 1, cmd_pause},
    {"resume", "ID", "Go on with a paused rollout", NULL, "kitsune resume nginx-1.20.1",
     OPT_BIT(OPT_REASON), 1, 1, cmd_resume},
    {"cancel", "ID", "Stop a rollout, and undo it if you say so",
     "Servers that run finish the step they are in, unless --now ends it.",
     "kitsune cancel nginx-1.20.1 --rollback --reason \"wrong version\"",
     OPT_BIT(OPT_NOW) | OPT_BIT(OPT_ROLLBACK) | OPT_BIT(OPT_REASON), 1, 1, cmd_cancel},
    {"rollback", "ID", "Undo a rollout, also one that has ended",
     "One that is going on is stopped first. With --server, which may be given several times, "
     "those\n"
     "servers alone are undone, and a rollout that is going on goes on with the others. It is "
     "refused\n"
     "where a later rollout touched the same server, unless that one was undone. --force, with\n"
     "--server, undoes all the same, and also what somebody else has changed since. The exit "
     "status\n"
     "of --watch tells whether what was asked for was undone: 0 yes, 4 no.",
     "kitsune rollback nginx-1.20.1 --watch --reason \"memory leak\"",
     OPT_BIT(OPT_SERVER) | OPT_SEVERAL_SERVERS | OPT_BIT(OPT_FORCE) | OPT_BIT(OPT_NOW) |
         OPT_BIT(OPT_REASON) | OPT_BIT(OPT_WATCH),
     1, 1, cmd_rollback},
    {"retry", "ID", "Start a rollout again where it did not succeed",
     "A new rollout with the plan of one that has ended, over those of its servers that did not\n"
     "succeed or were rolled back. Its id is printed.",
     "kitsune retry nginx-1.20.1 --watch",
     OPT_BIT(OPT_ID) | OPT_BIT(OPT_WATCH) | OPT_BIT(OPT_NO_WAIT), 1, 1, cmd_retry},
    {"resolve", "ID SERVER", "Settle by hand what became of a server",
     "For a server that is unknown, or that could not be rolled back, once a person has seen to "
     "it.\n"
     "No undo is owed for it any more, and what its agent says later changes nothing about it.",
     "kitsune resolve nginx-1.20.1 web-3 --as rolled_back --reason \"reinstalled\"",
     OPT_BIT(OPT_AS) | OPT_BIT(OPT_REASON), 2, 2, cmd_resolve},
    {"servers", "", "List the servers and their agents", NULL, "kitsune servers --label tier=front",
     OPT_BIT(OPT_LIMIT) | OPT_BIT(OPT_ALL) | OPT_BIT(OPT_LABEL), 0, 0, cmd_servers},
    {"server", "ID", "Show one server", NULL, "kitsune server web-3", 0, 1, 1, cmd_server},
    {"lock", "SERVER", "Let nothing new begin on a server",
     "Rollouts that name it wait until it is unlocked. What is under way there goes on, undo too.\n"
     "It may be a server that never connected yet.",
     "kitsune lock web-3 --reason \"disk is being replaced\"", OPT_BIT(OPT_REASON), 1, 1, cmd_lock},
    {"unlock", "SERVER", "Take the lock of a server away", NULL, "kitsune unlock web-3", 0, 1, 1,
     cmd_unlock},
    {"login", "URL", "Save how an orchestrator is reached, and your token",
     "The token is asked for without an echo, or read from standard input or --token-file. The\n"
     "orchestrator's CA is fetched and must have the fingerprint that is given; or --ca names it.\n"
     "What is saved, below ~/.config/kitsune, is for you alone.",
     "kitsune login https://kitsune.example.org:7233 --ca-fingerprint FP",
     OPT_BIT(OPT_CA_FINGERPRINT), 1, 1, cmd_login},
    {"whoami", "", "Tell whom the orchestrator takes you to be", NULL, "kitsune whoami", 0, 0, 0,
     cmd_whoami},
    {"token create", "NAME", "Give a person or a program access",
     "The secret is printed alone, this once. Roles: a viewer looks; an operator also starts, "
     "stops\n"
     "and undoes rollouts; an admin also gives access. --servers and --steps confine what it can\n"
     "change, not what it can see.",
     "kitsune token create deploy --role operator --ttl 90d --servers \"web-*\" --out deploy.token",
     OPT_BIT(OPT_ROLE) | OPT_BIT(OPT_TTL) | OPT_BIT(OPT_SERVERS) | OPT_BIT(OPT_STEPS) |
         OPT_BIT(OPT_OUT),
     1, 1, cmd_token_create},
    {"token list", "", "List the tokens, without their secrets", NULL, "kitsune token list", 0, 0,
     0, cmd_token_list},
    {"token revoke", "NAME", "Take a token's access away, at once", NULL,
     "kitsune token revoke deploy", 0, 1, 1, cmd_token_revoke},
    {"agent ticket", "SERVER", "Let one agent enrol as a server",
     "The ticket is printed alone, this once. It is good for one agent, an hour unless --ttl says\n"
     "otherwise.",
     "kitsune agent ticket web-3 --ttl 10m --out web-3.ticket",
     OPT_BIT(OPT_TTL) | OPT_BIT(OPT_REPLACE) | OPT_BIT(OPT_OUT), 1, 1, cmd_agent_ticket},
    {"agent list", "", "List the servers whose agents have access", NULL,
     "kitsune agent list --all", OPT_BIT(OPT_LIMIT) | OPT_BIT(OPT_ALL), 0, 0, cmd_agent_list},
    {"agent revoke", "SERVER", "Take a server's access away, at once",
     "Every certificate and ticket of it is void, and its connection is ended.",
     "kitsune agent revoke web-3 --reason \"the disk was stolen\"", OPT_BIT(OPT_REASON), 1, 1,
     cmd_agent_revoke},
    {"agent install", "HOST...", "Install agents over SSH, and wait until they are connected",
     "HOST is [SERVER=][USER@]HOST[:PORT]; SERVER is its id in plans, else HOST. What ssh's\n"
     "configuration says of it counts. What does not work is taken back. Where an agent runs\n"
     "already, what differs is changed. Exit status 2 when a host failed.",
     "kitsune agent install web-1 web-2 db-1=root@10.0.0.7 --accept-new", INSTALL_OPTIONS, 0,
     COMMAND_ARGS_MAX, cmd_agent_install},
    {"agent upgrade", "HOST...", "Upgrade agents over SSH",
     "The old one is kept until the new one is connected, and put back when it is not.",
     "kitsune agent upgrade --inventory hosts.ini --group web --package kitsune-agent_amd64.deb",
     INSTALL_OPTIONS, 0, COMMAND_ARGS_MAX, cmd_agent_upgrade},
    {"agent uninstall", "HOST...", "Remove agents over SSH, and end their access",
     "What is needed to undo rollouts stays on the host, unless --purge is given.",
     "kitsune agent uninstall web-3", SSH_OPTIONS | OPT_BIT(OPT_PURGE) | OPT_BIT(OPT_REPLACE), 0,
     COMMAND_ARGS_MAX, cmd_agent_uninstall},
    {"artifact put", "FILE", "Store a file that plans can name",
     "Prints its name, sha256: and 64 digits, alone: that is what goes into a plan. It can be "
     "ended\n"
     "and started again at any time: what the orchestrator has already is not sent twice.",
     "kitsune artifact put app-1.4.2.tar.gz", OPT_BIT(OPT_NAME), 1, 1, cmd_artifact_put},
    {"artifact list", "", "List what is stored, newest first", NULL, "kitsune artifact list", 0, 0,
     0, cmd_artifact_list},
    {"artifact get", "ARTIFACT FILE", "Save a stored file",
     "What comes is compared with its name before FILE appears. ARTIFACT may be cut to the first\n"
     "digits of its name, as long as no other begins so.",
     "kitsune artifact get sha256:3f2a app.tar.gz", OPT_BIT(OPT_FORCE), 2, 2, cmd_artifact_get},
    {"artifact delete", "ARTIFACT", "Delete a stored file, or an upload that was not finished",
     "Refused while a rollout that has not ended names it.", "kitsune artifact delete sha256:3f2a",
     0, 1, 1, cmd_artifact_delete},
    {"audit list", "", "Show who did what, and what was refused",
     "Oldest first; --after N goes on behind an entry.",
     "kitsune audit list --after 1200 --limit 50",
     OPT_BIT(OPT_AFTER) | OPT_BIT(OPT_LIMIT) | OPT_BIT(OPT_ALL), 0, 0, cmd_audit_list},
    {"audit verify", "", "Check that the audit log is whole",
     "Prints its head, SEQ:HASH. Keep that elsewhere: given to --head later, it shows that "
     "nothing\n"
     "before it was changed or cut off. Exit status 1 when something was.",
     "kitsune audit verify", OPT_BIT(OPT_HEAD), 0, 0, cmd_audit_verify},
    {"key new", "FILE", "Make a key for signing plans",
     "FILE gets the private key, for your eyes alone, and FILE.pub the public one: its line goes\n"
     "into the file of trusted keys of the agents, which then run only what such keys have signed.",
     "kitsune key new ~/.config/kitsune/signing.key", 0, 1, 1, cmd_key_new},
    {"key show", "FILE", "Show the ids and lines of keys",
     "Of a private key, a public one, or a file of trusted keys.",
     "kitsune key show /etc/kitsune/trusted-keys", 0, 1, 1, cmd_key_show},
    {"sign", "PLAN.json", "Sign a plan",
     "Writes the plan with every default written out, since that is what is signed, and the\n"
     "signature. A plan that others have signed gets one more; its times stay. Each agent runs "
     "what\n"
     "was signed once: --anew is for a plan that has been run, has expired, or was changed. The\n"
     "time must be enough for the whole rollout.",
     "kitsune sign nginx.json --key signing.key --expires 2h --out nginx.signed.json",
     OPT_BIT(OPT_KEY) | OPT_BIT(OPT_EXPIRES) | OPT_BIT(OPT_NOT_BEFORE) | OPT_BIT(OPT_ANEW) |
         OPT_BIT(OPT_OUT),
     1, 1, cmd_sign},
    {"verify", "PLAN.json", "Check the signatures of a plan",
     "Whether agents with these trusted keys would run it now. Exit status 1 when they would not.",
     "kitsune verify nginx.signed.json --trusted-keys /etc/kitsune/trusted-keys",
     OPT_BIT(OPT_TRUSTED_KEYS), 1, 1, cmd_verify},
    {"handlers", "[TYPE]", "List the step types, or document one", NULL,
     "kitsune handlers yum_upgrade", 0, 0, 1, cmd_handlers},
    {"backup", "FILE", "Save a copy of the orchestrator's journal",
     "Nothing is stopped for it. FILE is whole or not there; it holds plans and output, so keep "
     "it\n"
     "as safe as the orchestrator. How to restore one: kitsune-orchestrator(8).",
     "kitsune backup /var/backups/kitsune.db --force", OPT_BIT(OPT_FORCE), 1, 1, cmd_backup},
    {"schema", "", "Print the JSON Schema of a plan", NULL, "kitsune schema > plan.schema.json", 0,
     0, 0, cmd_schema},
    {"version", "", "Print the version", NULL, "kitsune version", 0, 0, 0, cmd_version},
    {"help", "[COMMAND]", "Tell how a command is used", NULL, "kitsune help submit", 0, 0, 2,
     cmd_help},
};
const size_t command_count = ARRAY_LEN(commands);
