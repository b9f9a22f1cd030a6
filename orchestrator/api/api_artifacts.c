/* api_artifacts: content that plans name, in: uploads, the list, removal. */
#include "orchestrator/api/api_internal.h"

#include "common/plan/artifact.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static_assert((int)API_PIECE_MAX == (int)ARTIFACT_PIECE_MAX, "one piece is one piece");
static_assert((int)API_ARTIFACT_NAME_MAX == (int)ARTIFACT_NAME_MAX, "one name is one name");

bool call_artifacts(struct api_call *call)
{
    struct error err = {0};
    if (call->api->config.artifacts != NULL)
        return true;
    (void)error_set(&err, ERR_UNSUPPORTED, "this orchestrator stores no artifacts");
    call_error(call, err.code, &err);
    return false;
}

bool call_digest(struct api_call *call, char ret_digest[ARTIFACT_DIGEST_BUFFER])
{
    char name[ARTIFACT_NAME_BUFFER + API_PARAM_MAX];
    struct error err = {0};
    const char *given = call->params[0];
    bool named = strncmp(given, ARTIFACT_PREFIX, strlen(ARTIFACT_PREFIX)) == 0;
    (void)snprintf(name, sizeof(name), "%s%s", named ? "" : ARTIFACT_PREFIX, given);
    const char *digest = artifact_digest(name);
    if (digest != NULL) {
        memcpy(ret_digest, digest, ARTIFACT_DIGEST_BUFFER);
        return true;
    }
    (void)error_set(&err, ERR_INVALID,
                    "an artifact is named by the %d lower-case hexadecimal digits of its SHA-256",
                    ARTIFACT_DIGEST_DIGITS);
    call_error(call, err.code, &err);
    return false;
}

/* ---- Answers -----------------------------------------------------------------------------------
 */

static struct api_artifact artifact_document(struct api_call *call,
                                             const struct artifact_facts *facts)
{
    const char *name = facts->name[0] == '\0' ? NULL : facts->name;
    const char *by = facts->by[0] == '\0' ? NULL : facts->by;
    return (struct api_artifact){
        .sha256 = call_keep_string(call, facts->digest),
        .size = facts->size_bytes,
        .offset = facts->offset_bytes,
        .whole = facts->whole,
        .name = call_keep_string(call, name),
        .by = call_keep_string(call, by),
        .created = call_time(call, facts->created_ms),
    };
}

static void call_artifact(struct api_call *call, const struct artifact_facts *facts)
{
    const struct api_artifact document = artifact_document(call, facts);
    call_document(call, 200, &api_artifact_table, &document);
}

/* With where it goes on, for one who was wrong about that. */
static void call_upload_problem(struct api_call *call, enum error_code code,
                                const struct error *err, const struct artifact_facts *facts)
{
    enum { CONFLICT = 409, WRONG_CONTENT = 422 };
    char type[] = "about:blank", title[] = "Not possible now", corrupt[] = "Not that content";
    if (call->audited)
        call_audit_refusal(call, code, err->message);
    struct api_problem problem = {
        .type = type,
        .title = code == ERR_CORRUPT ? corrupt : title,
        .status = code == ERR_CORRUPT ? WRONG_CONTENT : CONFLICT,
        .detail = call_keep_string(call, err->message),
        .has_offset = facts != NULL,
        .offset = facts == NULL ? 0 : facts->offset_bytes,
    };
    call_problem(call, (int)problem.status, &problem);
}

static void upload_done(void *ctx, enum error_code result, const struct error *err,
                        const struct artifact_facts *facts)
{
    struct api_call *call = ctx;
    call->pending--;
    if (call->req != NULL && result == ERR_OK)
        call_artifact(call, facts);
    else if (result == ERR_CORRUPT || result == ERR_CONFLICT)
        call_upload_problem(call, result, err, facts);
    else if (result != ERR_OK)
        call_error(call, result, err);
    call_free(call);
}

/* ---- Uploads -----------------------------------------------------------------------------------
 */

struct upload {
    struct api_artifact_request request;
    char digest[ARTIFACT_DIGEST_BUFFER];
    struct artifact_piece piece;
    struct api *api; /* that counts it among its pieces; NULL: it does not */
};

static void upload_free(void *p)
{
    struct upload *upload = p;
    if (upload->api != NULL)
        upload->api->pieces--;
    json_release(&api_artifact_request_table, &upload->request);
    mem_free(upload->piece.data);
    mem_free(upload);
}

