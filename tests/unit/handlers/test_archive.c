#include "handlers/archive.h"
#include "handlers/file_meta.h"
#include "handlers/tree.h"
#include "unit/handlers/support_archive.h"
#include "unit/handlers/support_run.h"
#include "unit/handlers/support_tree.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
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

#define END                                                                                        \
    {                                                                                              \
        .name = NULL                                                                               \
    }
#define RULES ((struct archive_rules){.uid = FILE_KEEP, .gid = FILE_KEEP})

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* Unpacks the bed's file "a.tar" into its folder "out", which is made anew. */
static enum error_code unpack(struct bed *bed, const struct archive_rules *rules,
                              struct archive_totals *ret_totals, struct error *err)
{
    bed_remove_tree(bed_path(bed, "out"));
    assert_int_equal(mkdir(bed_path(bed, "out"), 0755), 0);
    AUTO_CLOSE int archive = open_file(bed_path(bed, "a.tar"), O_RDONLY);
    AUTO_CLOSE int folder = open_file(bed_path(bed, "out"), O_RDONLY | O_DIRECTORY);
    return archive_unpack(archive, folder, rules, ret_totals, err);
}

static void unpack_ok(struct bed *bed, const struct archive_rules *rules,
                      struct archive_totals *ret_totals)
{
    struct error err = {0};
    struct archive_totals measured = {0};
    if (unpack(bed, rules, ret_totals, &err) != ERR_OK)
        fail_msg("%s", err.message);
    AUTO_CLOSE int archive = open_file(bed_path(bed, "a.tar"), O_RDONLY);
    if (archive_measure(archive, rules, &measured, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(measured.entries, ret_totals->entries);
    assert_int_equal(measured.bytes, ret_totals->bytes);
    assert_int_equal(measured.dropped, ret_totals->dropped);
}

/* Both by unpacking and, unless only the disk can tell, by measuring. */
static void unpack_fails(struct bed *bed, const struct archive_rules *rules, enum error_code code,
                         const char *text, bool disk_only)
{
    struct error err = {0};
    struct archive_totals totals = {0};
    assert_int_equal(unpack(bed, rules, &totals, &err), code);
    if (!strstr(err.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, err.message);
    if (disk_only)
        return;
    err = (struct error){0};
    AUTO_CLOSE int archive = open_file(bed_path(bed, "a.tar"), O_RDONLY);
    assert_int_equal(archive_measure(archive, rules, &totals, &err), code);
    if (!strstr(err.message, text))
        fail_msg("measured, \"%s\" is not in \"%s\"", text, err.message);
}

static void assert_text(const struct bed *bed, const char *name, const char *expected)
{
    AUTO_FREE char *text = bed_read(bed_path(bed, name));
    assert_non_null(text);
    assert_string_equal(text, expected);
}

static struct stat stat_of(const struct bed *bed, const char *name)
{
    struct stat st;
    if (lstat(bed_path(bed, name), &st) != 0)
        fail_msg("%s: %s", name, strerror(errno));
    return st;
}

/* ---- What is unpacked -------------------------------------------------------------------- */

static void each_packing_is_unpacked(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    static const struct made entries[] = {
        {.name = "bin/", .mode = 0750, .time = 900000000},
        {.name = "bin/app", .mode = 0755, .text = "#!/bin/sh\n", .time = 1234567890},
        {.name = "empty"},
        {.name = "lib/deep/er/x", .text = "x"},
        {.name = "link", .kind = S_IFLNK, .text = "bin/app"},
        {.name = "away", .kind = S_IFLNK, .text = "/etc/../etc/passwd"},
        {.name = "bin/again", .hardlink = "bin/app"},
        END,
    };
    for (enum packing packing = PACKING_NONE; packing < PACKING_COUNT; packing++) {
        struct archive_totals totals = {0};
        char target[64] = "";
        archive_make(bed_path(&bed, "a.tar"), entries, packing);
        unpack_ok(&bed, &RULES, &totals);
        assert_int_equal(totals.entries, 7);
        assert_int_equal(totals.bytes, 11);
        assert_false(totals.has_root);
        assert_text(&bed, "out/bin/app", "#!/bin/sh\n");
        assert_text(&bed, "out/lib/deep/er/x", "x");
        struct stat app = stat_of(&bed, "out/bin/app"), bin = stat_of(&bed, "out/bin");
        assert_int_equal(app.st_mode & 07777, 0755);
        assert_int_equal(app.st_mtime, 1234567890);
        assert_int_equal(app.st_uid, geteuid());
        assert_int_equal(app.st_nlink, 2);
        assert_int_equal(app.st_ino, stat_of(&bed, "out/bin/again").st_ino);
        assert_int_equal(bin.st_mode & 07777, 0750);
        assert_int_equal(bin.st_mtime, 900000000);
        assert_int_equal(stat_of(&bed, "out/lib/deep").st_mode & 07777, 0755);
        assert_int_equal(readlink(bed_path(&bed, "out/away"), target, sizeof(target)), 18);
        assert_string_equal(target, "/etc/../etc/passwd");
    }
    bed_close(&bed);
}

static void what_tar_itself_has_made_is_unpacked(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    char command[2 * PATH_MAX];
    bed_open(&bed);
    tree_make(bed_path(&bed, "in"));
    assert_int_equal(chmod(bed_path(&bed, "in/text"), 0640), 0);
    (void)snprintf(command, sizeof(command), "tar -C %s/in -czf %s/a.tar .", bed.dir, bed.dir);
    /* NOLINTNEXTLINE(cert-env33-c) */
    assert_int_equal(system(command), 0);
    unpack_ok(&bed, &RULES, &totals);
    assert_int_equal(totals.entries, 6);
    assert_true(totals.has_root);
    assert_text(&bed, "out/text", "a text\n");
    assert_int_equal(stat_of(&bed, "out").st_mode & 07777, 0711);
    assert_int_equal(stat_of(&bed, "out").st_mtime, 700000000);
    /* Set-id and sticky bits of two folders are not kept. */
    assert_int_equal(totals.dropped, 2);
    assert_int_equal(stat_of(&bed, "out/sub").st_mode & 07777, 0750);
    bed_close(&bed);
}

static void owner_and_group_are_those_that_are_asked_for(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    static const struct made entries[] = {
        {.name = "d/"},
        {.name = "d/f"},
        {.name = "implied/f"},
        {.name = "l", .kind = S_IFLNK, .text = "x"},
        {.name = "h", .hardlink = "d/f"},
        END,
    };
    if (geteuid() != 0)
        skip();
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_NONE);
    unpack_ok(&bed, &(struct archive_rules){.uid = 71, .gid = 72}, &totals);
    static const char *const names[] = {"out/d", "out/d/f", "out/implied", "out/implied/f",
                                        "out/l"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct stat st = stat_of(&bed, names[i]);
        assert_int_equal(st.st_uid, 71);
        assert_int_equal(st.st_gid, 72);
    }
    bed_close(&bed);
}

static void folders_in_front_are_stripped(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    static const struct made entries[] = {
        {.name = "./"},
        {.name = "./app-1/", .mode = 0700},
        {.name = "top"},
        {.name = "./app-1/a/", .mode = 0711},
        {.name = "./app-1/a/f", .text = "x"},
        {.name = "app-1/h", .hardlink = "app-1/a/f"},
        {.name = "app-1/l", .kind = S_IFLNK, .text = "app-1/a/f"},
        END,
    };
    static const struct made linked[] = {
        {.name = "top"}, {.name = "app-1/h", .hardlink = "top"}, END};
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_GZIP);
    struct archive_rules rules = RULES;
    rules.strip_components = 1;
    unpack_ok(&bed, &rules, &totals);
    assert_int_equal(totals.entries, 4);
    assert_false(totals.has_root);
    assert_text(&bed, "out/a/f", "x");
    assert_int_equal(stat_of(&bed, "out/h").st_ino, stat_of(&bed, "out/a/f").st_ino);
    assert_int_equal(stat_of(&bed, "out").st_mode & 07777, 0755);
    archive_make(bed_path(&bed, "a.tar"), linked, PACKING_GZIP);
    unpack_fails(&bed, &rules, ERR_INVALID, "h: a hard link: it is none of the archive's files",
                 false);
    bed_close(&bed);
}

static void an_archive_of_nothing_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    static const struct made none[] = {END};
    static const struct made one[] = {{.name = "app/"}, {.name = "app/f"}, END};
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), none, PACKING_GZIP);
    unpack_fails(&bed, &RULES, ERR_INVALID, "there is nothing in the archive", false);
    archive_make(bed_path(&bed, "a.tar"), one, PACKING_GZIP);
    struct archive_rules rules = RULES;
    rules.strip_components = 2;
    unpack_fails(&bed, &rules, ERR_INVALID, "nothing is left of the archive's 2 entries", false);
    bed_write(bed_path(&bed, "a.tar"), "");
    unpack_fails(&bed, &RULES, ERR_CORRUPT, "the archive is damaged, or none", false);
    bed_write(bed_path(&bed, "a.tar"), "this is a text and no archive at all\n");
    unpack_fails(&bed, &RULES, ERR_CORRUPT, "the archive is damaged, or none", false);
    bed_close(&bed);
}

