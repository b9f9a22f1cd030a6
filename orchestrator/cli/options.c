#include "orchestrator/cli/options.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option_spec option_specs[OPT_COUNT] = {
    [OPT_OUTPUT] = {"output", 'o', OPTION_TEXT, "FORMAT", 0, "table (the default) or json"},
    [OPT_ORCHESTRATOR] = {"orchestrator", 0, OPTION_TEXT, "URL", 0,
                          "the orchestrator; else KITSUNE_ORCHESTRATOR, else of the profile"},
    [OPT_CA] = {"ca", 0, OPTION_TEXT, "FILE", 0,
                "whose certificates are good; else KITSUNE_CA, else of the profile"},
    [OPT_TOKEN_FILE] = {"token-file", 0, OPTION_TEXT, "FILE", 0,
                        "has the token; else KITSUNE_TOKEN, KITSUNE_TOKEN_FILE, the profile"},
    [OPT_HELP] = {"help", 'h', OPTION_FLAG, NULL, 0, "show help"},
    [OPT_VERSION] = {"version", 'V', OPTION_FLAG, NULL, 0, "show the version"},
    [OPT_ID] = {"id", 0, OPTION_TEXT, "ID", 0,
                "the rollout's id; submitting again with the same id gives the same rollout"},
    [OPT_WATCH] = {"watch", 'w', OPTION_FLAG, NULL, 0, "follow it to its end"},
    [OPT_NO_WAIT] = {"no-wait", 0, OPTION_FLAG, NULL, 0,
                     "refuse when another rollout holds one of the servers, or it is locked"},
    [OPT_LIMIT] = {"limit", 'n', OPTION_NUMBER, "N", 1, "at most so many"},
    [OPT_ALL] = {"all", 'a', OPTION_FLAG, NULL, 0, "all there are"},
    [OPT_SERVER] = {"server", 's', OPTION_TEXT, "SERVER", 0, "this server alone"},
    [OPT_STATE] = {"state", 0, OPTION_TEXT, "STATE", 0, "servers in this state alone"},
    [OPT_STEP] = {"step", 0, OPTION_TEXT, "STEP", 0, "this step alone: its name, or number from 1"},
    [OPT_FOLLOW] = {"follow", 'f', OPTION_FLAG, NULL, 0, "go on as more comes, until the end"},
    [OPT_AFTER] = {"after", 0, OPTION_NUMBER, "N", 0, "from the event after number N"},
    [OPT_NOW] = {"now", 0, OPTION_FLAG, NULL, 0, "end steps that are running, too"},
    [OPT_ROLLBACK] = {"rollback", 0, OPTION_FLAG, NULL, 0, "undo what was changed"},
    [OPT_REASON] = {"reason", 'm', OPTION_TEXT, "TEXT", 0, "why, for the record"},
    [OPT_FORCE] = {"force", 0, OPTION_FLAG, NULL, 0,
                   "all the same: replace a file, or undo what has changed since"},
    [OPT_KEY] = {"key", 0, OPTION_TEXT, "FILE", 0, "the private key to sign with"},
    [OPT_EXPIRES] = {"expires", 0, OPTION_TEXT, "TIME", 0,
                     "how long servers may begin with it, from now; else 8h"},
    [OPT_NOT_BEFORE] = {"not-before", 0, OPTION_TEXT, "TIME", 0,
                        "no server begins before so long from now"},
    [OPT_ANEW] = {"anew", 0, OPTION_FLAG, NULL, 0,
                  "drop the signatures that there are, and begin anew"},
    [OPT_TRUSTED_KEYS] = {"trusted-keys", 0, OPTION_TEXT, "FILE", 0,
                          "the public keys that the agents trust"},
    [OPT_REQUIRE_UNDO] = {"require-undo", 0, OPTION_FLAG, NULL, 0,
                          "refuse a plan with a step that cannot be undone"},
    [OPT_FAIL] = {"fail", 0, OPTION_TEXT, "P%", 0, "the share of servers that fail; else 0%"},
    [OPT_UNREACHABLE] = {"unreachable", 0, OPTION_TEXT, "P%", 0,
                         "the share of servers that do not answer; else 0%"},
    [OPT_SEED] = {"seed", 0, OPTION_NUMBER, "N", 0, "which servers they are; else 1"},
    [OPT_STEP_TIME] = {"step-time", 0, OPTION_TEXT, "TIME", 0,
                       "how long a step takes, and undoing it; else 5s"},
    [OPT_AS] = {"as", 0, OPTION_TEXT, "STATE", 0, "succeeded, failed or rolled_back"},
    [OPT_CHECK] = {"check", 0, OPTION_FLAG, NULL, 0,
                   "change nothing: have each server say what would change"},
    [OPT_CA_FINGERPRINT] = {"ca-fingerprint", 0, OPTION_TEXT, "FP", 0,
                            "of the orchestrator's CA, as its init has told it"},
    [OPT_ROLE] = {"role", 0, OPTION_TEXT, "ROLE", 0, "viewer, operator or admin"},
    [OPT_TTL] = {"ttl", 0, OPTION_TEXT, "TIME", 0, "how long it is good, such as 12h or 90d"},
    [OPT_SERVERS] = {"servers", 0, OPTION_LIST, "PATTERN", 0,
                     "changes these servers alone, * for anything; several times"},
    [OPT_STEPS] = {"steps", 0, OPTION_LIST, "TYPE", 0,
                   "runs steps of this type alone; several times"},
    [OPT_REPLACE] = {"replace", 0, OPTION_FLAG, NULL, 0,
                     "also for a server whose agent is enrolled; its use ends that one's access"},
    [OPT_OUT] = {"out", 0, OPTION_TEXT, "FILE", 0, "write to FILE; else to standard output"},
    [OPT_HEAD] = {"head", 0, OPTION_TEXT, "SEQ:HASH", 0,
                  "what was printed earlier: the log must still hold it"},
    [OPT_INVENTORY] = {"inventory", 'i', OPTION_TEXT, "FILE", 0,
                       "hosts, one a line, or Ansible's inventory in INI form"},
    [OPT_GROUP] = {"group", 0, OPTION_TEXT, "GROUP", 0, "of the inventory, this group alone"},
    [OPT_SSH_CONFIG] = {"ssh-config", 'F', OPTION_TEXT, "FILE", 0,
                        "ssh's configuration; else ~/.ssh/config and the system's"},
    [OPT_ACCEPT_NEW] = {"accept-new", 0, OPTION_FLAG, NULL, 0,
                        "take the key of a host that is not known yet; never a changed one"},
    [OPT_PARALLEL] = {"parallel", 0, OPTION_NUMBER, "N", 1, "so many hosts at once; else 16"},
    [OPT_PACKAGE] = {"package", 0, OPTION_TEXT, "FILE", 0,
                     "the agent's package, .deb or .rpm, instead of its program"},
    [OPT_BINARY] = {"binary", 0, OPTION_TEXT, "FILE", 0,
                    "the agent's program; else kitsune-agent beside this one"},
    [OPT_AGENT_URL] = {"agent-url", 0, OPTION_TEXT, "URL", 0,
                       "where agents reach the orchestrator; else as this program does"},
    [OPT_TIMEOUT] = {"timeout", 0, OPTION_TEXT, "TIME", 0,
                     "how long an agent may take to be seen; else 1m"},
    [OPT_NO_START] = {"no-start", 0, OPTION_FLAG, NULL, 0, "do not start it, nor wait for it"},
    [OPT_DRY_RUN] = {"dry-run", 0, OPTION_FLAG, NULL, 0,
                     "look at the hosts and say what would be done"},
    [OPT_PURGE] = {"purge", 0, OPTION_FLAG, NULL, 0,
                   "also what undoing rollouts needs, and the configuration"},
    [OPT_LABEL] = {"label", 0, OPTION_TEXT, "NAME=VALUE", 0, "those with this label alone"},
    [OPT_NAME] = {"name", 0, OPTION_TEXT, "NAME", 0, "what people know it by; else FILE's name"},
};
_Static_assert(OPT_COUNT <= 63, "the last bit says something else");

