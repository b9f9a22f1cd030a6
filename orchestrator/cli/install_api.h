/*
 * install_api: what the orchestrator is asked for while agents are installed: tickets, whether it
 * sees an agent, and that a certificate is void. The hooks of job.h.
 *
 * Threading: its functions but install_api_init and _done may be called from any thread; one
 * request is made at a time. I/O: the orchestrator.
 */
#pragma once

#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/install/job.h"

#include <pthread.h>

struct install_api {
    struct client *client; /* borrowed */
    pthread_mutex_t mutex;
};

/* Whether the mutex could be made. */
bool install_api_init(struct install_api *api, struct client *client);
void install_api_done(struct install_api *api);

/* For struct job_hooks; ctx is the struct install_api. */
enum error_code install_api_ticket(void *ctx, const char *server, bool replace,
                                   char ret[JOB_TOKEN_MAX], struct error *err) MUST_CHECK;
enum error_code install_api_seen(void *ctx, const char *server, struct job_seen *ret,
                                 struct error *err) MUST_CHECK;
enum error_code install_api_revoke(void *ctx, const char *server, struct error *err) MUST_CHECK;
/* The fingerprint of the orchestrator's CA, by which agents know it. */
enum error_code install_api_ca(struct install_api *api, char ret[FACTS_SUM_MAX],
                               struct error *err) MUST_CHECK;