static void names_of_any_language_are_kept_in_whatever_locale(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    static const struct made entries[] = {
        {.name = "gr\xc3\xbc\xc3\x9f\x65/\xe6\x96\x87\xe4\xbb\xb6", .text = "x"},
        {.name = "l", .kind = S_IFLNK, .text = "gr\xc3\xbc\xc3\x9f\x65"},
        {.name = "h", .hardlink = "gr\xc3\xbc\xc3\x9f\x65/\xe6\x96\x87\xe4\xbb\xb6"},
        END,
    };
    static const struct made latin[] = {{.name = "gr\xfc\xdf"}, END};
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_NONE);
    assert_string_equal(setlocale(LC_ALL, NULL), "C");
    unpack_ok(&bed, &RULES, &totals);
    assert_text(&bed, "out/gr\xc3\xbc\xc3\x9f\x65/\xe6\x96\x87\xe4\xbb\xb6", "x");
    assert_text(&bed, "out/l/\xe6\x96\x87\xe4\xbb\xb6", "x");
    assert_text(&bed, "out/h", "x");
    archive_make_raw(bed_path(&bed, "a.tar"), latin);
    unpack_fails(&bed, &RULES, ERR_UNSUPPORTED, "is not UTF-8", false);
    bed_close(&bed);
}

