#include "common/base/cleanup.h"
#include "orchestrator/cli/install/child.h"
#include "orchestrator/cli/install/ssh_config.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* The last line of what ssh complained about. */
static const char *last_line(struct buf *text)
{
    if (text->len == 0)
        return "it says nothing";
    while (text->len > 0 &&
           (text->data[text->len - 1] == '\n' || text->data[text->len - 1] == '\r'))
        text->data[--text->len] = '\0';
    const char *start = strrchr(text->data, '\n');
    return start ? start + 1 : text->data;
}

enum error_code ssh_config_resolve(const struct target *target, const char *file,
                                   const struct ssh_self *self, struct ssh_config *ret_config,
                                   struct error *err)
{
    AUTO_BUF struct buf out = BUF_INIT;
    AUTO_BUF struct buf complaint = BUF_INIT;
    const char *argv[12];
    size_t n = 0;
    char port[16];
    int status = 0;
    argv[n++] = "ssh";
    argv[n++] = "-G";
    if (file) {
        argv[n++] = "-F";
        argv[n++] = file;
    }
    if (target->port > 0) {
        (void)snprintf(port, sizeof(port), "%d", target->port);
        argv[n++] = "-p";
        argv[n++] = port;
    }
    if (target->user[0]) {
        argv[n++] = "-l";
        argv[n++] = target->user;
    }
    argv[n++] = "--";
    argv[n++] = target->host;
    argv[n] = NULL;
    enum error_code code = child_run(argv, &out, &complaint, &status, err);
    if (code == ERR_NOT_FOUND) {
        ssh_config_defaults(target, self, ret_config);
        return ERR_OK;
    }
    if (code != ERR_OK)
        return code;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(err, ERR_INVALID, "ssh's configuration: %.180s", last_line(&complaint));
    code = buf_check(&out, err);
    return code == ERR_OK
               ? ssh_config_parse(out.len > 0 ? out.data : "", target, self, ret_config, err)
               : code;
}
