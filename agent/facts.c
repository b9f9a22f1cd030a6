#include "agent/facts.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

enum { FACTS_FILE_MAX = 64 * 1024, KIB_PER_MIB = 1024, MIB = 1024 * 1024 };

struct collect {
    const char *root;
    struct value_set *set;
    struct error *err;
};

/* ---- Files -------------------------------------------------------------------------------------
 */

static bool path_of(const struct collect *c, const char *path, struct buf *out)
{
    buf_printf(out, "%s%s", c->root, path);
    return buf_check(out, NULL) == ERR_OK;
}

/* A file's text, "" when it cannot be had. */
static void file_text(const struct collect *c, const char *path, struct buf *out)
{
    AUTO_BUF struct buf full = BUF_INIT;
    char chunk[4096];
    if (!path_of(c, path, &full))
        return;
    AUTO_CLOSE int fd = open(full.data, O_RDONLY | O_CLOEXEC);
    for (ssize_t len = 1; fd >= 0 && len > 0 && out->len < FACTS_FILE_MAX;) {
        len = read(fd, chunk, sizeof(chunk));
        if (len > 0)
            buf_append(out, chunk, (size_t)len);
    }
    buf_puts(out, "");
}

/* The values of a text that is too long, or no text, are left out: what a fact says must be right.
 */
static enum error_code put_text(const struct collect *c, const char *name, const char *text)
{
    if (*text == '\0')
        return ERR_OK;
    enum error_code code = value_set_put_text(c->set, name, text, c->err);
    return code == ERR_NO_MEMORY ? code : ERR_OK;
}

static enum error_code put_number(const struct collect *c, const char *name, double number)
{
    enum error_code code = value_set_put_number(c->set, name, number, c->err);
    return code == ERR_NO_MEMORY ? code : ERR_OK;
}

/* ---- os-release(5) -----------------------------------------------------------------------------
 */

/* Takes the quotes and backslashes of a shell's assignment away, in place. */
static void unquote(char *s)
{
    char quote = '\0';
    if (*s == '"' || *s == '\'')
        quote = *s;
    char *to = s;
    for (char *from = quote ? s + 1 : s; *from != '\0' && *from != quote; from++) {
        if (*from == '\\' && quote != '\'' && from[1] != '\0')
            from++;
        *to++ = *from;
    }
    *to = '\0';
}

static enum error_code put_words(const struct collect *c, const char *name, char *text)
{
    struct value items[16];
    struct value list = {.kind = VALUE_LIST, .items = items};
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word && list.count < ARRAY_LEN(items);
         word = strtok_r(NULL, " ", &rest))
        items[list.count++] = (struct value){.kind = VALUE_TEXT, .text = word};
    enum error_code code = value_set_put(c->set, name, &list, c->err);
    return code == ERR_NO_MEMORY ? code : ERR_OK;
}

static enum error_code put_os_line(const struct collect *c, const char *key, char *value)
{
    static const char *const names[][2] = {
        {"ID", "os.id"}, {"VERSION_ID", "os.version"}, {"PRETTY_NAME", "os.name"}};
    unquote(value);
    if (strcmp(key, "ID_LIKE") == 0)
        return put_words(c, "os.like", value);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(key, names[i][0]) == 0)
            return put_text(c, names[i][1], value);
    }
    return ERR_OK;
}

