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
    if (answer->body.data)
        explicit_bzero(answer->body.data, answer->body.len);
    buf_done(&answer->body);
}

/* ---- Making one --------------------------------------------------------------------------------
 */

enum error_code client_new(const struct client_config *config, struct client **ret_client,
                           struct error *err)
{
    AUTO(client_free) struct client *client = MEM_NEW(struct client);
    bool loopback = false;
    if (!client)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = client_url_parse(client, config->url, &loopback, err);
    if (code != ERR_OK)
        return code;
    if (config->token && !client->tls && !loopback)
        return error_set(err, ERR_INVALID,
                         "no token is sent to %.100s, where everybody on the way could read it: "
                         "use https:// (\"kitsune login\")",
                         client->url);
    client->easy = curl_easy_init();
    client->anybody = config->anybody;
    if (!client->easy || (config->ca && !(client->ca = mem_strdup(config->ca))))
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (config->token && !config->anybody) {
        code = pki_secret_copy(config->token, strlen(config->token), &client->token, err);
        if (code != ERR_OK)
            return code;
    }
    *ret_client = TAKE(client);
    return ERR_OK;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->easy);
    pki_secret_done(&client->token);
    mem_free(client->url);
    mem_free(client->base);
    mem_free(client->socket);
    mem_free(client->ca);
    mem_free(client);
}

const char *client_url(const struct client *client)
{
    return client->url;
}

/* ---- A transfer --------------------------------------------------------------------------------
 */

/* Who the orchestrator may be, and who asks. */
static bool setup_trust(const struct client *client, CURL *easy)
{
    struct curl_blob ca = {.data = client->ca, .flags = CURL_BLOB_COPY};
    CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3),
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, client->anybody ? 0L : 1L),
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, client->anybody ? 0L : 2L),
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i] != CURLE_OK)
            return false;
    }
    /* Without the second one the machine's own CAs would count beside it. */
    ca.len = client->ca ? strlen(client->ca) : 0;
    if (client->ca && (curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca) != CURLE_OK ||
                       curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) != CURLE_OK))
        return false;
    if (client->socket &&
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->socket) != CURLE_OK)
        return false;
    return !client->token.data ||
           (curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, client->token.data) == CURLE_OK);
}

bool client_setup(const struct client *client, CURL *easy, const char *path, char *why)
{
    AUTO_BUF struct buf url = BUF_INIT;
    buf_puts(&url, client->base);
    buf_puts(&url, path);
    if (buf_check(&url, NULL) != ERR_OK)
        return false;
    curl_easy_reset(easy);
    why[0] = '\0';
    CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_URL, url.data),
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, why),
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
    return setup_trust(client, easy);
}

bool client_speaks_tls(const struct client *client)
{
    enum { PROBE_MS = 2000 };
    struct client probe = {.tls = true, .anybody = true};
    AUTO_BUF struct buf base = BUF_INIT;
    static const char scheme[] = "http:";
    if (client->tls || client->socket)
        return false;
    buf_printf(&base, "https:%s", client->base + sizeof(scheme) - 1);
    probe.base = base.data;
    CURL *easy = base.data ? curl_easy_init() : NULL;
    bool speaks = easy && client_setup(&probe, easy, "/", probe.why) &&
                  curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK &&
                  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)PROBE_MS) == CURLE_OK &&
                  curl_easy_perform(easy) == CURLE_OK;
    curl_easy_cleanup(easy);
    return speaks;
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

/* Whoever answers is not to be taken for the orchestrator. */
static enum error_code distrust(CURLcode result, const char *why, struct error *err)
{
    static const char lead[] = "SSL certificate problem: ";
    if (result == CURLE_SSL_CONNECT_ERROR)
        return error_set(err, ERR_DENIED, "there is no TLS 1.3 to be had: %.120s", why);
    if (strncmp(why, lead, sizeof(lead) - 1) == 0)
        why += sizeof(lead) - 1;
    return error_set(err, ERR_DENIED, "its certificate is not to be trusted: %.120s", why);
}

enum error_code client_failure(CURL *easy, CURLcode result, const char *why, struct error *err)
{
    char text[160];
    describe(easy, result, text, sizeof(text));
    if (result == CURLE_OUT_OF_MEMORY)
        return error_set(err, ERR_NO_MEMORY, NULL);
    /* PRETRANSFER is the moment when the request begins to go out. */
    curl_off_t sent_us = 0;
    if (curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us) != CURLE_OK)
        sent_us = 1;
    if (sent_us == 0 &&
        (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CONNECT_ERROR ||
         result == CURLE_SSL_ISSUER_ERROR || result == CURLE_SSL_INVALIDCERTSTATUS))
        return distrust(result, *why ? why : text, err);
    if (sent_us == 0)
        return error_set(err, ERR_UNAVAILABLE, "%s", text);
    return error_set(err, result == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_IO, "%s", text);
}

