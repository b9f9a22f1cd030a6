/*
 * identity_wire: what an agent posts for a certificate, and what it is answered. The orchestrator
 * has these documents in api_doc_access.h.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stddef.h>

#define IDENTITY_ENROL_PATH "/v1/enrol"
#define IDENTITY_RENEW_PATH "/v1/renew"

struct identity_ask {
    char *token, *server; /* NULL: to renew */
    char *csr;            /* PEM */
};

struct identity_answer {
    char *certificate; /* PEM, as the next one */
    char *ca;
};

/* Appends the document. It may hold a secret: to be wiped. */
void identity_ask_encode(struct buf *b, const struct identity_ask *ask);
/* Caller owns: identity_answer_done. ERR_INVALID. */
enum error_code identity_answer_read(const char *body, size_t len,
                                     struct identity_answer *ret_answer,
                                     struct error *err) MUST_CHECK;
void identity_answer_done(struct identity_answer *answer);
/* What an answer that is none says for people: a problem document's detail, or the status. */
void identity_problem_text(int status, const char *body, size_t len,
                           char ret_text[ERROR_MESSAGE_MAX]);
