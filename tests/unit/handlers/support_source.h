/*
 * support_source: artifacts for a bed's runs, out of files of the bed, told from the loop as the
 * agent does it. It can refuse, keep silent, and cancel the run when it hands one out.
 */
#pragma once

#include "unit/handlers/support_run.h"

struct source {
    struct bed *bed;
    struct artifact_source seam;
    const char *path; /* what is handed out, whatever is asked for */
    char name[ARTIFACT_NAME_BUFFER];
    enum error_code refuses; /* ERR_OK: it does not */
    bool silent;             /* until it is cancelled */
    bool cancels;            /* the run, as soon as the artifact is handed out */
    unsigned asked, given, cancelled;
};

/* Stands behind the bed's host. The file's digest is the artifact's. */
void source_open(struct source *s, struct bed *bed, const char *path);
/* The same with a name of one's own, for a file that is too large to be read. */
void source_open_as(struct source *s, struct bed *bed, const char *path, const char *digest);
