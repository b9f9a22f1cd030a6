/*
 * api_doc_internal: the rows that the tables of documents are made of.
 *
 * What this program answers is always there in full, so the fields that are always written are
 * required; the tables are open, so that an older CLI reads a newer server.
 */
#pragma once

#include "common/values/value_json.h"
#include "orchestrator/api/api_doc.h"

#define COUNT_MAX ((double)JSON_INT_MAX)

#define TEXT(name_, struct_, member_, doc_)                                                        \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(struct_, member_), .flags = JSON_REQUIRED,   \
        .doc = (doc_)                                                                              \
    }
#define TEXT_MAYBE(name_, struct_, member_, doc_)                                                  \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(struct_, member_), .flags = JSON_OMIT_EMPTY, \
        .doc = (doc_)                                                                              \
    }
/* A set of values as JSON text. */
#define VALUES(name_, struct_, member_, doc_)                                                      \
    {                                                                                              \
        .name = (name_), .type = JSON_CUSTOM, JSON_AT(struct_, member_), .flags = JSON_OMIT_EMPTY, \
        .custom = &value_set_custom, .doc = (doc_)                                                 \
    }
#define COUNT(name_, struct_, member_, doc_)                                                       \
    {                                                                                              \
        .name = (name_), .type = JSON_INT, JSON_AT(struct_, member_), .flags = JSON_REQUIRED,      \
        .min = 0, .max = COUNT_MAX, .doc = (doc_)                                                  \
    }
#define COUNT_MAYBE(name_, struct_, member_, doc_)                                                 \
    {                                                                                              \
        .name = (name_), .type = JSON_INT, JSON_AT(struct_, member_), .flags = JSON_OMIT_EMPTY,    \
        .min = 0, .max = COUNT_MAX, .doc = (doc_)                                                  \
    }
#define FLAG(name_, struct_, member_, doc_)                                                        \
    {                                                                                              \
        .name = (name_), .type = JSON_BOOL, JSON_AT(struct_, member_), .flags = JSON_REQUIRED,     \
        .doc = (doc_)                                                                              \
    }
#define FLAG_MAYBE(name_, struct_, member_, doc_)                                                  \
    {                                                                                              \
        .name = (name_), .type = JSON_BOOL, JSON_AT(struct_, member_), .flags = JSON_OMIT_EMPTY,   \
        .doc = (doc_)                                                                              \
    }
#define STATE(name_, struct_, member_, values_, doc_)                                              \
    {                                                                                              \
        .name = (name_), .type = JSON_ENUM, JSON_AT(struct_, member_), .flags = JSON_REQUIRED,     \
        .values = &(values_), .doc = (doc_)                                                        \
    }
#define LIST(name_, struct_, member_, item_, doc_)                                                 \
    {                                                                                              \
        .name = (name_), .type = JSON_ARRAY, JSON_AT(struct_, member_), .flags = JSON_REQUIRED,    \
        .item = &(item_), .doc = (doc_)                                                            \
    }
#define LIST_MAYBE(name_, struct_, member_, item_, doc_)                                           \
    {                                                                                              \
        .name = (name_), .type = JSON_ARRAY, JSON_AT(struct_, member_), .flags = JSON_OMIT_EMPTY,  \
        .item = &(item_), .doc = (doc_)                                                            \
    }
#define OF_TABLE(table_)                                                                           \
    {                                                                                              \
        .type = JSON_OBJECT, .table = &(table_)                                                    \
    }
