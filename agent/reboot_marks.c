#include "agent/reboot_marks.h"

#include "common/base/cleanup.h"
#include "common/pki/pki_file.h"

#include <string.h>
#include <unistd.h>

enum { MARKS_MODE = 0600 };

static void path_put(const struct reboot_marks *marks, struct buf *path)
{
    buf_printf(path, "%s/reboot-required", marks->data_dir);
}

/* The reasons of this boot: the file's lines behind the first, which names the boot. */
static void own_lines(const struct reboot_marks *marks, struct buf *lines)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf text = BUF_INIT;
    struct error err;
    path_put(marks, &path);
    if (marks->boot_id[0] == '\0' || buf_check(&path, NULL) != ERR_OK ||
        pki_file_read(path.data, REBOOT_MARKS_MAX_BYTES, &text, &err) != ERR_OK)
        return;
    buf_putc(&text, '\0');
    size_t len = strlen(marks->boot_id);
    if (buf_check(&text, NULL) == ERR_OK && strncmp(text.data, marks->boot_id, len) == 0 &&
        text.data[len] == '\n')
        buf_puts(lines, text.data + len + 1);
}

static bool has_line(const struct buf *lines, const char *what)
{
    size_t len = strlen(what);
    const char *at = lines->data;
    for (const char *end = at ? strchr(at, '\n') : NULL; end;
         at = end + 1, end = strchr(at, '\n')) {
        if ((size_t)(end - at) == len && memcmp(at, what, len) == 0)
            return true;
    }
    return false;
}

enum error_code reboot_marks_add(const struct reboot_marks *marks, const char *what,
                                 struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf lines = BUF_INIT;
    AUTO_BUF struct buf text = BUF_INIT;
    if (marks->boot_id[0] == '\0')
        return error_set(err, ERR_UNAVAILABLE, "the boot id of this machine cannot be read");
    if (strchr(what, '\n') || strlen(what) > REBOOT_NAME_MAX)
        return error_set(err, ERR_INVALID, "no name of a package");
    own_lines(marks, &lines);
    if (has_line(&lines, what))
        return ERR_OK;
    path_put(marks, &path);
    buf_printf(&text, "%s\n%s%s\n", marks->boot_id, lines.data ? lines.data : "", what);
    enum error_code code = buf_check(&path, err);
    if (code == ERR_OK)
        code = buf_check(&text, err);
    if (code == ERR_OK && text.len > REBOOT_MARKS_MAX_BYTES)
        return ERR_OK; /* that one is needed is known */
    return code == ERR_OK ? pki_file_write(path.data, text.data, text.len, MARKS_MODE, err) : code;
}

/* Debian's marker is a sentence; the packages that want it stand beside it. */
static bool marked_by_others(const struct reboot_marks *marks, struct buf *lines)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf text = BUF_INIT;
    struct error err;
    buf_printf(&path, "%s/run/reboot-required", marks->root);
    if (buf_check(&path, NULL) != ERR_OK || access(path.data, F_OK) != 0)
        return false;
    buf_puts(&path, ".pkgs");
    if (buf_check(&path, NULL) == ERR_OK &&
        pki_file_read(path.data, REBOOT_MARKS_MAX_BYTES, &text, &err) == ERR_OK && text.len > 0)
        buf_append(lines, text.data, text.len);
    if (text.len > 0 && text.data[text.len - 1] != '\n')
        buf_putc(lines, '\n');
    return true;
}

bool reboot_marks_get(const struct reboot_marks *marks, struct buf *lines)
{
    size_t before = lines->len;
    own_lines(marks, lines);
    bool own = lines->len > before;
    return marked_by_others(marks, lines) || own;
}
