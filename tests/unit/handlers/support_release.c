#include "unit/handlers/support_release.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void site_open(struct site *site)
{
    bed_open(&site->bed);
    shelf_open(&site->shelf, &site->bed);
    assert_int_equal(mkdir(bed_path(&site->bed, "app"), 0755), 0);
}

void site_close(struct site *site)
{
    assert_false(site->shelf.open);
    bed_close(&site->bed);
}

const char *site_params(const struct site *site, const char *source, const char *more)
{
    static char texts[8][2 * PATH_MAX];
    static size_t next;
    char *text = texts[next++ % 8];
    (void)snprintf(text, sizeof(texts[0]), "{\"source\":\"%s\",\"path\":\"%s/app\"%s}", source,
                   site->bed.dir, more);
    return text;
}

const char *site_archive(struct site *site, const char *version)
{
    const struct made entries[] = {
        {.name = "app/", .mode = 0750},
        {.name = "app/VERSION", .text = version},
        {.name = "app/bin/", .mode = 0700},
        {.name = "app/bin/run", .mode = 0755, .text = "#!/bin/sh\n"},
        {.name = "app/bin/again", .hardlink = "app/bin/run"},
        {.name = "app/log", .kind = S_IFLNK, .text = "/var/log"},
        END,
    };
    return shelf_put(&site->shelf, entries, PACKING_GZIP);
}

void site_ok(struct site *site, enum handler_operation operation, const char *params)
{
    bed_run(&site->bed, "release", operation, params);
    if (site->bed.result.outcome != HANDLER_OK)
        fail_msg("%s", site->bed.result.message);
}

void site_said(const struct site *site, const char *text)
{
    if (!strstr(site->bed.result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, site->bed.result.message);
}

void site_fails(struct site *site, enum handler_operation operation, const char *params,
                const char *text)
{
    bed_run(&site->bed, "release", operation, params);
    assert_int_equal(site->bed.result.outcome, HANDLER_FAILED);
    site_said(site, text);
}

void site_deploy(struct site *site, const char *version, const char *more)
{
    char all[512], step[32];
    (void)snprintf(all, sizeof(all), ",\"name\":\"%s\",\"stripComponents\":1%s", version, more);
    (void)snprintf(step, sizeof(step), "deploy-%s", version);
    const char *before = site->bed.step;
    const char *params = site_params(site, site_archive(site, version), all);
    site->bed.step = step;
    site_ok(site, HANDLER_PREPARE, params);
    site_ok(site, HANDLER_EXECUTE, params);
    site->bed.step = before;
    /* Which is the oldest is told by the time, in milliseconds: let this one be over. */
    for (int64_t now = clock_wall_ms(); clock_wall_ms() == now;)
        (void)sched_yield();
}

void site_fill(struct site *site)
{
    site_deploy(site, "1", "");
    tree_make(bed_path(&site->bed, "app/releases/1/data"));
    assert_int_equal(link(bed_path(&site->bed, "app/releases/1/VERSION"),
                          bed_path(&site->bed, "app/releases/1/data/name")),
                     0);
    assert_int_equal(chmod(bed_path(&site->bed, "app/releases/1"), 02711), 0);
    site_deploy(site, "2", "");
}

void site_run(struct site *site, const char *params)
{
    site_ok(site, HANDLER_PREPARE, params);
    site_ok(site, HANDLER_EXECUTE, params);
}

const char *site_new_params(struct site *site, const char *more)
{
    char all[512];
    (void)snprintf(all, sizeof(all), ",\"stripComponents\":1,\"name\":\"new\"%s", more);
    return site_params(site, site_archive(site, "new"), all);
}

const char *site_current(const struct site *site)
{
    static char target[PATH_MAX];
    ssize_t len = readlink(bed_path(&site->bed, "app/current"), target, sizeof(target) - 1);
    target[len > 0 ? len : 0] = '\0';
    return target;
}

void site_expect(const struct site *site, const char *target, const char *version)
{
    assert_string_equal(site_current(site), target);
    AUTO_FREE char *text = bed_read(bed_path(&site->bed, "app/current/VERSION"));
    assert_non_null(text);
    assert_string_equal(text, version);
}

bool site_has(const struct site *site, const char *name)
{
    struct stat st;
    return lstat(bed_path(&site->bed, name), &st) == 0;
}

const char *site_releases(const struct site *site)
{
    static char text[2048];
    struct dirent **items = NULL;
    text[0] = '\0';
    int count = scandir(bed_path(&site->bed, "app/releases"), &items, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = items[i]->d_name;
        size_t len = strlen(text);
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            (void)snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? " " : "", name);
        free(items[i]);
    }
    free(items);
    return text;
}

char *site_tree(const struct site *site)
{
    return tree_text(bed_path(&site->bed, "app"), false);
}
