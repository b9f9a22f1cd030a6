#include "common/base/size.h"

#include <stdbool.h>
#include <string.h>

#define SIZE_MAX_BYTES ((INT64_C(1) << 53) - 1) /* what a JSON number carries exactly */

enum error_code size_parse(const char *text, int64_t *ret_bytes, struct error *err)
{
    static const char units[] = "KMGT";
    int64_t size = 0;
    bool fits = true;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        fits = fits && !__builtin_mul_overflow(size, 10, &size) &&
               !__builtin_add_overflow(size, *at - '0', &size);
    const char *unit = at > text && *at != '\0' ? strchr(units, *at) : NULL;
    for (const char *u = units; unit != NULL && u <= unit; u++)
        fits = fits && !__builtin_mul_overflow(size, 1024, &size);
    if (at == text || at[unit != NULL ? 1 : 0] != '\0')
        return error_set(err, ERR_INVALID, "%.40s: must be a size such as 500M or 4G", text);
    if (!fits || size > SIZE_MAX_BYTES)
        return error_set(err, ERR_INVALID, "%.40s: is too large", text);
    *ret_bytes = size;
    return ERR_OK;
}
