/*
 * connect: the client for the orchestrator that the profile names.
 *
 * Threading: one thread. I/O: the profile's files.
 */
#pragma once

#include "orchestrator/cli/cli.h"

/* Where orchestrator, CA and token come from: command line, environment and files. */
struct profile_sources connect_sources(const struct cli *cli);
/* Makes cli->client. Errors name the file, or the option, that is at fault. */
enum error_code connect_client(struct cli *cli, struct error *err) MUST_CHECK;
/* Appends the certificates of a file in PEM. `from` says where the file was named. */
enum error_code connect_ca(const char *path, const char *from, struct buf *pem,
                           struct error *err) MUST_CHECK;
