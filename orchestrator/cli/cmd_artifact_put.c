/* artifact put: a file to the orchestrator, in pieces, gone on with wherever an earlier try ended.
 */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/plan/artifact.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/api/api_doc_artifacts.h"
#include "orchestrator/cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

DEFINE_CLEANUP(EVP_MD_CTX_free, EVP_MD_CTX)

enum {
    PIECE_FIRST = 256 * 1024,
    PIECE_MIN = 64 * 1024,
    PIECE_QUICK_MS = 1000,     /* a piece that took less: the next one may be larger */
    PIECE_SLOW_MS = 15 * 1000, /* one that took more: the next one is smaller */
    PIECE_SILENCE_S = 1800,    /* with the last one all of it may have to be hashed, and synced */
    ASTRAY_MAX = 64, /* answers in a row that take nothing: somebody else uploads it too */
    ASTRAY_PAUSE_MS = 100,
    LOST_PAUSE_MS = 500,
    SHOW_EVERY_MS = 100
};

struct put {
    struct cli *cli;
    const char *file;
    int fd;
    int64_t size;
    char digest[ARTIFACT_DIGEST_BUFFER];
    char *piece; /* API_PIECE_MAX bytes */
    size_t piece_len;
    struct api_artifact state; /* as the orchestrator said last */
    struct buf document;       /* its text */
    bool begun_here;           /* every byte of the upload comes from this run */
    int astray;
    int64_t give_up_ms; /* monotonic; 0: nobody has answered yet, and nobody is waited for */
    int64_t shown_ms;
    bool shown;
};

/* ---- How far it is -----------------------------------------------------------------------------
 */

static void put_show(struct put *p, const char *what, int64_t done)
{
    AUTO_BUF struct buf line = BUF_INIT;
    int64_t now_ms = clock_mono_ms();
    if (!p->cli->live || isatty(fileno(p->cli->io->err)) != 1 ||
        now_ms - p->shown_ms < SHOW_EVERY_MS)
        return;
    p->shown_ms = now_ms;
    p->shown = true;
    buf_printf(&line, "\r%s %d%% of ", what, p->size > 0 ? (int)(done * 100 / p->size) : 100);
    render_size(&line, p->size);
    buf_puts(&line, "\033[K");
    if (line.data)
        (void)fputs(line.data, p->cli->io->err);
    (void)fflush(p->cli->io->err);
}

static void put_show_end(struct put *p)
{
    if (p->shown)
        (void)fputs("\r\033[K", p->cli->io->err);
    p->shown = false;
}

/* ---- The file ----------------------------------------------------------------------------------
 */

static int put_file_failed(struct put *p, int errnum)
{
    put_show_end(p);
    cli_say(p->cli, "%s: %s", p->file, strerror(errnum));
    return CLI_USAGE;
}

static int put_file_changed(struct put *p)
{
    put_show_end(p);
    cli_say(p->cli, "%s changed while it was read; nothing of it is kept: put it again", p->file);
    return CLI_USAGE;
}

