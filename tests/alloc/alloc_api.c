/*
 * The API's answers and documents: whole, or not at all. An answer for which memory was out is a
 * 503 or a connection that ends, never a document that lacks something.
 */
#include "alloc/plans.h"
#include "alloc/rollout_play.h"
#include "common/base/alloc.h"
#include "orchestrator/api/api_doc.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct request {
    enum net_method method;
    const char *target, *body, *accept;
};

struct api_world {
    struct play play; /* first: it begins with the alloc_world */
    struct net_request *req;
};

static const struct request *request_of(const struct api_world *w)
{
    return w->play.base.param;
}

/* A rollout that is over; the agents are still there. */
static void begin(void *world)
{
    struct api_world *w = world;
    play_begin(&w->play);
    while (play_step(&w->play))
        continue;
}

static void end(void *world)
{
    struct api_world *w = world;
    if (w->req != NULL)
        stand_net_close(w->req);
    play_end(&w->play);
}

static enum error_code run(void *world, struct error *err)
{
    struct api_world *w = world;
    const struct request *r = request_of(w);
    if (w->req != NULL)
        stand_net_close(w->req);
    w->req = stand_net_request(r->method, r->target, r->body, strlen(r->body));
    w->req->accept = r->accept == NULL ? NULL : strdup(r->accept);
    stand_net_give(w->req);
    world_settle(&w->play.world);
    assert_int_equal(w->req->answers, 1);
    assert_int_equal(w->play.world.fatal, 0);
    if (w->req->broken || w->req->status == 503)
        return error_set(err, ERR_NO_MEMORY, NULL);
    return ERR_OK;
}

static void look(void *world, struct buf *b)
{
    const struct api_world *w = world;
    buf_printf(b, "%d %s %s\n", w->req->status, w->req->content_type,
               w->req->ended || w->req->streaming ? "" : "not ended");
    buf_append(b, w->req->answer.len > 0 ? w->req->answer.data : "", w->req->answer.len);
}

static void sweep(const struct request *request)
{
    const struct alloc_op op = {.name = request->target,
                                .world_size = sizeof(struct api_world),
                                .param = request,
                                .begin = begin,
                                .run = run,
                                .look = look,
                                .end = end};
    assert_true(alloc_sweep(&op) > 0);
}

