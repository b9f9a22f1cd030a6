#include "orchestrator/cli/secret_out.h"

#include "common/pki/pki_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int secret_out_open(struct secret_out *out, struct cli *cli)
{
    *out = (struct secret_out){.cli = cli, .file = cli->options.texts[OPT_OUT], .fd = -1};
    if (!out->file)
        return CLI_OK;
    out->fd = open(out->file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out->fd >= 0 && fchmod(out->fd, 0600) == 0)
        return CLI_OK;
    cli_say(cli, "%s: %s", out->file,
            errno == EEXIST ? "there is such a file already: --out wants a new one"
                            : strerror(errno));
    return CLI_USAGE;
}

static int put_file(struct secret_out *out, const char *secret)
{
    AUTO_SECRET struct pki_secret line = {0};
    struct error err = {0};
    size_t len = strlen(secret);
    if (pki_secret_copy(secret, len + 1, &line, &err) != ERR_OK)
        return cli_fail(out->cli, &err);
    line.data[len] = '\n';
    /* As little does not come in pieces. */
    if (write(out->fd, line.data, len + 1) == (ssize_t)len + 1 && fsync(out->fd) == 0) {
        out->written = true;
        return CLI_OK;
    }
    cli_say(out->cli, "%s: %s; the secret is lost: revoke it, and make another", out->file,
            strerror(errno));
    return CLI_USAGE;
}

int secret_out_put(struct secret_out *out, const char *secret)
{
    AUTO_BUF struct buf line = BUF_INIT;
    if (out->file)
        return put_file(out, secret);
    render_text(&line, secret);
    buf_putc(&line, '\n');
    size_t len = line.len;
    bool ok = cli_write(out->cli, &line);
    if (line.data)
        explicit_bzero(line.data, len);
    return ok ? CLI_OK : CLI_USAGE;
}

void secret_out_done(struct secret_out *out)
{
    if (out->fd < 0)
        return;
    (void)close(out->fd);
    out->fd = -1;
    if (!out->written)
        (void)unlink(out->file);
}
