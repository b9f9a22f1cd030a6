/*
 * What is read before a host is touched: an inventory, a host on a command line, what ssh says of a
 * host, and what a host, which may be anybody's, says of itself. The first line chooses the group.
 */
#include "common/base/cleanup.h"
#include "orchestrator/cli/install/decide.h"
#include "orchestrator/cli/install/inventory.h"
#include "orchestrator/cli/install/ssh_config.h"
#include "orchestrator/cli/install/ssh_key.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Nothing that ssh or a shell could take for something else comes through. */
static void check_target(const struct target *t)
{
    assert(id_valid(t->server));
    assert(target_host_valid(t->host));
    assert(t->user[0] != '-');
    assert(t->address[0] == '\0' || target_host_valid(t->address));
    assert(t->port >= 0 && t->port <= TARGET_PORT_MAX);
}

static void try_inventory(const char *text, const char *group)
{
    struct array targets = {0};
    struct error err = {0};
    enum error_code code = inventory_parse("hosts", text, group, &targets, &err);
    assert(code == ERR_OK || err.message[0] != '\0');
    for (size_t i = 0; i < targets.count; i++)
        check_target(ARRAY_AT(&targets, struct target, i));
    mem_free(targets.items);
}

static void try_target(const char *text)
{
    struct target t = {0};
    struct error err = {0};
    if (target_parse(text, &t, &err) == ERR_OK)
        check_target(&t);
    else
        assert(err.code == ERR_INVALID && err.message[0] != '\0');
}

static void try_ssh_config(const char *text)
{
    const struct target target = {.host = "web", .server = "web"};
    const struct ssh_self self = {"/home/me", "me"};
    struct ssh_config c = {0};
    if (ssh_config_parse(text, &target, &self, &c, NULL) != ERR_OK)
        return;
    assert(c.host[0] && c.user[0] && c.port > 0 && c.key_name[0]);
    assert(c.known_user_count <= c.known_count && c.known_count <= SSH_CONFIG_FILES_MAX);
}

/* The configuration says what was set, whatever stood there before, and setting it again changes
 * nothing. */
static void check_conf(const char *before)
{
    AUTO_BUF struct buf conf = BUF_INIT;
    char value[FACTS_TEXT_MAX];
    buf_puts(&conf, before);
    conf_set(&conf, "server-id", "web-1");
    assert(conf_get(conf.data, "server-id", value, sizeof(value)) && strcmp(value, "web-1") == 0);
    char *once = buf_take(&conf, NULL);
    AUTO_BUF struct buf again = BUF_INIT;
    buf_puts(&again, once);
    conf_set(&again, "server-id", "web-1");
    assert(strcmp(again.data, once) == 0);
    mem_free(once);
}

static void try_facts(const char *text)
{
    static const struct payload payload = {.path = "agent", .sum = "00"};
    const struct wanted wanted = {.server = "web-1",
                                  .payload = &payload,
                                  .unit = "",
                                  .tls = true,
                                  .orchestrator = "https://o:1",
                                  .start = true};
    AUTO_FACTS struct facts facts = {0};
    AUTO_DECISION struct decision decision = {0};
    struct error err = {0};
    if (facts_parse(text, &facts, &err) != ERR_OK)
        return;
    if (decide(&facts, &wanted, &decision, &err) == ERR_OK)
        assert(decision.conf.len > 0);
    else
        assert(err.message[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    char *group = fuzz_line(&in, NULL);
    char *text = malloc(in.left + 1);
    assert(text != NULL);
    if (in.left > 0)
        memcpy(text, in.at, in.left);
    text[in.left] = '\0';
    try_inventory(text, group != NULL && group[0] ? group : NULL);
    if (group != NULL)
        try_target(group);
    try_ssh_config(text);
    try_facts(text);
    check_conf(text);
    (void)ssh_key_kind_of(text);
    free(text);
    free(group);
    return 0;
}
