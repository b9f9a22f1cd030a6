#include "orchestrator/cli/install/decide.h"

#include <stdio.h>
#include <string.h>

void decision_done(struct decision *decision)
{
    buf_done(&decision->conf);
}

/* ---- Whether it can be done --------------------------------------------------------------------
 */

static bool installed(const struct facts *f)
{
    return f->package[0] || f->own_binary[0];
}

static enum error_code check_host(const struct facts *f, const struct wanted *w, struct error *err)
{
    const struct payload *p = w->payload;
    if (strcmp(f->kernel, "Linux") != 0)
        return error_set(err, ERR_UNSUPPORTED, "it runs %s, and the agent runs on Linux",
                         f->kernel);
    if (p->machine[0] && strcmp(p->machine, f->machine) != 0)
        return error_set(
            err, ERR_UNSUPPORTED,
            "its architecture is %.64s, and %.128s is for %.64s (--binary or --package "
            "names another)",
            f->machine, p->path, p->machine);
    if (!f->systemd && w->start)
        return error_set(err, ERR_UNSUPPORTED,
                         "systemd does not run there, so nothing would keep the agent running "
                         "(--no-start installs it all the same)");
    if ((p->kind == PAYLOAD_DEB && !f->deb) || (p->kind == PAYLOAD_RPM && !f->rpm))
        return error_set(err, ERR_UNSUPPORTED, "it does not take .%s packages: %.128s",
                         payload_kind_names[p->kind], f->os[0] ? f->os : f->kernel);
    return ERR_OK;
}

static enum error_code check_present(const struct facts *f, const struct wanted *w,
                                     struct error *err)
{
    char server[FACTS_TEXT_MAX + 1] = "";
    if (w->goal == GOAL_UPGRADE && !installed(f))
        return error_set(err, ERR_NOT_FOUND, "no agent is installed there (kitsune agent install)");
    if (w->payload->kind == PAYLOAD_BINARY && f->package[0])
        return error_set(err, ERR_CONFLICT,
                         "its agent is of a package (%.64s): --package upgrades it", f->package);
    if (w->payload->kind != PAYLOAD_BINARY && f->own_binary[0])
        return error_set(err, ERR_CONFLICT,
                         "its agent is of no package: uninstall it first, or upgrade it with "
                         "--binary");
    bool named = f->has_conf && f->conf.len > 0 &&
                 conf_get(f->conf.data, "server-id", server, sizeof(server));
    if (!w->replace && named && strcmp(server, w->server) != 0)
        return error_set(
            err, ERR_CONFLICT,
            "its agent is the server %.64s already, not %.64s (--replace makes it that)", server,
            w->server);
    return ERR_OK;
}

/* ---- What has to be done -----------------------------------------------------------------------
 */

static void put_conf(const struct facts *f, const struct wanted *w, struct decision *d)
{
    if (f->conf.len > 0)
        buf_append(&d->conf, f->conf.data, f->conf.len);
    else
        buf_puts(&d->conf, "# kitsune-agent(8): options, one a line, without their dashes.\n");
    conf_set(&d->conf, "server-id", w->server);
    if (w->orchestrator)
        conf_set(&d->conf, "orchestrator", w->orchestrator);
    if (w->ca_fingerprint)
        conf_set(&d->conf, "ca-fingerprint", w->ca_fingerprint);
    if (w->tls)
        conf_set(&d->conf, "enrol-token-file", "/var/lib/kitsune-agent/enrol-token");
}

static bool payload_there(const struct facts *f, const struct payload *p)
{
    const char *now = p->kind == PAYLOAD_BINARY ? f->own_binary : f->packaged_binary;
    if (p->kind == PAYLOAD_BINARY)
        return strcmp(now, p->sum) == 0;
    /* A package's own sum says nothing of what it installs: it was noted when it was installed. */
    return now[0] && strcmp(f->installed_payload, p->sum) == 0 &&
           strcmp(f->installed_binary, now) == 0;
}

static bool unit_there(const struct facts *f, const struct wanted *w)
{
    char sum[FACTS_SUM_MAX];
    if (w->payload->kind != PAYLOAD_BINARY)
        return true;
    payload_sum(w->unit, strlen(w->unit), sum);
    return strcmp(sum, f->own_unit) == 0;
}

