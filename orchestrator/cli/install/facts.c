#include "orchestrator/cli/install/facts.h"

#include "common/base/cleanup.h"

#include <stdint.h>
#include <string.h>

void facts_done(struct facts *facts)
{
    buf_done(&facts->conf);
}

static const struct {
    const char *key;
    size_t offset, size;
} texts[] = {
#define TEXT(member)                                                                               \
    {                                                                                              \
#member, offsetof(struct facts, member), sizeof(((struct facts *)0)->member)               \
    }
    TEXT(kernel),           TEXT(machine),    TEXT(os),
    TEXT(package),          TEXT(own_binary), TEXT(packaged_binary),
    TEXT(own_unit),         TEXT(identity),   TEXT(installed_payload),
    TEXT(installed_binary),
#undef TEXT
};

static const struct {
    const char *key;
    size_t offset;
} flags[] = {
    {"systemd", offsetof(struct facts, systemd)},
    {"unfinished", offsetof(struct facts, unfinished)},
    {"active", offsetof(struct facts, active)},
    {"enabled", offsetof(struct facts, enabled)},
};

static void take_tool(struct facts *f, const char *tool)
{
    f->deb = f->deb || strcmp(tool, "dpkg") == 0;
    f->rpm = f->rpm || strcmp(tool, "rpm") == 0;
}

static bool key_is(const char *key, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(key, name, len) == 0;
}

static void take(struct facts *f, const char *key, size_t key_len, const char *value, size_t len)
{
    char text[FACTS_TEXT_MAX];
    size_t cut = len < sizeof(text) - 1 ? len : sizeof(text) - 1;
    memcpy(text, value, cut);
    text[cut] = '\0';
    if (key_is(key, key_len, "conf")) {
        buf_append(&f->conf, value, len);
        buf_putc(&f->conf, '\n');
        f->has_conf = true;
    } else if (key_is(key, key_len, "tool")) {
        take_tool(f, text);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (key_is(key, key_len, texts[i].key) && len < texts[i].size)
            memcpy((char *)f + texts[i].offset, text, cut + 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (key_is(key, key_len, flags[i].key))
            *(bool *)((char *)f + flags[i].offset) = strcmp(text, "yes") == 0;
    }
}

enum error_code facts_parse(const char *text, struct facts *ret_facts, struct error *err)
{
    AUTO_FACTS struct facts f = {0};
    while (*text) {
        size_t len = strcspn(text, "\n");
        const char *equals = memchr(text, '=', len);
        if (equals)
            take(&f, text, (size_t)(equals - text), equals + 1, len - (size_t)(equals - text) - 1);
        text += len + (text[len] == '\n');
    }
    if (!f.kernel[0] || !f.machine[0])
        return error_set(err, ERR_PROTOCOL, "the host does not say what it is");
    enum error_code code = buf_check(&f.conf, err);
    if (code != ERR_OK)
        return code;
    *ret_facts = f;
    f.conf = BUF_INIT;
    return ERR_OK;
}
