/* The rules for addresses, and the params of HTTP that no plain field holds. */
#include "handlers/catalog_internal.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    HEADERS_MAX = 64,
    HEADER_VALUE_MAX = 8192,
    STATUSES_MAX = 64,
    STATUS_CLASS = 100,
    REGEX_REPEATS_MAX = 1000
};

const char *const http_method_names[HTTP_METHOD_COUNT] = {
    [HTTP_GET] = "GET",
    [HTTP_HEAD] = "HEAD",
    [HTTP_OPTIONS] = "OPTIONS",
    [HTTP_POST] = "POST",
};

/* ---- Addresses --------------------------------------------------------------------------- */

/* All but what ends a line, a word or an address. */
static bool plain_text(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f)
            return false;
    }
    return true;
}

static bool port_text(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len > 5 || s[strspn(s, "0123456789")] != '\0')
        return false;
    long port = strtol(s, NULL, 10);
    return port >= 1 && port <= UINT16_MAX;
}

/* HOST, HOST:PORT, [IPv6] or [IPv6]:PORT, of that many bytes. */
static bool place_text(const char *s, size_t len)
{
    char text[512];
    if (len == 0 || len >= sizeof(text))
        return false;
    memcpy(text, s, len);
    text[len] = '\0';
    const char *end = text[0] == '[' ? strchr(text, ']') : text + strcspn(text, ":");
    if (!end || end == text || (text[0] == '[' && end == text + 1))
        return false;
    end += text[0] == '[' ? 1 : 0;
    return plain_text(text) && !strpbrk(text, "/?#@\\\"<>") &&
           (*end == '\0' || (*end == ':' && port_text(end + 1)));
}

const char *catalog_check_url(const char *s)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (strncasecmp(s, schemes[i], len) != 0)
            continue;
        if (plain_text(s) && place_text(s + len, strcspn(s + len, "/?#")))
            return NULL;
    }
    return "an http:// or https:// address without a user in it, such as "
           "\"http://localhost:8080/healthz\"";
}

const char *catalog_check_place(const char *s)
{
    return place_text(s, strlen(s)) ? NULL
                                    : "a host, or HOST:PORT, such as \"127.0.0.1:8443\" or "
                                      "\"[::1]:8443\"";
}

const char *catalog_check_host(const char *s)
{
    return plain_text(s) && !strpbrk(s, "/?#@\\\"<>[]")
               ? NULL
               : "a host's name or its address, without a port";
}

/* ---- Regular expressions ----------------------------------------------------------------- */

/* The most that "{2,3}" or the like asks for; 1 where it asks for nothing. */
static unsigned long repeat_most(const char *s)
{
    char *end;
    unsigned long least = strtoul(s + 1, &end, 10);
    unsigned long most = *end == ',' ? strtoul(end + 1, NULL, 10) : 0;
    most = most > least ? most : least;
    return most > 0 ? most : 1;
}

/* Compiling (a{255}){255} and the like takes memory without end. */
static bool repeats_bounded(const char *s)
{
    unsigned long all = 1;
    for (; *s; s++) {
        if (*s == '\\' && s[1] != '\0') {
            s++;
            continue;
        }
        unsigned long most = *s == '{' ? repeat_most(s) : 1;
        if (most > REGEX_REPEATS_MAX || all * most > REGEX_REPEATS_MAX)
            return false;
        all *= most;
    }
    return true;
}

/* They make matching take time without end. */
static bool has_back_reference(const char *s)
{
    for (; *s; s++) {
        if (*s != '\\')
            continue;
        s++;
        if (*s >= '1' && *s <= '9')
            return true;
        if (*s == '\0')
            break;
    }
    return false;
}

const char *catalog_check_regex(const char *s)
{
    regex_t regex;
    if (repeats_bounded(s) && !has_back_reference(s) &&
        regcomp(&regex, s, REG_EXTENDED | REG_NOSUB) == 0) {
        regfree(&regex);
        return NULL;
    }
    return "a POSIX extended regular expression without back references, its repeats multiplied "
           "being at most 1000";
}

/* ---- Statuses ---------------------------------------------------------------------------- */

static bool statuses_empty(const void *field)
{
    const struct http_statuses *statuses = field;
    for (size_t i = 0; i < ARRAY_LEN(statuses->wanted); i++) {
        if (statuses->wanted[i])
            return false;
    }
    return true;
}

bool http_status_wanted(const struct http_statuses *statuses, long status)
{
    if (status < HTTP_STATUS_MIN || status > HTTP_STATUS_MAX)
        return false;
    if (statuses_empty(statuses))
        return status / STATUS_CLASS == 2;
    return statuses->wanted[status - HTTP_STATUS_MIN];
}

/* A number, or all of a class: "2xx". */
static bool status_add(struct http_statuses *statuses, const struct json_value *v)
{
    const char *text = json_string(v);
    if (text) {
        if (text[0] < '1' || text[0] > '5' || strcasecmp(text + 1, "xx") != 0)
            return false;
        for (int i = 0; i < STATUS_CLASS; i++)
            statuses->wanted[(text[0] - '1') * STATUS_CLASS + i] = true;
        return true;
    }
    double number = json_number(v);
    if (json_kind(v) != JSON_IS_NUMBER || number < HTTP_STATUS_MIN || number > HTTP_STATUS_MAX ||
        number != (double)(int)number)
        return false;
    statuses->wanted[(int)number - HTTP_STATUS_MIN] = true;
    return true;
}