enum error_code decide(const struct facts *facts, const struct wanted *wanted,
                       struct decision *ret_decision, struct error *err)
{
    AUTO_DECISION struct decision d = {0};
    enum error_code code = check_host(facts, wanted, err);
    if (code == ERR_OK)
        code = check_present(facts, wanted, err);
    if (code != ERR_OK)
        return code;
    put_conf(facts, wanted, &d);
    code = buf_check(&d.conf, err);
    if (code != ERR_OK)
        return code;
    d.fresh = !installed(facts);
    d.recover = facts->unfinished;
    d.upload = !payload_there(facts, wanted->payload);
    d.configure = !facts->has_conf || facts->conf.len != d.conf.len ||
                  memcmp(facts->conf.data, d.conf.data, d.conf.len) != 0 ||
                  !unit_there(facts, wanted);
    d.enrol = wanted->tls && wanted->goal == GOAL_INSTALL &&
              (wanted->replace || strcmp(facts->identity, wanted->server) != 0);
    d.start = wanted->start && (d.upload || d.configure || d.enrol || d.recover || !facts->active ||
                                !facts->enabled);
    *ret_decision = d;
    d.conf = BUF_INIT;
    return ERR_OK;
}

void decision_words(const struct decision *decision, struct buf *b)
{
    const struct {
        bool done;
        const char *word;
    } parts[] = {
        {decision->upload, "upload"},
        {decision->enrol, "enrol"},
        {decision->configure, "configure"},
        {decision->start, "start"},
    };
    const char *comma = "";
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].done) {
            buf_printf(b, "%s%s", comma, parts[i].word);
            comma = ", ";
        }
    }
    if (!*comma)
        buf_puts(b, decision->recover ? "settle an earlier run" : "nothing");
}

/* ---- agent.conf --------------------------------------------------------------------------------
 */

/* Whether a line sets `key`, where it may be commented out ("#key = value", without a blank). */
static bool line_sets(const char *line, size_t len, const char *key, bool commented)
{
    const char *end = line + len;
    size_t key_len = strlen(key);
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    if (commented && (line == end || *line++ != '#'))
        return false;
    if ((size_t)(end - line) < key_len || memcmp(line, key, key_len) != 0)
        return false;
    line += key_len;
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    return line < end && (*line == '=' || *line == ':');
}

/* The line that sets it; NULL: there is none. */
static const char *find_line(const char *conf, const char *key, bool commented, size_t *ret_len)
{
    while (conf && *conf) {
        size_t len = strcspn(conf, "\n");
        if (line_sets(conf, len, key, commented)) {
            *ret_len = len;
            return conf;
        }
        conf += len + (conf[len] == '\n');
    }
    return NULL;
}

bool conf_get(const char *conf, const char *key, char *ret, size_t size)
{
    size_t len = 0;
    const char *line = find_line(conf, key, false, &len);
    if (!line)
        return false;
    const char *end = line + len;
    const char *value = line + strcspn(line, "=:") + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    /* A comment may stand behind a value, after a blank. */
    for (const char *at = value; at < end; at++) {
        if ((*at == '#' || *at == ';') && at > value && (at[-1] == ' ' || at[-1] == '\t'))
            end = at;
    }
    while (end > value && strchr(" \t\r", end[-1]))
        end--;
    (void)snprintf(ret, size, "%.*s", (int)(end - value), value);
    return true;
}

void conf_set(struct buf *conf, const char *key, const char *value)
{
    AUTO_BUF struct buf next = BUF_INIT;
    char now[FACTS_TEXT_MAX * 2];
    size_t len = 0;
    const char *text = conf->len > 0 ? conf->data : "";
    if (conf_get(text, key, now, sizeof(now)) && strcmp(now, value) == 0)
        return;
    const char *line = find_line(text, key, false, &len);
    if (!line)
        line = find_line(text, key, true, &len);
    size_t before = line ? (size_t)(line - text) : conf->len;
    buf_append(&next, text, before);
    if (!line && before > 0 && text[before - 1] != '\n')
        buf_putc(&next, '\n');
    buf_printf(&next, "%s = %s", key, value);
    buf_puts(&next, line ? line + len : "\n");
    if (next.failed != ERR_OK) {
        conf->failed = next.failed;
        return;
    }
    buf_done(conf);
    *conf = next;
    next = BUF_INIT;
}
