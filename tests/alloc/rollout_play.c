#include "alloc/rollout_play.h"

#include "alloc/plans.h"
#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STEPS_MAX = 2000, ENTRIES_MAX = 8, NAME_MAX_BYTES = 256 };

/* What happens on the servers, in order. The second one begins when all of the first is known, so
 * that the order of things is always the same. */
struct script {
    const char *server;
    unsigned forward, count; /* entries until it waits for the order to undo; all */
    const char *entries[ENTRIES_MAX];
};
#define HEAD(seq) "{\"seq\":" seq ",\"timeMs\":1700000000000,"
static const struct script scripts[PLAY_AGENTS] = {
    {"a",
     4,
     7,
     {HEAD("1") "\"type\":\"started\",\"state\":\"running\"}",
      HEAD("2") "\"type\":\"step_ended\",\"step\":0,\"attempt\":1,\"state\":\"succeeded\","
                "\"changed\":true,\"message\":\"written\",\"output\":\"what a printed\\n\"}",
      HEAD("3") "\"type\":\"step_ended\",\"step\":1,\"attempt\":1,\"state\":\"succeeded\","
                "\"output\":\"more of a\\n\"}",
      HEAD("4") "\"type\":\"ended\",\"state\":\"succeeded\",\"durationMs\":5}",
      HEAD("5") "\"type\":\"rollback_started\",\"state\":\"rolling_back\"}",
      HEAD("6") "\"type\":\"step_rolled_back\",\"step\":0,\"attempt\":1,\"state\":"
                "\"rolled_back\"}",
      HEAD("7") "\"type\":\"rolled_back\",\"state\":\"rolled_back\"}"}},
    {"b",
     7,
     7,
     {HEAD("1") "\"type\":\"started\",\"state\":\"running\"}",
      HEAD("2") "\"type\":\"step_started\",\"step\":0,\"attempt\":1,\"state\":\"running\"}",
      HEAD("3") "\"type\":\"step_ended\",\"step\":0,\"attempt\":1,\"state\":\"failed\","
                "\"exitCode\":3,\"message\":\"no room\",\"output\":\"what b printed\\n\"}",
      HEAD("4") "\"type\":\"ended\",\"state\":\"failed\",\"undoing\":true,\"message\":\"no "
                "room\"}",
      HEAD("5") "\"type\":\"rollback_started\",\"state\":\"rolling_back\"}",
      HEAD("6") "\"type\":\"step_rolled_back\",\"step\":0,\"attempt\":1,\"state\":"
                "\"rolled_back\"}",
      HEAD("7") "\"type\":\"rolled_back\",\"state\":\"rolled_back\"}"}},
};

/* ---- The orchestrator ------------------------------------------------------------------------ */

static void agents_lose_connection(struct play *p)
{
    for (size_t i = 0; i < PLAY_AGENTS; i++) {
        struct play_agent *a = &p->agents[i];
        stand_net_disconnect(a->conn);
        *a = (struct play_agent){.acked = a->acked, .sent = a->acked, .known = a->known};
    }
}

/* It said that it cannot go on: the process ends, and starts again. */
static bool start_again(struct play *p)
{
    struct error err = {0};
    if (p->world.fatal == 0)
        return false;
    agents_lose_connection(p);
    if (world_restart(&p->world, &err) != ERR_OK && err.code != ERR_NO_MEMORY)
        fail_msg("it does not start again: %s", err.message);
    return true;
}

/* True when it was done, or had been done before. */
static bool ask(struct play *p, enum net_method method, const char *target, const char *body,
                bool conflict_is_done)
{
    struct net_request *req = world_ask(&p->world, method, target, body);
    bool done = !req->broken && req->status >= 200 && req->status < 300;
    if (!done && !req->broken && req->status != 503 && req->status != 0) {
        if (!conflict_is_done || req->status != 409)
            fail_msg("%s: %d %s", target, req->status, req->answer.data);
        done = true;
    }
    stand_net_close(req);
    return done;
}

/* ---- Agents ---------------------------------------------------------------------------------- */

static void say(const struct play_agent *a, const char *text)
{
    stand_net_message(a->conn, text, strlen(text));
}

static void greet(struct play_agent *a, const struct script *script)
{
    char text[512], executions[NAME_MAX_BYTES] = "";
    if (a->known > 0)
        (void)snprintf(executions, sizeof(executions), "{\"rollout\":\"r1\",\"lastSeq\":%u}",
                       a->known);
    (void)snprintf(text, sizeof(text),
                   "{\"v\":1,\"type\":\"hello\",\"id\":\"%s\",\"instance\":\"i\",\"version\":"
                   "\"1\",\"hostname\":\"h\",\"bootId\":\"b\",\"handlers\":[\"echo\"],"
                   "\"executions\":[%s]}",
                   script->server, executions);
    a->greeted = true;
    say(a, text);
}

