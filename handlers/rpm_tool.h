/*
 * rpm_tool: all that kitsune does with librpm, in a process of its own.
 *
 * librpm keeps its configuration, its macros and its log for the whole process, catches signals
 * while a database is open (and ends the process on a TERM), changes the root folder of the process
 * for an installroot, and may crash on a damaged database. None of that may happen to an agent in
 * which other steps run, so the program that holds the handlers starts itself again with RPM_TOOL
 * as its first argument:
 *
 *   list ROOT DIR [NEVRA...]   prints rpm_set_table: all that is installed below ROOT; the files of
 *                              those named are compared with what their packages say. DIR is the
 *                              step's own folder
 *   files DIR [ROOT PATHS]     prints rpm_set_table: the packages that are files in DIR. Notes in
 *                              the file PATHS which of their paths do not exist below ROOT
 *   keep DIR ROOT [NEVRA...]   as files, when those named that are not in DIR but in a cache below
 *                              ROOT have been copied there
 *   begin ROOT DIR SECONDS     waits until nobody changes packages below ROOT, then makes a mark
 *                              in DIR, durably, that a transaction begins
 *   apply ROOT DIR SECONDS [install FILE...] [beside FILE...] [erase NEVRA...]
 *                              as begin, then all of it in one transaction; files in place of what
 *                              is installed of their names, or beside it. Removes what a
 *                              transaction that was cut off has left, if the mark was there before
 *   unmark DIR                 takes the mark away
 *   end DIR                    takes the mark away, and what was fetched for the transaction
 *   drop DIR                   takes all away that there is in DIR
 *
 * Exit status 0; RPM_TOOL_LOCKED when others held the lock for too long; else 1, the last line of
 * the output saying why.
 *
 * Threading: a main program. I/O: the package database, files, standard output.
 */
#pragma once

#include <stdbool.h>

#define RPM_TOOL "--rpm-tool"
#define RPM_TOOL_NEW "new"     /* the folder in DIR for what is fetched for the transaction */
#define RPM_TOOL_PATHS "paths" /* the file in DIR in which paths are noted */
enum { RPM_TOOL_LOCKED = 75 };

/* Whether the program was started as the tool. */
bool rpm_tool_asked(int argc, char **argv);
/* The exit status. */
int rpm_tool_main(int argc, char **argv);
