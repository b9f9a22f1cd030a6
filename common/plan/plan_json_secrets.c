/* Placeholders of secrets where none is filled in: in all of a plan but its steps' params. Whoever
 * writes one there expects what will not happen. */
#include "common/base/cleanup.h"
#include "common/plan/plan_json_internal.h"
#include "common/values/template.h"

#include <string.h>

struct walk {
    struct problems *ps;
    struct buf path;
};

static void look(struct walk *w, const struct json_value *v, size_t depth);

/* "steps[2].params", which have a check of their own, and "steps[2].when". */
static bool is_passed_over(const struct json_value *v, size_t depth)
{
    const char *name = json_name(v);
    return depth == 3 && name && (strcmp(name, "params") == 0 || strcmp(name, "when") == 0);
}

static void look_at_children(struct walk *w, const struct json_value *v, size_t depth)
{
    size_t index = 0;
    for (const struct json_value *c = json_first(v); c; c = json_next(c)) {
        size_t len = w->path.len;
        const char *name = json_name(c);
        if (name)
            buf_printf(&w->path, "%s%s", len > 0 ? "." : "", name);
        else
            buf_printf(&w->path, "[%zu]", index++);
        if (w->path.failed != ERR_OK)
            return;
        if (!is_passed_over(c, depth + 1))
            look(w, c, depth + 1);
        w->path.len = len;
        w->path.data[len] = '\0';
    }
}

static void look(struct walk *w, const struct json_value *v, size_t depth)
{
    const char *text = json_string(v);
    if (text && template_has_secret(text))
        problems_add(w->ps, w->path.data,
                     "a secret cannot stand here; params of some step types "
                     "can have one");
    look_at_children(w, v, depth);
}

enum error_code plan_secrets_check(const struct json_value *root, struct problems *ps,
                                   struct error *err)
{
    struct walk w = {.ps = ps, .path = BUF_INIT};
    look_at_children(&w, root, 0);
    enum error_code code = buf_check(&w.path, err);
    buf_done(&w.path);
    return code;
}
