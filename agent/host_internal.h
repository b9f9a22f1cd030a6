/* host_internal: a host and its agents; host.c is their life, host_agent.c ties one agent to the
 * parts it works with. */
#pragma once

#include "agent/agent.h"
#include "agent/artifacts.h"
#include "agent/carrier.h"
#include "agent/host.h"
#include "agent/identity.h"
#include "agent/link.h"
#include "agent/reboot_marks.h"
#include "agent/runner.h"
#include "agent/ticker.h"
#include "agent/undo_journal.h"
#include "common/base/age.h"
#include "handlers/handler.h"
#include "handlers/systemd.h"

enum {
    HOST_NAME_MAX_BYTES = 256,
    HOST_BOOT_ID_MAX = 64,
    HOST_ALARMS = 5,
    HOST_REBOOT_DOWN_MS = 5 * 60 * 1000, /* so long a machine may take to go down */
    HOST_FACTS_MAX_AGE_MS = 60 * 1000
};

struct host_agent {
    struct host *host;
    char *server;
    struct handler_host handler_host;
    struct agent *agent;
    struct identity *identity; /* NULL: without TLS there is none */
    struct link *link;
    bool linked;       /* the link is started */
    bool wants_reboot; /* its step waits for one */
    struct runner *runner;
    struct artifacts_agent artifacts;
    struct alarm alarm; /* the agent's */
};

enum host_reboot_stage {
    HOST_REBOOT_NONE,
    HOST_REBOOT_WAITING, /* for operations that are under way */
    HOST_REBOOT_ASKING,
    HOST_REBOOT_COMING /* whoever was asked has said yes */
};

/* How far stopping has come. */
enum host_closing { CLOSING_NOTHING, CLOSING_AGENTS, CLOSING_LINKS, CLOSING_REST };

struct host {
    struct host_config config;
    struct undo_journal *journal;
    struct carrier *carrier;
    struct artifacts *artifacts; /* NULL: there is no place for them */
    struct trust *trust;         /* NULL: none */
    struct ticker *ticker;
    uv_async_t async; /* the journal's thread has something for us */
    struct alarm stall_alarm, expire_alarm, quiet_alarm, grace_alarm, reboot_alarm;
    struct host_agent **agents;
    size_t count;
    struct age age; /* of what may be removed */
    bool clock_doubted;
    struct value_set *facts; /* NULL: none were found out yet */
    int64_t facts_ms;        /* when, by the monotonic clock */
    bool facts_stale;        /* a step may have changed what they say */
    enum host_reboot_stage reboot;
    struct systemd *manager;      /* while it is asked; NULL: it is not */
    struct host_command *command; /* the same of --reboot-command */
    struct reboot_need reboot_need;
    char hostname[HOST_NAME_MAX_BYTES];
    char boot_id[HOST_BOOT_ID_MAX];
    bool failed, stalled;
    bool undo_high; /* much is kept for undo, and that was said */
    bool expiring;  /* old executions are being removed */
    enum host_closing closing;
    size_t loud;    /* agents not yet quiet */
    size_t links;   /* not yet gone */
    size_t handles; /* of the loop, not yet closed */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

enum error_code host_agent_new(struct host *h, const char *server, struct host_agent **ret_agent,
                               struct error *err) MUST_CHECK;
void host_agent_free(struct host_agent *ha); /* NULL is fine */

/* The wall clock as far as it is believed: what is removed as old is measured by it. */
int64_t host_age_ms(struct host *h);

/* What is known of the machine, at most HOST_FACTS_MAX_AGE_MS old; ctx is the struct host. */
const struct value_set *host_facts(void *ctx);

/* ---- host_reboot.c; where ctx is none of theirs, it is the struct host_agent */

void host_reboot_set_up(struct host *h);
/* See agent_owner. */
void host_reboot(void *ctx);
bool host_reboot_withdraw(void *ctx);
/* An operation is over: perhaps it is what a reboot has waited for. */
void host_reboot_check(struct host *h);
void host_reboot_alarm(void *ctx); /* the struct host */
/* Before the ticker is closed. */
void host_reboot_stop(struct host *h);
struct reboot_marks host_reboot_marks(const struct host *h);

/* ---- host_agent.c */

/* Begins to connect, or to get what it takes. */
void host_agent_connect(struct host_agent *ha);
/* Connects no more; host_link_gone follows. */
void host_agent_part(struct host_agent *ha);

/* What an agent's parts tell the host; ctx is the struct host_agent. */
void host_agent_quiet(void *ctx);
void host_agent_failed(void *ctx, const struct error *err);
/* ctx is the struct host. */
void host_link_gone(void *ctx);
