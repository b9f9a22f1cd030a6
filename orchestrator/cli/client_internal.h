/* client_internal: what client.c and stream.c share. */
#pragma once

#include "orchestrator/cli/client.h"

#include <curl/curl.h>

struct client {
    char *url; /* without a slash at the end */
    CURL *easy;
};

/* Options that every transfer has. False when memory is out. */
bool client_setup(const struct client *client, CURL *easy, const char *path);
/* Turns a failed transfer into an error; see client_call. */
enum error_code client_failure(CURL *easy, CURLcode result, struct error *err);
/* A header of an answer, as libcurl gives it. */
void client_take_header(struct answer *answer, const char *line, size_t len);
