#include "handlers/http_fetch.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <curl/curl.h>
#include <pthread.h>
#include <regex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
    POLL_MS = 1000,
    /* The gate's own limit comes first, so that it is the one that is told of. */
    TIMEOUT_SLACK_MS = 1000
};

struct http_fetch {
    const struct http_check_params *params;
    CURLM *multi;
    atomic_bool stopped;

    /* Of the run. */
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    char error[CURL_ERROR_SIZE];
    struct buf body;
    size_t header_bytes;
    bool body_full, headers_full;
};

/* ---- The request ------------------------------------------------------------------------- */

static size_t body_came(char *data, size_t size, size_t count, void *ctx)
{
    struct http_fetch *f = ctx;
    size_t len = size * count;
    size_t room = HTTP_BODY_MAX - f->body.len;
    buf_append(&f->body, data, len < room ? len : room);
    f->body_full = len > room;
    return f->body_full || f->body.failed != ERR_OK ? 0 : len;
}

static size_t header_came(char *data, size_t size, size_t count, void *ctx)
{
    struct http_fetch *f = ctx;
    size_t len = size * count;
    (void)data;
    f->header_bytes += len;
    f->headers_full = f->header_bytes > HTTP_HEADERS_MAX;
    return f->headers_full ? 0 : len;
}

static bool list_add(struct curl_slist **list, struct buf *text)
{
    struct curl_slist *longer = NULL;
    if (buf_check(text, NULL) == ERR_OK)
        longer = curl_slist_append(*list, text->data);
    buf_clear(text);
    if (longer)
        *list = longer;
    return longer != NULL;
}

static bool lists_make(struct http_fetch *f)
{
    const struct http_check_params *p = f->params;
    AUTO_BUF struct buf text = BUF_INIT;
    for (size_t i = 0; i < p->headers.count; i++) {
        const struct http_header *header = ARRAY_AT(&p->headers, struct http_header, i);
        /* libcurl takes "NAME:" for a header to leave out, and "NAME;" for an empty one. */
        bool empty = header->value[0] == '\0';
        buf_printf(&text, "%s%s%s", header->name, empty ? ";" : ": ", header->value);
        if (!list_add(&f->headers, &text))
            return false;
    }
    if (!p->connect_to)
        return true;
    /* An empty port is that of the address. */
    const char *after = strrchr(p->connect_to, ']');
    bool has_port = strchr(after ? after : p->connect_to, ':') != NULL;
    buf_printf(&text, "::%s%s", p->connect_to, has_port ? "" : ":");
    return list_add(&f->connect_to, &text);
}

#define SET(option, value) good = good && curl_easy_setopt(f->easy, option, value) == CURLE_OK

