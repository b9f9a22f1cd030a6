/* archive: what unpacking and packing share. */
#include "handlers/archive_internal.h"

#include "common/base/text.h"

#include <errno.h>
#include <string.h>

struct archive_locale archive_locale_begin(void)
{
    struct archive_locale l = {.utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0)};
    if (l.utf8 != (locale_t)0)
        l.before = uselocale(l.utf8);
    return l;
}

void archive_locale_end(struct archive_locale *l)
{
    if (l->utf8 == (locale_t)0)
        return;
    (void)uselocale(l->before);
    freelocale(l->utf8);
    *l = (struct archive_locale){0};
}

enum error_code archive_say(struct archive *a, enum error_code code, const char *what,
                            struct error *err)
{
    const char *said = archive_error_string(a);
    int errnum = archive_errno(a);
    if (errnum == ECANCELED)
        return error_set(err, ERR_CANCELLED, NULL);
    if (errnum == ENOMEM)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (errnum == EIO || errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
        return error_errno(err, errnum, "%s", what);
    return error_set(err, code, "%s: %s", what, said ? said : "no reason is known");
}

const char *archive_name_shown(const char *name)
{
    size_t len = strlen(name);
    if (len <= ARCHIVE_NAME_SHOWN)
        return name;
    name += len - ARCHIVE_NAME_SHOWN;
    while ((*name & 0xC0) == 0x80) /* not from within a character */
        name++;
    return name;
}