static void of_two_entries_of_a_name_the_later_counts(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    static const struct made entries[] = {
        {.name = "f", .text = "first"},
        {.name = "h", .hardlink = "f"},
        {.name = "f", .text = "second"},
        {.name = "d/", .mode = 0700},
        {.name = "d/x"},
        {.name = "d/", .mode = 0711},
        {.name = "l", .kind = S_IFLNK, .text = "h"},
        {.name = "l", .text = "a file"},
        END,
    };
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_NONE);
    unpack_ok(&bed, &RULES, &totals);
    assert_text(&bed, "out/f", "second");
    assert_text(&bed, "out/h", "first"); /* not written through */
    assert_text(&bed, "out/l", "a file");
    assert_int_equal(stat_of(&bed, "out/d").st_mode & 07777, 0711);
    assert_int_equal(stat_of(&bed, "out/d/x").st_size, 0);
    bed_close(&bed);
}

static void a_folder_that_may_not_be_written_into_is_filled(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    static const struct made entries[] = {{.name = "d/", .mode = 0555},
                                          {.name = "d/e/", .mode = 0500},
                                          {.name = "d/e/f", .mode = 0400},
                                          END};
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_NONE);
    unpack_ok(&bed, &RULES, &totals);
    assert_int_equal(stat_of(&bed, "out/d").st_mode & 07777, 0555);
    assert_int_equal(stat_of(&bed, "out/d/e").st_mode & 07777, 0500);
    AUTO_CLOSE int fd = open_file(bed.dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(tree_remove(fd, "out", NULL, NULL), ERR_OK);
    bed_close(&bed);
}

/* ---- What is refused --------------------------------------------------------------------- */

struct hostile {
    struct made entries[4];
    const char *text; /* in the message */
    bool disk_only;   /* measuring does not find it */
};

