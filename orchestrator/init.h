/*
 * init: kitsune-orchestrator init. Makes, in the data directory, the CA, the server's certificate
 * and the first admin's token, and says what to do next. Gives the exit status.
 *
 * Root becomes the directory's owner for it, so that the files are that one's, and nothing that is
 * put in the way there leads root elsewhere.
 *
 * Threading: one thread. I/O: the data directory, the token's file, standard streams.
 */
#pragma once

#include "orchestrator/options.h"

int init_run(const struct options *options);
