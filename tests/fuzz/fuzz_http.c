/*
 * The orchestrator's API and its agents' frames, as anybody may send them, a line each:
 *
 *     GET /v1/rollouts/r1?limit=5         a request (GET, POST, PUT, DELETE, HEAD)
 *     POST /v1/rollouts?id=r1 {"name":…}  the body is the rest of the line
 *     accept text/event-stream            for the next request, as last-event-id
 *     agent 0 {"v":1,"type":"hello",…}    a frame on connection 0 to 3, made when it is not there
 *     gone 0                              that connection ends
 *     pass 5000                           milliseconds go by
 *     hold                                nothing becomes durable until the next line with it
 *
 * Each request is answered once, with JSON that is JSON; every frame that goes out can be read; the
 * dispatcher is never at its end; and the journal's events give the state that it shows.
 */
#include "common/base/alloc.h"
#include "common/base/id.h"
#include "common/json/json.h"
#include "common/plan/states.h"
#include "common/wire/wire.h"
#include "orchestrator/cli/sse.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/orchestrator_world.h"

enum { CONNS = 4, REQUESTS_MAX = 24, LINES_MAX = 96, PASS_MAX_MS = 3600 * 1000 };

struct play {
    struct world world;
    struct net_conn *conns[CONNS];
    struct net_request *requests[REQUESTS_MAX];
    size_t request_count;
    char *accept, *last_event_id; /* for the next request */
    bool hold;
};

/* ---- What must hold -------------------------------------------------------------------------- */

static void check_json(const char *text, size_t len)
{
    struct json_doc *doc = NULL;
    struct error err = {0};
    enum error_code code = json_parse(text, len, (size_t)64 * 1024 * 1024, &doc, &err);
    assert(code == ERR_OK);
    json_free(doc);
}

static void check_stream(const struct buf *answer)
{
    struct sse sse = SSE_INIT;
    struct sse_event event;
    struct error err = {0};
    enum error_code code =
        answer->len == 0 ? ERR_OK : sse_feed(&sse, answer->data, answer->len, &err);
    assert(code == ERR_OK);
    while (sse_next(&sse, &event))
        check_json(event.data, event.len);
    sse_done(&sse);
}

static void check_answer(const struct net_request *req)
{
    assert(req->answers == 1 && req->status >= 200 && req->status < 600 && !req->broken);
    if (req->streaming)
        check_stream(&req->answer);
    else if (strstr(req->content_type, "json") != NULL)
        check_json(req->answer.data, req->answer.len);
    assert(req->status < 500 || req->status == 503); /* 503: /v1/backup */
}

static void check_frames(const struct net_conn *conn)
{
    struct fuzz_input in = {(const uint8_t *)conn->sent.data, conn->sent.len};
    size_t len = 0;
    char *line;
    while ((line = fuzz_line(&in, &len)) != NULL) {
        struct wire_frame frame = {0};
        struct error err = {0};
        enum error_code code = wire_decode(line, len, &frame, &err);
        assert(code == ERR_OK);
        wire_frame_done(&frame);
        free(line);
    }
}

struct touched {
    const char *rollout;
    bool found, undone;
};

static bool touched_each(void *ctx, const struct journal_touch *touch)
{
    struct touched *t = ctx;
    if (strcmp(touch->rollout, t->rollout) != 0)
        return true;
    t->found = true;
    t->undone = touch->undone;
    return false;
}

/* The journal's record of who touched a server says what the events say. */
static void check_touches(struct journal *j, const char *id, const struct engine *engine)
{
    const struct plan *plan = engine_plan(engine);
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        const struct execution *x = engine_execution(engine, i);
        struct touched t = {.rollout = id};
        struct error err = {0};
        enum error_code code =
            journal_touches(j, plan_server(plan, i), UINT32_MAX, touched_each, &t, &err);
        assert(code == ERR_OK && t.found == x->touched);
        assert(!t.found || t.undone == (x->state == EXECUTION_ROLLED_BACK));
    }
}

