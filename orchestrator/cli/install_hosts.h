/*
 * install_hosts: which hosts a command line and its inventory name.
 *
 * Threading: one thread. I/O: reads the inventory.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "orchestrator/cli/options.h"

/* An array of struct target: those of the inventory first; caller owns its items (mem_free).
 * ERR_INVALID: a host, or two of one server id; and what inventory_parse says. */
enum error_code install_hosts(const struct options *options, struct array *ret_targets,
                              struct error *err) MUST_CHECK;
