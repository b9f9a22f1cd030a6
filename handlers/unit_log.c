#include "handlers/unit_log.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "handlers/catalog.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-journal.h>

enum { SYNC_SECONDS = 2 };
#define JOURNAL_SOCKET "/run/systemd/journal/io.systemd.journal"

/* What a program has printed takes a while to get into the journal. The journal's daemon answers
 * this call (Varlink: JSON texts, each ended by a NUL) once all that was on its way is there. */
static void journal_sync(void)
{
    static const char call[] = "{\"method\":\"io.systemd.Journal.Synchronize\"}";
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
    const struct timeval limit = {.tv_sec = SYNC_SECONDS};
    char answer[512];
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        send(fd, call, sizeof(call), MSG_NOSIGNAL) != (ssize_t)sizeof(call))
        return;
    (void)recv(fd, answer, sizeof(answer), 0);
}

/* What the unit wrote, and what systemd wrote about it. */
static bool match_unit(sd_journal *j, const char *unit)
{
    char own[UNIT_NAME_MAX + 32], about[UNIT_NAME_MAX + 32];
    (void)snprintf(own, sizeof(own), "_SYSTEMD_UNIT=%s", unit);
    (void)snprintf(about, sizeof(about), "UNIT=%s", unit);
    return sd_journal_add_match(j, own, 0) >= 0 && sd_journal_add_disjunction(j) >= 0 &&
           sd_journal_add_match(j, "_PID=1", 0) >= 0 && sd_journal_add_match(j, about, 0) >= 0;
}

static bool entry_since(sd_journal *j, uint64_t since_usec)
{
    uint64_t usec = 0;
    return sd_journal_get_realtime_usec(j, &usec) >= 0 && usec >= since_usec;
}

static void line_put(sd_journal *j, struct buf *lines)
{
    static const char field[] = "MESSAGE=";
    const void *data;
    size_t len;
    if (sd_journal_get_data(j, "MESSAGE", &data, &len) < 0 || len < sizeof(field) - 1)
        return;
    const char *text = (const char *)data + sizeof(field) - 1;
    len -= sizeof(field) - 1;
    size_t shown = text_utf8_cut(text, len, UNIT_LOG_LINE_MAX);
    buf_puts(lines, "  ");
    buf_append(lines, text, shown);
    buf_puts(lines, shown < len ? "...\n" : "\n");
}

/* From the end backwards, then forwards again. */
static void lines_put(sd_journal *j, uint64_t since_usec, struct buf *lines)
{
    int count = 0;
    if (sd_journal_seek_tail(j) < 0)
        return;
    while (count < UNIT_LOG_LINES && sd_journal_previous(j) > 0 && entry_since(j, since_usec))
        count++;
    /* It stands at the oldest that is wanted, or at the one before it. */
    bool more = count > 0 && (entry_since(j, since_usec) || sd_journal_next(j) > 0);
    for (int i = 0; i < count && more; i++) {
        line_put(j, lines);
        more = sd_journal_next(j) > 0;
    }
}

void unit_log_read(const char *unit, uint64_t since_usec, struct buf *lines)
{
    sd_journal *j = NULL;
    journal_sync();
    if (sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM) < 0)
        return;
    if (match_unit(j, unit))
        lines_put(j, since_usec, lines);
    sd_journal_close(j);
}