static struct upload *call_upload_new(struct api_call *call)
{
    struct upload *upload = MEM_NEW(struct upload);
    if (upload == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    call->order = upload;
    call->order_free = upload_free;
    return upload;
}

static void artifact_begin(struct api_call *call)
{
    const struct upload *upload = call->order;
    const struct artifact_wish wish = {
        .digest = upload->digest,
        .name = upload->request.name,
        .by = call_by(call, upload->request.by),
        .size_bytes = upload->request.size,
        .now_ms = clock_wall_ms(),
    };
    call->pending++;
    artifact_store_begin(call->api->config.artifacts, &wish, upload_done, call);
}

void handle_artifact_begin(struct api_call *call)
{
    char detail[API_ARTIFACT_NAME_MAX + 64];
    struct upload *upload = NULL;
    if (!call_artifacts(call) || (upload = call_upload_new(call)) == NULL ||
        !call_body(call, &api_artifact_request_table, &upload->request))
        return;
    const struct api_artifact_request *request = &upload->request;
    memcpy(upload->digest, request->sha256, ARTIFACT_DIGEST_DIGITS);
    (void)snprintf(detail, sizeof(detail), "%s%s%" PRId64 " bytes",
                   request->name == NULL ? "" : request->name, request->name == NULL ? "" : ", ",
                   request->size);
    call_change(call, upload->digest, detail, artifact_begin);
}

static void artifact_piece(struct api_call *call)
{
    struct upload *upload = call->order;
    const struct artifact_piece piece = upload->piece;
    upload->piece.data = NULL;
    call->pending++;
    artifact_store_piece(call->api->config.artifacts, &piece, upload_done, call);
}

static void call_too_many_pieces(struct api_call *call)
{
    enum { TOO_MANY = 429 };
    char type[] = "about:blank", title[] = "Too many at once";
    char detail[] = "too many pieces are on their way to the disk; try again in a moment";
    const struct api_problem problem = {
        .type = type, .title = title, .status = TOO_MANY, .detail = detail};
    call->headers = "Retry-After: 1\r\n";
    call_problem(call, TOO_MANY, &problem);
}

/* The body is kept by the upload. False: answered here. */
static bool upload_take(struct api_call *call, struct upload *upload)
{
    struct artifact_piece *piece = &upload->piece;
    struct error err = {0};
    if (call->api->pieces >= API_PIECES_MAX) {
        call_too_many_pieces(call);
        return false;
    }
    upload->api = call->api;
    upload->api->pieces++;
    piece->digest = upload->digest;
    piece->data = net_request_take_body(call->req, &piece->len);
    if (piece->len <= API_PIECE_MAX && (piece->data != NULL || piece->len == 0))
        return true;
    if (piece->len > API_PIECE_MAX)
        (void)error_set(&err, ERR_LIMIT, "a piece may have at most %d bytes", API_PIECE_MAX);
    else
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
    call_error(call, err.code, &err);
    return false;
}

/* The pieces but the last are what the audit log was told of when the upload was begun: nobody can
 * use them. With the last one there is something that can be used. */
void handle_artifact_piece(struct api_call *call)
{
    struct artifact_facts facts = {0};
    struct upload *upload = NULL;
    char digest[ARTIFACT_DIGEST_BUFFER];
    int64_t offset = 0;
    if (!call_artifacts(call) || !call_digest(call, digest) ||
        !call_query_number(call, "offset", JSON_INT_MAX, 0, &offset) ||
        (upload = call_upload_new(call)) == NULL || !upload_take(call, upload))
        return;
    memcpy(upload->digest, digest, sizeof(digest));
    upload->piece.offset_bytes = offset;
    bool there = artifact_store_find(call->api->config.artifacts, digest, &facts);
    if (!there || facts.whole || offset + (int64_t)upload->piece.len < facts.size_bytes)
        artifact_piece(call);
    else
        call_change(call, digest, "the last piece", artifact_piece);
}

/* ---- What there is -----------------------------------------------------------------------------
 */

struct artifact_page {
    struct api_call *call;
    struct api_artifact_list document;
    size_t limit;
};

static bool page_each(void *ctx, const struct artifact_facts *facts)
{
    struct artifact_page *page = ctx;
    struct array *artifacts = &page->document.artifacts;
    if (artifacts->count == page->limit) {
        if (artifacts->count > 0)
            page->document.next =
                ARRAY_AT(artifacts, struct api_artifact, artifacts->count - 1)->sha256;
        return false;
    }
    *ARRAY_AT(artifacts, struct api_artifact, artifacts->count++) =
        artifact_document(page->call, facts);
    return true;
}

void handle_artifact_list(struct api_call *call)
{
    struct error err = {0};
    int64_t limit = 0;
    if (!call_artifacts(call) ||
        !call_query_number(call, "limit", API_PAGE_MAX, API_PAGE_DEFAULT, &limit))
        return;
    const struct artifact_store *store = call->api->config.artifacts;
    const struct artifact_stats stats = artifact_store_stats(store);
    struct artifact_page page = {.call = call, .limit = (size_t)limit};
    page.document.bytes = stats.bytes;
    page.document.max_bytes = stats.max_bytes;
    page.document.artifacts.items = mem_array(page.limit, sizeof(struct api_artifact));
    enum error_code code = page.document.artifacts.items == NULL
                               ? error_set(&err, ERR_NO_MEMORY, NULL)
                               : artifact_store_each(store, net_request_query(call->req, "after"),
                                                     page_each, &page, &err);
    if (code == ERR_OK)
        call_document(call, 200, &api_artifact_list_table, &page.document);
    else
        call_error(call, code, &err);
    mem_free(page.document.artifacts.items);
}

void handle_artifact_get(struct api_call *call)
{
    char digest[ARTIFACT_DIGEST_BUFFER];
    struct artifact_facts facts;
    struct error err = {0};
    if (!call_artifacts(call))
        return;
    const struct artifact_store *store = call->api->config.artifacts;
    enum error_code code = artifact_store_resolve(store, call->params[0], digest, &err);
    if (code == ERR_OK && artifact_store_find(store, digest, &facts))
        call_artifact(call, &facts);
    else
        call_error(call, code, &err);
}

/* ---- Removing ----------------------------------------------------------------------------------
 */

struct removal {
    char digest[ARTIFACT_DIGEST_BUFFER];
    struct api_artifact document; /* as it was; its texts are the call's */
};

static void removal_free(void *p)
{
    mem_free(p);
}

static void artifact_deleted(void *ctx, enum error_code result, const struct error *err,
                             const struct artifact_facts *facts)
{
    (void)facts;
    struct api_call *call = ctx;
    const struct removal *removal = call->order;
    call->pending--;
    if (result != ERR_OK)
        call_error(call, result, err);
    else if (call->req != NULL)
        call_document(call, 200, &api_artifact_table, &removal->document);
    call_free(call);
}

/* That no rollout needs it is durable, so that none will after a crash; and from here on no new one
 * can name it. */
static void artifact_delete_durable(void *ctx)
{
    struct api_call *call = ctx;
    const struct removal *removal = call->order;
    const struct api_config *config = &call->api->config;
    struct error err = {0};
    enum error_code code = dispatcher_artifact_free(config->dispatcher, removal->digest, &err);
    if (code == ERR_OK && call->api->stopping)
        code = error_set(&err, ERR_UNAVAILABLE, "the orchestrator is stopping");
    if (code == ERR_OK) {
        artifact_store_delete(config->artifacts, removal->digest, artifact_deleted, call);
        return;
    }
    call->pending--;
    call_error(call, code, &err);
    call_free(call);
}

static void artifact_delete(struct api_call *call)
{
    const struct removal *removal = call->order;
    const struct api_config *config = &call->api->config;
    struct error why = {0};
    struct error err = {0};
    enum error_code code = dispatcher_artifact_free(config->dispatcher, removal->digest, &err);
    if (code == ERR_OK && journal_stalled(config->journal, NULL, &why))
        code = error_set(&err, ERR_NO_SPACE, "nothing can be recorded now: %.200s", why.message);
    if (code == ERR_OK) {
        call->pending++;
        if (journal_barrier(config->journal, artifact_delete_durable, call))
            return;
        call->pending--;
        code = error_set(&err, ERR_NO_MEMORY, NULL);
    }
    call_error(call, code, &err);
}

void handle_artifact_delete(struct api_call *call)
{
    struct artifact_facts facts;
    char digest[ARTIFACT_DIGEST_BUFFER];
    struct error err = {0};
    if (!call_artifacts(call) || !call_digest(call, digest) || !call_may_unconfined(call))
        return;
    struct removal *removal = MEM_NEW(struct removal);
    if (removal == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return;
    }
    call->order = removal;
    call->order_free = removal_free;
    memcpy(removal->digest, digest, sizeof(digest));
    if (!artifact_store_find(call->api->config.artifacts, digest, &facts)) {
        (void)error_set(&err, ERR_NOT_FOUND, "there is no artifact " ARTIFACT_PREFIX "%s", digest);
        call_error(call, err.code, &err);
        return;
    }
    removal->document = artifact_document(call, &facts);
    call_change(call, removal->digest, facts.name[0] == '\0' ? NULL : removal->document.name,
                artifact_delete);
}