static enum error_code collect_os(const struct collect *c)
{
    AUTO_BUF struct buf text = BUF_INIT;
    char *rest = NULL;
    file_text(c, "/etc/os-release", &text);
    if (text.len == 0)
        file_text(c, "/usr/lib/os-release", &text);
    if (text.len == 0)
        return ERR_OK;
    for (char *line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *equals = strchr(line, '=');
        if (*line == '#' || !equals)
            continue;
        *equals = '\0';
        enum error_code code = put_os_line(c, line, equals + 1);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

/* ---- The machine -------------------------------------------------------------------------------
 */

static enum error_code collect_uname(const struct collect *c)
{
    struct utsname name;
    if (uname(&name) != 0)
        return ERR_OK;
    enum error_code code = put_text(c, "kernel", name.release);
    if (code == ERR_OK)
        code = put_text(c, "arch", name.machine);
    return code == ERR_OK ? put_text(c, "hostname", name.nodename) : code;
}

/* A line of /proc/meminfo, "MemTotal:  16384 kB". */
static enum error_code put_memory(const struct collect *c, const char *text, const char *key,
                                  const char *name)
{
    const char *at = strstr(text, key);
    if (!at)
        return ERR_OK;
    char *end = NULL;
    unsigned long long mib = strtoull(at + strlen(key), &end, 10) / KIB_PER_MIB;
    return strncmp(end, " kB", 3) == 0 ? put_number(c, name, (double)mib) : ERR_OK;
}

static enum error_code collect_memory(const struct collect *c)
{
    AUTO_BUF struct buf text = BUF_INIT;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    enum error_code code = cpus > 0 ? put_number(c, "cpus", (double)cpus) : ERR_OK;
    file_text(c, "/proc/meminfo", &text);
    if (text.len == 0 || code != ERR_OK)
        return code;
    code = put_memory(c, text.data, "MemTotal:", "memory.mb");
    return code == ERR_OK ? put_memory(c, text.data, "SwapTotal:", "swap.mb") : code;
}

static enum error_code collect_disk(const struct collect *c)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct statvfs fs;
    if (!path_of(c, "/", &path) || statvfs(path.data, &fs) != 0)
        return ERR_OK;
    double unit = (double)fs.f_frsize;
    enum error_code code =
        put_number(c, "disk.root.mb", (double)(int64_t)((double)fs.f_blocks * unit / MIB));
    if (code != ERR_OK)
        return code;
    return put_number(c, "disk.root.free_mb", (double)(int64_t)((double)fs.f_bavail * unit / MIB));
}

static enum error_code collect_boot(const struct collect *c)
{
    AUTO_BUF struct buf text = BUF_INIT;
    file_text(c, "/proc/sys/kernel/random/boot_id", &text);
    if (text.len == 0)
        return ERR_OK;
    text.data[strcspn(text.data, "\n")] = '\0';
    return put_text(c, "boot.id", text.data);
}

/* dpkg keeps a list of files for each package that is installed (dpkg-query(1)). */
static enum error_code collect_packages(const struct collect *c)
{
    static const char ending[] = ".list";
    AUTO_BUF struct buf path = BUF_INIT;
    double count = 0;
    if (!path_of(c, "/var/lib/dpkg/info", &path))
        return ERR_OK;
    DIR *dir = opendir(path.data);
    if (!dir)
        return ERR_OK;
    for (const struct dirent *item = readdir(dir); item; item = readdir(dir)) {
        size_t len = strlen(item->d_name);
        if (len > sizeof(ending) - 1 &&
            strcmp(item->d_name + len - (sizeof(ending) - 1), ending) == 0)
            count++;
    }
    (void)closedir(dir);
    return put_number(c, "packages.dpkg", count);
}

enum error_code facts_collect(const char *root, struct value_set *set, struct error *err)
{
    static enum error_code (*const parts[])(const struct collect *c) = {
        collect_os, collect_uname, collect_memory, collect_disk, collect_packages, collect_boot,
    };
    const struct collect c = {.root = root, .set = set, .err = err};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        enum error_code code = parts[i](&c);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

/* ---- A reboot ----------------------------------------------------------------------------------
 */

enum error_code facts_collect_reboot(const struct reboot_marks *marks, struct value_set *set,
                                     struct error *err)
{
    AUTO_BUF struct buf lines = BUF_INIT;
    struct value items[VALUE_LIST_MAX];
    size_t count = 0;
    const struct value required = {.kind = VALUE_BOOL, .yes = reboot_marks_get(marks, &lines)};
    enum error_code code = buf_check(&lines, err);
    if (code == ERR_OK)
        code = value_set_put(set, "rebootRequired", &required, err);
    if (code != ERR_OK || lines.len == 0)
        return code;
    char *rest = lines.data;
    for (char *line = strsep(&rest, "\n"); line && count < VALUE_LIST_MAX;
         line = strsep(&rest, "\n")) {
        if (*line != '\0')
            items[count++] = (struct value){.kind = VALUE_TEXT, .text = line};
    }
    const struct value reasons = {.kind = VALUE_LIST, .items = items, .count = count};
    code = value_set_put(set, "rebootReasons", &reasons, err);
    return code == ERR_NO_MEMORY ? code : ERR_OK;
}

/* ---- Labels ------------------------------------------------------------------------------------
 */

enum error_code facts_label(const char *text, struct value_set *labels, struct error *err)
{
    char name[VALUE_NAME_MAX + 1];
    struct value v;
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : 0;
    bool valid = len > 0 && len <= VALUE_NAME_MAX;
    for (size_t i = 0; i < len && valid; i++)
        valid = isalnum((unsigned char)text[i]) || text[i] == '_' || text[i] == '-';
    if (!valid)
        return error_set(err, ERR_INVALID,
                         "\"%.100s\" is no label: NAME=VALUE, with a name of letters, digits, _ "
                         "and -",
                         text);
    memcpy(name, text, len);
    name[len] = '\0';
    if (value_set_find(labels, name, &v))
        return error_set(err, ERR_EXISTS, "label \"%.100s\" is given twice", name);
    return value_set_put_text(labels, name, equals + 1, err);
}
