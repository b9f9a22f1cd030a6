/*
 * unit_links: the symbolic links by which units are enabled, taken down before they are changed and
 * put back exactly. Enabling one unit can enable others (Also=) and give it other names (Alias=);
 * undoing that by disabling would take along what was enabled before.
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: folders of unit files.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "common/json/json.h"

#include <stdbool.h>

enum { UNIT_LINKS_MAX = 512 };

struct unit_link {
    char *path;
    char *target; /* as readlink(2) has it */
};
extern const struct json_table unit_link_table;

/* Where links are, and where unit files are; NULL-terminated. */
struct unit_folders {
    const char *const *links;
    const char *const *files;
};
extern const struct unit_folders unit_folders_system;

/* The names of the unit and of all that its files enable along with it, as far as they can be read:
 * whose links change with its own. `names` are char *, the unit's own; `fragment` its file, "" when
 * there is none; `drop_ins` char *. *ret_family: char *, which the caller owns:
 * unit_family_done. ERR_NO_MEMORY. */
enum error_code unit_family_find(const struct unit_folders *folders, const struct array *names,
                                 const char *fragment, const struct array *drop_ins,
                                 struct array *ret_family, struct error *err) MUST_CHECK;
void unit_family_done(struct array *family);

/* The links to the family. *ret_links: struct unit_link, which the caller owns: unit_links_done.
 * ERR_LIMIT, ERR_IO, ERR_NO_MEMORY. */
enum error_code unit_links_read(const struct unit_folders *folders, const struct array *family,
                                struct array *ret_links, struct error *err) MUST_CHECK;
/* Makes the links to the family what they were; durable when it returns. *ret_changed: some were
 * not. ERR_CONFLICT: somebody else has put something other than a link there. */
enum error_code unit_links_restore(const struct unit_folders *folders, const struct array *family,
                                   const struct array *links, bool *ret_changed,
                                   struct error *err) MUST_CHECK;
void unit_links_done(struct array *links);
