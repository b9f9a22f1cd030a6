#include "agent/network_environment.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <stdbool.h>
#include <string.h>

/* Of the loader and the C library, of TLS, and of what programs are tested with. One that ends with
 * '=' is a whole name. */
static const char *const passed_on[] = {
    "PATH=",
    "LANG=",
    "LANGUAGE=",
    "LC_",
    "TZ=",
    "LD_",
    "MALLOC_",
    "GLIBC_",
    "LOCALDOMAIN=",
    "RES_OPTIONS=",
    "OPENSSL_",
    "SSL_CERT_",
    "ASAN_OPTIONS=",
    "UBSAN_OPTIONS=",
    "LSAN_OPTIONS=",
    "TSAN_OPTIONS=",
    "FAKETIME",
    "LLVM_PROFILE_FILE=",
    "KITSUNE_FAILPOINT=",
    "KITSUNE_TEST_",
};

static bool is_passed_on(const char *variable)
{
    for (size_t i = 0; i < ARRAY_LEN(passed_on); i++) {
        if (strncmp(variable, passed_on[i], strlen(passed_on[i])) == 0)
            return true;
    }
    return false;
}

char **network_environment(void)
{
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    char **list = mem_array(count + 1, sizeof(char *));
    for (size_t i = 0; list && i < count; i++) {
        if (is_passed_on(environ[i]))
            list[kept++] = environ[i];
    }
    return list;
}
