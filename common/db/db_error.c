#include "common/db/db_internal.h"

#include <errno.h>
#include <string.h>

/* A device or a quota that is full; both are cured by making room, not by repair. */
static bool errno_is_space(int errnum)
{
    return errnum == ENOSPC || errnum == EDQUOT;
}

static enum error_code code_of_io(int result, int errnum)
{
    switch (result) {
    case SQLITE_IOERR_NOMEM:
        return ERR_NO_MEMORY;
    case SQLITE_IOERR_CORRUPTFS:
        return ERR_CORRUPT;
    case SQLITE_IOERR_BLOCKED:
        return ERR_BUSY;
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
        /* Whatever errno says: after a failed fsync the kernel may have dropped the pages, so it
         * must not look like something that trying again would mend. */
        return ERR_IO;
    default:
        if (errnum == EROFS)
            return ERR_DENIED;
        return errno_is_space(errnum) ? ERR_NO_SPACE : ERR_IO;
    }
}

static enum error_code code_of(int result, int errnum)
{
    switch (result & 0xff) {
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_IOERR:
        return code_of_io(result, errnum);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return ERR_BUSY;
    case SQLITE_READONLY:
        /* Another file stands where this one was: what is written here is lost, now and later. */
        return result == SQLITE_READONLY_DBMOVED ? ERR_IO : ERR_DENIED;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_DENIED;
    case SQLITE_CONSTRAINT:
        return ERR_CONFLICT;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    case SQLITE_INTERRUPT:
        return ERR_CANCELLED;
    default:
        return ERR_INTERNAL;
    }
}

enum error_code db_fail(const struct db *db, struct error *err)
{
    int errnum = errno;
    int result = sqlite3_extended_errcode(db->handle);
    const char *message = sqlite3_errmsg(db->handle);
    const char *reason = errnum == 0 ? NULL : strerrordesc_np(errnum);
    if ((result & 0xff) == SQLITE_IOERR && reason != NULL)
        return error_set(err, code_of(result, errnum), "%s: %s: %s", db->path, message, reason);
    if ((result & 0xff) != SQLITE_CANTOPEN)
        return error_set(err, code_of(result, errnum), "%s: %s", db->path, message);
    int open_errnum = sqlite3_system_errno(db->handle);
    if (open_errnum == 0)
        return error_set(err, ERR_IO, "%s: %s", db->path, message);
    return error_errno(err, open_errnum, "%s: cannot open the database", db->path);
}
