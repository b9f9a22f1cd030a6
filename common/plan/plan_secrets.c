#include "common/plan/plan_secrets.h"

#include "common/base/alloc.h"
#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/plan/plan.h"
#include "common/values/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

DEFINE_CLEANUP(json_free, struct json_doc)

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define NAME_RULE "words of letters, digits, _ and -, joined by dots"

/* ---- Tables ------------------------------------------------------------------------------------
 */

static const char *check_env(const char *s)
{
    return s[0] != '\0' && !strchr(DIGITS, s[0]) && s[strspn(s, LETTERS DIGITS "_")] == '\0'
               ? NULL
               : "a variable's name: letters, digits and _, no digit at the start";
}

static const char *check_file(const char *s)
{
    bool plain = s[0] == '/';
    for (; *s; s++)
        plain = plain && (unsigned char)*s >= ' ' && *s != 0x7f;
    return plain ? NULL : "an absolute path, such as \"/etc/kitsune/secrets/token\"";
}

static const struct json_field secret_fields[] = {
    {.name = "env",
     .type = JSON_STRING,
     JSON_AT(struct plan_secret, env),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PLAN_SECRET_ENV_MAX,
     .check = check_env,
     .doc = "A variable of the agent's environment."},
    {.name = "file",
     .type = JSON_STRING,
     JSON_AT(struct plan_secret, file),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PLAN_SECRET_FILE_MAX,
     .check = check_file,
     .doc = "A file on the server."},
};
static const struct json_table secret_table =
    JSON_TABLE("secret", struct plan_secret, secret_fields,
               "Where a server finds the secret: one of the two.");

/* ---- Reading -----------------------------------------------------------------------------------
 */

static bool name_fits(const char *name)
{
    char whole[VALUE_NAME_MAX + 1];
    enum value_space space = SPACE_COUNT;
    int len = snprintf(whole, sizeof(whole), "secrets.%s", name);
    return len > 0 && (size_t)len < sizeof(whole) &&
           value_name_scan(whole, &space) == (size_t)len && space == SPACE_SECRETS;
}

void plan_secrets_done(struct plan_secrets *secrets)
{
    for (size_t i = 0; i < secrets->count; i++) {
        mem_free(secrets->items[i].name);
        json_release(&secret_table, &secrets->items[i]);
    }
    mem_free(secrets->items);
    *secrets = (struct plan_secrets){0};
}

/* What is wrong has its problem. */
static void member_decode(const struct json_value *v, const char *path, struct plan_secret *secret,
                          struct problems *ps)
{
    char at[PROBLEM_PATH_MAX];
    size_t before = ps->total;
    (void)snprintf(at, sizeof(at), "%s.%s", path, json_name(v));
    if (!name_fits(json_name(v))) {
        problems_add(ps, path, "\"%.40s\" is no name: " NAME_RULE, json_name(v));
        return;
    }
    /* The table's struct is zeroed before it is filled in. */
    json_decode(v, &secret_table, at, secret, ps);
    if (ps->total == before && !secret->env == !secret->file)
        problems_add(ps, at,
                     "must say one of the two: {\"env\": \"NAME\"}, a variable of the agent's "
                     "environment, or {\"file\": \"/PATH\"}");
    secret->name = mem_strdup(json_name(v));
    ps->no_memory = ps->no_memory || !secret->name;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct plan_secret *)a)->name, ((const struct plan_secret *)b)->name);
}

static void object_decode(const struct json_value *v, const char *path, struct plan_secrets *ret,
                          struct problems *ps)
{
    size_t before = ps->total;
    if (json_kind(v) != JSON_IS_OBJECT || json_count(v) > PLAN_MAX_SECRETS) {
        problems_add(ps, path,
                     "must be an object of at most %d secrets, such as {\"token\": {\"file\": "
                     "\"/etc/kitsune/secrets/token\"}}",
                     (int)PLAN_MAX_SECRETS);
        return;
    }
    ret->items = mem_array(json_count(v), sizeof(*ret->items));
    ps->no_memory = ps->no_memory || !ret->items;
    for (const struct json_value *c = json_first(v); c && !ps->no_memory; c = json_next(c)) {
        if (json_kind(c) != JSON_IS_NULL)
            member_decode(c, path, &ret->items[ret->count++], ps);
    }
    if (ps->total == before && !ps->no_memory)
        qsort(ret->items, ret->count, sizeof(*ret->items), by_name);
}

enum error_code plan_secrets_read(const char *text, struct plan_secrets *ret, struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    AUTO_SECRETS struct plan_secrets secrets = {0};
    struct problems ps = {0};
    *ret = (struct plan_secrets){0};
    if (!text)
        return ERR_OK;
    enum error_code code = json_parse(text, strlen(text), PLAN_MAX_BYTES, &doc, err);
    if (code != ERR_OK)
        return code;
    object_decode(json_root(doc), "secrets", &secrets, &ps);
    code = problems_check(&ps, err);
    problems_done(&ps);
    if (code != ERR_OK)
        return code;
    *ret = secrets;
    secrets = (struct plan_secrets){0};
    return ERR_OK;
}

const struct plan_secret *plan_secrets_find(const struct plan_secrets *secrets, const char *name)
{
    for (size_t i = 0; i < secrets->count; i++) {
        if (strcmp(secrets->items[i].name, name) == 0)
            return &secrets->items[i];
    }
    return NULL;
}

/* ---- As a field --------------------------------------------------------------------------------
 */

static void secrets_write(const struct plan_secrets *secrets, struct buf *b)
{
    buf_putc(b, '{');
    for (size_t i = 0; i < secrets->count; i++) {
        const struct plan_secret *secret = &secrets->items[i];
        buf_puts(b, i > 0 ? "," : "");
        json_write_string(b, secret->name, strlen(secret->name));
        buf_putc(b, ':');
        json_encode(b, &secret_table, secret);
    }
    buf_putc(b, '}');
}

static void field_decode(const struct json_value *v, const char *path, void *field,
                         struct problems *ps)
{
    AUTO_SECRETS struct plan_secrets secrets = {0};
    AUTO_BUF struct buf text = BUF_INIT;
    size_t before = ps->total;
    object_decode(v, path, &secrets, ps);
    if (ps->total != before || ps->no_memory || secrets.count == 0)
        return;
    secrets_write(&secrets, &text);
    *(char **)field = buf_take(&text, NULL);
    ps->no_memory = *(char **)field == NULL;
}

static void field_encode(struct buf *b, const void *field)
{
    const char *text = *(char *const *)field;
    buf_puts(b, text ? text : "{}");
}

static bool field_empty(const void *field)
{
    return *(char *const *)field == NULL;
}

static void field_release(void *field)
{
    mem_free(*(char **)field);
}

const struct json_custom plan_secrets_custom = {
    .decode = field_decode,
    .encode = field_encode,
    .empty = field_empty,
    .release = field_release,
    .schema =
        "{\"type\":\"object\",\"maxProperties\":64,"
        "\"propertyNames\":{\"pattern\":\"^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$\"},"
        "\"additionalProperties\":{\"oneOf\":["
        "{\"type\":\"object\",\"properties\":{\"env\":{\"type\":\"string\",\"maxLength\":255,"
        "\"pattern\":\"^[A-Za-z_][A-Za-z0-9_]*$\"}},\"required\":[\"env\"],"
        "\"additionalProperties\":false},"
        "{\"type\":\"object\",\"properties\":{\"file\":{\"type\":\"string\",\"maxLength\":4095,"
        "\"pattern\":\"^/\"}},\"required\":[\"file\"],\"additionalProperties\":false}]}}",
    .size = sizeof(char *),
};