static void an_answer_is_whole_or_none(void **state)
{
    static const struct request requests[] = {
        {NET_GET, "/v1/rollouts", "", NULL},
        {NET_GET, "/v1/rollouts/r", "", NULL},
        {NET_GET, "/v1/rollouts/r1?state=failed&server=b&limit=1", "", NULL},
        {NET_GET, "/v1/rollouts/r1/events?after=2&limit=5", "", NULL},
        {NET_GET, "/v1/rollouts/r1/events", "", "text/event-stream"},
        {NET_GET, "/v1/rollouts/r1/servers/a/steps/1/output", "", NULL},
        {NET_GET, "/v1/servers", "", NULL},
        {NET_GET, "/v1/servers/a", "", NULL},
        {NET_GET, "/v1/handlers", "", NULL},
        {NET_GET, "/v1/handlers/echo", "", NULL},
        {NET_GET, "/healthz", "", NULL},
        {NET_GET, "/readyz", "", NULL},
        {NET_GET, "/metrics", "", NULL},
        {NET_POST, "/v1/plans/validate", plan_of_all_fields, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        sweep(&requests[i]);
}

static void a_refusal_is_whole_or_none(void **state)
{
    static const struct request requests[] = {
        {NET_GET, "/nothing", "", NULL},
        {NET_PUT, "/v1/rollouts", "", NULL},
        {NET_GET, "/v1/rollouts/none", "", NULL},
        {NET_GET, "/v1/rollouts?limit=x", "", NULL},
        {NET_GET, "/v1/handlers/none", "", NULL},
        {NET_POST, "/v1/plans/validate", plan_of_faults, NULL},
        {NET_POST, "/v1/rollouts?id=r1", plan_of_one_server, NULL},
        {NET_POST, "/v1/rollouts/r1/cancel", "{\"nwo\":true}", NULL},
        {NET_POST, "/v1/rollouts/r1/pause", "", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        sweep(&requests[i]);
}

/* ---- Documents, as a client reads them ------------------------------------------------------- */

struct document {
    const struct json_table *table;
    const char *text;
};

enum { OBJECT_MAX = 1024 };
struct reading {
    struct alloc_world base;
    _Alignas(max_align_t) char object[OBJECT_MAX];
    bool read;
    struct buf text;
};

static enum error_code run_read(void *world, struct error *err)
{
    struct reading *r = world;
    const struct document *d = r->base.param;
    assert_true(d->table->size <= OBJECT_MAX);
    enum error_code code = json_read(d->text, strlen(d->text), 1 << 20, d->table, r->object, err);
    r->read = code == ERR_OK;
    return code;
}

static void begin_read(void *world)
{
    assert_int_equal(run_read(world, NULL), ERR_OK);
}

static enum error_code run_write(void *world, struct error *err)
{
    struct reading *r = world;
    const struct document *d = r->base.param;
    buf_done(&r->text);
    json_encode(&r->text, d->table, r->object);
    return buf_check(&r->text, err);
}

static void look_read(void *world, struct buf *b)
{
    struct reading *r = world;
    json_encode(b, ((const struct document *)r->base.param)->table, r->object);
    buf_append(b, r->text.len > 0 ? r->text.data : "", r->text.len);
}

static void end_read(void *world)
{
    struct reading *r = world;
    if (r->read)
        json_release(((const struct document *)r->base.param)->table, r->object);
    buf_done(&r->text);
}

#define COUNTS                                                                                     \
    "{\"pending\":1,\"inFlight\":0,\"succeeded\":0,\"failed\":0,\"unreachable\":0,\"unknown\":0,"  \
    "\"cancelled\":0,\"skipped\":0,\"rolledBack\":0,\"rollbackFailed\":0}"
#define CREATED "\"created\":\"2026-11-21T06:25:56.123Z\""

static void a_document_is_read_and_written_whole_or_not_at_all(void **state)
{
    static const struct document documents[] = {
        {&api_cancel_table, "{\"now\":true,\"by\":\"me\",\"reason\":\"why\"}"},
        {&api_request_table, "{\"by\":\"me\",\"reason\":\"why\"}"},
        {&api_rollout_table,
         "{\"id\":\"r1\",\"state\":\"running\"," CREATED ",\"strategy\":\"Rolling\",\"batch\":1,"
         "\"batches\":2,\"servers\":1,\"counts\":" COUNTS ",\"lastSeq\":3,\"plan\":{\"x\":[1]},"
         "\"more\":0,\"executions\":[{\"server\":\"a\",\"state\":\"queued\",\"outcome\":"
         "\"pending\",\"connected\":true,\"steps\":[{\"name\":\"s\",\"state\":\"pending\","
         "\"attempt\":0,\"changed\":false,\"durationMs\":0}]}]}"},
        {&api_event_list_table,
         "{\"events\":[{\"seq\":1,\"time\":\"t\",\"type\":\"x\",\"by\":\"me\"}],\"lastSeq\":1}"},
        {&api_problem_table,
         "{\"type\":\"t\",\"title\":\"x\",\"status\":422,\"detail\":\"d\",\"errors\":[{\"path\":"
         "\"p\",\"message\":\"m\"}]}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        struct alloc_op op = {.name = documents[i].table->name,
                              .world_size = sizeof(struct reading),
                              .param = &documents[i],
                              .run = run_read,
                              .look = look_read,
                              .end = end_read};
        assert_true(alloc_sweep(&op) > 0);
        op.begin = begin_read;
        op.run = run_write;
        assert_true(alloc_sweep(&op) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_whole_or_none),
        cmocka_unit_test(a_refusal_is_whole_or_none),
        cmocka_unit_test(a_document_is_read_and_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
