#include "orchestrator/api/api_doc_artifacts.h"

#include "common/plan/artifact.h"
#include "common/plan/plan_json.h"
#include "orchestrator/api/api_doc_internal.h"

static const struct json_field request_fields[] = {
    {.name = "sha256",
     .type = JSON_STRING,
     JSON_AT(struct api_artifact_request, sha256),
     .flags = JSON_REQUIRED,
     .min = ARTIFACT_DIGEST_DIGITS,
     .max = ARTIFACT_DIGEST_DIGITS,
     .check = plan_hex_check,
     .doc = "The SHA-256 of the whole, in lower-case hexadecimal digits."},
    {.name = "size",
     .type = JSON_INT,
     JSON_AT(struct api_artifact_request, size),
     .flags = JSON_REQUIRED,
     .min = 0,
     .max = COUNT_MAX,
     .doc = "Bytes of the whole."},
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct api_artifact_request, name),
     .flags = JSON_OMIT_EMPTY,
     .max = API_ARTIFACT_NAME_MAX,
     .doc = "What people know it by; the one that was given first stays."},
    {.name = "by",
     .type = JSON_STRING,
     JSON_AT(struct api_artifact_request, by),
     .flags = JSON_OMIT_EMPTY,
     .max = API_BY_MAX,
     .doc = "Who asks."},
};
const struct json_table api_artifact_request_table =
    JSON_TABLE("ArtifactRequest", struct api_artifact_request, request_fields,
               "Content that is to be uploaded.");

static const struct json_field artifact_fields[] = {
    TEXT("sha256", struct api_artifact, sha256, "The SHA-256 of the whole."),
    COUNT("size", struct api_artifact, size, "Bytes of the whole."),
    COUNT("offset", struct api_artifact, offset, "Bytes that are there: the next piece's place."),
    FLAG("whole", struct api_artifact, whole, "All of it is there, was found right, and is kept."),
    TEXT_MAYBE("name", struct api_artifact, name, "What people know it by."),
    TEXT_MAYBE("by", struct api_artifact, by, "Who began to upload it."),
    TEXT_MAYBE("created", struct api_artifact, created, "When that was."),
};
const struct json_table api_artifact_table = JSON_TABLE_OPEN(
    "Artifact", struct api_artifact, artifact_fields, "Content that the orchestrator stores.");
static const struct json_field artifact_item = OF_TABLE(api_artifact_table);

static const struct json_field list_fields[] = {
    LIST("artifacts", struct api_artifact_list, artifacts, artifact_item, "By their digits."),
    TEXT_MAYBE("next", struct api_artifact_list, next,
               "`after` of the next page; absent: there are no more."),
    COUNT("bytes", struct api_artifact_list, bytes, "Of all, those under way in full."),
    COUNT("maxBytes", struct api_artifact_list, max_bytes, "They may have; 0: no limit."),
};
const struct json_table api_artifact_list_table =
    JSON_TABLE_OPEN("ArtifactList", struct api_artifact_list, list_fields, "Artifacts.");