static int put_open(struct put *p)
{
    struct stat st;
    p->fd = open(p->file, O_RDONLY | O_CLOEXEC);
    if (p->fd < 0 || fstat(p->fd, &st) != 0)
        return put_file_failed(p, errno);
    if (!S_ISREG(st.st_mode)) {
        cli_say(p->cli, "%s is no regular file: it is read twice", p->file);
        return CLI_USAGE;
    }
    (void)posix_fadvise(p->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    p->size = st.st_size;
    p->piece = mem_alloc(API_PIECE_MAX);
    return p->piece ? CLI_OK : put_file_failed(p, ENOMEM);
}

/* The bytes of the file from there on, as many as there are of `len`; -1: see errno. */
static ssize_t put_read(const struct put *p, int64_t offset, size_t len)
{
    size_t have = 0;
    while (have < len) {
        ssize_t got = pread(p->fd, p->piece + have, len - have, (off_t)(offset + (int64_t)have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

static int put_hash(struct put *p)
{
    AUTO(EVP_MD_CTX_free) EVP_MD_CTX *sum = EVP_MD_CTX_new();
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int64_t at = 0;
    if (!sum || EVP_DigestInit_ex(sum, EVP_sha256(), NULL) != 1)
        return put_file_failed(p, ENOMEM);
    for (;;) {
        ssize_t got = put_read(p, at, API_PIECE_MAX);
        if (got < 0)
            return put_file_failed(p, errno);
        if (got == 0)
            break;
        if (EVP_DigestUpdate(sum, p->piece, (size_t)got) != 1)
            return put_file_failed(p, ENOMEM);
        at += got;
        put_show(p, "hashing", at);
    }
    if (at != p->size)
        return put_file_changed(p);
    if (EVP_DigestFinal_ex(sum, bytes, &len) != 1)
        return put_file_failed(p, ENOMEM);
    text_hex(bytes, ARTIFACT_DIGEST_DIGITS / 2, p->digest);
    return CLI_OK;
}

/* ---- What the orchestrator says ----------------------------------------------------------------
 */

static int put_take(struct put *p, const struct answer *answer)
{
    json_release(&api_artifact_table, &p->state);
    buf_clear(&p->document);
    buf_append(&p->document, answer->body.data, answer->body.len);
    return cli_decode(p->cli, answer, &api_artifact_table, &p->state);
}

static int64_t put_patience(const struct put *p)
{
    int64_t ms = p->cli->io->give_up_ms;
    return clock_mono_ms() + (ms > 0 ? ms : CLI_GIVE_UP_MS);
}

/* Asks; *ret_lost: it was not reached, or is gone, and may come again. CLI_OK with any answer. */
static int put_ask(struct put *p, const struct request *request, struct answer *answer,
                   bool *ret_lost)
{
    struct error err = {0};
    int status = CLI_OK;
    *ret_lost = false;
    struct client *client = cli_client(p->cli, &status);
    if (!client)
        return status;
    enum error_code code = client_call(client, request, answer, &err);
    if (code == ERR_OK)
        return CLI_OK;
    put_show_end(p);
    if (code == ERR_DENIED)
        return cli_distrusted(p->cli, err.message);
    if (code != ERR_UNAVAILABLE && code != ERR_IO && code != ERR_TIMEOUT)
        return cli_fail(p->cli, &err);
    *ret_lost = clock_mono_ms() < p->give_up_ms;
    if (*ret_lost) {
        (void)poll(NULL, 0, LOST_PAUSE_MS);
        return CLI_OK;
    }
    status = cli_unreachable(p->cli, err.message);
    if (p->give_up_ms > 0)
        cli_say(p->cli, "what was uploaded of %s is kept for a day: put it again to go on",
                p->file);
    return status;
}

static int put_refused(struct put *p, const struct answer *answer)
{
    put_show_end(p);
    return cli_refused(p->cli, answer);
}

/* Begins, or finds out how far it has come; goes on asking while nobody answers. */
static int put_begin(struct put *p)
{
    AUTO_BUF struct buf body = BUF_INIT;
    AUTO_BUF struct buf by = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    bool lost = true;
    const char *slash = strrchr(p->file, '/');
    const char *given = p->cli->options.texts[OPT_NAME];
    const char *name = given ? given : slash ? slash + 1 : p->file;
    enum error_code code = cli_by(p->cli, &by, &err);
    if (code != ERR_OK)
        return cli_fail(p->cli, &err);
    buf_printf(&body, "{\"sha256\":\"%s\",\"size\":%lld,\"name\":", p->digest, (long long)p->size);
    json_write_string(&body, name, strlen(name));
    buf_puts(&body, ",\"by\":");
    json_write_string(&body, by.data ? by.data : "", by.len);
    buf_putc(&body, '}');
    if (buf_check(&body, &err) != ERR_OK)
        return cli_fail(p->cli, &err);
    const struct request request = {.method = "POST",
                                    .path = "/v1/artifacts",
                                    .body = body.data,
                                    .len = body.len,
                                    .repeatable = true};
    while (lost) {
        int status = put_ask(p, &request, &answer, &lost);
        if (status != CLI_OK)
            return status;
    }
    if (answer.status >= API_REFUSED)
        return put_refused(p, &answer);
    int status = put_take(p, &answer);
    p->give_up_ms = put_patience(p);
    p->begun_here = p->begun_here || p->state.offset == 0;
    return status;
}

/* ---- Pieces ------------------------------------------------------------------------------------
 */

/* It goes on elsewhere: somebody else uploads it too, or an answer was lost. */
static int put_astray(struct put *p, const struct answer *answer)
{
    struct api_problem problem = {0};
    bool told = json_read(answer->body.data ? answer->body.data : "", answer->body.len,
                          CLIENT_MAX_ANSWER, &api_problem_table, &problem, NULL) == ERR_OK &&
                problem.has_offset;
    int64_t offset = problem.offset;
    json_release(&api_problem_table, &problem);
    if (!told || offset > p->size || ++p->astray > ASTRAY_MAX)
        return put_refused(p, answer);
    p->state.offset = offset;
    p->begun_here = false;
    (void)poll(NULL, 0, ASTRAY_PAUSE_MS);
    return CLI_OK;
}

/* What came is not what was said. Where others, or a crash, may have had a hand in it, it is tried
 * once more from the beginning. */
static int put_wrong(struct put *p, const struct answer *answer)
{
    struct stat st;
    if (fstat(p->fd, &st) != 0 || st.st_size != p->size || p->begun_here)
        return put_file_changed(p);
    p->begun_here = true;
    return ++p->astray > ASTRAY_MAX ? put_refused(p, answer) : put_begin(p);
}

static int put_answered(struct put *p, const struct answer *answer, int64_t took_ms)
{
    enum { NOT_FOUND = 404, CONFLICT = 409, WRONG_CONTENT = 422 };
    if (answer->status == CONFLICT)
        return put_astray(p, answer);
    if (answer->status == WRONG_CONTENT)
        return put_wrong(p, answer);
    if (answer->status == NOT_FOUND && ++p->astray <= ASTRAY_MAX)
        return put_begin(p);
    if (answer->status >= API_REFUSED)
        return put_refused(p, answer);
    p->astray = 0;
    p->give_up_ms = put_patience(p);
    if (took_ms < PIECE_QUICK_MS && p->piece_len <= API_PIECE_MAX / 2)
        p->piece_len *= 2;
    else if (took_ms > PIECE_SLOW_MS && p->piece_len / 2 >= PIECE_MIN)
        p->piece_len /= 2;
    return put_take(p, answer);
}

static int put_piece(struct put *p)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    bool lost = false;
    int64_t left = p->size - p->state.offset;
    size_t len = left < (int64_t)p->piece_len ? (size_t)left : p->piece_len;
    ssize_t got = put_read(p, p->state.offset, len);
    if (got < 0)
        return put_file_failed(p, errno);
    if ((size_t)got < len)
        return put_file_changed(p);
    buf_printf(&path, "/v1/artifacts/%s/content?offset=%lld", p->digest,
               (long long)p->state.offset);
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(p->cli, &err);
    const struct request request = {.method = "PUT",
                                    .path = path.data,
                                    .body = p->piece,
                                    .len = len,
                                    .type = "Content-Type: application/octet-stream",
                                    .silence_s = PIECE_SILENCE_S,
                                    .repeatable = true};
    int64_t begin_ms = clock_mono_ms();
    int status = put_ask(p, &request, &answer, &lost);
    if (status == CLI_OK && !lost)
        return put_answered(p, &answer, clock_mono_ms() - begin_ms);
    if (p->piece_len / 2 >= PIECE_MIN)
        p->piece_len /= 2;
    return status == CLI_OK ? put_begin(p) : status;
}

/* ---- The command -------------------------------------------------------------------------------
 */

static int put_say(struct put *p)
{
    AUTO_BUF struct buf line = BUF_INIT;
    if (p->cli->options.json)
        return cli_write_json(p->cli, p->document.data, p->document.len) ? CLI_OK : CLI_USAGE;
    buf_printf(&line, ARTIFACT_PREFIX "%s\n", p->digest);
    return cli_write(p->cli, &line) ? CLI_OK : CLI_USAGE;
}

int cmd_artifact_put(struct cli *cli)
{
    struct put p = {.cli = cli, .file = cli->options.args[0], .fd = -1, .piece_len = PIECE_FIRST};
    int status = put_open(&p);
    if (status == CLI_OK)
        status = put_hash(&p);
    if (status == CLI_OK)
        status = put_begin(&p);
    while (status == CLI_OK && !p.state.whole) {
        put_show(&p, "uploaded", p.state.offset);
        status = put_piece(&p);
    }
    put_show_end(&p);
    if (status == CLI_OK)
        status = put_say(&p);
    if (p.fd >= 0)
        (void)close(p.fd);
    json_release(&api_artifact_table, &p.state);
    buf_done(&p.document);
    mem_free(p.piece);
    return status;
}
