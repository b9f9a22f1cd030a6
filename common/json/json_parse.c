#include "common/json/json_internal.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_MIN = 16 * 1024,
    STRING_EXTRA = 16, /* what cJSON and alignment may add to a string's bytes */
    PAIRWISE_MAX = 16  /* members that are compared each with each */
};

/* A document's values lie in chunks that are freed together. The first is made large enough for all
 * of them, so that a document costs one allocation; the others are for when it was not. */
struct chunk {
    struct chunk *next;
    size_t used, size; /* of bytes */
    alignas(max_align_t) unsigned char bytes[];
};

struct json_doc {
    struct chunk *chunks; /* the newest first; the oldest holds this struct */
    cJSON *root;
    bool no_memory;
};

/* cJSON's hooks take no context: the document under construction on this thread. */
static _Thread_local struct json_doc *current_doc;

static struct chunk *chunk_new(size_t size)
{
    struct chunk *c = mem_alloc(sizeof(*c) + size);
    if (c == NULL)
        return NULL;
    c->next = NULL;
    c->used = 0;
    c->size = size;
    return c;
}

static size_t aligned(size_t size)
{
    return (size + alignof(cJSON) - 1) / alignof(cJSON) * alignof(cJSON);
}

static void *chunk_take(struct chunk *c, size_t size)
{
    void *p = c->bytes + c->used;
    c->used += size;
    return p;
}

static void *hook_alloc(size_t size)
{
    struct json_doc *doc = current_doc;
    size = aligned(size);
    if (size > doc->chunks->size - doc->chunks->used) {
        struct chunk *c = chunk_new(size > CHUNK_MIN ? size : CHUNK_MIN);
        if (c == NULL) {
            doc->no_memory = true;
            return NULL;
        }
        c->next = doc->chunks;
        doc->chunks = c;
    }
    return chunk_take(doc->chunks, size);
}

/* What cJSON gives back goes with the whole document. */
static void hook_free(void *p)
{
    (void)p;
}

static void hooks_install(void)
{
    cJSON_Hooks hooks = {.malloc_fn = hook_alloc, .free_fn = hook_free};
    cJSON_InitHooks(&hooks);
}

void json_free(struct json_doc *doc)
{
    if (doc == NULL)
        return;
    struct chunk *c = doc->chunks;
    while (c != NULL) {
        struct chunk *next = c->next;
        mem_free(c);
        c = next;
    }
}
DEFINE_CLEANUP(json_free, struct json_doc)

static struct json_doc *doc_new(const struct json_scan *s)
{
    size_t size = aligned(sizeof(struct json_doc)) + s->values * aligned(sizeof(cJSON)) +
                  s->string_bytes + s->strings * STRING_EXTRA;
    struct chunk *c = chunk_new(size);
    if (c == NULL)
        return NULL;
    struct json_doc *doc = chunk_take(c, aligned(sizeof(*doc)));
    *doc = (struct json_doc){.chunks = c};
    return doc;
}

/* ---- Faults that show in the values ---------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    const cJSON *const *left = a;
    const cJSON *const *right = b;
    int order = strcmp((*left)->string, (*right)->string);
    if (order != 0)
        return order;
    /* Of two with one name, the one that comes first: nodes are handed out in the text's order
     * within a chunk, and for a message any order will do. */
    return (*left > *right) - (*left < *right);
}

/* A member whose name was there before, by sorting: a document may be one object of a million. */
static enum error_code find_duplicate_sorted(const cJSON *object, size_t count,
                                             const cJSON **ret_member)
{
    AUTO_FREE const cJSON **members = mem_array(count, sizeof(const cJSON *));
    if (members == NULL)
        return ERR_NO_MEMORY;
    size_t i = 0;
    for (const cJSON *m = object->child; m != NULL; m = m->next)
        members[i++] = m;
    qsort(members, count, sizeof(const cJSON *), compare_names);
    for (i = 1; i < count; i++) {
        if (strcmp(members[i - 1]->string, members[i]->string) == 0) {
            *ret_member = members[i];
            break;
        }
    }
    return ERR_OK;
}

static const cJSON *find_duplicate_pairwise(const cJSON *object)
{
    for (const cJSON *m = object->child; m != NULL; m = m->next) {
        for (const cJSON *before = object->child; before != m; before = before->next) {
            if (before->string[0] == m->string[0] && strcmp(before->string, m->string) == 0)
                return m;
        }
    }
    return NULL;
}

/* Sets *ret_value to the first number that is not finite or member whose name was there before. */
static enum error_code find_fault(const cJSON *v, const cJSON **ret_value)
{
    if (json_node_is(v, cJSON_Number)) {
        if (!isfinite(v->valuedouble))
            *ret_value = v;
        return ERR_OK;
    }
    size_t count = 0;
    for (const cJSON *child = v->child; child != NULL; child = child->next) {
        count++;
        enum error_code code = find_fault(child, ret_value);
        if (code != ERR_OK || *ret_value != NULL)
            return code;
    }
    if (!json_node_is(v, cJSON_Object))
        return ERR_OK;
    if (count > PAIRWISE_MAX)
        return find_duplicate_sorted(v, count, ret_value);
    *ret_value = find_duplicate_pairwise(v);
    return ERR_OK;
}

