#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/plan/plan_json.h"
#include "handlers/process.h"
#include "handlers/proctree.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { OUTPUT_KEPT = 1024 * 1024, GRACE_MS = 300 };

void bed_open(struct bed *bed)
{
    *bed = (struct bed){.step = "one", .attempt = 1};
    assert_int_equal(uv_loop_init(&bed->loop), 0);
    (void)snprintf(bed->dir, sizeof(bed->dir), "/tmp/kitsune-handlers-XXXXXX");
    assert_non_null(mkdtemp(bed->dir));
    (void)snprintf(bed->undo_dir, sizeof(bed->undo_dir), "%s/undo", bed->dir);
    assert_int_equal(mkdir(bed->undo_dir, 0700), 0);
    bed->host = (struct handler_host){
        .loop = &bed->loop,
        .server_id = strrchr(bed->dir, '/') + 1, /* of this bed alone, so that its marks are too */
        .kill_grace_ms = GRACE_MS,
    };
    bed->output.max = OUTPUT_KEPT + 1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void bed_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void bed_close(struct bed *bed)
{
    assert_int_equal(uv_loop_close(&bed->loop), 0);
    bed_remove_tree(bed->dir);
    mem_free(bed->undo);
    buf_done(&bed->output);
}

static struct buf tree_seen;

static int tree_take(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)kind;
    (void)ftw;
    /* Packages are SQLite's and dnf's to look after, in files that change with every look: also a
     * repository that is a folder, where librepo notes checksums in extended attributes. */
    if (strstr(path, "/root/") || strstr(path, "/repo/"))
        return 0;
    buf_printf(&tree_seen,
               "%s: mode %o, owner %u:%u, inode %ju, %jd bytes, %ju links, %jd.%09ld, %jd.%09ld\n",
               path, st->st_mode, st->st_uid, st->st_gid, (uintmax_t)st->st_ino,
               (intmax_t)st->st_size, (uintmax_t)st->st_nlink, (intmax_t)st->st_mtim.tv_sec,
               st->st_mtim.tv_nsec, (intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
    return 0;
}

/* What is below a folder, a line each: names, kinds, owners, sizes and the times of changes. */
static char *tree_list(const char *path)
{
    tree_seen = BUF_INIT;
    /* A machine that is just booting may clean up where beds stand. */
    if (nftw(path, tree_take, 16, FTW_PHYS) != 0 && errno != ENOENT)
        fail_msg("%s: %s", path, strerror(errno));
    char *list = buf_take(&tree_seen, NULL);
    assert_non_null(list);
    return list;
}

static void assert_tree(const char *path, const char *before)
{
    char *now = tree_list(path);
    size_t line = 0;
    for (size_t i = 0; now[i] != '\0' && now[i] == before[i]; i++)
        line = now[i] == '\n' ? i + 1 : line;
    if (strcmp(now, before) != 0)
        fail_msg("a check has changed what is there, from\n%.*s\nto\n%.*s",
                 (int)strcspn(before + line, "\n"), before + line, (int)strcspn(now + line, "\n"),
                 now + line);
    mem_free(now);
}

static void take_output(struct handler_run *run, const char *data, size_t len)
{
    struct bed *bed = run->ctx;
    bed->output_bytes += len;
    size_t room = OUTPUT_KEPT - bed->output.len;
    buf_append(&bed->output, data, len < room ? len : room);
    if (bed->kill_at && strstr(bed->output.data, bed->kill_at)) {
        char mark[HANDLER_MARK_MAX];
        bed->kill_at = NULL;
        handler_mark(bed->host.server_id, "rollout-1", bed->step, mark);
        assert_true(process_kill_marked(mark) > 0);
    }
    if (bed->call_at && strstr(bed->output.data, bed->call_at)) {
        bed->call_at = NULL;
        bed->call(bed->call_ctx);
    }
    if (bed->cancel_at && strstr(bed->output.data, bed->cancel_at)) {
        bed->cancel_at = NULL;
        handler_cancel(run);
    }
}

static void take_result(struct handler_run *run, const struct handler_result *result)
{
    struct bed *bed = run->ctx;
    bed->done_count++;
    bed->result = *result;
    bed->result.undo = NULL;
    if (run->operation != HANDLER_PREPARE)
        return;
    mem_free(bed->undo);
    bed->undo = mem_strdup(result->undo ? result->undo : "{}");
    assert_non_null(bed->undo);
}

static void assert_nothing_left(const struct bed *bed)
{
    char mark[HANDLER_MARK_MAX];
    struct proctree tree = {0};
    handler_mark(bed->host.server_id, "rollout-1", bed->step, mark);
    const struct proctree_query query = {.mark = mark};
    assert_int_equal(proctree_scan(&query, &tree, NULL), ERR_OK);
    assert_int_equal(tree.alive, 0);
    proctree_done(&tree);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void poked(uv_async_t *async)
{
    handler_cancel(async->data);
}

void bed_cancel(struct bed *bed)
{
    assert_int_equal(uv_async_send(&bed->poke), 0);
}

/* It does not keep the loop going. */
static void poke_open(struct bed *bed, struct handler_run *run)
{
    assert_int_equal(uv_async_init(&bed->loop, &bed->poke, poked), 0);
    bed->poke.data = run;
    uv_unref((uv_handle_t *)&bed->poke);
}

static void poke_close(struct bed *bed)
{
    uv_close((uv_handle_t *)&bed->poke, NULL);
    assert_int_equal(uv_run(&bed->loop, UV_RUN_DEFAULT), 0);
}

void bed_run(struct bed *bed, const char *type, enum handler_operation operation,
             const char *params_json)
{
    struct error err = {0};
    struct problems problems = {0};
    void *params = NULL;
    const struct handler *handler = handler_find(type);
    assert_non_null(handler);
    if (step_params_decode(handler->type, params_json, "params", &params, &problems, &err) !=
        ERR_OK)
        fail_msg("%s: %s", params_json, err.message);
    bool checks = operation == HANDLER_CHECK;
    char *before = checks ? tree_list(bed->dir) : NULL;
    struct handler_run run = {
        .host = &bed->host,
        .handler = handler,
        .operation = operation,
        .rollout = "rollout-1",
        .step = bed->step,
        .attempt = bed->attempt,
        .reboots = bed->reboots,
        .params = params,
        .undo = bed->undo && !checks ? bed->undo : "{}",
        .undo_dir = checks ? NULL : bed->undo_dir,
        .room = bed->room,
        .force = bed->force,
        .depends = bed->depends_name ? 1 : -1,
        .depends_name = bed->depends_name,
        .output = take_output,
        .done = take_result,
        .ctx = bed,
    };
    buf_clear(&bed->output);
    bed->output_bytes = 0;
    bed->done_count = 0;
    poke_open(bed, &run);
    int64_t begin = clock_mono_ms();
    handler_start(&run);
    if (bed->cancel_at && bed->cancel_at[0] == '\0') {
        bed->cancel_at = NULL;
        handler_cancel(&run);
    }
    assert_int_equal(uv_run(&bed->loop, UV_RUN_DEFAULT), 0);
    bed->duration_ms = clock_mono_ms() - begin;
    poke_close(bed);
    assert_int_equal(bed->done_count, 1);
    assert_null(run.state);
    assert_nothing_left(bed);
    if (checks)
        assert_tree(bed->dir, before);
    mem_free(before);
    step_params_free(handler->type, params);
    problems_done(&problems);
}

const char *bed_path(const struct bed *bed, const char *name)
{
    static char paths[8][PATH_MAX];
    static size_t next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, PATH_MAX, "%s/%s", bed->dir, name);
    return path;
}

void bed_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

char *bed_read(const char *path)
{
    struct buf text = BUF_INIT;
    char chunk[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    for (ssize_t len; (len = read(fd, chunk, sizeof(chunk))) > 0;)
        buf_append(&text, chunk, (size_t)len);
    assert_int_equal(close(fd), 0);
    buf_append(&text, "", 0);
    char *taken = buf_take(&text, NULL);
    assert_non_null(taken);
    return taken;
}
