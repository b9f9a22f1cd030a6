#include "orchestrator/cli/install/target.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool target_host_valid(const char *host)
{
    size_t len = strlen(host);
    if (len == 0 || len >= TARGET_NAME_MAX || host[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)host[i]) && !strchr("._-:%", host[i]))
            return false;
    }
    return true;
}

int target_port(const char *text)
{
    enum { DIGITS_MAX = 5 };
    size_t len = strlen(text);
    if (len == 0 || len > DIGITS_MAX || strspn(text, "0123456789") != len)
        return 0;
    long port = strtol(text, NULL, 10);
    return port >= 1 && port <= TARGET_PORT_MAX ? (int)port : 0;
}

static bool copy(char *ret, size_t size, const char *text, size_t len)
{
    if (len >= size)
        return false;
    memcpy(ret, text, len);
    ret[len] = '\0';
    return true;
}

/* HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT; more than one colon is an IPv6 address. */
static enum error_code take_host(const char *text, struct target *t, struct error *err)
{
    const char *end = NULL;
    const char *colon = strchr(text, ':');
    const char *host = text;
    if (*text == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (!end || (end[1] && end[1] != ':'))
            return error_set(err, ERR_INVALID, "\"%.128s\": a \"]\" is missing, or in the middle",
                             text);
        colon = end[1] ? end + 1 : NULL;
    } else if (colon && strchr(colon + 1, ':')) {
        colon = NULL;
    }
    if (!end)
        end = colon ? colon : text + strlen(text);
    if (colon && (t->port = target_port(colon + 1)) == 0)
        return error_set(err, ERR_INVALID, "\"%.128s\": \"%.32s\" is not a port", text, colon + 1);
    if (!copy(t->host, sizeof(t->host), host, (size_t)(end - host)) || !target_host_valid(t->host))
        return error_set(err, ERR_INVALID, "\"%.128s\" is not a host's name or address", text);
    return ERR_OK;
}

enum error_code target_parse(const char *text, struct target *ret_target, struct error *err)
{
    struct target t = {0};
    const char *rest = text;
    const char *equals = strchr(text, '=');
    if (equals) {
        if (!copy(t.server, sizeof(t.server), text, (size_t)(equals - text)) || !id_valid(t.server))
            return error_set(err, ERR_INVALID,
                             "\"%.128s\": what stands before \"=\" is no server id", text);
        rest = equals + 1;
    }
    const char *at = strrchr(rest, '@');
    if (at) {
        if (at == rest || *rest == '-' || !copy(t.user, sizeof(t.user), rest, (size_t)(at - rest)))
            return error_set(err, ERR_INVALID, "\"%.128s\": what stands before \"@\" is no user",
                             text);
        rest = at + 1;
    }
    enum error_code code = take_host(rest, &t, err);
    if (code != ERR_OK)
        return code;
    if (!equals && (!id_valid(t.host) || !copy(t.server, sizeof(t.server), t.host, strlen(t.host))))
        return error_set(err, ERR_INVALID,
                         "\"%.128s\" cannot be a server id; name one in front: SERVER=%.128s",
                         t.host, text);
    *ret_target = t;
    return ERR_OK;
}
