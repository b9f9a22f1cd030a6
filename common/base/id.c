#include "common/base/id.h"

#include <errno.h>
#include <sys/random.h>

enum { DIGITS = 10 }; /* of the alphabet are digits; the rest are letters */
static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool id_valid(const char *s)
{
    if (!is_alphanumeric(s[0]))
        return false;
    size_t len = 1;
    while (is_alphanumeric(s[len]) || s[len] == '.' || s[len] == '_' || s[len] == '-') {
        if (++len > ID_MAX)
            return false;
    }
    return s[len] == '\0';
}

enum error_code id_random(char ret_id[ID_RANDOM_LEN + 1], struct error *err)
{
    char id[ID_RANDOM_LEN + 1];
    size_t len = 0;
    while (len < ID_RANDOM_LEN) {
        unsigned char bytes[2 * ID_RANDOM_LEN];
        enum error_code code = id_random_bytes(bytes, sizeof(bytes), err);
        if (code != ERR_OK)
            return code;
        for (size_t i = 0; i < sizeof(bytes) && len < ID_RANDOM_LEN; i++) {
            unsigned index = bytes[i] % 32U;
            /* Drawn again rather than mapped, so that each letter is as likely as the others. */
            if (len == 0 && index < DIGITS)
                continue;
            id[len++] = alphabet[index];
        }
    }
    for (size_t i = 0; i < ID_RANDOM_LEN; i++)
        ret_id[i] = id[i];
    ret_id[ID_RANDOM_LEN] = '\0';
    return ERR_OK;
}

enum error_code id_random_bytes(void *ret, size_t len, struct error *err)
{
    unsigned char *bytes = ret;
    size_t have = 0;
    while (have < len) {
        ssize_t n = getrandom(bytes + have, len - have, 0);
        if (n < 0 && errno != EINTR)
            return error_errno(err, errno, "cannot get random bytes");
        if (n > 0)
            have += (size_t)n;
    }
    return ERR_OK;
}

uint64_t id_hash(const char *s)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *s != '\0'; s++)
        hash = (hash ^ (unsigned char)*s) * UINT64_C(1099511628211);
    return hash;
}
