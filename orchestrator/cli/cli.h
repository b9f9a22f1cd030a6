/*
 * cli: one run of the program kitsune, with everything that it touches handed in, so that a test
 * can run it in its own process.
 *
 * Threading: one thread. I/O: the files and the orchestrator it is given.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/json/json.h"
#include "common/plan/states.h"
#include "orchestrator/cli/client.h"
#include "orchestrator/cli/options.h"
#include "orchestrator/cli/profile.h"
#include "orchestrator/cli/render.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum cli_status {
    CLI_OK = 0,
    CLI_USAGE = 1,           /* wrong usage, an invalid plan, or refused by the orchestrator */
    CLI_FAILED = 2,          /* watch: the rollout failed or was cancelled */
    CLI_ROLLED_BACK = 3,     /* watch */
    CLI_ROLLBACK_FAILED = 4, /* watch */
    CLI_UNREACHABLE = 5,     /* the orchestrator was not reached */
    CLI_INTERRUPTED = 130,   /* watch: Ctrl-C; what a shell makes of SIGINT */
    CLI_PIPE = 141           /* nobody reads the output; what a shell makes of SIGPIPE */
};

/* The world as the program sees it. */
struct cli_io {
    FILE *in, *out, *err;
    const char *(*env)(const char *name); /* getenv(3) */
    bool terminal;                        /* `out` is one */
    bool utf8;                            /* the locale's characters */
    int (*columns)(void);                 /* the terminal's width now */
    int64_t give_up_ms;        /* how long a follower tries to reconnect; 0: CLI_GIVE_UP_MS */
    const char *system_config; /* the machine's profile; NULL: none */
    const char *local_socket;  /* of an orchestrator on this machine; NULL: none */
};
#define CLI_SYSTEM_CONFIG "/etc/kitsune/kitsune.conf"
#define CLI_LOCAL_SOCKET "/run/kitsune-orchestrator/api.sock"
enum { CLI_GIVE_UP_MS = 60000 };

struct cli {
    const struct cli_io *io;
    struct options options;
    struct style style;
    bool live;              /* `out` is a terminal on which lines can be drawn again */
    struct profile profile; /* loaded for the client */
    struct client *client;  /* made by the first request */
    bool out_failed;        /* writing to `out` failed; out_errno says why */
    int out_errno;
};

/* Runs a command line and gives the exit status. */
int cli_run(int argc, char *const *argv, const struct cli_io *io);

/* ---- For the commands --------------------------------------------------------------------------
 */

/* Writes to `out` at once, and empties the buffer. False: it cannot be written (the command should
 * end; the exit status is seen to) or the buffer had failed. */
bool cli_write(struct cli *cli, struct buf *b);
/* Writes one JSON text, indented, and a newline. */
bool cli_write_json(struct cli *cli, const char *json, size_t len);
/* Writes one JSON text on one line. */
bool cli_write_json_line(struct cli *cli, const char *json, size_t len);
/* Encodes and writes a struct, indented. */
bool cli_write_table(struct cli *cli, const struct json_table *table, const void *object);
/* The exit status of a command that could not write. */
int cli_write_failed(struct cli *cli);
/* "kitsune: ..." on `err`. */
void cli_say(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same for an error; gives the exit status that fits its code. */
int cli_fail(struct cli *cli, const struct error *err);
/* The terminal's width now; 0: not a terminal. */
int cli_columns(const struct cli *cli);

/* The client for the profile's orchestrator, made on first use. NULL: *ret_status says why, after a
 * message. */
struct client *cli_client(struct cli *cli, int *ret_status);
/* Asks; CLI_OK with whatever was answered, a refusal too. */
int cli_ask(struct cli *cli, const struct request *request, struct answer *ret_answer);
/* Asks; CLI_OK with a body of a 2xx answer; else says what is wrong and gives the exit
 * status. */
int cli_call(struct cli *cli, const struct request *request, struct answer *ret_answer);
/* A repeatable GET. */
int cli_get(struct cli *cli, const char *path, struct answer *ret_answer);
/* Decodes an answer's body; the caller releases *ret in any case. */
int cli_decode(struct cli *cli, const struct answer *answer, const struct json_table *table,
               void *ret);
int cli_get_table(struct cli *cli, const char *path, const struct json_table *table, void *ret);
/* Says what a refusal (a status of 400 and above) says, and what helps. */
int cli_refused(struct cli *cli, const struct answer *answer);
/* Says that the orchestrator is not reached, and why. */
int cli_unreachable(struct cli *cli, const char *why);
/* Says that what answers cannot be taken for the orchestrator, and why. */
int cli_distrusted(struct cli *cli, const char *why);

/* "root@bastion": who asks. */
enum error_code cli_by(const struct cli *cli, struct buf *b, struct error *err) MUST_CHECK;
/* The exit status of `watch` for a rollout's end. */
int cli_outcome(enum rollout_state state);
/* The number of a name in an enum's names, or -1. */
int cli_enum_find(const char *const *names, size_t count, const char *name);
