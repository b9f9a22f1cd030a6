#include "orchestrator/cli/client.h"

#include "common/base/clock.h"
#include "orchestrator/cli/client_internal.h"
#include "orchestrator/cli/sse.h"

#include <curl/curl.h>
#include <poll.h>
#include <string.h>

enum {
    STREAM_OK = 200,
    STREAM_MAX_REFUSAL = 4 * 1024 * 1024,
    /* A peer that is gone without a word is noticed after about a minute. */
    STREAM_KEEPALIVE_IDLE = 20,
    STREAM_KEEPALIVE_INTERVAL = 5
};

struct stream {
    CURLM *multi;
    CURL *easy;
    bool added;
    struct curl_slist *headers;
    struct sse sse;
    struct answer refusal;
    struct error failure; /* of the write callback */
    bool connected;
    bool told; /* STREAM_CONNECTED was given */
    bool over;
    CURLcode result;
    char why[CURL_ERROR_SIZE];
};

static size_t take_bytes(char *data, size_t size, size_t count, void *ctx)
{
    struct stream *s = ctx;
    size_t len = size * count;
    if (curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &s->refusal.status) != CURLE_OK)
        return 0;
    if (s->refusal.status != STREAM_OK) {
        s->refusal.body.max = STREAM_MAX_REFUSAL;
        buf_append(&s->refusal.body, data, len);
        return buf_check(&s->refusal.body, &s->failure) == ERR_OK ? len : 0;
    }
    return sse_feed(&s->sse, data, len, &s->failure) == ERR_OK ? len : 0;
}

static size_t take_header(char *data, size_t size, size_t count, void *ctx)
{
    struct stream *s = ctx;
    long status = 0;
    client_take_header(&s->refusal, data, size * count);
    /* The blank line ends the headers of an answer. */
    if (size * count <= 2 &&
        curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
        status == STREAM_OK)
        s->connected = true;
    return size * count;
}

static bool add_header(struct stream *s, const char *line)
{
    struct curl_slist *more = curl_slist_append(s->headers, line);
    if (more)
        s->headers = more;
    return more != NULL;
}

static bool setup_stream(struct stream *s, const struct client *client, const char *path,
                         int64_t after)
{
    AUTO_BUF struct buf last = BUF_INIT;
    buf_puts(&last, "Last-Event-ID: ");
    buf_put_int(&last, after);
    if (buf_check(&last, NULL) != ERR_OK || !client_setup(client, s->easy, path, s->why) ||
        !add_header(s, "Accept: text/event-stream") || (after > 0 && !add_header(s, last.data)))
        return false;
    CURLcode codes[] = {
        curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->headers),
        curl_easy_setopt(s->easy, CURLOPT_HEADERFUNCTION, take_header),
        curl_easy_setopt(s->easy, CURLOPT_HEADERDATA, s),
        curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, take_bytes),
        curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s),
        curl_easy_setopt(s->easy, CURLOPT_TCP_KEEPALIVE, 1L),
        curl_easy_setopt(s->easy, CURLOPT_TCP_KEEPIDLE, (long)STREAM_KEEPALIVE_IDLE),
        curl_easy_setopt(s->easy, CURLOPT_TCP_KEEPINTVL, (long)STREAM_KEEPALIVE_INTERVAL),
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i] != CURLE_OK)
            return false;
    }
    s->added = curl_multi_add_handle(s->multi, s->easy) == CURLM_OK;
    return s->added;
}

enum error_code stream_open(struct client *client, const char *path, int64_t after,
                            struct stream **ret_stream, struct error *err)
{
    AUTO(stream_free) struct stream *s = MEM_NEW(struct stream);
    if (!s)
        return error_set(err, ERR_NO_MEMORY, NULL);
    s->multi = curl_multi_init();
    s->easy = curl_easy_init();
    if (!s->multi || !s->easy || !setup_stream(s, client, path, after))
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ret_stream = TAKE(s);
    return ERR_OK;
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    if (s->added)
        (void)curl_multi_remove_handle(s->multi, s->easy);
    curl_easy_cleanup(s->easy);
    (void)curl_multi_cleanup(s->multi);
    curl_slist_free_all(s->headers);
    sse_done(&s->sse);
    answer_done(&s->refusal);
    mem_free(s);
}

const struct answer *stream_answer(const struct stream *s)
{
    return &s->refusal;
}

/* Lets libcurl move what can be moved. */
static void perform(struct stream *s)
{
    int running = 0;
    int left = 0;
    if (curl_multi_perform(s->multi, &running) != CURLM_OK) {
        s->over = true;
        s->result = CURLE_OUT_OF_MEMORY;
        return;
    }
    for (CURLMsg *m = curl_multi_info_read(s->multi, &left); m;
         m = curl_multi_info_read(s->multi, &left)) {
        if (m->msg == CURLMSG_DONE) {
            s->over = true;
            s->result = m->data.result;
        }
    }
}

static enum stream_result end_of(struct stream *s, struct error *err)
{
    long status = 0;
    if (s->failure.code != ERR_OK) {
        if (err)
            *err = s->failure;
        return STREAM_CLOSED;
    }
    if (s->result != CURLE_OK) {
        error_ignore(client_failure(s->easy, s->result, s->why, err));
        return STREAM_CLOSED;
    }
    if (curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
        status != STREAM_OK) {
        s->refusal.status = status;
        return STREAM_REFUSED;
    }
    error_ignore(error_set(err, ERR_IO, "the orchestrator closed the connection"));
    return STREAM_CLOSED;
}

enum stream_result stream_next(struct stream *s, int64_t deadline_ms, int wake_fd,
                               struct sse_event *ret_event, struct error *err)
{
    enum { LONGEST_WAIT_MS = 3600000 };
    for (;;) {
        struct curl_waitfd wake = {.fd = wake_fd, .events = CURL_WAIT_POLLIN};
        struct pollfd woken = {.fd = wake_fd, .events = POLLIN};
        if (wake_fd >= 0 && poll(&woken, 1, 0) == 1)
            return STREAM_WOKEN;
        if (sse_next(&s->sse, ret_event))
            return STREAM_EVENT;
        if (!s->over)
            perform(s);
        if (s->connected && !s->told) {
            s->told = true;
            return STREAM_CONNECTED;
        }
        if (sse_next(&s->sse, ret_event))
            return STREAM_EVENT;
        if (s->over)
            return end_of(s, err);
        int64_t left = deadline_ms == INT64_MAX ? LONGEST_WAIT_MS : deadline_ms - clock_mono_ms();
        if (left <= 0)
            return STREAM_DEADLINE;
        left = left > LONGEST_WAIT_MS ? LONGEST_WAIT_MS : left;
        if (curl_multi_poll(s->multi, &wake, wake_fd >= 0 ? 1 : 0, (int)left, NULL) != CURLM_OK) {
            s->over = true;
            s->result = CURLE_OUT_OF_MEMORY;
        }
    }
}
