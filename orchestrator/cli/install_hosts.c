#include "orchestrator/cli/install_hosts.h"

#include "common/base/cleanup.h"
#include "common/pki/pki_file.h"
#include "orchestrator/cli/install/inventory.h"

#include <stdlib.h>
#include <string.h>

static enum error_code read_inventory(const struct options *o, struct array *ret, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    const char *path = o->texts[OPT_INVENTORY];
    enum error_code code = pki_file_read(path, INVENTORY_BYTES_MAX, &text, err);
    if (code != ERR_OK)
        return code;
    return inventory_parse(path, text.len > 0 ? text.data : "", o->texts[OPT_GROUP], ret, err);
}

static int by_server(const void *a, const void *b)
{
    const struct target *const *left = a;
    const struct target *const *right = b;
    return strcmp((*left)->server, (*right)->server);
}

static enum error_code check_servers(const struct target *targets, size_t count, struct error *err)
{
    AUTO_FREE const struct target **sorted = mem_array(count, sizeof(void *));
    if (!sorted)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &targets[i];
    qsort(sorted, count, sizeof(void *), by_server);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(sorted[i]->server, sorted[i - 1]->server) == 0)
            return error_set(err, ERR_INVALID, "the server %.128s is named twice",
                             sorted[i]->server);
    }
    return ERR_OK;
}

enum error_code install_hosts(const struct options *options, struct array *ret_targets,
                              struct error *err)
{
    struct array listed = {0};
    enum error_code code = ERR_OK;
    if (option_given(options, OPT_GROUP) && !option_given(options, OPT_INVENTORY))
        return error_set(err, ERR_INVALID, "--group wants an --inventory");
    if (option_given(options, OPT_INVENTORY))
        code = read_inventory(options, &listed, err);
    if (code != ERR_OK)
        return code;
    AUTO_FREE struct target *from_file = listed.items;
    AUTO_FREE struct target *all = mem_array(listed.count + options->arg_count, sizeof(*all));
    size_t count = listed.count;
    if (!all)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (count > 0)
        memcpy(all, from_file, count * sizeof(*all));
    for (size_t i = 0; code == ERR_OK && i < options->arg_count; i++)
        code = target_parse(options->args[i], &all[count++], err);
    if (code == ERR_OK && count == 0)
        code = error_set(err, ERR_INVALID, "no host is named");
    if (code == ERR_OK)
        code = check_servers(all, count, err);
    if (code == ERR_OK)
        *ret_targets = (struct array){.items = TAKE(all), .count = count};
    return code;
}
