#include "common/net/net_internal.h"

#include "common/base/cleanup.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

enum { HTTP_PORT = 80, HTTPS_PORT = 443 };

static enum error_code url_scheme(const char **rest, bool *ret_tls, struct error *err)
{
    static const struct {
        const char *prefix;
        bool tls;
    } schemes[] = {{"ws://", false}, {"http://", false}, {"wss://", true}, {"https://", true}};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i].prefix);
        if (strncasecmp(*rest, schemes[i].prefix, len) != 0)
            continue;
        *rest += len;
        *ret_tls = schemes[i].tls;
        return ERR_OK;
    }
    return error_set(err, ERR_INVALID,
                     "URL \"%.100s\": it must begin with https:// or wss://, or without TLS with "
                     "http:// or ws://, as in https://orchestrator.example.org:7233",
                     *rest);
}

static bool host_character(char c, bool v6)
{
    if (v6)
        return isxdigit((unsigned char)c) || c == ':' || c == '.' || c == '%';
    return isalnum((unsigned char)c) || c == '.' || c == '-' || c == '_';
}

static bool url_host(const char **rest, struct net_url *url)
{
    const char *p = *rest;
    url->v6 = *p == '[';
    if (url->v6)
        p++;
    size_t len = 0;
    while (host_character(p[len], url->v6))
        len++;
    if (len == 0 || len >= NET_HOST_MAX)
        return false;
    memcpy(url->host, p, len);
    url->host[len] = '\0';
    p += len;
    if (url->v6) {
        struct in6_addr address;
        if (*p++ != ']' || inet_pton(AF_INET6, url->host, &address) != 1)
            return false;
    }
    *rest = p;
    return true;
}

static bool url_port(const char **rest, uint16_t *ret_port)
{
    const char *p = *rest;
    if (*p != ':')
        return true;
    p++;
    unsigned port = 0;
    size_t digits = 0;
    for (; isdigit((unsigned char)p[digits]) && digits < 6; digits++)
        port = port * 10 + (unsigned)(p[digits] - '0');
    if (digits == 0 || port == 0 || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    *rest = p + digits;
    return true;
}

static bool url_path(const char *path)
{
    if (*path != '\0' && *path != '/')
        return false;
    for (const char *p = path; *p != '\0'; p++) {
        if (!isgraph((unsigned char)*p) || *p == '?' || *p == '#')
            return false;
    }
    return strlen(path) < NET_MAX_PATH;
}

enum error_code net_url_parse(const char *text, struct net_url *ret_url, struct error *err)
{
    const char *rest = text;
    struct net_url url = {0};
    enum error_code code = url_scheme(&rest, &url.tls, err);
    if (code != ERR_OK)
        return code;
    url.port = url.tls ? HTTPS_PORT : HTTP_PORT;
    if (strpbrk(rest, "@") != NULL)
        return error_set(err, ERR_INVALID, "URL: a user name or password cannot be given in it");
    if (!url_host(&rest, &url))
        return error_set(err, ERR_INVALID,
                         "URL \"%.100s\": no valid host in it (an IPv6 address goes in brackets)",
                         text);
    if (!url_port(&rest, &url.port))
        return error_set(err, ERR_INVALID, "URL \"%.100s\": the port must be 1 to 65535", text);
    if (!url_path(rest))
        return error_set(err, ERR_INVALID,
                         "URL \"%.100s\": after the host and port only a path may follow", text);
    url.path = rest;
    *ret_url = url;
    return ERR_OK;
}

enum error_code net_url_check(const char *url, struct error *err)
{
    struct net_url parsed;
    return net_url_parse(url, &parsed, err);
}

bool net_url_tls(const char *url)
{
    struct net_url parsed = {0};
    return net_url_parse(url, &parsed, NULL) == ERR_OK && parsed.tls;
}

bool net_host_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcasecmp(host, "localhost") == 0;
}

bool net_url_loopback(const char *url)
{
    struct net_url parsed = {0};
    return net_url_parse(url, &parsed, NULL) == ERR_OK && net_host_loopback(parsed.host);
}