enum error_code command_find(const char *name, const struct command **ret_command,
                             struct error *err)
{
    AUTO_FREE const char **names = mem_array(command_count, sizeof(*names));
    const char *closest = NULL;
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            *ret_command = &commands[i];
            return ERR_OK;
        }
        if (names)
            names[i] = commands[i].name;
    }
    closest = names ? text_closest(name, names, command_count) : NULL;
    if (closest)
        return error_set(err, ERR_INVALID, "unknown command \"%.64s\" (did you mean \"%s\"?)", name,
                         closest);
    return error_set(err, ERR_INVALID,
                     "unknown command \"%.64s\" (\"kitsune help\" lists the commands)", name);
}

static enum error_code unknown_option(const char *name, size_t len, struct error *err)
{
    const char *names[OPT_COUNT];
    char given[64];
    const char *closest = NULL;
    for (size_t i = 0; i < OPT_COUNT; i++)
        names[i] = option_specs[i].name;
    if (len >= sizeof(given))
        len = sizeof(given) - 1;
    memcpy(given, name, len);
    given[len] = '\0';
    closest = text_closest(given, names, OPT_COUNT);
    if (closest)
        return error_set(err, ERR_INVALID, "unknown option --%s (did you mean --%s?)", given,
                         closest);
    return error_set(err, ERR_INVALID, "unknown option --%s", given);
}

