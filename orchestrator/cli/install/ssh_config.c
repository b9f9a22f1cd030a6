#include "orchestrator/cli/install/ssh_config.h"

#include "common/base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- Tokens ------------------------------------------------------------------------------------
 */

struct out {
    char *data;
    size_t len, size;
    bool full;
};

static void put(struct out *o, const char *text)
{
    size_t len = strlen(text);
    o->full = o->full || o->len + len >= o->size;
    if (o->full)
        return;
    memcpy(o->data + o->len, text, len + 1);
    o->len += len;
}

static bool put_token(struct out *o, char token, const struct ssh_config *config,
                      const struct ssh_self *self)
{
    char number[16];
    switch (token) {
    case '%':
        put(o, "%");
        return true;
    case 'd':
        put(o, self->home);
        return true;
    case 'h':
        put(o, config->host);
        return true;
    case 'n':
        put(o, config->alias);
        return true;
    case 'r':
        put(o, config->user);
        return true;
    case 'u':
        put(o, self->user);
        return true;
    case 'i':
    case 'p':
        (void)snprintf(number, sizeof(number), "%lu",
                       token == 'p' ? (unsigned long)config->port : (unsigned long)geteuid());
        put(o, number);
        return true;
    default:
        return false;
    }
}

bool ssh_config_expand(const char *text, const struct ssh_config *config,
                       const struct ssh_self *self, char *ret, size_t size)
{
    struct out o = {.data = ret, .size = size};
    put(&o, "");
    if (strncmp(text, "~/", 2) == 0) {
        put(&o, self->home);
        text++;
    }
    for (; *text; text++) {
        char one[2] = {*text, '\0'};
        if (*text != '%')
            put(&o, one);
        else if (!put_token(&o, *++text, config, self))
            return false;
    }
    return !o.full;
}

/* ---- What ssh says -----------------------------------------------------------------------------
 */

struct taking {
    struct ssh_config *config;
    const struct ssh_self *self;
};

static void set(char *ret, size_t size, const char *value)
{
    (void)snprintf(ret, size, "%s", strcmp(value, "none") == 0 ? "" : value);
}

static void add_file(const struct taking *t, char files[][TARGET_PATH_MAX], size_t *count,
                     const char *name)
{
    if (*count < SSH_CONFIG_FILES_MAX && strcmp(name, "none") != 0 &&
        ssh_config_expand(name, t->config, t->self, files[*count], TARGET_PATH_MAX))
        (*count)++;
}

