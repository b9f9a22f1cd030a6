/* client_internal: what client.c and stream.c share. */
#pragma once

#include "common/pki/pki_file.h"
#include "orchestrator/cli/client.h"

#include <curl/curl.h>

struct client {
    char *url;  /* for messages, without a slash at the end */
    char *base; /* what paths are put behind */
    char *socket;
    char *ca;
    struct pki_secret token;
    bool tls, anybody;
    CURL *easy;
    char why[CURL_ERROR_SIZE];
};

/* Options that every transfer has; `why` (CURL_ERROR_SIZE) will say why it failed. False when
 * memory is out. */
bool client_setup(const struct client *client, CURL *easy, const char *path, char *why);
/* Turns a failed transfer into an error; see client_call. */
enum error_code client_failure(CURL *easy, CURLcode result, const char *why, struct error *err);
/* Takes a URL apart: socket or base, and whether TLS is spoken. ERR_INVALID. */
enum error_code client_url_parse(struct client *client, const char *url, bool *ret_loopback,
                                 struct error *err) MUST_CHECK;
/* Whether something at an http:// URL speaks TLS. */
bool client_speaks_tls(const struct client *client);
/* A header of an answer, as libcurl gives it. */
void client_take_header(struct answer *answer, const char *line, size_t len);