/* Replaying its events gives the rollout's state, and every server is counted once. */
static void check_replay(struct world *w, const char *id)
{
    struct rollout_view view;
    struct plan *plan = NULL;
    struct engine *engine = NULL;
    struct error err = {0};
    uint64_t last_seq = 0;
    enum error_code code = journal_load(w->journal, id, &plan, &engine, &last_seq, &err);
    assert(code == ERR_OK);
    code = dispatcher_rollout(w->dispatcher, id, &view, &err);
    assert(code == ERR_OK && view.last_seq == last_seq);
    struct engine_counts here = engine_counts(view.engine), there = engine_counts(engine);
    assert(engine_state(view.engine) == engine_state(engine));
    assert(memcmp(&here, &there, sizeof(here)) == 0);
    assert(here.pending + here.in_flight + here.succeeded + here.failed + here.unreachable +
               here.unknown + here.cancelled + here.skipped ==
           plan_server_count(view.plan));
    check_touches(w->journal, id, engine);
    engine_free(engine);
    plan_free(plan);
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static void settle(struct play *p)
{
    if (!p->hold)
        world_settle(&p->world);
    for (size_t i = 0; i < CONNS; i++)
        if (p->conns[i] != NULL)
            stand_net_settle(p->conns[i]);
}

/* The text behind the first blank; "" when there is none. */
static const char *behind(const char *line)
{
    const char *blank = strchr(line, ' ');
    return blank == NULL ? "" : blank + 1;
}

static void do_request(struct play *p, enum net_method method, const char *line)
{
    const char *target = behind(line), *body = behind(target);
    size_t len = strcspn(target, " ");
    if (p->request_count == REQUESTS_MAX || len > NET_MAX_PATH)
        return;
    char *copy = strndup(target, len);
    assert(copy != NULL);
    struct net_request *req = stand_net_request(method, copy, body, strlen(body));
    free(copy);
    req->accept = TAKE(p->accept);
    req->last_event_id = TAKE(p->last_event_id);
    p->requests[p->request_count++] = req;
    stand_net_give(req);
}

static void do_agent(struct play *p, const char *line)
{
    const char *number = behind(line), *frame = behind(number);
    struct net_conn **conn = &p->conns[(size_t)(unsigned char)number[0] % CONNS];
    if (*conn != NULL && (*conn)->told) {
        check_frames(*conn);
        stand_net_disconnect(*conn);
        *conn = NULL;
    }
    if (*conn == NULL)
        *conn = stand_net_connect();
    if (*conn != NULL && frame[0] != '\0')
        stand_net_message(*conn, frame, strlen(frame));
}

static void do_gone(struct play *p, const char *line)
{
    struct net_conn **conn = &p->conns[(size_t)(unsigned char)behind(line)[0] % CONNS];
    if (*conn != NULL)
        check_frames(*conn);
    stand_net_disconnect(*conn);
    *conn = NULL;
}

static void do_pass(struct play *p, const char *line)
{
    long ms = strtol(behind(line), NULL, 10);
    if (!p->hold && ms > 0)
        world_pass(&p->world, ms < PASS_MAX_MS ? ms : PASS_MAX_MS);
}

static void keep_header(char **header, const char *line)
{
    free(*header);
    *header = strdup(behind(line));
}

static void do_line(struct play *p, const char *line)
{
    static const struct {
        const char *word;
        enum net_method method;
    } methods[] = {{"GET", NET_GET},       {"POST", NET_POST}, {"PUT", NET_PUT},
                   {"DELETE", NET_DELETE}, {"HEAD", NET_HEAD}, {"OPTIONS", NET_OTHER_METHOD}};
    size_t len = strcspn(line, " ");
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strlen(methods[i].word) == len && strncmp(methods[i].word, line, len) == 0)
            do_request(p, methods[i].method, line);
    if (strncmp(line, "agent ", 6) == 0)
        do_agent(p, line);
    else if (strncmp(line, "gone ", 5) == 0)
        do_gone(p, line);
    else if (strncmp(line, "pass ", 5) == 0)
        do_pass(p, line);
    else if (strncmp(line, "accept ", 7) == 0)
        keep_header(&p->accept, line);
    else if (strncmp(line, "last-event-id ", 14) == 0)
        keep_header(&p->last_event_id, line);
    else if (strcmp(line, "hold") == 0)
        p->hold = !p->hold;
}

/* ---- A play ---------------------------------------------------------------------------------- */

static void finish(struct play *p)
{
    struct world *w = &p->world;
    p->hold = false;
    settle(p);
    for (size_t i = 0; i < p->request_count; i++) {
        check_answer(p->requests[i]);
        stand_net_close(p->requests[i]);
    }
    for (size_t i = 0; stand_journal_id(w->journal, i) != NULL; i++)
        check_replay(w, stand_journal_id(w->journal, i));
    for (size_t i = 0; i < CONNS; i++) {
        if (p->conns[i] != NULL)
            check_frames(p->conns[i]);
        stand_net_disconnect(p->conns[i]);
        p->conns[i] = NULL;
    }
    settle(p);
    assert(w->fatal == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play p;
    struct fuzz_input in = {data, size};
    struct error err = {0};
    char *line;
    p = (struct play){0};
    enum error_code code = world_open(&p.world, &err);
    assert(code == ERR_OK);
    for (int i = 0; i < LINES_MAX && (line = fuzz_line(&in, NULL)) != NULL; i++) {
        do_line(&p, line);
        settle(&p);
        free(line);
    }
    finish(&p);
    /* And again, as after a crash: what is open is loaded, and goes on. */
    code = world_restart(&p.world, &err);
    assert(code == ERR_OK);
    settle(&p);
    world_pass(&p.world, PASS_MAX_MS);
    for (size_t i = 0; stand_journal_id(p.world.journal, i) != NULL; i++)
        check_replay(&p.world, stand_journal_id(p.world.journal, i));
    assert(p.world.fatal == 0);
    world_close(&p.world);
    free(p.accept);
    free(p.last_event_id);
    return 0;
}
