#include "orchestrator/cli/client.h"

#include "common/base/clock.h"
#include "orchestrator/cli/client_internal.h"

#include <ctype.h>
#include <curl/curl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static void slist_free_auto(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

static void url_free_auto(CURLU **url)
{
    curl_url_cleanup(*url);
}

static void part_free_auto(char **part)
{
    curl_free(*part);
}

void url_put(struct buf *b, const char *s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (isascii(c) && (isalnum(c) || strchr("-._~", c))) {
            buf_putc(b, (char)c);
        } else {
            buf_putc(b, '%');
            buf_putc(b, hex[c >> 4]);
            buf_putc(b, hex[c & 15]);
        }
    }
}

void answer_done(struct answer *answer)
{
    buf_done(&answer->body);
}

/* ---- Making one --------------------------------------------------------------------------------
 */

static enum error_code check_url(const char *text, struct error *err)
{
    CLEANUP(url_free_auto) CURLU *url = curl_url();
    CLEANUP(part_free_auto) char *scheme = NULL;
    CLEANUP(part_free_auto) char *query = NULL;
    CLEANUP(part_free_auto) char *fragment = NULL;
    if (!url)
        return error_set(err, ERR_NO_MEMORY, NULL);
    CURLUcode code = curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
    if (code == CURLUE_OUT_OF_MEMORY)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (code != CURLUE_OK || curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        return error_set(err, ERR_INVALID,
                         "the orchestrator's URL \"%.128s\" is not of the form "
                         "http://HOST:PORT or https://HOST:PORT",
                         text);
    if (curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_OK ||
        curl_url_get(url, CURLUPART_FRAGMENT, &fragment, 0) == CURLUE_OK)
        return error_set(err, ERR_INVALID,
                         "the orchestrator's URL \"%.128s\" has a \"?\" or \"#\" part", text);
    return ERR_OK;
}

enum error_code client_new(const char *url, struct client **ret_client, struct error *err)
{
    AUTO(client_free) struct client *client = NULL;
    enum error_code code = check_url(url, err);
    if (code != ERR_OK)
        return code;
    client = MEM_NEW(struct client);
    if (!client)
        return error_set(err, ERR_NO_MEMORY, NULL);
    client->url = mem_strdup(url);
    client->easy = curl_easy_init();
    if (!client->url || !client->easy)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t len = strlen(client->url); len > 0 && client->url[len - 1] == '/'; len--)
        client->url[len - 1] = '\0';
    *ret_client = TAKE(client);
    return ERR_OK;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->easy);
    mem_free(client->url);
    mem_free(client);
}

const char *client_url(const struct client *client)
{
    return client->url;
}

/* ---- A transfer --------------------------------------------------------------------------------
 */

bool client_setup(const struct client *client, CURL *easy, const char *path)
{
    AUTO_BUF struct buf url = BUF_INIT;
    buf_puts(&url, client->url);
    buf_puts(&url, path);
    if (buf_check(&url, NULL) != ERR_OK)
        return false;
    curl_easy_reset(easy);
    CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_URL, url.data),
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"),
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1),
        curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L),
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"),
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(easy, CURLOPT_USERAGENT, "kitsune/" KITSUNE_VERSION),
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CLIENT_CONNECT_MS),
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i] != CURLE_OK)
            return false;
    }
    return true;
}

/* "connection refused", from the system where it said why. */
static void describe(CURL *easy, CURLcode result, char *ret, size_t size)
{
    long number = 0;
    const char *text = curl_easy_strerror(result);
    char system[128];
    if (result == CURLE_COULDNT_CONNECT &&
        curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number) == CURLE_OK && number != 0)
        text = strerror_r((int)number, system, sizeof(system));
    size_t len = strnlen(text, size - 1);
    memcpy(ret, text, len);
    ret[len] = '\0';
    /* It stands in the middle of a sentence; "SSL ..." keeps its capitals. */
    if (isupper((unsigned char)ret[0]) && islower((unsigned char)ret[1]))
        ret[0] = (char)tolower((unsigned char)ret[0]);
}

