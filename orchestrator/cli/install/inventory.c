#include "orchestrator/cli/install/inventory.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/cli/install/inventory_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LINE_MAX_BYTES = 4096, WORD_MAX = 1024 };

struct reader {
    struct inventory *inventory;
    const char *path;
    int line;
    size_t group; /* the section's */
    enum section { SECTION_HOSTS, SECTION_CHILDREN, SECTION_VARS } section;
};

static enum error_code bad(const struct reader *r, struct error *err)
{
    return error_wrap(err, "%.128s:%d", r->path, r->line);
}

/* The next word of a line, as a shell would take it: quotes hold it together and go, "#" before a
 * word ends the line. False: there is none. */
static bool next_word(const char **line, char ret[WORD_MAX])
{
    const char *s = *line;
    size_t len = 0;
    char quote = '\0';
    while (isspace((unsigned char)*s))
        s++;
    if (!*s || *s == '#')
        return false;
    for (; *s && (quote || !isspace((unsigned char)*s)); s++) {
        if (quote ? *s == quote : (*s == '\'' || *s == '"'))
            quote = (char)(quote ? '\0' : *s);
        else if (len < WORD_MAX - 1)
            ret[len++] = *s;
    }
    ret[len] = '\0';
    *line = s;
    return true;
}

/* ---- Variables ---------------------------------------------------------------------------------
 */

static enum error_code set_text(char *ret, size_t size, const char *value, struct error *err)
{
    if (strlen(value) >= size)
        return error_set(err, ERR_INVALID, "\"%.64s...\" is too long", value);
    memcpy(ret, value, strlen(value) + 1);
    return ERR_OK;
}

static enum error_code set_var(struct target *vars, const char *key, const char *value,
                               struct error *err)
{
    if (strcmp(key, "ansible_host") == 0 || strcmp(key, "ansible_ssh_host") == 0) {
        if (!target_host_valid(value))
            return error_set(err, ERR_INVALID, "%s: \"%.64s\" is not a host's name or address", key,
                             value);
        return set_text(vars->address, sizeof(vars->address), value, err);
    }
    if (strcmp(key, "ansible_port") == 0 || strcmp(key, "ansible_ssh_port") == 0) {
        vars->port = target_port(value);
        return vars->port > 0
                   ? ERR_OK
                   : error_set(err, ERR_INVALID, "%s: \"%.64s\" is not a port", key, value);
    }
    if (strcmp(key, "ansible_user") == 0 || strcmp(key, "ansible_ssh_user") == 0)
        return set_text(vars->user, sizeof(vars->user), value, err);
    if (strcmp(key, "ansible_ssh_private_key_file") == 0)
        return set_text(vars->key_file, sizeof(vars->key_file), value, err);
    if (strcmp(key, "kitsune_server") == 0) {
        if (!id_valid(value))
            return error_set(err, ERR_INVALID, "%s: \"%.64s\" is no server id", key, value);
        return set_text(vars->server, sizeof(vars->server), value, err);
    }
    return ERR_OK; /* of no concern here */
}

static enum error_code take_assignment(struct target *vars, char *word, struct error *err)
{
    char *equals = strchr(word, '=');
    if (!equals)
        return error_set(err, ERR_INVALID, "\"%.64s\" is not of the form NAME=VALUE", word);
    *equals = '\0';
    return set_var(vars, word, equals + 1, err);
}

/* ---- Hosts -------------------------------------------------------------------------------------
 */

/* A host may stand on several lines; what a later one says comes on top. */
static enum error_code add_host(struct reader *r, const char *name, const struct target *vars,
                                struct error *err)
{
    struct target parsed = {0};
    size_t at = 0;
    enum error_code code = ERR_OK;
    if (vars->server[0] && !strchr(name, '=')) {
        AUTO_BUF struct buf full = BUF_INIT;
        buf_printf(&full, "%s=%s", vars->server, name);
        code = buf_check(&full, err);
        if (code == ERR_OK)
            code = target_parse(full.data, &parsed, err);
    } else {
        code = target_parse(name, &parsed, err);
    }
    if (code != ERR_OK)
        return code;
    code = inventory_host(r->inventory, &parsed, &at, err);
    if (code != ERR_OK)
        return code;
    if (strcmp(parsed.server, parsed.host) == 0)
        parsed.server[0] = '\0'; /* a server id that was not said replaces none */
    inventory_fill(&r->inventory->hosts[at], &parsed, true);
    inventory_fill(&r->inventory->hosts[at], vars, true);
    return inventory_member(r->inventory, r->group, at, err);
}

/* One step of a range: numbers keep their leading zeros, letters are one each. */
static bool range_text(const struct range *range, long value, char ret[16])
{
    int len = range->letters ? snprintf(ret, 16, "%c", (char)value)
                             : snprintf(ret, 16, "%0*ld", range->width, value);
    return len > 0 && len < 16;
}

