#include "common/base/error.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for the message and for the rest of the character that the cut may fall into. */
enum { SCRATCH_MAX = ERROR_MESSAGE_MAX + 4 };

static const char *const code_names[] = {
#define X(code, name, text) [code] = (name),
    ERROR_CODES(X)
#undef X
};
static const char *const code_texts[] = {
#define X(code, name, text) [code] = (text),
    ERROR_CODES(X)
#undef X
};
static_assert(ARRAY_LEN(code_names) == ERROR_CODE_COUNT, "every code has a name");

struct errno_code {
    int errnum;
    enum error_code code;
};
static const struct errno_code errno_codes[] = {
    {ENOMEM, ERR_NO_MEMORY},
    {EINVAL, ERR_INVALID},
    {ENOENT, ERR_NOT_FOUND},
    {ENOTDIR, ERR_NOT_FOUND},
    {ESRCH, ERR_NOT_FOUND},
    {EEXIST, ERR_EXISTS},
    {ENOTEMPTY, ERR_EXISTS},
    {E2BIG, ERR_LIMIT},
    {ENAMETOOLONG, ERR_LIMIT},
    {EFBIG, ERR_LIMIT},
    {EMSGSIZE, ERR_LIMIT},
    {ENOSPC, ERR_NO_SPACE},
    {EDQUOT, ERR_NO_SPACE},
    {EACCES, ERR_DENIED},
    {EPERM, ERR_DENIED},
    {EROFS, ERR_DENIED},
    {EBUSY, ERR_BUSY},
    {EAGAIN, ERR_BUSY},
    {ETXTBSY, ERR_BUSY},
    {EMFILE, ERR_BUSY}, /* others of the process, or of the machine, will give some back */
    {ENFILE, ERR_BUSY},
    {EADDRINUSE, ERR_BUSY},
    {ECONNREFUSED, ERR_UNAVAILABLE},
    {ECONNRESET, ERR_UNAVAILABLE},
    {ECONNABORTED, ERR_UNAVAILABLE},
    {ENOTCONN, ERR_UNAVAILABLE},
    {EHOSTUNREACH, ERR_UNAVAILABLE},
    {ENETUNREACH, ERR_UNAVAILABLE},
    {EPIPE, ERR_UNAVAILABLE},
    {EADDRNOTAVAIL, ERR_UNAVAILABLE},
    {ETIMEDOUT, ERR_TIMEOUT},
    {ECANCELED, ERR_CANCELLED},
    {EPROTO, ERR_PROTOCOL},
    {ENOSYS, ERR_UNSUPPORTED},
    {EOPNOTSUPP, ERR_UNSUPPORTED},
};

/* Takes `text` over as the message, cut to fit. `text` is not err->message. */
static void message_store(struct error *err, const char *text)
{
    size_t len = text_utf8_cut(text, strlen(text), ERROR_MESSAGE_MAX - 1);
    memcpy(err->message, text, len);
    err->message[len] = '\0';
}

enum error_code error_set(struct error *err, enum error_code code, const char *fmt, ...)
{
    if (err == NULL)
        return code;
    if (fmt == NULL) {
        message_store(err, code_texts[code]);
    } else {
        /* By way of a scratch buffer, because an argument may be err->message itself. */
        char scratch[SCRATCH_MAX] = "";
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(scratch, sizeof(scratch), fmt, args);
        va_end(args);
        message_store(err, scratch);
    }
    err->code = code;
    return code;
}

/* Appends to a scratch text what fits. */
static void scratch_add(char scratch[SCRATCH_MAX], const char *text)
{
    size_t used = strlen(scratch);
    size_t len = strnlen(text, SCRATCH_MAX - 1 - used);
    memcpy(scratch + used, text, len);
    scratch[used + len] = '\0';
}

enum error_code error_wrap(struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return ERR_INTERNAL;
    char scratch[SCRATCH_MAX] = "";
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(scratch, sizeof(scratch), fmt, args);
    va_end(args);
    scratch_add(scratch, ": ");
    scratch_add(scratch, err->message);
    message_store(err, scratch);
    return err->code;
}

enum error_code error_errno(struct error *err, int errnum, const char *fmt, ...)
{
    enum error_code code = ERR_IO;
    for (size_t i = 0; i < ARRAY_LEN(errno_codes); i++) {
        if (errno_codes[i].errnum == errnum)
            code = errno_codes[i].code;
    }
    if (err == NULL)
        return code;
    char scratch[SCRATCH_MAX] = "";
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(scratch, sizeof(scratch), fmt, args);
    va_end(args);
    const char *reason = strerrordesc_np(errnum);
    scratch_add(scratch, ": ");
    scratch_add(scratch, reason != NULL ? reason : "unknown error");
    message_store(err, scratch);
    err->code = code;
    return code;
}

const char *error_code_name(enum error_code code)
{
    assert((unsigned)code < ERROR_CODE_COUNT);
    return code_names[code];
}
