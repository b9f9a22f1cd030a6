#include "orchestrator/cli/install/inventory_internal.h"

#include "orchestrator/cli/install/inventory.h"

#include <stdio.h>
#include <string.h>

struct inventory *inventory_new(void)
{
    return MEM_NEW(struct inventory);
}

void inventory_free(struct inventory *inventory)
{
    if (!inventory)
        return;
    mem_free(inventory->hosts);
    mem_free(inventory->links);
    mem_free(inventory->groups);
    mem_free(inventory->members);
    mem_free(inventory->children);
    mem_free(inventory);
}

/* Makes room for one more item, doubling; the new item is zeroed. */
static enum error_code grow(void *items_ptr, size_t count, size_t size, size_t max,
                            struct error *err)
{
    enum { FIRST = 16 };
    void **items = items_ptr;
    if (count >= max)
        return error_set(err, ERR_LIMIT, "more than %zu entries", max);
    if (count == 0 || (count >= FIRST && (count & (count - 1)) == 0)) {
        void *more = mem_realloc(*items, (count == 0 ? FIRST : count * 2) * size);
        if (!more)
            return error_set(err, ERR_NO_MEMORY, NULL);
        *items = more;
    }
    memset((char *)*items + count * size, 0, size);
    return ERR_OK;
}

static size_t chain_of(const char *name)
{
    return id_hash(name) % INVENTORY_CHAINS;
}

/* The host that is meant; host_count: there is none. */
static size_t find_host(const struct inventory *inventory, const struct target *named)
{
    for (size_t n = inventory->by_server[chain_of(named->server)]; n != 0;
         n = inventory->links[n - 1].next_server) {
        if (strcmp(inventory->hosts[n - 1].server, named->server) == 0)
            return n - 1;
    }
    if (strcmp(named->server, named->host) != 0 || named->port != 0)
        return inventory->host_count;
    for (size_t n = inventory->by_host[chain_of(named->host)]; n != 0;
         n = inventory->links[n - 1].next_host) {
        if (strcmp(inventory->hosts[n - 1].host, named->host) == 0)
            return n - 1;
    }
    return inventory->host_count;
}

static void link_host(struct inventory *inventory, size_t at)
{
    size_t *server = &inventory->by_server[chain_of(inventory->hosts[at].server)];
    size_t *host = &inventory->by_host[chain_of(inventory->hosts[at].host)];
    inventory->links[at] = (struct inventory_links){*server, *host};
    *server = *host = at + 1;
}

enum error_code inventory_host(struct inventory *inventory, const struct target *named,
                               size_t *ret_at, struct error *err)
{
    size_t at = find_host(inventory, named);
    size_t count = inventory->host_count;
    if (at < count) {
        const struct target *there = &inventory->hosts[at];
        if (strcmp(there->host, named->host) != 0 ||
            (named->port > 0 && there->port > 0 && named->port != there->port))
            return error_set(err, ERR_INVALID, "the server %.128s is named at two addresses",
                             named->server);
        *ret_at = at;
        return ERR_OK;
    }
    enum error_code code =
        grow(&inventory->hosts, count, sizeof(*inventory->hosts), INVENTORY_HOSTS_MAX, err);
    if (code == ERR_OK)
        code = grow(&inventory->links, count, sizeof(*inventory->links), INVENTORY_HOSTS_MAX, err);
    if (code != ERR_OK)
        return code;
    inventory->hosts[count] = *named;
    link_host(inventory, count);
    inventory->host_count++;
    *ret_at = count;
    return ERR_OK;
}

enum error_code inventory_group(struct inventory *inventory, const char *name, size_t *ret_at,
                                struct error *err)
{
    for (size_t i = 0; i < inventory->group_count; i++) {
        if (strcmp(inventory->groups[i].name, name) == 0) {
            *ret_at = i;
            return ERR_OK;
        }
    }
    if (!id_valid(name))
        return error_set(err, ERR_INVALID, "\"%.64s\" is no name of a group", name);
    enum error_code code = grow(&inventory->groups, inventory->group_count,
                                sizeof(*inventory->groups), INVENTORY_GROUPS_MAX, err);
    if (code != ERR_OK)
        return code;
    (void)snprintf(inventory->groups[inventory->group_count].name, ID_BUFFER, "%s", name);
    *ret_at = inventory->group_count++;
    return ERR_OK;
}

static enum error_code add_pair(struct inventory_pair **pairs, size_t *count,
                                struct inventory_pair pair, struct error *err)
{
    enum { PAIRS_MAX = INVENTORY_HOSTS_MAX * 8 };
    /* A pair that is there twice says nothing more. */
    enum error_code code = grow(pairs, *count, sizeof(**pairs), PAIRS_MAX, err);
    if (code == ERR_OK)
        (*pairs)[(*count)++] = pair;
    return code;
}