static enum error_code find_long(const char *name, size_t len, enum option_id *ret,
                                 struct error *err)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        if (strlen(option_specs[i].name) == len && memcmp(option_specs[i].name, name, len) == 0) {
            *ret = (enum option_id)i;
            return ERR_OK;
        }
    }
    return unknown_option(name, len, err);
}

static enum error_code find_letter(char letter, enum option_id *ret, struct error *err)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        if (option_specs[i].letter == letter) {
            *ret = (enum option_id)i;
            return ERR_OK;
        }
    }
    return error_set(err, ERR_INVALID, "unknown option -%c", letter);
}

static enum error_code take_number(const struct option_spec *spec, const char *text, int64_t *ret,
                                   struct error *err)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno != 0 || number < spec->min || number > INT32_MAX)
        return error_set(err, ERR_INVALID, "--%s: \"%.64s\" is not a number from %lld to %d",
                         spec->name, text, (long long)spec->min, INT32_MAX);
    *ret = number;
    return ERR_OK;
}

static void take_flag(struct options *o, enum option_id id)
{
    o->given |= OPT_BIT(id);
}

static enum error_code take_value(struct options *o, enum option_id id, const char *value,
                                  struct error *err)
{
    const struct option_spec *spec = &option_specs[id];
    if (option_given(o, id) && id != OPT_SERVER && spec->kind != OPTION_LIST)
        return error_set(err, ERR_INVALID, "--%s is given twice", spec->name);
    if (id == OPT_SERVER && o->server_count == OPTIONS_SERVERS_MAX)
        return error_set(err, ERR_INVALID, "--server is given more than %d times",
                         OPTIONS_SERVERS_MAX);
    if (id == OPT_SERVER)
        o->servers[o->server_count++] = value;
    o->given |= OPT_BIT(id);
    o->texts[id] = value;
    if (spec->kind == OPTION_NUMBER)
        return take_number(spec, value, &o->numbers[id], err);
    if (!*value)
        return error_set(err, ERR_INVALID, "--%s: its value is empty", spec->name);
    if (spec->kind == OPTION_LIST && o->item_count == OPTIONS_ITEMS_MAX)
        return error_set(err, ERR_INVALID, "--%s: more than %d are too many", spec->name,
                         OPTIONS_ITEMS_MAX);
    if (spec->kind == OPTION_LIST)
        o->items[o->item_count++] = (struct option_item){id, value};
    if (id == OPT_OUTPUT) {
        o->json = strcmp(value, "json") == 0;
        if (!o->json && strcmp(value, "table") != 0)
            return error_set(err, ERR_INVALID, "--output: \"%.64s\" is neither table nor json",
                             value);
    }
    return ERR_OK;
}

