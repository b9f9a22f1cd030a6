/*
 * inventory: the hosts of a file: one a line, as on the command line, or Ansible's inventory in INI
 * form. A plain list is an inventory without groups.
 *
 *     [web]
 *     web[01:10].example.com ansible_user=deploy
 *     [web:vars]
 *     ansible_port=2222
 *     [all:children]
 *     web
 *
 * Of variables those count that say how ssh gets there: ansible_host, ansible_port, ansible_user,
 * ansible_ssh_private_key_file (and their older names with ssh in front), and kitsune_server, the
 * server id. A host's own come first, then those of the groups that it is in, the closer one first.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "orchestrator/cli/install/target.h"

#include <stddef.h>

enum {
    INVENTORY_HOSTS_MAX = 10000,
    INVENTORY_GROUPS_MAX = 1000,
    INVENTORY_BYTES_MAX = 8 * 1024 * 1024
};

/* The hosts of `group` (NULL: of all), in the file's order. `path` is for messages. ERR_INVALID
 * names the line; ERR_NOT_FOUND: no such group; ERR_LIMIT; ERR_NO_MEMORY. *ret_targets is an array
 * of struct target; caller owns its items (mem_free). */
enum error_code inventory_parse(const char *path, const char *text, const char *group,
                                struct array *ret_targets, struct error *err) MUST_CHECK;