enum error_code inventory_member(struct inventory *inventory, size_t group, size_t host,
                                 struct error *err)
{
    return add_pair(&inventory->members, &inventory->member_count,
                    (struct inventory_pair){group, host}, err);
}

enum error_code inventory_child(struct inventory *inventory, size_t group, size_t child,
                                struct error *err)
{
    return add_pair(&inventory->children, &inventory->child_count,
                    (struct inventory_pair){group, child}, err);
}

static void fill_text(char *to, const char *from, size_t size, bool over)
{
    if (*from && (over || !*to))
        memcpy(to, from, size);
}

void inventory_fill(struct target *to, const struct target *from, bool over)
{
    fill_text(to->server, from->server, sizeof(to->server), over);
    fill_text(to->address, from->address, sizeof(to->address), over);
    fill_text(to->user, from->user, sizeof(to->user), over);
    fill_text(to->key_file, from->key_file, sizeof(to->key_file), over);
    if (from->port > 0 && (over || to->port == 0))
        to->port = from->port;
}

/* Marks with their distance the groups that `marks` reaches: downwards, from a group to those in
 * it, or upwards. Groups that contain each other end it too, since a mark is set once. The largest
 * mark is returned. */
static int spread(const struct inventory *inventory, int *marks, bool down)
{
    for (int distance = 1; distance <= (int)inventory->group_count; distance++) {
        bool any = false;
        for (size_t i = 0; i < inventory->child_count; i++) {
            size_t from = down ? inventory->children[i].from : inventory->children[i].to;
            size_t to = down ? inventory->children[i].to : inventory->children[i].from;
            if (marks[from] == distance && marks[to] == 0) {
                marks[to] = distance + 1;
                any = true;
            }
        }
        if (!any)
            return distance;
    }
    return (int)inventory->group_count + 1;
}

/* What the host's groups say and it does not say itself: the closest group first, "all" last. */
static void inherit(const struct inventory *inventory, size_t host, int *marks, struct target *t)
{
    memset(marks, 0, inventory->group_count * sizeof(*marks));
    for (size_t i = 0; i < inventory->member_count; i++) {
        if (inventory->members[i].to == host)
            marks[inventory->members[i].from] = 1;
    }
    int furthest = spread(inventory, marks, false);
    for (int distance = 1; distance <= furthest; distance++) {
        for (size_t g = 0; g < inventory->group_count; g++) {
            if (marks[g] == distance && strcmp(inventory->groups[g].name, "all") != 0)
                inventory_fill(t, &inventory->groups[g].vars, false);
        }
    }
    for (size_t g = 0; g < inventory->group_count; g++) {
        if (strcmp(inventory->groups[g].name, "all") == 0)
            inventory_fill(t, &inventory->groups[g].vars, false);
    }
}

/* Marks the groups whose hosts are wanted. */
static enum error_code mark_groups(const struct inventory *inventory, const char *group, int *marks,
                                   struct error *err)
{
    bool all = !group || strcmp(group, "all") == 0;
    bool found = all;
    for (size_t g = 0; g < inventory->group_count; g++) {
        marks[g] = all || strcmp(inventory->groups[g].name, group) == 0 ? 1 : 0;
        found = found || marks[g] != 0;
    }
    if (!found)
        return error_set(err, ERR_NOT_FOUND, NULL);
    (void)spread(inventory, marks, true);
    return ERR_OK;
}

enum error_code inventory_select(const struct inventory *inventory, const char *group,
                                 struct array *ret_targets, struct error *err)
{
    AUTO_FREE int *wanted = mem_array(inventory->group_count, sizeof(*wanted));
    AUTO_FREE int *marks = mem_array(inventory->group_count, sizeof(*marks));
    AUTO_FREE bool *chosen = mem_array(inventory->host_count, sizeof(*chosen));
    AUTO_FREE struct target *targets = mem_array(inventory->host_count, sizeof(*targets));
    size_t count = 0;
    if (!wanted || !marks || !chosen || !targets)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = mark_groups(inventory, group, wanted, err);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < inventory->member_count; i++)
        chosen[inventory->members[i].to] |= wanted[inventory->members[i].from] != 0;
    for (size_t h = 0; h < inventory->host_count; h++) {
        if (!chosen[h])
            continue;
        targets[count] = inventory->hosts[h];
        inherit(inventory, h, marks, &targets[count]);
        count++;
    }
    *ret_targets = (struct array){.items = TAKE(targets), .count = count};
    return ERR_OK;
}