/* The number in a header of that name ("x-kitsune-attempt:"); -1: it is another one. */
static int64_t header_number(const char *name, const char *line, size_t len)
{
    char number[24] = "";
    size_t name_len = strlen(name);
    if (len <= name_len || strncasecmp(line, name, name_len) != 0)
        return -1;
    size_t n = len - name_len < sizeof(number) - 1 ? len - name_len : sizeof(number) - 1;
    memcpy(number, line + name_len, n);
    number[n] = '\0';
    long long value = strtoll(number, NULL, 10);
    return value > 0 ? value : 0;
}

void client_take_header(struct answer *answer, const char *line, size_t len)
{
    int64_t attempt = header_number("x-kitsune-attempt:", line, len);
    int64_t retry_after = header_number("retry-after:", line, len);
    if (attempt >= 0)
        answer->attempt = attempt;
    if (retry_after >= 0)
        answer->retry_after_s = retry_after < INT32_MAX ? retry_after : INT32_MAX;
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

static bool setup_request(struct client *client, const struct request *request,
                          const struct curl_slist *headers, struct answer *answer)
{
    CURL *easy = client->easy;
    if (!client_setup(client, easy, request->path, client->why))
        return false;
    CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers),
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L),
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
                         request->silence_s > 0 ? (long)request->silence_s
                                                : (long)CLIENT_SILENCE_SECONDS),
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
    const char *const lines[] = {"Accept: application/json, text/plain, */*;q=0.1", "Expect:",
                                 request->type ? request->type : "Content-Type: application/json"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct curl_slist *more = curl_slist_append(headers, lines[i]);
        if (!more)
            return error_set(err, ERR_NO_MEMORY, NULL);
        headers = more;
    }
    buf_clear(&answer->body);
    answer->body.max = CLIENT_MAX_ANSWER;
    answer->attempt = 0;
    answer->retry_after_s = 0;
    if (!setup_request(client, request, headers, answer))
        return error_set(err, ERR_NO_MEMORY, NULL);
    CURLcode result = curl_easy_perform(client->easy);
    /* The list ends with this function; the handle lives on. */
    enum error_code code =
        result == CURLE_OK ? ERR_OK : client_failure(client->easy, result, client->why, err);
    (void)curl_easy_setopt(client->easy, CURLOPT_HTTPHEADER, NULL);
    if (answer->body.failed != ERR_OK)
        return buf_check(&answer->body, err);
    if (code == ERR_OK &&
        curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &answer->status) != CURLE_OK)
        return error_set(err, ERR_INTERNAL, NULL);
    return code;
}

/* How long to wait before the request is made again, after `code`; -1: it is not made again. */
static int64_t repeat_after(const struct request *request, enum error_code code,
                            const struct answer *answer, int pause_ms)
{
    int64_t asked_ms = answer->retry_after_s * 1000;
    if (!request->repeatable)
        return -1;
    if (code == ERR_OK && answer->status == API_TOO_MANY)
        return asked_ms > pause_ms ? asked_ms : pause_ms;
    return code == ERR_IO || code == ERR_TIMEOUT ? pause_ms : -1;
}

/* What one that speaks TLS does with a request that has come without: it is not understood, or the
 * connection ends. */
static bool plain_is_refused(enum error_code code, const struct answer *answer)
{
    enum { BAD_REQUEST = 400 };
    return code == ERR_IO || (code == ERR_OK && answer->status == BAD_REQUEST);
}

enum error_code client_call(struct client *client, const struct request *request,
                            struct answer *ret_answer, struct error *err)
{
    enum { FIRST_PAUSE_MS = 200, LAST_PAUSE_MS = 3000 };
    int64_t deadline = clock_mono_ms() + CLIENT_REPEAT_MS;
    int pause_ms = FIRST_PAUSE_MS;
    bool lost = false;
    bool probed = false;
    for (;;) {
        enum error_code code = call_once(client, request, ret_answer, err);
        if (!probed && plain_is_refused(code, ret_answer) && client_speaks_tls(client))
            return error_set(err, ERR_DENIED, "it speaks TLS: its URL begins with https://");
        probed = true;
        lost = lost || code == ERR_IO || code == ERR_TIMEOUT;
        /* Whether a lost request was done stays unknown, however the repeats go. */
        if (lost && (code == ERR_UNAVAILABLE || code == ERR_DENIED))
            code = err ? (err->code = ERR_IO) : ERR_IO;
        int64_t wait_ms = repeat_after(request, code, ret_answer, pause_ms);
        if (wait_ms < 0 || clock_mono_ms() + wait_ms > deadline)
            return code;
        (void)poll(NULL, 0, (int)wait_ms);
        pause_ms = pause_ms * 2 < LAST_PAUSE_MS ? pause_ms * 2 : LAST_PAUSE_MS;
    }
}