static void statuses_decode(const struct json_value *v, const char *path, void *field,
                            struct problems *ps)
{
    struct http_statuses *statuses = field;
    bool list = json_kind(v) == JSON_IS_ARRAY;
    bool good = !list || (json_count(v) > 0 && json_count(v) <= STATUSES_MAX);
    if (!list)
        good = status_add(statuses, v);
    for (const struct json_value *item = list ? json_first(v) : NULL; item && good;
         item = json_next(item))
        good = status_add(statuses, item);
    if (good)
        return;
    *statuses = (struct http_statuses){0};
    problems_add(ps, path,
                 "must be a status from 100 to 599, a class such as \"2xx\", or a list "
                 "of them (at most 64)");
}

/* Whole classes by their names, so that sets of one meaning have one text. */
static void statuses_encode(struct buf *b, const void *field)
{
    const struct http_statuses *statuses = field;
    const char *separator = "";
    buf_putc(b, '[');
    for (int class = 0; class < (int)ARRAY_LEN(statuses->wanted) / STATUS_CLASS; class ++) {
        const bool *wanted = statuses->wanted + (ptrdiff_t) class * STATUS_CLASS;
        int count = 0;
        for (int i = 0; i < STATUS_CLASS; i++)
            count += wanted[i] ? 1 : 0;
        if (count == STATUS_CLASS) {
            buf_printf(b, "%s\"%dxx\"", separator, class + 1);
            separator = ",";
            continue;
        }
        for (int i = 0; i < STATUS_CLASS && count > 0; i++) {
            if (!wanted[i])
                continue;
            buf_printf(b, "%s%d", separator, (class + 1) * STATUS_CLASS + i);
            separator = ",";
        }
    }
    buf_putc(b, ']');
}

#define STATUS_SCHEMA                                                                              \
    "{\"type\":\"integer\",\"minimum\":100,\"maximum\":599},"                                      \
    "{\"type\":\"string\",\"pattern\":\"^[1-5][xX][xX]$\"}"
const struct json_custom catalog_statuses_custom = {
    .decode = statuses_decode,
    .encode = statuses_encode,
    .empty = statuses_empty,
    .schema = "{\"anyOf\":[" STATUS_SCHEMA ",{\"type\":\"array\",\"minItems\":1,\"maxItems\":64,"
              "\"items\":{\"anyOf\":[" STATUS_SCHEMA "]}}]}",
    .size = sizeof(struct http_statuses),
};

int64_t http_redirects_max(const struct http_check_params *params)
{
    enum { BY_ITSELF = 5 };
    if (params->has_max_redirects)
        return params->max_redirects;
    for (long status = 300; status < 400; status++) {
        if (http_status_wanted(&params->expect_status, status))
            return 0;
    }
    return BY_ITSELF;
}

/* ---- Headers ----------------------------------------------------------------------------- */

static bool header_name_good(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                           "!#$%&'*+-.^_`|~");
    return len > 0 && s[len] == '\0';
}

static bool header_value_good(const char *s)
{
    if (!s || strlen(s) > HEADER_VALUE_MAX)
        return false;
    for (; *s; s++) {
        if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
            return false;
    }
    return true;
}

static void headers_release(void *field)
{
    struct array *headers = field;
    for (size_t i = 0; i < headers->count; i++) {
        mem_free(ARRAY_AT(headers, struct http_header, i)->name);
        mem_free(ARRAY_AT(headers, struct http_header, i)->value);
    }
    mem_free(headers->items);
    *headers = (struct array){0};
}

static void headers_fill(const struct json_value *v, const char *path, struct array *headers,
                         struct problems *ps)
{
    for (; v; v = json_next(v)) {
        if (!header_name_good(json_name(v)) || !header_value_good(json_string(v))) {
            problems_add(ps, path,
                         "must have headers' names, and texts of one line and at most "
                         "8192 bytes");
            return;
        }
        struct http_header *header = ARRAY_AT(headers, struct http_header, headers->count++);
        header->name = mem_strdup(json_name(v));
        header->value = mem_strdup(json_string(v));
        if (!header->name || !header->value) {
            ps->total++;
            ps->no_memory = true;
            return;
        }
    }
}

static void headers_decode(const struct json_value *v, const char *path, void *field,
                           struct problems *ps)
{
    struct array *headers = field;
    size_t before = ps->total;
    if (json_kind(v) != JSON_IS_OBJECT || json_count(v) > HEADERS_MAX) {
        problems_add(ps, path,
                     "must be an object of at most %d headers, such as "
                     "{\"Accept\": \"text/plain\"}",
                     HEADERS_MAX);
        return;
    }
    if (json_count(v) == 0)
        return;
    headers->items = mem_array(json_count(v), sizeof(struct http_header));
    if (!headers->items) {
        ps->total++;
        ps->no_memory = true;
        return;
    }
    headers_fill(json_first(v), path, headers, ps);
    if (ps->total != before)
        headers_release(headers);
}

static void headers_encode(struct buf *b, const void *field)
{
    const struct array *headers = field;
    buf_putc(b, '{');
    for (size_t i = 0; i < headers->count; i++) {
        const struct http_header *header = ARRAY_AT(headers, struct http_header, i);
        buf_puts(b, i > 0 ? "," : "");
        json_write_string(b, header->name, strlen(header->name));
        buf_putc(b, ':');
        json_write_string(b, header->value, strlen(header->value));
    }
    buf_putc(b, '}');
}

static bool headers_empty(const void *field)
{
    return ((const struct array *)field)->count == 0;
}

const struct json_custom catalog_headers_custom = {
    .decode = headers_decode,
    .encode = headers_encode,
    .empty = headers_empty,
    .release = headers_release,
    .schema = "{\"type\":\"object\",\"maxProperties\":64,"
              "\"additionalProperties\":{\"type\":\"string\",\"maxLength\":8192}}",
    .size = sizeof(struct array),
};
