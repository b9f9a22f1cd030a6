/* support_archive: archives of a test's own, also such as no honest program makes; and who stands
 * behind the seam to artifacts: real files in a folder of the bed. */
#pragma once

#include "common/plan/artifact.h"
#include "unit/handlers/support_run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- Archives ---------------------------------------------------------------------------- */

/* One entry; of a name alone it is an empty file, or, with a slash at its end, a folder. */
struct made {
    const char *name;
    mode_t kind;          /* S_IFLNK, ...; 0: as the name says */
    unsigned mode;        /* 0: 0644, or 0755 */
    const char *text;     /* of a file its bytes, of a symbolic link where it leads */
    const char *hardlink; /* of what it is one more name */
    int64_t zeros;        /* a file of so many bytes */
    int64_t time;         /* 0: 1000000000 */
};

enum packing { PACKING_NONE, PACKING_GZIP, PACKING_ZSTD, PACKING_XZ, PACKING_BZIP2, PACKING_COUNT };
/* Writes the entries up to one without a name. */
void archive_make(const char *path, const struct made *entries, enum packing packing);
/* The names, as ustar has them, in bytes that need be no UTF-8. */
void archive_make_raw(const char *path, const struct made *entries);

/* ---- Artifacts --------------------------------------------------------------------------- */

struct shelf {
    struct artifact_source source;
    struct bed *bed;
    int gets, cancels;
    bool holds;                /* answers never, and has the bed cancelled once it was asked */
    const struct error *fails; /* answers with that */
    /* The request under way. */
    uv_async_t answer;
    struct artifact_wish wish;
    char digest[ARTIFACT_DIGEST_BUFFER];
    bool open;
};
/* Stands behind bed->host.artifacts from here on; the files are in the bed's folder "shelf". */
void shelf_open(struct shelf *shelf, struct bed *bed);
/* Makes an archive, puts it there, and writes its name, as a plan has it. */
const char *shelf_put(struct shelf *shelf, const struct made *entries, enum packing packing);
/* A file that is there already. */
const char *shelf_put_file(struct shelf *shelf, const char *path);