static void report(struct play_agent *a, const struct script *script)
{
    char text[1024];
    (void)snprintf(text, sizeof(text),
                   "{\"v\":1,\"type\":\"report\",\"rollout\":\"r1\",\"entries\":[%s]}",
                   script->entries[a->sent]);
    a->sent++;
    say(a, text);
}

/* One frame that was sent to it. */
static void hear(struct play_agent *a, const struct script *script, const char *frame)
{
    const char *seq = strstr(frame, "\"seq\":");
    if (strstr(frame, "\"type\":\"welcome\"") != NULL)
        a->welcomed = true;
    else if (strstr(frame, "\"type\":\"execute\"") != NULL && a->known == 0)
        a->known = script->forward;
    else if (strstr(frame, "\"type\":\"rollback\"") != NULL && a->known > 0)
        a->known = script->count;
    else if (strstr(frame, "\"type\":\"ack\"") != NULL && seq != NULL)
        a->acked = (unsigned)strtoul(seq + 6, NULL, 10);
}

static bool read_one(struct play_agent *a, const struct script *script)
{
    if (a->conn->sent.len == a->read)
        return false;
    const char *from = a->conn->sent.data + a->read;
    size_t len = strcspn(from, "\n");
    char *frame = strndup(from, len);
    a->read += len + 1;
    hear(a, script, frame);
    free(frame);
    return true;
}

/* Done with a connection that the orchestrator has closed: what it had not acknowledged is said
 * again on the next. */
static bool come_back(struct play_agent *a)
{
    if (a->conn == NULL) {
        a->conn = stand_net_connect();
        return true;
    }
    if (!a->conn->closed)
        return false;
    stand_net_disconnect(a->conn);
    *a = (struct play_agent){.acked = a->acked, .sent = a->acked, .known = a->known};
    return true;
}

static bool agent_step(struct play_agent *a, const struct script *script, bool may_report)
{
    if (come_back(a))
        return true;
    if (!a->greeted) {
        greet(a, script);
        return true;
    }
    if (read_one(a, script))
        return true;
    if (!a->welcomed || !may_report || a->sent == a->known)
        return false;
    report(a, script);
    return true;
}

/* ---- The play -------------------------------------------------------------------------------- */

static bool orders(struct play *p)
{
    if (!p->submitted) {
        p->submitted = ask(p, NET_POST, "/v1/rollouts?id=r1&by=me", plan_of_two_servers, false);
        return true;
    }
    if (!p->paused) {
        p->paused =
            ask(p, NET_POST, "/v1/rollouts/r1/pause", "{\"by\":\"me\",\"reason\":\"why\"}", true);
        return true;
    }
    if (!p->resumed) {
        p->resumed = ask(p, NET_POST, "/v1/rollouts/r1/resume", "", true);
        return true;
    }
    return false;
}

bool play_step(struct play *p)
{
    if (start_again(p))
        return true;
    if (orders(p))
        return true;
    bool first_is_known = p->agents[0].acked >= scripts[0].forward;
    for (size_t i = 0; i < PLAY_AGENTS; i++)
        if (agent_step(&p->agents[i], &scripts[i], i == 0 || first_is_known))
            return true;
    if (stand_journal_idle(p->world.journal))
        return false;
    journal_collect(p->world.journal);
    return true;
}

void play_begin(void *play)
{
    struct play *p = play;
    struct error err = {0};
    if (world_open(&p->world, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

void play_end(void *play)
{
    struct play *p = play;
    agents_lose_connection(p);
    world_close(&p->world);
}

/* ---- What there is to see -------------------------------------------------------------------- */

static void look_at(struct play *p, const char *target, struct buf *b)
{
    struct net_request *req = world_ask(&p->world, NET_GET, target, "");
    if (req->status != 200)
        fail_msg("%s: %d %s", target, req->status, req->answer.data);
    buf_append(b, req->answer.data, req->answer.len);
    buf_putc(b, '\n');
    stand_net_close(req);
}

void play_look(void *play, struct buf *b)
{
    struct play *p = play;
    for (int i = 0; play_step(p); i++)
        assert_true(i < STEPS_MAX);
    look_at(p, "/v1/rollouts/r1/events", b);
    look_at(p, "/v1/rollouts/r1/servers/a/steps/write/output", b);
    look_at(p, "/v1/rollouts/r1/servers/a/steps/say/output", b);
    look_at(p, "/v1/rollouts/r1/servers/b/steps/write/output", b);
    look_at(p, "/v1/rollouts/r1", b);
    look_at(p, "/v1/rollouts", b);
    buf_printf(b, "%u %u", p->agents[0].acked, p->agents[1].acked);
}
