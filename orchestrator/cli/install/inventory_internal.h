/* inventory_internal: what an inventory file says, before hosts are chosen from it. Pure. */
#pragma once

#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "orchestrator/cli/install/target.h"

#include <stdbool.h>
#include <stddef.h>

struct inventory_group {
    char name[ID_BUFFER];
    struct target vars;
};
struct inventory_pair {
    size_t from, to; /* a group and a host in it, or a group and a group below it */
};
/* Hosts are found by server id and by name: chains of numbers, from 1; 0 ends one. */
enum { INVENTORY_CHAINS = 16384 };
struct inventory_links {
    size_t next_server, next_host;
};
struct inventory {
    struct target *hosts;
    struct inventory_links *links; /* of the hosts */
    size_t by_server[INVENTORY_CHAINS], by_host[INVENTORY_CHAINS];
    struct inventory_group *groups;
    struct inventory_pair *members, *children;
    size_t host_count, group_count, member_count, child_count;
};

struct inventory *inventory_new(void); /* NULL: no memory */
void inventory_free(struct inventory *inventory);
DEFINE_CLEANUP(inventory_free, struct inventory)

/* The host or group of that name, made when there is none. A host that is named without a server id
 * is the one that was named before. ERR_INVALID: one server at two addresses; ERR_LIMIT,
 * ERR_NO_MEMORY. */
enum error_code inventory_host(struct inventory *inventory, const struct target *named,
                               size_t *ret_at, struct error *err) MUST_CHECK;
enum error_code inventory_group(struct inventory *inventory, const char *name, size_t *ret_at,
                                struct error *err) MUST_CHECK;
enum error_code inventory_member(struct inventory *inventory, size_t group, size_t host,
                                 struct error *err) MUST_CHECK;
enum error_code inventory_child(struct inventory *inventory, size_t group, size_t child,
                                struct error *err) MUST_CHECK;
/* Takes over from `from` what `to` lacks; with `over` all that `from` says. */
void inventory_fill(struct target *to, const struct target *from, bool over);
/* What inventory_parse gives; ERR_NOT_FOUND: there is no such group. */
enum error_code inventory_select(const struct inventory *inventory, const char *group,
                                 struct array *ret_targets, struct error *err) MUST_CHECK;

/* "[01:10]", "[a:f]", "[1:9:2]" in a name. */
struct range {
    bool found, letters;
    size_t begin, end; /* its place, in bytes */
    long from, to, step;
    int width; /* of a number, with its leading zeros */
};
/* The first range of a name. ERR_INVALID. */
enum error_code range_find(const char *pattern, struct range *ret_range,
                           struct error *err) MUST_CHECK;
