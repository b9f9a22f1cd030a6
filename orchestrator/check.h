/*
 * check: kitsune-orchestrator --check. Prints each finding on a line of its own and then what was
 * looked at, on standard output; gives the exit status.
 *
 * Threading: one thread. I/O: the data directory (nothing in it is changed), standard streams.
 */
#pragma once

int check_run(const char *data_dir);
