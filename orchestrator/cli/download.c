#include "orchestrator/cli/download.h"

#include "orchestrator/cli/client_internal.h"

enum { STATUS_OK = 200 };

struct download {
    CURL *easy;
    bool (*take)(void *ctx, const char *data, size_t len);
    void *ctx;
    struct answer *answer;
    bool ended; /* by `take` */
};

static size_t download_piece(char *data, size_t size, size_t count, void *ctx)
{
    struct download *d = ctx;
    size_t len = size * count;
    long status = 0;
    if (curl_easy_getinfo(d->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
        return 0;
    if (status != STATUS_OK) {
        buf_append(&d->answer->body, data, len);
        return d->answer->body.failed == ERR_OK ? len : 0;
    }
    d->ended = !d->take(d->ctx, data, len);
    return d->ended ? 0 : len;
}

static bool download_setup(struct client *client, const char *path, struct download *d)
{
    CURL *easy = client->easy;
    if (!client_setup(client, easy, path, client->why))
        return false;
    CURLcode codes[] = {
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L),
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)DOWNLOAD_SILENCE_SECONDS),
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, download_piece),
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, d),
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i] != CURLE_OK)
            return false;
    }
    return true;
}

enum error_code client_download(struct client *client, const char *path,
                                bool (*take)(void *ctx, const char *data, size_t len), void *ctx,
                                struct answer *ret_answer, struct error *err)
{
    struct download d = {.easy = client->easy, .take = take, .ctx = ctx, .answer = ret_answer};
    buf_clear(&ret_answer->body);
    ret_answer->body.max = DOWNLOAD_MAX_REFUSAL;
    if (!download_setup(client, path, &d))
        return error_set(err, ERR_NO_MEMORY, NULL);
    CURLcode result = curl_easy_perform(client->easy);
    if (d.ended)
        return error_set(err, ERR_CANCELLED, NULL);
    if (ret_answer->body.failed != ERR_OK)
        return buf_check(&ret_answer->body, err);
    if (result != CURLE_OK)
        return client_failure(client->easy, result, client->why, err);
    if (curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &ret_answer->status) != CURLE_OK)
        return error_set(err, ERR_INTERNAL, NULL);
    return ERR_OK;
}
