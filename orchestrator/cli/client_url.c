#include "orchestrator/cli/client_internal.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static void url_free_auto(CURLU **url)
{
    curl_url_cleanup(*url);
}

static void part_free_auto(char **part)
{
    curl_free(*part);
}

static bool copy_text(char **to, const char *text)
{
    *to = mem_strdup(text);
    return *to != NULL;
}

static void cut_slashes(char *url)
{
    for (size_t len = strlen(url); len > 0 && url[len - 1] == '/'; len--)
        url[len - 1] = '\0';
}

/* unix:///run/x.sock, or unix:/run/x.sock. */
static enum error_code parse_socket(struct client *client, const char *url, const char *path,
                                    struct error *err)
{
    const struct sockaddr_un *address = NULL;
    if (path[0] == '/' && path[1] == '/')
        path += 2;
    if (*path != '/' || strlen(path) >= sizeof(address->sun_path))
        return error_set(err, ERR_INVALID,
                         "the orchestrator's URL \"%.128s\" is not of the form unix:///PATH, with "
                         "a path of at most %zu characters",
                         url, sizeof(address->sun_path) - 1);
    if (!copy_text(&client->url, url) || !copy_text(&client->base, "http://localhost") ||
        !copy_text(&client->socket, path))
        return error_set(err, ERR_NO_MEMORY, NULL);
    return ERR_OK;
}

static bool host_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    char inner[INET6_ADDRSTRLEN] = "";
    size_t len = strlen(host);
    if (strcasecmp(host, "localhost") == 0)
        return true; /* libcurl asks nobody else about it */
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (len < 2 || len - 2 >= sizeof(inner) || host[0] != '[')
        return false;
    memcpy(inner, host + 1, len - 2);
    return inet_pton(AF_INET6, inner, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static enum error_code not_a_url(const char *text, struct error *err)
{
    return error_set(err, ERR_INVALID,
                     "the orchestrator's URL \"%.128s\" is not of the form https://HOST:PORT, "
                     "http://HOST:PORT or unix:///PATH",
                     text);
}

enum error_code client_url_parse(struct client *client, const char *text, bool *ret_loopback,
                                 struct error *err)
{
    CLEANUP(url_free_auto) CURLU *url = NULL;
    CLEANUP(part_free_auto) char *scheme = NULL;
    CLEANUP(part_free_auto) char *host = NULL;
    CLEANUP(part_free_auto) char *part = NULL;
    if (strncasecmp(text, "unix:", 5) == 0) {
        *ret_loopback = true;
        return parse_socket(client, text, text + 5, err);
    }
    if (!(url = curl_url()))
        return error_set(err, ERR_NO_MEMORY, NULL);
    CURLUcode code = curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
    if (code == CURLUE_OUT_OF_MEMORY)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (code != CURLUE_OK || curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        return not_a_url(text, err);
    /* A password here would be in the command line and in messages. */
    if (curl_url_get(url, CURLUPART_USER, &part, 0) == CURLUE_OK ||
        curl_url_get(url, CURLUPART_PASSWORD, &part, 0) == CURLUE_OK)
        return error_set(err, ERR_INVALID,
                         "the orchestrator's URL has a user's name before the \"@\": access goes "
                         "by tokens (--token-file)");
    if (curl_url_get(url, CURLUPART_QUERY, &part, 0) == CURLUE_OK ||
        curl_url_get(url, CURLUPART_FRAGMENT, &part, 0) == CURLUE_OK)
        return error_set(err, ERR_INVALID,
                         "the orchestrator's URL \"%.128s\" has a \"?\" or \"#\" part", text);
    if (!copy_text(&client->url, text) || !copy_text(&client->base, text))
        return error_set(err, ERR_NO_MEMORY, NULL);
    cut_slashes(client->url);
    cut_slashes(client->base);
    client->tls = strcmp(scheme, "https") == 0;
    *ret_loopback = host_loopback(host);
    return ERR_OK;
}
