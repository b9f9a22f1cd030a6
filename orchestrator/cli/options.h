/*
 * options: the command line, from two tables: the options there are, and the commands with the
 * options that each takes. The tables also give the help texts.
 *
 * Options may stand before or after the command and its arguments; "--" ends them.
 * Threading: constants. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli;

enum option_id {
    OPT_OUTPUT,
    OPT_ORCHESTRATOR,
    OPT_CA,
    OPT_TOKEN_FILE,
    OPT_HELP,
    OPT_VERSION,
    OPT_ID,
    OPT_WATCH,
    OPT_NO_WAIT,
    OPT_LIMIT,
    OPT_ALL,
    OPT_SERVER,
    OPT_STATE,
    OPT_STEP,
    OPT_FOLLOW,
    OPT_AFTER,
    OPT_NOW,
    OPT_ROLLBACK,
    OPT_REASON,
    OPT_FORCE,
    OPT_KEY,
    OPT_EXPIRES,
    OPT_NOT_BEFORE,
    OPT_ANEW,
    OPT_TRUSTED_KEYS,
    OPT_REQUIRE_UNDO,
    OPT_FAIL,
    OPT_UNREACHABLE,
    OPT_SEED,
    OPT_STEP_TIME,
    OPT_AS,
    OPT_CHECK,
    OPT_CA_FINGERPRINT,
    OPT_ROLE,
    OPT_TTL,
    OPT_SERVERS,
    OPT_STEPS,
    OPT_REPLACE,
    OPT_OUT,
    OPT_HEAD,
    OPT_INVENTORY,
    OPT_GROUP,
    OPT_SSH_CONFIG,
    OPT_ACCEPT_NEW,
    OPT_PARALLEL,
    OPT_PACKAGE,
    OPT_BINARY,
    OPT_AGENT_URL,
    OPT_TIMEOUT,
    OPT_NO_START,
    OPT_DRY_RUN,
    OPT_PURGE,
    OPT_LABEL,
    OPT_NAME,
    OPT_COUNT
};
#define OPT_BIT(id) (UINT64_C(1) << (id))
#define OPT_SEVERAL_SERVERS                                                                        \
    (UINT64_C(1) << 63) /* of a command: --server may be given several times */
/* Taken by every command. */
#define OPT_COMMON                                                                                 \
    (OPT_BIT(OPT_OUTPUT) | OPT_BIT(OPT_ORCHESTRATOR) | OPT_BIT(OPT_CA) | OPT_BIT(OPT_TOKEN_FILE) | \
     OPT_BIT(OPT_HELP) | OPT_BIT(OPT_VERSION))

/* A list is given by naming the option several times. */
enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER, OPTION_LIST };

struct option_spec {
    const char *name; /* "output": --output */
    char letter;      /* 'o': -o; 0: none */
    enum option_kind kind;
    const char *value; /* what the help calls its value; NULL for a flag */
    int64_t min;       /* least value of a number */
    const char *doc;
};
extern const struct option_spec option_specs[OPT_COUNT];

enum {
    COMMAND_ARGS_MAX = 1024,
    COMMAND_NAME_MAX = 64,
    OPTIONS_SERVERS_MAX = 1024,
    OPTIONS_ITEMS_MAX = 512 /* of all lists together */
};

/* An item of a list. */
struct option_item {
    enum option_id id;
    const char *text;
};

struct command {
    const char *name; /* "submit", or with its group in front: "token create" */
    const char *args; /* "PLAN.json", "[TYPE]", "" */
    const char *summary;
    const char *detail; /* further paragraphs; may be NULL */
    const char *example;
    uint64_t options; /* OPT_BIT(...), beyond OPT_COMMON */
    size_t min_args, max_args;
    int (*run)(struct cli *cli); /* gives the exit status */
};
extern const struct command commands[];
extern const size_t command_count;

struct options {
    const struct command *command; /* NULL: none was named */
    const char *group;             /* the first word of a command's two; NULL: it has one */
    const char *args[COMMAND_ARGS_MAX];
    size_t arg_count;
    uint64_t given; /* OPT_BIT(...) */
    const char *texts[OPT_COUNT];
    int64_t numbers[OPT_COUNT];
    const char *servers[OPTIONS_SERVERS_MAX]; /* all that --server named */
    size_t server_count;
    struct option_item items[OPTIONS_ITEMS_MAX]; /* of all lists, in the order of the line */
    size_t item_count;
    bool json; /* -o json */
};

static inline bool option_given(const struct options *o, enum option_id id)
{
    return (o->given & OPT_BIT(id)) != 0;
}

/* ERR_INVALID says what is wrong, and what would be right. Texts are borrowed from argv. */
enum error_code options_parse(int argc, char *const *argv, struct options *ret_options,
                              struct error *err) MUST_CHECK;
/* ERR_INVALID with a hint at a command of a name like that. `name`: one word, or two. */
enum error_code command_find(const char *name, const struct command **ret_command,
                             struct error *err) MUST_CHECK;
/* All commands. */
void options_overview(struct buf *b);
/* One command: usage, options, an example. */
void options_help(struct buf *b, const struct command *command);