/* Counts the values up to `wanted`, in order of appearance. True when it was met. */
static bool number_of(const cJSON *v, const cJSON *wanted, size_t *number)
{
    if (v == wanted)
        return true;
    (*number)++;
    for (const cJSON *child = v->child; child != NULL; child = child->next) {
        if (number_of(child, wanted, number))
            return true;
    }
    return false;
}

/* ---- Messages -------------------------------------------------------------------------------- */

static enum error_code fault_at(const struct json_scan *s, size_t pos, enum error_code code,
                                const char *what, struct error *err)
{
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < pos; i++) {
        if (s->text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)s->text[i] & 0xC0) != 0x80) {
            column++; /* once per character, at its first byte */
        }
    }
    return error_set(err, code, "line %zu, column %zu: %s", line, column, what);
}

/* The values carry no positions; the text is scanned again for the one that is at fault. */
static enum error_code value_fault(const struct json_doc *doc, const struct json_scan *scanned,
                                   const cJSON *value, struct error *err)
{
    struct json_scan s = {.text = scanned->text, .len = scanned->len};
    (void)number_of(doc->root, value, &s.wanted);
    bool scanned_again = json_scan(&s);
    assert(scanned_again);
    if (json_node_is(value, cJSON_Number) && !isfinite(value->valuedouble))
        return fault_at(&s, s.found_value, ERR_INVALID, "a number that is too large", err);
    char name[JSON_EXCERPT_MAX];
    char what[JSON_EXCERPT_MAX + 32] = "a member is there twice: ";
    json_excerpt(value->string, name);
    memcpy(what + strlen(what), name, strlen(name) + 1);
    return fault_at(&s, s.found_name, ERR_INVALID, what, err);
}

/* ---- Parsing --------------------------------------------------------------------------------- */

enum error_code json_parse(const char *text, size_t len, size_t max_bytes,
                           struct json_doc **ret_doc, struct error *err)
{
    static pthread_once_t hooks_once = PTHREAD_ONCE_INIT;
    if (len > max_bytes)
        return error_set(err, ERR_LIMIT, "a text of %zu bytes, more than the %zu that are taken",
                         len, max_bytes);
    /* cJSON passes over much that is not JSON, so it gets to see only what is. */
    struct json_scan s = {.text = text, .len = len, .wanted = SIZE_MAX};
    if (!json_scan(&s))
        return fault_at(&s, s.pos, s.code, s.fault, err);

    int rc = pthread_once(&hooks_once, hooks_install);
    assert(rc == 0);
    AUTO(json_free) struct json_doc *doc = doc_new(&s);
    if (doc == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    assert(current_doc == NULL);
    current_doc = doc;
    doc->root = cJSON_ParseWithLengthOpts(text, len, NULL, 0);
    current_doc = NULL;
    if (doc->root == NULL && doc->no_memory)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (doc->root == NULL)
        return error_set(err, ERR_INVALID, "the text is not JSON");

    const cJSON *faulty = NULL;
    enum error_code code = find_fault(doc->root, &faulty);
    if (code != ERR_OK)
        return error_set(err, code, NULL);
    if (faulty != NULL)
        return value_fault(doc, &s, faulty, err);
    *ret_doc = TAKE(doc);
    return ERR_OK;
}

/* ---- Values ---------------------------------------------------------------------------------- */

const struct json_value *json_root(const struct json_doc *doc)
{
    return json_value_of(doc->root);
}

enum json_kind json_kind(const struct json_value *v)
{
    switch (json_node(v)->type & 0xFF) {
    case cJSON_False:
    case cJSON_True:
        return JSON_IS_BOOL;
    case cJSON_Number:
        return JSON_IS_NUMBER;
    case cJSON_String:
        return JSON_IS_STRING;
    case cJSON_Array:
        return JSON_IS_ARRAY;
    case cJSON_Object:
        return JSON_IS_OBJECT;
    default:
        return JSON_IS_NULL;
    }
}

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = {
        [JSON_IS_NULL] = "null",       [JSON_IS_BOOL] = "a boolean", [JSON_IS_NUMBER] = "a number",
        [JSON_IS_STRING] = "a string", [JSON_IS_ARRAY] = "an array", [JSON_IS_OBJECT] = "an object",
    };
    assert((unsigned)kind < ARRAY_LEN(names));
    return names[kind];
}

bool json_bool(const struct json_value *v)
{
    return json_node_is(json_node(v), cJSON_True);
}

double json_number(const struct json_value *v)
{
    return json_node_is(json_node(v), cJSON_Number) ? json_node(v)->valuedouble : 0;
}

const char *json_string(const struct json_value *v)
{
    return json_node_is(json_node(v), cJSON_String) ? json_node(v)->valuestring : NULL;
}

size_t json_count(const struct json_value *v)
{
    size_t count = 0;
    for (const cJSON *child = json_node(v)->child; child != NULL; child = child->next)
        count++;
    return count;
}

const struct json_value *json_first(const struct json_value *v)
{
    return json_value_of(json_node(v)->child);
}

const struct json_value *json_next(const struct json_value *v)
{
    return json_value_of(json_node(v)->next);
}

const char *json_name(const struct json_value *v)
{
    return json_node(v)->string;
}

const struct json_value *json_get(const struct json_value *object, const char *name)
{
    const cJSON *v = json_node(object);
    if (!json_node_is(v, cJSON_Object))
        return NULL;
    for (const cJSON *member = v->child; member != NULL; member = member->next) {
        if (strcmp(member->string, name) == 0)
            return json_value_of(member);
    }
    return NULL;
}