/* One of "--name", "--name=value", "--name value"; *i moves past the value. */
static enum error_code take_long(struct options *o, int argc, char *const *argv, int *i,
                                 struct error *err)
{
    const char *name = argv[*i] + 2;
    const char *equals = strchr(name, '=');
    enum option_id id = OPT_COUNT;
    enum error_code code =
        find_long(name, equals ? (size_t)(equals - name) : strlen(name), &id, err);
    if (code != ERR_OK)
        return code;
    if (option_specs[id].kind == OPTION_FLAG) {
        if (equals)
            return error_set(err, ERR_INVALID, "--%s takes no value", option_specs[id].name);
        take_flag(o, id);
        return ERR_OK;
    }
    if (equals)
        return take_value(o, id, equals + 1, err);
    if (*i + 1 >= argc)
        return error_set(err, ERR_INVALID, "--%s wants a value: %s", option_specs[id].name,
                         option_specs[id].value);
    return take_value(o, id, argv[++*i], err);
}

/* "-x", "-xy", "-ovalue", "-o value"; *i moves past the value. */
static enum error_code take_short(struct options *o, int argc, char *const *argv, int *i,
                                  struct error *err)
{
    for (const char *s = argv[*i] + 1; *s; s++) {
        enum option_id id = OPT_COUNT;
        enum error_code code = find_letter(*s, &id, err);
        if (code != ERR_OK)
            return code;
        if (option_specs[id].kind != OPTION_FLAG) {
            if (s[1])
                return take_value(o, id, s + 1, err);
            if (*i + 1 >= argc)
                return error_set(err, ERR_INVALID, "-%c wants a value: %s", *s,
                                 option_specs[id].value);
            return take_value(o, id, argv[++*i], err);
        }
        take_flag(o, id);
    }
    return ERR_OK;
}

static enum error_code usage_error(const struct command *c, const char *what, struct error *err)
{
    return error_set(err, ERR_INVALID, "%s: %s (usage: kitsune %s%s%s)", c->name, what, c->name,
                     *c->args ? " " : "", c->args);
}

/* Whether a word is what several commands' names begin with: "token" of "token create". */
static bool group_known(const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i < command_count; i++) {
        if (strncmp(commands[i].name, word, len) == 0 && commands[i].name[len] == ' ')
            return true;
    }
    return false;
}

static enum error_code group_incomplete(const char *group, struct error *err)
{
    AUTO_BUF struct buf b = BUF_INIT;
    size_t len = strlen(group);
    for (size_t i = 0; i < command_count; i++) {
        if (strncmp(commands[i].name, group, len) == 0 && commands[i].name[len] == ' ')
            buf_printf(&b, "%s%s", b.len > 0 ? ", " : "", commands[i].name + len + 1);
    }
    enum error_code code = buf_check(&b, err);
    return code == ERR_OK ? error_set(err, ERR_INVALID, "%s: what of it? One of: %s", group, b.data)
                          : code;
}

static enum error_code take_command(struct options *o, const char *word, struct error *err)
{
    char name[COMMAND_NAME_MAX * 2];
    if (!o->group && group_known(word)) {
        o->group = word;
        return ERR_OK;
    }
    (void)snprintf(name, sizeof(name), "%s%s%s", o->group ? o->group : "", o->group ? " " : "",
                   word);
    return command_find(name, &o->command, err);
}

static enum error_code take_argument(struct options *o, const char *arg, struct error *err)
{
    char what[128];
    if (!o->command)
        return take_command(o, arg, err);
    if (!*arg)
        return usage_error(o->command, "an argument is empty", err);
    if (o->arg_count >= o->command->max_args) {
        (void)snprintf(what, sizeof(what), "\"%.64s\" is one argument too many", arg);
        return usage_error(o->command, what, err);
    }
    o->args[o->arg_count++] = arg;
    return ERR_OK;
}

