#include "common/plan/artifact.h"

#include <stddef.h>
#include <string.h>

static const char digits[] = "0123456789abcdef";

const char *artifact_digest(const char *name)
{
    size_t prefix = strlen(ARTIFACT_PREFIX);
    if (strncmp(name, ARTIFACT_PREFIX, prefix) != 0)
        return NULL;
    const char *digest = name + prefix;
    if (strlen(digest) != ARTIFACT_DIGEST_DIGITS || digest[strspn(digest, digits)] != '\0')
        return NULL;
    return digest;
}

const char *artifact_find(const char *text)
{
    for (const char *at = strstr(text, ARTIFACT_PREFIX); at != NULL;
         at = strstr(at, ARTIFACT_PREFIX)) {
        at += strlen(ARTIFACT_PREFIX);
        if (strspn(at, digits) == ARTIFACT_DIGEST_DIGITS)
            return at;
    }
    return NULL;
}

const char *artifact_check_name(const char *name)
{
    return artifact_digest(name)
               ? NULL
               : "the name of an artifact as kitsune artifact put prints it, \"" ARTIFACT_PREFIX
                 "\" and 64 lower-case hexadecimal digits";
}
