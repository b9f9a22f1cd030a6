#include "handlers/account.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD_MIN = 4096, RECORD_MAX = 1024 * 1024 };

static bool number_read(const char *text, int64_t *ret_number)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || number >= UINT32_MAX)
        return false;
    *ret_number = (int64_t)number;
    return true;
}

/* ERR_LIMIT: the record needs more room. */
typedef enum error_code (*record_find)(const char *name, char *record, size_t size, void *ret,
                                       struct error *err);

static enum error_code user_id_find(const char *name, char *record, size_t size, void *ret,
                                    struct error *err)
{
    struct passwd entry, *found = NULL;
    int rc = getpwnam_r(name, &entry, record, size, &found);
    if (rc == ERANGE)
        return ERR_LIMIT;
    if (rc != 0)
        return error_errno(err, rc, "cannot look the user %s up", name);
    if (!found)
        return error_set(err, ERR_NOT_FOUND, "there is no user %s", name);
    *(int64_t *)ret = entry.pw_uid;
    return ERR_OK;
}

static enum error_code group_id_find(const char *name, char *record, size_t size, void *ret,
                                     struct error *err)
{
    struct group entry, *found = NULL;
    int rc = getgrnam_r(name, &entry, record, size, &found);
    if (rc == ERANGE)
        return ERR_LIMIT;
    if (rc != 0)
        return error_errno(err, rc, "cannot look the group %s up", name);
    if (!found)
        return error_set(err, ERR_NOT_FOUND, "there is no group %s", name);
    *(int64_t *)ret = entry.gr_gid;
    return ERR_OK;
}

static enum error_code account_fill(const struct passwd *entry, struct account *a,
                                    struct error *err)
{
    int count = ACCOUNT_GROUPS_MAX;
    int name_len = snprintf(a->name, sizeof(a->name), "%s", entry->pw_name);
    int home_len = snprintf(a->home, sizeof(a->home), "%s", entry->pw_dir);
    int shell_len = snprintf(a->shell, sizeof(a->shell), "%s", entry->pw_shell);
    if (name_len < 0 || name_len >= ACCOUNT_TEXT_MAX || home_len < 0 ||
        home_len >= ACCOUNT_TEXT_MAX || shell_len < 0 || shell_len >= ACCOUNT_TEXT_MAX)
        return error_set(err, ERR_INVALID, "the record of the user is too large");
    a->uid = entry->pw_uid;
    a->gid = entry->pw_gid;
    if (getgrouplist(entry->pw_name, entry->pw_gid, a->groups, &count) < 0)
        return error_set(err, ERR_INVALID, "the user %s is in more than %d groups", entry->pw_name,
                         ACCOUNT_GROUPS_MAX);
    a->groups_count = (size_t)count;
    return ERR_OK;
}

static enum error_code account_record_find(const char *text, char *record, size_t size, void *ret,
                                           struct error *err)
{
    struct passwd entry, *found = NULL;
    int64_t number = 0;
    int rc = number_read(text, &number) ? getpwuid_r((uid_t)number, &entry, record, size, &found)
                                        : getpwnam_r(text, &entry, record, size, &found);
    if (rc == ERANGE)
        return ERR_LIMIT;
    if (rc != 0)
        return error_errno(err, rc, "cannot look the user %s up", text);
    if (!found)
        return error_set(err, ERR_NOT_FOUND, "there is no user %s", text);
    return account_fill(&entry, ret, err);
}

/* A record grows with a group's members, so the room for it does too. */
static enum error_code record_get(const char *name, record_find find, void *ret, struct error *err)
{
    for (size_t size = RECORD_MIN; size <= RECORD_MAX; size *= 4) {
        AUTO_FREE char *record = mem_alloc(size);
        if (!record)
            return error_set(err, ERR_NO_MEMORY, NULL);
        enum error_code code = find(name, record, size, ret, err);
        if (code != ERR_LIMIT)
            return code;
    }
    return error_set(err, ERR_LIMIT, "the record of %s is too large", name);
}

enum error_code account_user_id(const char *text, int64_t *ret_uid, struct error *err)
{
    return number_read(text, ret_uid) ? ERR_OK : record_get(text, user_id_find, ret_uid, err);
}

enum error_code account_group_id(const char *text, int64_t *ret_gid, struct error *err)
{
    return number_read(text, ret_gid) ? ERR_OK : record_get(text, group_id_find, ret_gid, err);
}

enum error_code account_find(const char *text, struct account *ret_account, struct error *err)
{
    return record_get(text, account_record_find, ret_account, err);
}
