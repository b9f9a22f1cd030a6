#include "common/values/value_set.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <string.h>

struct entry {
    char *name;
    struct value value; /* its texts and items are in `owned` */
    void *owned;
    size_t bytes; /* counted against VALUE_SET_BYTES_MAX */
};

struct value_set {
    struct entry *entries; /* by name */
    size_t count, capacity, bytes;
};

/* ---- One value ---------------------------------------------------------------------------------
 */

static void entry_done(struct entry *e)
{
    mem_free(e->name);
    mem_free(e->owned);
}

static enum error_code text_count(const struct value *v, size_t *bytes, struct error *err)
{
    size_t len = v->kind == VALUE_TEXT ? strlen(v->text) + 1 : 0;
    if (len > (size_t)VALUE_TEXT_MAX + 1)
        return error_set(err, ERR_LIMIT, "a text of more than %d bytes", VALUE_TEXT_MAX);
    *bytes += len;
    return ERR_OK;
}

/* The bytes of its texts, with a NUL each. */
static enum error_code value_count(const struct value *v, size_t *ret_bytes, struct error *err)
{
    size_t bytes = 0;
    enum error_code code = text_count(v, &bytes, err);
    if (v->kind == VALUE_LIST && v->count > VALUE_LIST_MAX)
        return error_set(err, ERR_LIMIT, "a list of more than %d items", VALUE_LIST_MAX);
    for (size_t i = 0; v->kind == VALUE_LIST && i < v->count && code == ERR_OK; i++) {
        if (v->items[i].kind == VALUE_LIST)
            return error_set(err, ERR_INVALID, "a list in a list");
        code = text_count(&v->items[i], &bytes, err);
    }
    if (code == ERR_OK)
        *ret_bytes = bytes;
    return code;
}

/* A value without items, its text copied to *texts. */
static struct value scalar_copy(const struct value *from, char **texts)
{
    struct value v = {.kind = from->kind, .number = from->number, .yes = from->yes};
    if (from->kind == VALUE_TEXT) {
        size_t len = strlen(from->text) + 1;
        v.text = memcpy(*texts, from->text, len);
        *texts += len;
    }
    return v;
}

static enum error_code entry_fill(struct entry *e, const struct value *from, struct error *err)
{
    size_t texts_bytes = 0;
    size_t count = from->kind == VALUE_LIST ? from->count : 0;
    enum error_code code = value_count(from, &texts_bytes, err);
    if (code != ERR_OK)
        return code;
    struct value *items = mem_zalloc(count * sizeof(*items) + texts_bytes + 1);
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    char *texts = (char *)(items + count);
    e->owned = items;
    e->bytes += count * sizeof(*items) + texts_bytes;
    if (from->kind != VALUE_LIST) {
        e->value = scalar_copy(from, &texts);
        return ERR_OK;
    }
    for (size_t i = 0; i < count; i++)
        items[i] = scalar_copy(&from->items[i], &texts);
    e->value = (struct value){.kind = VALUE_LIST, .items = items, .count = count};
    return ERR_OK;
}

/* ---- The set -----------------------------------------------------------------------------------
 */

enum error_code value_set_new(struct value_set **ret_set, struct error *err)
{
    struct value_set *set = MEM_NEW(struct value_set);
    if (!set)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ret_set = set;
    return ERR_OK;
}

void value_set_free(struct value_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++)
        entry_done(&set->entries[i]);
    mem_free(set->entries);
    mem_free(set);
}

/* Where the name is, or would be. */
static bool set_search(const struct value_set *set, const char *name, size_t *ret_at)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(set->entries[middle].name, name);
        if (order == 0) {
            *ret_at = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_at = low;
    return false;
}

/* The name has the form that it can be asked for by: as a fact. */
static bool name_valid(const char *name)
{
    static const char space[] = "facts.";
    char text[VALUE_NAME_MAX + 1];
    size_t len = strlen(name);
    if (len == 0 || len > VALUE_NAME_MAX - sizeof(space) + 1)
        return false;
    memcpy(text, space, sizeof(space) - 1);
    memcpy(text + sizeof(space) - 1, name, len + 1);
    return value_name_scan(text, NULL) == len + sizeof(space) - 1;
}

static enum error_code set_grow(struct value_set *set, struct error *err)
{
    if (set->count < set->capacity)
        return ERR_OK;
    size_t capacity = set->capacity ? set->capacity * 2 : 16;
    struct entry *entries = mem_realloc(set->entries, capacity * sizeof(*entries));
    if (!entries)
        return error_set(err, ERR_NO_MEMORY, NULL);
    set->entries = entries;
    set->capacity = capacity;
    return ERR_OK;
}

/* Takes the entry over on success only. */
static enum error_code set_place(struct value_set *set, const struct entry *e, struct error *err)
{
    size_t at = 0;
    bool known = set_search(set, e->name, &at);
    size_t freed = known ? set->entries[at].bytes : 0;
    if (!known && set->count == VALUE_SET_MAX)
        return error_set(err, ERR_LIMIT, "more than %d values", VALUE_SET_MAX);
    if (set->bytes - freed + e->bytes > VALUE_SET_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "values of more than %d bytes together",
                         VALUE_SET_BYTES_MAX);
    enum error_code code = known ? ERR_OK : set_grow(set, err);
    if (code != ERR_OK)
        return code;
    if (known) {
        entry_done(&set->entries[at]);
    } else {
        memmove(&set->entries[at + 1], &set->entries[at],
                (set->count - at) * sizeof(*set->entries));
        set->count++;
    }
    set->entries[at] = *e;
    set->bytes += e->bytes - freed;
    return ERR_OK;
}

enum error_code value_set_put(struct value_set *set, const char *name, const struct value *value,
                              struct error *err)
{
    if (!name_valid(name))
        return error_set(err, ERR_INVALID,
                         "\"%.100s\" is no name: words of letters, digits, _ and -, joined by dots",
                         name);
    struct entry e = {.name = mem_strdup(name), .bytes = strlen(name)};
    enum error_code code = e.name ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
    if (code == ERR_OK)
        code = entry_fill(&e, value, err);
    if (code == ERR_OK)
        code = set_place(set, &e, err);
    if (code != ERR_OK)
        entry_done(&e);
    return code;
}

enum error_code value_set_put_text(struct value_set *set, const char *name, const char *text,
                                   struct error *err)
{
    const struct value v = {.kind = VALUE_TEXT, .text = text};
    return value_set_put(set, name, &v, err);
}

enum error_code value_set_put_number(struct value_set *set, const char *name, double number,
                                     struct error *err)
{
    const struct value v = {.kind = VALUE_NUMBER, .number = number};
    return value_set_put(set, name, &v, err);
}

bool value_set_find(const struct value_set *set, const char *name, struct value *ret_value)
{
    size_t at = 0;
    if (!set_search(set, name, &at))
        return false;
    *ret_value = set->entries[at].value;
    return true;
}

size_t value_set_count(const struct value_set *set)
{
    return set->count;
}

const char *value_set_at(const struct value_set *set, size_t i, struct value *ret_value)
{
    assert(i < set->count);
    *ret_value = set->entries[i].value;
    return set->entries[i].name;
}
