/*
 * alloc_sqlite: SQLite's own memory comes through common/base/alloc.h too, so that on the test's
 * thread it fails with the rest. On the other threads (a writer's, a backup's) it fails by
 * alloc_sqlite_others.
 */
#pragma once

#include "alloc/alloc.h"

/* Once, before anything uses SQLite; on the test's thread. `small`: also the small pieces of a
 * connection, which SQLite usually cuts out of one large one, are had one by one, and fail so. */
void alloc_sqlite_install(bool small);
/* Everything that SQLite allocates on another thread than the test's. */
extern const struct alloc_failing alloc_sqlite_others;