/* Names parted by blanks, as known_hosts files are. */
static void add_files(const struct taking *t, const char *names)
{
    struct ssh_config *c = t->config;
    char copy[SSH_CONFIG_TEXT_MAX];
    char *rest = NULL;
    (void)snprintf(copy, sizeof(copy), "%s", names);
    for (char *name = strtok_r(copy, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
        add_file(t, c->known, &c->known_count, name);
}

/* What other settings name with tokens: it has to be there before them. */
static void take_first(const struct taking *t, const char *key, const char *value)
{
    struct ssh_config *c = t->config;
    if (strcasecmp(key, "hostname") == 0)
        (void)snprintf(c->host, sizeof(c->host), "%s", value);
    else if (strcasecmp(key, "user") == 0)
        (void)snprintf(c->user, sizeof(c->user), "%s", value);
    else if (strcasecmp(key, "port") == 0)
        c->port = target_port(value);
    else if (strcasecmp(key, "hostkeyalias") == 0)
        set(c->key_name, sizeof(c->key_name), value);
}

static void take_rest(const struct taking *t, const char *key, const char *value)
{
    struct ssh_config *c = t->config;
    bool yes = strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;
    if (strcasecmp(key, "identityfile") == 0)
        add_file(t, c->keys, &c->key_count, value);
    else if (strcasecmp(key, "identitiesonly") == 0)
        c->keys_only = yes;
    else if (strcasecmp(key, "identityagent") == 0)
        (void)(ssh_config_expand(value, c, t->self, c->agent, sizeof(c->agent)));
    else if (strcasecmp(key, "stricthostkeychecking") == 0)
        c->accept_new = strcmp(value, "accept-new") == 0;
    else if (strcasecmp(key, "proxyjump") == 0)
        set(c->jump, sizeof(c->jump), value);
    else if (strcasecmp(key, "proxycommand") == 0)
        set(c->proxy, sizeof(c->proxy), value);
    else if (strcasecmp(key, "connecttimeout") == 0)
        c->timeout_ms = strtol(value, NULL, 10) * 1000; /* "none": 0 */
    else if (strcasecmp(key, "addressfamily") == 0) {
        c->ipv4_only = strcmp(value, "inet") == 0;
        c->ipv6_only = strcmp(value, "inet6") == 0;
    }
}

static void take_user_known(const struct taking *t, const char *key, const char *value)
{
    if (strcasecmp(key, "userknownhostsfile") == 0)
        add_files(t, value);
}

static void take_global_known(const struct taking *t, const char *key, const char *value)
{
    if (strcasecmp(key, "globalknownhostsfile") == 0)
        add_files(t, value);
}

static void each_line(const char *text, const struct taking *t,
                      void (*take)(const struct taking *t, const char *key, const char *value))
{
    while (*text) {
        char line[SSH_CONFIG_TEXT_MAX];
        size_t len = strcspn(text, "\n");
        if (len < sizeof(line)) {
            memcpy(line, text, len);
            line[len] = '\0';
            char *value = strchr(line, ' ');
            if (value) {
                *value++ = '\0';
                take(t, line, value);
            }
        }
        text += len + (text[len] == '\n');
    }
}

/* What stands in the inventory or on the command line counts more than the configuration; ssh was
 * given the port and the user, but knows no other address for an alias. */
static void finish(struct ssh_config *c, const struct target *target)
{
    if (target->address[0])
        (void)snprintf(c->host, sizeof(c->host), "%s", target->address);
    if (!c->key_name[0])
        (void)snprintf(c->key_name, sizeof(c->key_name), "%s", c->host);
    else
        c->aliased = true;
    if (c->port == 0)
        c->port = 22;
}

enum error_code ssh_config_parse(const char *text, const struct target *target,
                                 const struct ssh_self *self, struct ssh_config *ret_config,
                                 struct error *err)
{
    struct ssh_config c = {0};
    struct taking t = {&c, self};
    (void)snprintf(c.alias, sizeof(c.alias), "%s", target->host);
    each_line(text, &t, take_first);
    if (!c.host[0] || !c.user[0] || c.port == 0)
        return error_set(err, ERR_INVALID, "ssh -G %.64s named no host, user or port",
                         target->host);
    finish(&c, target);
    if (target->key_file[0])
        add_file(&t, c.keys, &c.key_count, target->key_file);
    each_line(text, &t, take_rest);
    each_line(text, &t, take_user_known);
    c.known_user_count = c.known_count;
    each_line(text, &t, take_global_known);
    *ret_config = c;
    return ERR_OK;
}

void ssh_config_defaults(const struct target *target, const struct ssh_self *self,
                         struct ssh_config *ret_config)
{
    static const char *const keys[] = {"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"};
    struct ssh_config c = {.port = target->port};
    struct taking t = {&c, self};
    (void)snprintf(c.alias, sizeof(c.alias), "%s", target->host);
    (void)snprintf(c.host, sizeof(c.host), "%s", target->host);
    (void)snprintf(c.user, sizeof(c.user), "%s", target->user[0] ? target->user : self->user);
    finish(&c, target);
    if (target->key_file[0])
        add_file(&t, c.keys, &c.key_count, target->key_file);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        add_file(&t, c.keys, &c.key_count, keys[i]);
    add_file(&t, c.known, &c.known_count, "~/.ssh/known_hosts");
    c.known_user_count = c.known_count;
    add_file(&t, c.known, &c.known_count, "/etc/ssh/ssh_known_hosts");
    *ret_config = c;
}
