/* support_http: http_check against a server of the test's own. */
#pragma once

#include "unit/handlers/support_peer.h"
#include "unit/handlers/support_run.h"

/* Probes follow each other quickly, and the machine may be slow. */
#define QUICK "\"interval\":\"50ms\",\"timeout\":\"20s\""

struct test {
    struct bed bed;
    struct peer peer;
    char url[128];
};

void test_open(struct test *t, void (*serve)(struct peer_call *call), const char *path);
/* With the certificate in ca.pem below the bed's folder. */
void test_open_tls(struct test *t, void (*serve)(struct peer_call *call));
void test_close(struct test *t);
/* Params beside the address, with other times than the usual. */
void check_timed(struct test *t, const char *params);
/* "" or text with a comma in front. */
void check(struct test *t, const char *params);
void assert_healthy(const struct test *t);
void assert_unhealthy(const struct test *t, const char *message);
/* Answers 200 with "status: green". */
void serve_ok(struct peer_call *call);