static void what_leads_out_is_refused_with_the_entrys_name(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    char absolute[PATH_MAX], long_name[300];
    (void)snprintf(absolute, sizeof(absolute), "%s/outside/f", bed.dir);
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    const struct hostile all[] = {
        {{{.name = absolute, .text = "x"}, END},
         "/outside/f: the entry has an absolute path",
         false},
        {{{.name = "/", .kind = S_IFDIR}, END}, "/: the entry has an absolute path", false},
        {{{.name = "../outside/f", .text = "x"}, END}, "../outside/f: the entry leads out", false},
        {{{.name = "a/../../outside/f", .text = "x"}, END},
         "a/../../outside/f: the entry leads",
         false},
        {{{.name = "a/..", .kind = S_IFDIR}, END}, "a/../: the entry leads out", false},
        {{{.name = "l", .kind = S_IFLNK, .text = "../outside"}, {.name = "l/f", .text = "x"}, END},
         "l: the entry goes through a symbolic link",
         false},
        {{{.name = "l", .kind = S_IFLNK, .text = "../outside"}, {.name = "l/", .mode = 0700}, END},
         "l: the archive has a symbolic link of that name too",
         false},
        {{{.name = "d/l", .kind = S_IFLNK, .text = ".."}, {.name = "d/l/f", .text = "x"}, END},
         "d/l: the entry goes through a symbolic link",
         false},
        {{{.name = "f"}, {.name = "f/g", .text = "x"}, END},
         "f: the entry goes through what is no folder",
         true},
        {{{.name = "d/"}, {.name = "d", .text = "x"}, END},
         "d: the archive has a folder of that name too",
         false},
        {{{.name = "h", .hardlink = "../outside/there"}, END},
         "h: a hard link: ../outside/there: the entry leads out",
         false},
        {{{.name = "h", .hardlink = "/etc/passwd"}, END},
         "h: a hard link: /etc/passwd: the entry has an absolute path",
         false},
        {{{.name = "l", .kind = S_IFLNK, .text = "../outside"},
          {.name = "h", .hardlink = "l/there"},
          END},
         "h: a hard link: l: the entry goes through a symbolic link",
         true},
        {{{.name = "h", .hardlink = "none"}, END},
         "h: a hard link: none is not in the archive before it",
         true},
        {{{.name = "d/"}, {.name = "h", .hardlink = "d"}, END},
         "h: a hard link: d is not in the archive",
         true},
        {{{.name = "c", .kind = S_IFCHR}, END}, "c: the entry is a device", false},
        {{{.name = "b", .kind = S_IFBLK}, END}, "b: the entry is a device", false},
        {{{.name = "p", .kind = S_IFIFO}, END}, "p: the entry is a pipe", false},
        {{{.name = "mine", .text = "x"}, END}, "mine: the name is the step's own", false},
        {{{.name = "./mine/f", .text = "x"}, END}, "mine/f: the name is the step's own", false},
        {{{.name = long_name}, END}, "the name is too long", false},
    };
    assert_int_equal(mkdir(bed_path(&bed, "outside"), 0755), 0);
    bed_write(bed_path(&bed, "outside/there"), "theirs");
    char *before = tree_text(bed_path(&bed, "outside"), true);
    struct archive_rules rules = RULES;
    rules.reserved = "mine";
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        archive_make(bed_path(&bed, "a.tar"), all[i].entries, PACKING_NONE);
        unpack_fails(&bed, &rules, ERR_INVALID, all[i].text, all[i].disk_only);
    }
    assert_tree(bed_path(&bed, "outside"), true, before);
    bed_close(&bed);
}

static void nothing_is_written_through_a_link_that_somebody_puts_there(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    struct archive_totals totals = {0};
    static const struct made entries[] = {{.name = "a/b/f", .text = "x"}, END};
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_NONE);
    assert_int_equal(mkdir(bed_path(&bed, "outside"), 0755), 0);
    assert_int_equal(mkdir(bed_path(&bed, "out"), 0755), 0);
    assert_int_equal(mkdir(bed_path(&bed, "out/a"), 0755), 0);
    assert_int_equal(symlink("../../outside", bed_path(&bed, "out/a/b")), 0);
    AUTO_CLOSE int archive = open_file(bed_path(&bed, "a.tar"), O_RDONLY);
    AUTO_CLOSE int folder = open_file(bed_path(&bed, "out"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(archive_unpack(archive, folder, &RULES, &totals, &err), ERR_INVALID);
    assert_string_equal(err.message, "a/b: the entry goes through a symbolic link");
    assert_int_equal(rmdir(bed_path(&bed, "outside")), 0);
    bed_close(&bed);
}

static void set_id_bits_are_dropped_and_counted(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    static const struct made entries[] = {{.name = "su", .mode = 04755},
                                          {.name = "sg", .mode = 02755},
                                          {.name = "tmp/", .mode = 01777},
                                          {.name = "f", .mode = 0755},
                                          END};
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_ZSTD);
    unpack_ok(&bed, &RULES, &totals);
    assert_int_equal(totals.dropped, 3);
    assert_int_equal(stat_of(&bed, "out/su").st_mode & 07777, 0755);
    assert_int_equal(stat_of(&bed, "out/sg").st_mode & 07777, 0755);
    assert_int_equal(stat_of(&bed, "out/tmp").st_mode & 07777, 0777);
    bed_close(&bed);
}