static bool set_request(struct http_fetch *f)
{
    const struct http_check_params *p = f->params;
    bool good = true;
    SET(CURLOPT_URL, p->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, http_redirects_max(p) > 0 ? 1L : 0L);
    SET(CURLOPT_MAXREDIRS, (long)http_redirects_max(p));
    SET(CURLOPT_USERAGENT, "kitsune-agent/" KITSUNE_VERSION);
    SET(CURLOPT_HTTPHEADER, f->headers);
    SET(CURLOPT_CONNECT_TO, f->connect_to);
    if (p->method == HTTP_HEAD) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (p->method == HTTP_OPTIONS) {
        SET(CURLOPT_CUSTOMREQUEST, "OPTIONS");
    } else if (p->method == HTTP_POST) {
        SET(CURLOPT_POSTFIELDS, p->body ? p->body : "");
        SET(CURLOPT_POSTFIELDSIZE, p->body ? (long)strlen(p->body) : 0L);
    }
    /* An empty proxy is none, and an empty list of exceptions has none: neither comes from the
     * environment. */
    SET(CURLOPT_PROXY, p->proxy ? p->proxy : "");
    SET(CURLOPT_NOPROXY, "");
    if (p->insecure_skip_verify) {
        SET(CURLOPT_SSL_VERIFYPEER, 0L);
        SET(CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (p->ca_file) {
        SET(CURLOPT_CAINFO, p->ca_file);
        SET(CURLOPT_CAPATH, NULL); /* the system's are trusted no more */
    }
    return good;
}

static bool set_transfer(struct http_fetch *f)
{
    long timeout_ms = (long)f->params->gate.timeout_ms + TIMEOUT_SLACK_MS;
    bool good = true;
    SET(CURLOPT_NOSIGNAL, 1L);
    /* A resolver that hangs does not hold the end up. */
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_TIMEOUT_MS, timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    SET(CURLOPT_ERRORBUFFER, f->error);
    SET(CURLOPT_WRITEFUNCTION, body_came);
    SET(CURLOPT_WRITEDATA, f);
    SET(CURLOPT_HEADERFUNCTION, header_came);
    SET(CURLOPT_HEADERDATA, f);
    return good;
}

static CURLcode transfer(struct http_fetch *f)
{
    int running = 1, left = 0;
    CURLcode result = CURLE_ABORTED_BY_CALLBACK;
    if (curl_multi_add_handle(f->multi, f->easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    while (running > 0 && !atomic_load(&f->stopped)) {
        if (curl_multi_perform(f->multi, &running) != CURLM_OK)
            break;
        if (running > 0 && curl_multi_poll(f->multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
            break;
    }
    const CURLMsg *message = curl_multi_info_read(f->multi, &left);
    if (message && message->msg == CURLMSG_DONE)
        result = message->data.result;
    (void)curl_multi_remove_handle(f->multi, f->easy);
    return result;
}

/* ---- The answer -------------------------------------------------------------------------- */

static PRINTF_LIKE(3, 4) void say(struct http_outcome *o, bool healthy, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(o->text, sizeof(o->text), fmt, args);
    va_end(args);
    o->healthy = healthy;
}

static void say_failure(const struct http_fetch *f, CURLcode result, struct http_outcome *o)
{
    long errnum = 0;
    const char *text = f->error[0] != '\0' ? f->error : curl_easy_strerror(result);
    (void)curl_easy_getinfo(f->easy, CURLINFO_OS_ERRNO, &errnum);
    if (f->headers_full)
        say(o, false, "the headers of the answer are longer than %d KiB", HTTP_HEADERS_MAX / 1024);
    else if (result == CURLE_COULDNT_CONNECT && errnum != 0)
        say(o, false, "%s (%s)", text, strerror((int)errnum));
    else
        say(o, false, "%s", text);
    o->broken = result == CURLE_SSL_CACERT_BADFILE;
}

/* Of a body that may hold any bytes. */
static bool body_matches(const struct http_fetch *f)
{
    regex_t regex;
    regmatch_t bounds = {.rm_so = 0, .rm_eo = (regoff_t)f->body.len};
    const char *body = f->body.data ? f->body.data : "";
    if (regcomp(&regex, f->params->expect_body_regex, REG_EXTENDED | REG_NEWLINE) != 0)
        return false;
    bool matches = regexec(&regex, body, 1, &bounds, REG_STARTEND) == 0;
    regfree(&regex);
    return matches;
}

static bool body_holds(const struct http_fetch *f)
{
    const char *text = f->params->expect_body;
    return f->body.len > 0 && memmem(f->body.data, f->body.len, text, strlen(text));
}

static void say_answer(const struct http_fetch *f, struct http_outcome *o)
{
    const struct http_check_params *p = f->params;
    long status = 0;
    const char *elsewhere = NULL;
    (void)curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(f->easy, CURLINFO_REDIRECT_URL, &elsewhere);
    if (!http_status_wanted(&p->expect_status, status))
        say(o, false, "HTTP %ld%s%.200s", status, elsewhere ? " to " : "",
            elsewhere ? elsewhere : "");
    else if (p->expect_body && !body_holds(f))
        say(o, false, "HTTP %ld, and expectBody is not in the body%s", status,
            f->body_full ? "'s first MiB" : "");
    else if (p->expect_body_regex && !body_matches(f))
        say(o, false, "HTTP %ld, and expectBodyRegex does not match the body%s", status,
            f->body_full ? "'s first MiB" : "");
    else
        say(o, true, "HTTP %ld", status);
}

/* ---- The run ----------------------------------------------------------------------------- */

void http_fetch_run(struct http_fetch *f, struct http_outcome *ret_outcome)
{
    *ret_outcome = (struct http_outcome){0};
    f->easy = curl_easy_init();
    if (!f->easy || !lists_make(f) || !set_request(f) || !set_transfer(f)) {
        say(ret_outcome, false, "the request cannot be set up");
        return;
    }
    CURLcode result = transfer(f);
    /* A body that was cut off where nobody looks any more is a whole answer. */
    if (result == CURLE_OK || (result == CURLE_WRITE_ERROR && f->body_full))
        say_answer(f, ret_outcome);
    else
        say_failure(f, result, ret_outcome);
}

void http_fetch_stop(struct http_fetch *f)
{
    atomic_store(&f->stopped, true);
    (void)curl_multi_wakeup(f->multi);
}

/* ---- Life -------------------------------------------------------------------------------- */

static void curl_begin(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum error_code http_fetch_new(const struct http_check_params *params,
                               struct http_fetch **ret_fetch, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, curl_begin);
    struct http_fetch *f = MEM_NEW(struct http_fetch);
    if (f)
        f->multi = curl_multi_init();
    if (!f || !f->multi) {
        mem_free(f);
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    f->params = params;
    atomic_init(&f->stopped, false);
    *ret_fetch = f;
    return ERR_OK;
}

void http_fetch_free(struct http_fetch *f)
{
    if (!f)
        return;
    curl_easy_cleanup(f->easy);
    (void)curl_multi_cleanup(f->multi);
    curl_slist_free_all(f->headers);
    curl_slist_free_all(f->connect_to);
    buf_done(&f->body);
    mem_free(f);
}
