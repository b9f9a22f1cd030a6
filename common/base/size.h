/* size: numbers of bytes as people write them: "500M", "4G". Pure. */
#pragma once

#include "common/base/error.h"

#include <stdint.h>

/* A whole number of bytes, or of the unit behind it: K, M, G, T, powers of 1024. ERR_INVALID says
 * what would be right. */
enum error_code size_parse(const char *text, int64_t *ret_bytes, struct error *err) MUST_CHECK;