static void bombs_are_refused_before_they_are_unpacked(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    static const struct made entries[] = {{.name = "a", .zeros = 1000000},
                                          {.name = "app/b", .zeros = 1000000},
                                          {.name = "c", .text = "x"},
                                          END};
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_ZSTD);
    struct archive_rules rules = RULES;
    rules.max_bytes = 1999999;
    unpack_fails(&bed, &rules, ERR_LIMIT, "b: with it more than 1999999 bytes are unpacked", false);
    /* What is left out is read all the same. */
    rules.strip_components = 1;
    unpack_fails(&bed, &rules, ERR_LIMIT, "with it more than 1999999 bytes are unpacked", false);
    rules.strip_components = 0;
    rules.max_bytes = 2000001;
    unpack_ok(&bed, &rules, &totals);
    rules.max_entries = 2;
    unpack_fails(&bed, &rules, ERR_LIMIT, "c: more than 2 entries", false);
    rules.max_entries = 3;
    unpack_ok(&bed, &rules, &totals);
    bed_close(&bed);
}

static void deep_folders_have_a_bound(void **state)
{
    (void)state;
    struct bed bed;
    struct archive_totals totals = {0};
    char name[2 * ARCHIVE_DEPTH_MAX + 8] = "";
    struct made entries[] = {{.name = name}, END};
    bed_open(&bed);
    for (int i = 0; i < ARCHIVE_DEPTH_MAX - 1; i++)
        memcpy(name + 2 * (size_t)i, "d/", 3);
    memcpy(name + strlen(name), "f", 2);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_NONE);
    unpack_ok(&bed, &RULES, &totals);
    memcpy(name + strlen(name) - 1, "d/f", 4);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_NONE);
    unpack_fails(&bed, &RULES, ERR_LIMIT, "too many folders in each other", false);
    bed_close(&bed);
}

/* ---- Damage ------------------------------------------------------------------------------ */

static void an_archive_that_is_cut_off_anywhere_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    static const struct made entries[] = {
        {.name = "d/"}, {.name = "d/f", .zeros = 3000}, {.name = "g", .text = "the end"}, END};
    bed_open(&bed);
    for (enum packing packing = PACKING_NONE; packing < PACKING_COUNT; packing++) {
        struct archive_totals totals = {0};
        archive_make(bed_path(&bed, "a.tar"), entries, packing);
        unpack_ok(&bed, &RULES, &totals);
        off_t size = stat_of(&bed, "a.tar").st_size;
        /* Of the two blocks of zeros at its end one is enough. */
        off_t step = packing == PACKING_NONE ? 512 : 1;
        off_t whole = packing == PACKING_NONE ? size - 512 : size;
        for (off_t cut = whole - step; cut >= 0; cut -= step) {
            struct error err = {0};
            assert_int_equal(truncate(bed_path(&bed, "a.tar"), cut), 0);
            enum error_code code = unpack(&bed, &RULES, &totals, &err);
            /* The end of what compresses says nothing of the archive. */
            if (code == ERR_OK && packing != PACKING_NONE && cut > whole - 64)
                continue;
            if (code != ERR_CORRUPT)
                fail_msg("packing %d cut at %jd of %jd: %s", (int)packing, (intmax_t)cut,
                         (intmax_t)size, err.message);
        }
    }
    bed_close(&bed);
}

static void cancelling_ends_it(void **state)
{
    (void)state;
    struct bed bed;
    static const struct made entries[] = {{.name = "a"}, END};
    atomic_bool cancelled = true;
    bed_open(&bed);
    archive_make(bed_path(&bed, "a.tar"), entries, PACKING_GZIP);
    struct archive_rules rules = RULES;
    rules.cancelled = &cancelled;
    unpack_fails(&bed, &rules, ERR_CANCELLED, "cancelled", false);
    bed_close(&bed);
}

/* ---- Packing ----------------------------------------------------------------------------- */

static enum error_code pack(struct bed *bed, const char *name, int64_t max_bytes, struct error *err)
{
    AUTO_CLOSE int dir = open_file(bed->dir, O_RDONLY | O_DIRECTORY);
    AUTO_CLOSE int archive = open_file(bed_path(bed, "a.tar"), O_RDWR | O_CREAT | O_TRUNC);
    return archive_pack(dir, name, archive, max_bytes, NULL, err);
}

