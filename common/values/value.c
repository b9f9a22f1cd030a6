#include "common/values/value.h"

#include <assert.h>
#include <string.h>

const char *const value_kind_names[VALUE_KIND_COUNT] = {
#define X(value, name) [value] = (name),
    VALUE_KINDS(X)
#undef X
};

/* A word that stands for any. */
#define ANY NULL

/* The forms that a name can have, word by word; `more`: any number of further words. */
static const struct {
    enum value_space space;
    const char *words[4];
    size_t count;
    bool more;
} forms[] = {
    {SPACE_SERVER, {"server", "id"}, 2, false},
    {SPACE_SERVER, {"server", "labels", ANY}, 3, false},
    {SPACE_FACTS, {"facts", ANY}, 2, true},
    {SPACE_VARS, {"vars", ANY}, 2, true},
    {SPACE_STEPS, {"steps", ANY, "outputs", ANY}, 4, false},
    {SPACE_SECRETS, {"secrets", ANY}, 2, true},
};

static const char *const remedies[SPACE_COUNT] = {
    [SPACE_SERVER] = "its agent has no such label (--label NAME=VALUE)",
    [SPACE_FACTS] = "its agent reports no such fact",
    [SPACE_VARS] = "the plan has no such variable (\"vars\")",
    [SPACE_STEPS] = "no earlier step has put it out",
    [SPACE_SECRETS] = "the plan has no such secret (\"secrets\")",
};

static bool word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static size_t word_len(const char *s)
{
    size_t len = 0;
    while (word_byte(s[len]))
        len++;
    return len;
}

/* The bytes of `s` that have the form, 0: it has not. A dot that no word follows is not of the
 * name. */
static size_t form_match(size_t form, const char *s)
{
    size_t at = 0;
    for (size_t i = 0;; i++) {
        size_t dot = i == 0 ? 0 : 1;
        if ((dot == 1 && s[at] != '.') || word_len(s + at + dot) == 0)
            return i < forms[form].count ? 0 : at;
        size_t len = word_len(s + at + dot);
        const char *wanted = i < forms[form].count ? forms[form].words[i] : ANY;
        if (wanted != ANY && (strlen(wanted) != len || memcmp(wanted, s + at + dot, len) != 0))
            return 0;
        if (i >= forms[form].count && !forms[form].more)
            return 0;
        at += dot + len;
    }
}

size_t value_name_scan(const char *s, enum value_space *ret_space)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        size_t len = form_match(i, s);
        if (len == 0 || len > VALUE_NAME_MAX)
            continue;
        if (ret_space)
            *ret_space = forms[i].space;
        return len;
    }
    return 0;
}

enum error_code value_find(const struct value_scope *scope, const char *name, size_t len,
                           struct value *ret_value, struct error *err)
{
    char text[VALUE_NAME_MAX + 1];
    enum value_space space = SPACE_SERVER;
    assert(len <= VALUE_NAME_MAX);
    memcpy(text, name, len);
    text[len] = '\0';
    if (scope->find(scope->ctx, text, ret_value))
        return ERR_OK;
    (void)value_name_scan(text, &space);
    return error_set(err, ERR_NOT_FOUND, "%.100s is not defined: %s", text, remedies[space]);
}
