#include "common/base/log.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    /* A write of up to PIPE_BUF bytes into a pipe is not mixed with others. */
    LINE_MAX_BYTES = PIPE_BUF,
    /* Kept back for the marks that close a line whose value was cut: ..."}\n */
    LINE_RESERVE = 8
};
static_assert(LINE_MAX_BYTES >= 1024, "a line holds what is worth saying");

/* A line under construction, on the stack: logging works when memory is out. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
    bool full; /* something did not fit: nothing more is put but the closing marks */
};

/* Process-wide by contract; atomic, because any thread may log. */
static atomic_int current_format = LOG_LOGFMT;
static atomic_int current_level = LOG_INFO;

static const char *const format_names[] = {[LOG_LOGFMT] = "logfmt", [LOG_JSON] = "json"};
static const char *const level_names[] = {
#define X(level, name) [level] = (name),
    LOG_LEVELS(X)
#undef X
};

void log_setup(enum log_format format, enum log_level level)
{
    atomic_store(&current_format, (int)format);
    atomic_store(&current_level, (int)level);
}

bool log_format_parse(const char *name, enum log_format *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(format_names); i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *ret = (enum log_format)i;
            return true;
        }
    }
    return false;
}

bool log_level_parse(const char *name, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* All of `bytes` or nothing. */
static void line_put(struct line *l, const char *bytes, size_t len)
{
    if (l->full || len > sizeof(l->text) - LINE_RESERVE - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->text + l->len, bytes, len);
    l->len += len;
}

static void line_puts(struct line *l, const char *s)
{
    line_put(l, s, strlen(s));
}

/* Closing marks, out of the reserve. */
static void line_close(struct line *l, const char *marks)
{
    size_t len = strlen(marks);
    assert(len <= sizeof(l->text) - l->len);
    memcpy(l->text + l->len, marks, len);
    l->len += len;
}

/* Puts a text as it may stand between quotes. */
static void line_put_escaped(struct line *l, const char *text)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len && !l->full;) {
        bool valid;
        size_t next = text_utf8_next(text + at, len - at, &valid);
        char escaped[TEXT_ESCAPE_MAX];
        size_t escaped_len = valid ? text_escape(text + at, next, escaped) : 0;
        if (!valid)
            line_puts(l, TEXT_REPLACEMENT);
        else if (escaped_len > 0)
            line_put(l, escaped, escaped_len);
        else
            line_put(l, text + at, next);
        at += next;
    }
}

/* True when a logfmt value reads unambiguously without quotes. */
static bool is_bare(const char *text)
{
    if (*text == '\0')
        return false;
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c <= ' ' || c >= 0x7F || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return true;
}

static void line_put_text(struct line *l, enum log_format format, const char *text)
{
    if (format == LOG_LOGFMT && is_bare(text)) {
        line_put_escaped(l, text);
        if (l->full)
            line_close(l, "...");
        return;
    }
    line_puts(l, "\"");
    if (l->full)
        return;
    line_put_escaped(l, text);
    line_close(l, l->full ? "...\"" : "\"");
}

/* A field that does not fit is left out, a text that does not fit is cut: the line stays
 * well-formed. */
static void line_put_field(struct line *l, enum log_format format, const struct log_field *field)
{
    if (l->full)
        return;
    size_t before = l->len;
    const char *quote = format == LOG_JSON ? "\"" : "";
    if (l->len > 1)
        line_puts(l, format == LOG_JSON ? "," : " ");
    line_puts(l, quote);
    line_puts(l, field->key);
    line_puts(l, quote);
    line_puts(l, format == LOG_JSON ? ":" : "=");
    if (l->full) {
        l->len = before;
        return;
    }
    size_t value_at = l->len;
    switch (field->kind) {
    case LOG_KIND_STR:
        line_put_text(l, format, field->text != NULL ? field->text : "");
        break;
    case LOG_KIND_INT: {
        char number[24];
        int len = snprintf(number, sizeof(number), "%lld", (long long)field->number);
        line_put(l, number, (size_t)len);
        break;
    }
    case LOG_KIND_END:
        break;
    }
    if (l->full && l->len == value_at)
        l->len = before;
}

static void line_write(struct line *l)
{
    line_close(l, "\n");
    ssize_t n;
    do {
        n = write(STDERR_FILENO, l->text, l->len);
    } while (n < 0 && errno == EINTR);
    /* There is nobody left to tell when standard error cannot be written. */
}

void log_line(enum log_level level, const char *message, ...)
{
    if ((int)level < atomic_load(&current_level))
        return;
    int saved_errno = errno;
    enum log_format format = (enum log_format)atomic_load(&current_format);
    char when[CLOCK_TEXT_MAX];
    clock_format(clock_wall_ms(), when);

    struct line l;
    l.len = 0;
    l.full = false;
    if (format == LOG_JSON)
        line_puts(&l, "{");
    line_put_field(&l, format, &LOG_STR("ts", when));
    line_put_field(&l, format, &LOG_STR("level", level_names[level]));
    line_put_field(&l, format, &LOG_STR("msg", message));
    va_list fields;
    va_start(fields, message);
    for (;;) {
        struct log_field field = va_arg(fields, struct log_field);
        if (field.kind == LOG_KIND_END)
            break;
        line_put_field(&l, format, &field);
    }
    va_end(fields);
    if (format == LOG_JSON)
        line_close(&l, "}");
    line_write(&l);
    errno = saved_errno;
}

void log_ready(const char *text)
{
    struct line l;
    l.len = 0;
    l.full = false;
    line_puts(&l, "ready ");
    line_put_escaped(&l, text);
    line_write(&l);
}