enum error_code client_failure(CURL *easy, CURLcode result, struct error *err)
{
    char why[160];
    describe(easy, result, why, sizeof(why));
    if (result == CURLE_OUT_OF_MEMORY)
        return error_set(err, ERR_NO_MEMORY, NULL);
    /* PRETRANSFER is the moment when the request begins to go out. */
    curl_off_t sent_us = 0;
    if (curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us) != CURLE_OK)
        sent_us = 1;
    if (sent_us == 0)
        return error_set(err, ERR_UNAVAILABLE, "%s", why);
    return error_set(err, result == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_IO, "%s", why);
}

void client_take_header(struct answer *answer, const char *line, size_t len)
{
    static const char name[] = "x-kitsune-attempt:";
    char number[24] = "";
    size_t name_len = sizeof(name) - 1;
    if (len <= name_len || strncasecmp(line, name, name_len) != 0)
        return;
    size_t n = len - name_len < sizeof(number) - 1 ? len - name_len : sizeof(number) - 1;
    memcpy(number, line + name_len, n);
    number[n] = '\0';
    long long attempt = strtoll(number, NULL, 10);
    answer->attempt = attempt > 0 ? attempt : 0;
}

static size_t take_header(char *data, size_t size, size_t count, void *ctx)
{
    client_take_header(ctx, data, size * count);
    return size * count;
}

static size_t take_body(char *data, size_t size, size_t count, void *ctx)
{
    struct answer *answer = ctx;
    buf_append(&answer->body, data, size * count);
    return answer->body.failed == ERR_OK ? size * count : 0;
}

static bool setup_request(const struct client *client, const struct request *request,
                          const struct curl_slist *headers, struct answer *answer)
{
    CURL *easy = client->easy;
    if (!client_setup(client, easy, request->path))
        return false;
    CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers),
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L),
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)CLIENT_SILENCE_SECONDS),
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header),
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, answer),
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body),
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer),
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i] != CURLE_OK)
            return false;
    }
    if (strcmp(request->method, "GET") == 0)
        return true;
    return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body ? request->body : "") ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->len) ==
               CURLE_OK;
}

static enum error_code call_once(struct client *client, const struct request *request,
                                 struct answer *answer, struct error *err)
{
    CLEANUP(slist_free_auto) struct curl_slist *headers = NULL;
    /* Without the empty Expect, libcurl waits a second for leave to send a longer plan. */
    static const char *const lines[] = {"Accept: application/json, text/plain, */*;q=0.1",
                                        "Content-Type: application/json", "Expect:"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct curl_slist *more = curl_slist_append(headers, lines[i]);
        if (!more)
            return error_set(err, ERR_NO_MEMORY, NULL);
        headers = more;
    }
    buf_clear(&answer->body);
    answer->body.max = CLIENT_MAX_ANSWER;
    answer->attempt = 0;
    if (!setup_request(client, request, headers, answer))
        return error_set(err, ERR_NO_MEMORY, NULL);
    CURLcode result = curl_easy_perform(client->easy);
    /* The list ends with this function; the handle lives on. */
    enum error_code code = result == CURLE_OK ? ERR_OK : client_failure(client->easy, result, err);
    (void)curl_easy_setopt(client->easy, CURLOPT_HTTPHEADER, NULL);
    if (answer->body.failed != ERR_OK)
        return buf_check(&answer->body, err);
    if (code == ERR_OK &&
        curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &answer->status) != CURLE_OK)
        return error_set(err, ERR_INTERNAL, NULL);
    return code;
}

enum error_code client_call(struct client *client, const struct request *request,
                            struct answer *ret_answer, struct error *err)
{
    enum { FIRST_PAUSE_MS = 200, LAST_PAUSE_MS = 3000 };
    int64_t deadline = clock_mono_ms() + CLIENT_REPEAT_MS;
    int pause_ms = FIRST_PAUSE_MS;
    bool lost = false;
    for (;;) {
        enum error_code code = call_once(client, request, ret_answer, err);
        lost = lost || code == ERR_IO || code == ERR_TIMEOUT;
        /* Whether a lost request was done stays unknown, however the repeats go. */
        if (lost && code == ERR_UNAVAILABLE)
            code = err ? (err->code = ERR_IO) : ERR_IO;
        if ((code != ERR_IO && code != ERR_TIMEOUT) || !request->repeatable ||
            clock_mono_ms() + pause_ms > deadline)
            return code;
        (void)poll(NULL, 0, pause_ms);
        pause_ms = pause_ms * 2 < LAST_PAUSE_MS ? pause_ms * 2 : LAST_PAUSE_MS;
    }
}
