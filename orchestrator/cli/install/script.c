#include "orchestrator/cli/install/script.h"

#include <string.h>

void script_value(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s='", name);
    for (const char *s = value; *s; s++) {
        if (*s == '\'')
            buf_puts(b, "'\\''");
        else
            buf_putc(b, *s);
    }
    buf_puts(b, "'\n");
}

void script_call(struct buf *b, const char *function)
{
    buf_puts(b, script_remote);
    buf_printf(b, "\n%s\n", function);
}

void script_put_unit(struct buf *b, const char *binary)
{
    static const char packaged[] = "/usr/sbin/kitsune-agent";
    const char *at = script_unit;
    for (const char *found = NULL; (found = strstr(at, packaged));
         at = found + sizeof(packaged) - 1) {
        buf_append(b, at, (size_t)(found - at));
        buf_puts(b, binary);
    }
    buf_puts(b, at);
}