/* Puts every name that a pattern with ranges stands for, the last range running fastest. */
static enum error_code expand(struct reader *r, const char *pattern, const struct target *vars,
                              int depth, struct error *err)
{
    enum { RANGES_MAX = 4 };
    struct range range = {0};
    enum error_code code = range_find(pattern, &range, err);
    if (code != ERR_OK)
        return code;
    if (!range.found)
        return add_host(r, pattern, vars, err);
    if (depth == RANGES_MAX)
        return error_set(err, ERR_LIMIT, "more than %d ranges in one name", RANGES_MAX);
    for (long v = range.from; v <= range.to; v += range.step) {
        char name[WORD_MAX];
        char number[16];
        if (!range_text(&range, v, number))
            return error_set(err, ERR_LIMIT, "the range's numbers are too long");
        int len = snprintf(name, sizeof(name), "%.*s%s%s", (int)range.begin, pattern, number,
                           pattern + range.end);
        if (len < 0 || (size_t)len >= sizeof(name))
            return error_set(err, ERR_LIMIT, "the name is too long");
        code = expand(r, name, vars, depth + 1, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static enum error_code take_host_line(struct reader *r, const char *line, struct error *err)
{
    char name[WORD_MAX];
    char word[WORD_MAX];
    struct target vars = {0};
    if (!next_word(&line, name))
        return ERR_OK;
    while (next_word(&line, word)) {
        enum error_code code = take_assignment(&vars, word, err);
        if (code != ERR_OK)
            return code;
    }
    return expand(r, name, &vars, 0, err);
}

/* ---- Lines -------------------------------------------------------------------------------------
 */

static enum error_code take_section(struct reader *r, char *line, struct error *err)
{
    char *end = strchr(line, ']');
    if (!end)
        return error_set(err, ERR_INVALID, "a \"]\" is missing");
    *end = '\0';
    char *kind = strchr(line, ':');
    if (kind)
        *kind++ = '\0';
    r->section = SECTION_HOSTS;
    if (kind && strcmp(kind, "children") == 0)
        r->section = SECTION_CHILDREN;
    else if (kind && strcmp(kind, "vars") == 0)
        r->section = SECTION_VARS;
    else if (kind)
        return error_set(err, ERR_INVALID, "\":%.32s\" is neither :children nor :vars", kind);
    return inventory_group(r->inventory, line + 1, &r->group, err);
}

static enum error_code take_var_line(struct reader *r, char *line, struct error *err)
{
    char *equals = strchr(line, '=');
    char key[WORD_MAX];
    char value[WORD_MAX] = "";
    const char *at = line;
    if (!equals)
        return error_set(err, ERR_INVALID, "\"%.64s\" is not of the form NAME=VALUE", line);
    *equals = '\0';
    if (!next_word(&at, key))
        return error_set(err, ERR_INVALID, "a name is missing before \"=\"");
    at = equals + 1;
    (void)next_word(&at, value);
    return set_var(&r->inventory->groups[r->group].vars, key, value, err);
}

static enum error_code take_line(struct reader *r, char *line, struct error *err)
{
    const char *rest = line;
    char word[WORD_MAX];
    size_t child = 0;
    while (isspace((unsigned char)*line))
        line++;
    if (!*line || *line == '#' || *line == ';')
        return ERR_OK;
    if (*line == '[')
        return take_section(r, line, err);
    switch (r->section) {
    case SECTION_VARS:
        return take_var_line(r, line, err);
    case SECTION_HOSTS:
        return take_host_line(r, line, err);
    case SECTION_CHILDREN:
        break;
    }
    if (!next_word(&rest, word))
        return ERR_OK;
    enum error_code code = inventory_group(r->inventory, word, &child, err);
    return code == ERR_OK ? inventory_child(r->inventory, r->group, child, err) : code;
}

static enum error_code read_lines(struct reader *r, const char *text, struct error *err)
{
    char line[LINE_MAX_BYTES];
    while (*text) {
        size_t len = strcspn(text, "\n");
        r->line++;
        if (len >= sizeof(line))
            return error_set(err, ERR_LIMIT, "%.128s:%d: a line of more than %d bytes", r->path,
                             r->line, LINE_MAX_BYTES - 1);
        memcpy(line, text, len);
        line[len > 0 && line[len - 1] == '\r' ? len - 1 : len] = '\0';
        if (take_line(r, line, err) != ERR_OK)
            return bad(r, err);
        text += len + (text[len] == '\n');
    }
    return ERR_OK;
}

enum error_code inventory_parse(const char *path, const char *text, const char *group,
                                struct array *ret_targets, struct error *err)
{
    AUTO(inventory_free) struct inventory *inventory = inventory_new();
    struct reader r = {.inventory = inventory, .path = path, .section = SECTION_HOSTS};
    struct error local = {0};
    if (!inventory || inventory_group(inventory, "ungrouped", &r.group, &local) != ERR_OK)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = read_lines(&r, text, &local);
    if (code == ERR_OK)
        code = inventory_select(inventory, group, ret_targets, &local);
    if (code == ERR_NOT_FOUND)
        return error_set(err, code, "%.128s has no group \"%.64s\"", path, group);
    return code == ERR_OK ? code : error_set(err, code, "%s", local.message);
}