static void a_packed_tree_comes_back_in_every_respect(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    struct archive_totals totals = {0};
    char long_name[256] = "";
    bed_open(&bed);
    tree_make(bed_path(&bed, "in"));
    memset(long_name, 'n', 250);
    assert_int_equal(mkdir(bed_path(&bed, "in/\xe6\x96\x87"), 0755), 0);
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "in/\xe6\x96\x87/%s", long_name);
    bed_write(bed_path(&bed, path), "long");
    assert_int_equal(link(bed_path(&bed, path), bed_path(&bed, "in/again")), 0);
    assert_int_equal(link(bed_path(&bed, "in/sub/link"), bed_path(&bed, "in/link")), 0);
    char *before = tree_text(bed_path(&bed, "in"), true);
    struct stat top = stat_of(&bed, "in");
    if (pack(&bed, "in", 0, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_tree(bed_path(&bed, "in"), true, tree_text(bed_path(&bed, "in"), true));
    struct archive_rules rules = RULES;
    rules.exact = true;
    unpack_ok(&bed, &rules, &totals);
    assert_tree(bed_path(&bed, "out"), true, before);
    assert_int_equal(stat_of(&bed, "out").st_mtim.tv_sec, top.st_mtim.tv_sec);
    assert_int_equal(stat_of(&bed, "out/again").st_nlink, 2);
    assert_int_equal(stat_of(&bed, "out/link").st_ino, stat_of(&bed, "out/sub/link").st_ino);
    bed_close(&bed);
}

static void an_empty_folder_is_packed_and_comes_back(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    struct archive_totals totals = {0};
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "in"), 0751), 0);
    assert_int_equal(pack(&bed, "in", 0, &err), ERR_OK);
    struct archive_rules rules = RULES;
    rules.exact = true;
    unpack_ok(&bed, &rules, &totals);
    assert_int_equal(stat_of(&bed, "out").st_mode & 07777, 0751);
    bed_close(&bed);
}

static void what_could_not_be_brought_back_is_not_packed(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    bed_open(&bed);
    tree_make(bed_path(&bed, "in"));
    assert_int_equal(pack(&bed, "in", 100, &err), ERR_LIMIT);
    assert_non_null(strstr(err.message, "more than 100 bytes"));
    assert_int_equal(pack(&bed, "none", 0, &err), ERR_NOT_FOUND);
    assert_int_equal(pack(&bed, "in/text", 0, &err), ERR_INVALID);
    assert_int_equal(mkfifo(bed_path(&bed, "in/pipe"), 0600), 0);
    assert_int_equal(pack(&bed, "in", 0, &err), ERR_INVALID);
    assert_string_equal(err.message, "pipe is neither file, folder nor link");
    assert_int_equal(unlink(bed_path(&bed, "in/pipe")), 0);
    bed_write(bed_path(&bed, "in/gr\xfc\xdf"), "x");
    assert_int_equal(pack(&bed, "in", 0, &err), ERR_UNSUPPORTED);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_packing_is_unpacked),
        cmocka_unit_test(what_tar_itself_has_made_is_unpacked),
        cmocka_unit_test(owner_and_group_are_those_that_are_asked_for),
        cmocka_unit_test(folders_in_front_are_stripped),
        cmocka_unit_test(an_archive_of_nothing_is_refused),
        cmocka_unit_test(names_of_any_language_are_kept_in_whatever_locale),
        cmocka_unit_test(of_two_entries_of_a_name_the_later_counts),
        cmocka_unit_test(a_folder_that_may_not_be_written_into_is_filled),
        cmocka_unit_test(what_leads_out_is_refused_with_the_entrys_name),
        cmocka_unit_test(nothing_is_written_through_a_link_that_somebody_puts_there),
        cmocka_unit_test(set_id_bits_are_dropped_and_counted),
        cmocka_unit_test(bombs_are_refused_before_they_are_unpacked),
        cmocka_unit_test(deep_folders_have_a_bound),
        cmocka_unit_test(an_archive_that_is_cut_off_anywhere_is_refused),
        cmocka_unit_test(cancelling_ends_it),
        cmocka_unit_test(a_packed_tree_comes_back_in_every_respect),
        cmocka_unit_test(an_empty_folder_is_packed_and_comes_back),
        cmocka_unit_test(what_could_not_be_brought_back_is_not_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
