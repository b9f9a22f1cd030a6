#include "agent/identity_wire.h"

#include "agent/carrier.h"
#include "common/base/text.h"
#include "common/json/json.h"
#include "common/pki/pki_cert.h"

#include <stdio.h>
#include <string.h>

static const struct json_field ask_fields[] = {
    {.name = "token",
     .type = JSON_STRING,
     JSON_AT(struct identity_ask, token),
     .flags = JSON_OMIT_EMPTY,
     .doc = "The ticket's secret."},
    {.name = "server",
     .type = JSON_STRING,
     JSON_AT(struct identity_ask, server),
     .flags = JSON_OMIT_EMPTY,
     .doc = "The server's id."},
    {.name = "csr",
     .type = JSON_STRING,
     JSON_AT(struct identity_ask, csr),
     .flags = JSON_REQUIRED,
     .doc = "A request for a certificate (PKCS #10, PEM)."},
};
static const struct json_table ask_table =
    JSON_TABLE("Ask", struct identity_ask, ask_fields, "An agent asks for a certificate.");

static const struct json_field answer_fields[] = {
    {.name = "certificate",
     .type = JSON_STRING,
     JSON_AT(struct identity_answer, certificate),
     .flags = JSON_REQUIRED,
     .max = PKI_PEM_MAX,
     .doc = "The agent's certificate, in PEM."},
    {.name = "ca",
     .type = JSON_STRING,
     JSON_AT(struct identity_answer, ca),
     .flags = JSON_REQUIRED,
     .max = PKI_PEM_MAX,
     .doc = "The CA's certificate, in PEM."},
};
static const struct json_table answer_table = JSON_TABLE_OPEN(
    "Identity", struct identity_answer, answer_fields, "What an agent is known by.");

void identity_ask_encode(struct buf *b, const struct identity_ask *ask)
{
    json_encode(b, &ask_table, ask);
}

enum error_code identity_answer_read(const char *body, size_t len,
                                     struct identity_answer *ret_answer, struct error *err)
{
    struct identity_answer answer = {0};
    enum error_code code = json_read(body, len, CARRIER_ANSWER_MAX, &answer_table, &answer, err);
    if (code != ERR_OK)
        return error_wrap(err, "the orchestrator's answer");
    *ret_answer = answer;
    return ERR_OK;
}

void identity_answer_done(struct identity_answer *answer)
{
    json_release(&answer_table, answer);
}

void identity_problem_text(int status, const char *body, size_t len,
                           char ret_text[ERROR_MESSAGE_MAX])
{
    struct json_doc *doc = NULL;
    const char *detail = NULL;
    if (json_parse(body, len, CARRIER_ANSWER_MAX, &doc, NULL) == ERR_OK) {
        const struct json_value *value = json_get(json_root(doc), "detail");
        detail = value ? json_string(value) : NULL;
    }
    if (detail)
        (void)snprintf(ret_text, ERROR_MESSAGE_MAX, "%.*s",
                       (int)text_utf8_cut(detail, strlen(detail), ERROR_MESSAGE_MAX - 1), detail);
    else
        (void)snprintf(ret_text, ERROR_MESSAGE_MAX, "it answers with HTTP status %d", status);
    json_free(doc);
}
