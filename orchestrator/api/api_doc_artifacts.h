/*
 * api_doc_artifacts: the documents about artifacts: content that the orchestrator stores, and plans
 * name. As api_doc.h, of which this is a part.
 *
 * {sha256} in a path is the 64 lower-case hexadecimal digits, "sha256:" in front of them or not.
 *
 * Threading: constants. I/O: none.
 */
#pragma once

#include "common/base/array.h"
#include "common/json/json.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    API_PIECE_MAX = 4 * 1024 * 1024, /* bytes of one piece of an upload */
    API_ARTIFACT_NAME_MAX = 255      /* bytes */
};

/* POST /v1/artifacts (operator) with this -> api_artifact: begins an upload, or tells how far the
 * one that is there has come: where `offset` is, the next piece begins. 409: it has another size.
 * 413, 507: it does not fit. */
struct api_artifact_request {
    char *sha256;
    int64_t size;
    char *name; /* NULL: none */
    char *by;
};
extern const struct json_table api_artifact_request_table;

/* PUT /v1/artifacts/{sha256}/content?offset=N (operator): one piece, application/octet-stream ->
 * api_artifact. 409: not where it goes on, with the right `offset` in the problem. With the last
 * piece the whole is hashed, and kept when the answer says `whole`. 422: it is not what it was said
 * to be, and nothing is left of it. An upload that has all its bytes and is not whole is asked to
 * end by an empty piece.
 *
 * GET /v1/artifacts (viewer) -> api_artifact_list; ?limit= &after=SHA256. GET
 * /v1/artifacts/{sha256} (viewer) -> api_artifact; here the first digits are enough. DELETE
 * /v1/artifacts/{sha256} (operator) -> api_artifact as it was; 409 while a rollout that has not
 * ended names it.
 *
 * GET /v1/artifacts/{sha256}/content (viewer), GET /v1/agent/artifacts/{sha256}?rollout=ID (an
 * agent, whose server that rollout has, and whose plan names it; else 404): the bytes. "Range:
 * bytes=N-" and "bytes=N-M" are answered by 206; from behind the end: 416. */
struct api_artifact {
    char *sha256;
    int64_t size;
    int64_t offset; /* bytes that are there */
    bool whole;
    char *name, *by, *created;
};
struct api_artifact_list {
    struct array artifacts; /* struct api_artifact: by their digits */
    char *next;             /* `after` of the next page; NULL: no more */
    int64_t bytes;          /* of all, those under way in full */
    int64_t max_bytes;      /* they may have; 0: no limit */
};
extern const struct json_table api_artifact_table, api_artifact_list_table;
