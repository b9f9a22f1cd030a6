/* fleet: the servers that are known, by id. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include <stdlib.h>
#include <string.h>

/* uthash's macros unfold into more than a function may hold; these are all there is of them here.
 */
/* NOLINTBEGIN(readability-function-size) */
struct server *fleet_find(struct dispatcher *d, const char *id)
{
    struct server *server = NULL;
    HASH_FIND_STR(d->servers, id, server);
    return server;
}

static bool fleet_add(struct dispatcher *d, struct server *server)
{
    HASH_ADD_STR(d->servers, id, server);
    return server->hh.tbl != NULL;
}

static struct server *fleet_remove_first(struct dispatcher *d)
{
    struct server *server = d->servers;
    if (server != NULL)
        HASH_DEL(d->servers, server);
    return server;
}
/* NOLINTEND(readability-function-size) */

enum error_code fleet_get(struct dispatcher *d, const char *id, struct server **ret_server,
                          struct error *err)
{
    struct server *server = fleet_find(d, id);
    if (server == NULL) {
        if (d->stats.servers >= DISPATCH_MAX_SERVERS)
            return error_set(err, ERR_LIMIT, "more than %d servers are known; restart to forget",
                             DISPATCH_MAX_SERVERS);
        server = MEM_NEW(struct server);
        if (server == NULL)
            return error_set(err, ERR_NO_MEMORY, NULL);
        memcpy(server->id, id, strnlen(id, ID_MAX));
        if (!fleet_add(d, server)) {
            mem_free(server);
            return error_set(err, ERR_NO_MEMORY, NULL);
        }
        d->stats.servers++;
        d->sorted_stale = true;
    }
    *ret_server = server;
    return ERR_OK;
}

static void fleet_forget_description(struct server *server)
{
    mem_free(server->version);
    mem_free(server->hostname);
    mem_free(server->instance);
    mem_free(server->boot_id);
    mem_free(server->peer);
    mem_free(TAKE(server->labels));
    mem_free(TAKE(server->facts));
    for (size_t i = 0; i < server->handlers.count; i++)
        mem_free(*ARRAY_AT(&server->handlers, char *, i));
    mem_free(server->handlers.items);
    server->version = server->hostname = server->instance = server->boot_id = server->peer = NULL;
    server->handlers = (struct array){0};
}

static bool undo_is_high(const struct server *server)
{
    return server->undo_max_bytes > 0 &&
           (double)server->undo_bytes * 100 >
               (double)server->undo_max_bytes * DISPATCH_UNDO_HIGH_PERCENT;
}

static void fleet_count_undo(struct dispatcher *d, struct server *server,
                             const struct wire_hello *hello)
{
    d->stats.undo_bytes += (uint64_t)hello->undo_bytes - (uint64_t)server->undo_bytes;
    d->stats.undo_high -= undo_is_high(server);
    server->undo_bytes = hello->undo_bytes;
    server->undo_max_bytes = hello->undo_max_bytes;
    d->stats.undo_high += undo_is_high(server);
}

/* For want of memory the old ones stay: they are there to be looked at. */
void fleet_take_facts(struct server *server, const char *facts)
{
    char *copy = mem_strdup(facts);
    if (copy == NULL)
        return;
    mem_free(server->facts);
    server->facts = copy;
}

void fleet_describe(struct dispatcher *d, struct server *server, const struct wire_hello *hello,
                    const char *peer)
{
    fleet_forget_description(server);
    fleet_count_undo(d, server, hello);
    server->checks = hello->checks;
    server->values = hello->values;
    server->secrets = hello->secrets;
    /* A description that does not fit into memory is only missing from a list. */
    server->version = hello->version == NULL ? NULL : mem_strdup(hello->version);
    server->hostname = hello->hostname == NULL ? NULL : mem_strdup(hello->hostname);
    server->instance = hello->instance == NULL ? NULL : mem_strdup(hello->instance);
    server->boot_id = hello->boot_id == NULL ? NULL : mem_strdup(hello->boot_id);
    server->peer = mem_strdup(peer);
    server->labels = hello->labels == NULL ? NULL : mem_strdup(hello->labels);
    server->facts = hello->facts == NULL ? NULL : mem_strdup(hello->facts);
    server->handlers.items = mem_array(hello->handlers.count, sizeof(char *));
    if (server->handlers.items == NULL)
        return;
    for (size_t i = 0; i < hello->handlers.count; i++) {
        char *copy = mem_strdup(*ARRAY_AT(&hello->handlers, char *, i));
        if (copy != NULL)
            *ARRAY_AT(&server->handlers, char *, server->handlers.count++) = copy;
    }
}

void fleet_free(struct dispatcher *d)
{
    struct server *server = NULL;
    while ((server = fleet_remove_first(d)) != NULL) {
        fleet_forget_description(server);
        lock_done(&server->lock);
        mem_free(server);
    }
    mem_free(d->sorted);
}

static int fleet_compare(const void *a, const void *b)
{
    return strcmp((*(struct server *const *)a)->id, (*(struct server *const *)b)->id);
}

static enum error_code fleet_sort(struct dispatcher *d, struct error *err)
{
    if (!d->sorted_stale)
        return ERR_OK;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers it is */
    struct server **sorted = mem_array(d->stats.servers, sizeof(struct server *));
    if (sorted == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    size_t count = 0;
    for (struct server *server = d->servers; server != NULL; server = server->hh.next)
        sorted[count++] = server;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression) */
    qsort(sorted, count, sizeof(struct server *), fleet_compare);
    mem_free(d->sorted);
    d->sorted = sorted;
    d->sorted_count = count;
    d->sorted_stale = false;
    return ERR_OK;
}

static struct server_view fleet_view(const struct server *server)
{
    return (struct server_view){
        .id = server->id,
        .connected = server->session != NULL,
        .version = server->version,
        .hostname = server->hostname,
        .peer = server->peer,
        .labels = server->labels,
        .facts = server->facts,
        .since_ms = server->since_ms,
        .rollout = server->head == NULL ? NULL : server->head->rollout->id,
        .waiting = server->queue_length > 1 ? server->queue_length - 1 : 0,
        .handlers = server->handlers.items,
        .handler_count = server->handlers.count,
        .undo_bytes = server->undo_bytes,
        .undo_max_bytes = server->undo_max_bytes,
        .locked = server->lock.set,
        .locked_by = server->lock.by,
        .lock_reason = server->lock.reason,
        .locked_ms = server->lock.time_ms,
    };
}

enum error_code dispatcher_servers(struct dispatcher *d, const char *after,
                                   bool (*each)(void *ctx, const struct server_view *v), void *ctx,
                                   struct error *err)
{
    enum error_code code = fleet_sort(d, err);
    if (code != ERR_OK)
        return code;
    size_t low = 0, high = d->sorted_count;
    while (after != NULL && low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(d->sorted[middle]->id, after) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i < d->sorted_count; i++) {
        struct server_view view = fleet_view(d->sorted[i]);
        if (!each(ctx, &view))
            break;
    }
    return ERR_OK;
}

enum error_code dispatcher_server(struct dispatcher *d, const char *id,
                                  struct server_view *ret_view, struct error *err)
{
    const struct server *server = fleet_find(d, id);
    if (server == NULL)
        return error_set(err, ERR_NOT_FOUND, "no server \"%s\" is known", id);
    *ret_view = fleet_view(server);
    return ERR_OK;
}

bool dispatcher_connected(struct dispatcher *d, const char *server)
{
    const struct server *found = fleet_find(d, server);
    return found != NULL && found->session != NULL;
}
