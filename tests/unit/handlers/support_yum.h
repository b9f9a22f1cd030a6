/*
 * support_yum: real packages in a real repository, installed below a folder: made once for a test
 * program, copied for each test.
 */
#pragma once

#include "unit/handlers/support_run.h"

#include <stdbool.h>

struct yum_fixture {
    char dir[64];
    char repo[80];
    char root[80]; /* the copied one */
};

/* The main function of a test program: the rpm tool when it is asked to be it. Skips all where rpm
 * or dnf is not installed. */
#define YUM_MAIN(argc, argv, tests)                                                                \
    (rpm_tool_asked(argc, argv) ? rpm_tool_main(argc, argv)                                        \
     : yum_missing_tool()       ? 0                                                                \
                          : cmocka_run_group_tests(tests, yum_fixture_make, yum_fixture_remove))
bool yum_missing_tool(void);
int yum_fixture_make(void **state);
int yum_fixture_remove(void **state);

/* A bed with a root of its own. */
void yum_open(struct bed *bed, const struct yum_fixture *f);
/* And its repository is a copy, which the test may change. */
void yum_open_with_repo(struct bed *bed, const struct yum_fixture *f);
/* Takes a package's file out of that copy. */
void yum_repo_prune(struct bed *bed, const char *file);
void yum_close(struct bed *bed);
/* Waits for it; it must succeed. */
void run_program(const char *const *args);
/* Without waiting; a new process group. Its output goes to `output_fd`, unless that is -1. */
int start_program(const char *const *args, int output_fd);

/* The instances that are installed: "1.0-1 1.1-1", oldest first; the epoch when it has one. */
void assert_installed(const struct bed *bed, const char *package, const char *expected);
/* All that is installed, and every path below the root but the folders in which dnf and rpm keep
 * what is theirs: type, mode, size and bytes. Caller owns (mem_free). */
char *yum_snapshot(const struct bed *bed);
void run_yum(struct bed *bed, const char *type, enum handler_operation operation,
             const char *params);
/* And it succeeds. */
void run_ok(struct bed *bed, const char *type, enum handler_operation operation,
            const char *params);
void assert_message(const struct bed *bed, const char *text);
/* A program in dnf's place. */
void use_program(struct bed *bed, const char *text);

#define UPGRADE "yum_upgrade"
#define DEMO(version) "{\"package\":\"kitsune-demo\",\"version\":\"" version "\"}"
#define GLIBC_OLD "2.34-100.el9_6"
#define GLIBC_NEW "2.34-168.0.1.el9_6.24"
#define GLIBC "{\"package\":\"glibc\",\"version\":\"" GLIBC_NEW "\"}"