/* What the command makes of it all; help and version want nothing more. */
static enum error_code check_command(const struct options *o, struct error *err)
{
    const struct command *c = o->command;
    if (option_given(o, OPT_HELP) || option_given(o, OPT_VERSION))
        return ERR_OK;
    if (!c && o->group)
        return group_incomplete(o->group, err);
    if (!c)
        return error_set(err, ERR_INVALID, "a command is missing");
    for (size_t i = 0; i < OPT_COUNT; i++) {
        if (option_given(o, (enum option_id)i) && !((c->options | OPT_COMMON) & OPT_BIT(i)))
            return error_set(err, ERR_INVALID, "%s: there is no option --%s here", c->name,
                             option_specs[i].name);
    }
    if (o->server_count > 1 && !(c->options & OPT_SEVERAL_SERVERS))
        return error_set(err, ERR_INVALID, "--server is given twice");
    if (o->arg_count < c->min_args) {
        char what[48];
        (void)snprintf(what, sizeof(what), "%s is missing", c->args);
        return usage_error(c, what, err);
    }
    return ERR_OK;
}

enum error_code options_parse(int argc, char *const *argv, struct options *ret_options,
                              struct error *err)
{
    struct options o = {0};
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        enum error_code code = ERR_OK;
        if (!ended && strcmp(arg, "--") == 0)
            ended = true;
        else if (!ended && strncmp(arg, "--", 2) == 0)
            code = take_long(&o, argc, argv, &i, err);
        else if (!ended && arg[0] == '-' && arg[1])
            code = take_short(&o, argc, argv, &i, err);
        else
            code = take_argument(&o, arg, err);
        if (code != ERR_OK)
            return code;
    }
    enum error_code code = check_command(&o, err);
    if (code == ERR_OK)
        *ret_options = o;
    return code;
}

/* ---- Help --------------------------------------------------------------------------------------
 */

enum { HELP_COLUMN = 26 };

static void put_padded(struct buf *b, size_t from, const char *doc)
{
    for (size_t column = b->len - from; column < HELP_COLUMN; column++)
        buf_putc(b, ' ');
    buf_printf(b, "  %s\n", doc);
}

static void put_options(struct buf *b, uint64_t mask)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const struct option_spec *spec = &option_specs[i];
        size_t from = b->len;
        if (!(mask & OPT_BIT(i)))
            continue;
        if (spec->letter)
            buf_printf(b, "  -%c, --%s", spec->letter, spec->name);
        else
            buf_printf(b, "      --%s", spec->name);
        if (spec->value)
            buf_printf(b, " %s", spec->value);
        put_padded(b, from, spec->doc);
    }
}

void options_overview(struct buf *b)
{
    buf_puts(b, "kitsune rolls changes out over a fleet of servers, and undoes them.\n\n"
                "Usage: kitsune COMMAND [ARGUMENT] [OPTION...]\n\nCommands:\n");
    for (size_t i = 0; i < command_count; i++) {
        size_t from = b->len;
        buf_printf(b, "  %s %s", commands[i].name, commands[i].args);
        put_padded(b, from, commands[i].summary);
    }
    buf_puts(b, "\nOptions of every command:\n");
    put_options(b, OPT_COMMON);
    buf_puts(b, "\n\"kitsune help COMMAND\" tells more. An ID may be cut to a start that only one "
                "rollout has.\n"
                "Exit status: 0 succeeded; 1 usage, invalid plan or refused; of watch: 2 failed or "
                "cancelled,\n3 rolled back, 4 rollback failed; of rollback --watch: 0 undone, 4 "
                "not; 5 the orchestrator\nwas not reached.\n");
}

void options_help(struct buf *b, const struct command *command)
{
    buf_printf(b, "Usage: kitsune %s %s%s[OPTION...]\n\n%s.\n", command->name, command->args,
               *command->args ? " " : "", command->summary);
    if (command->detail)
        buf_printf(b, "\n%s\n", command->detail);
    buf_puts(b, "\nOptions:\n");
    put_options(b, command->options | OPT_COMMON);
    buf_printf(b, "\nExample:\n  %s\n", command->example);
}
