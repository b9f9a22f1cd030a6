#include "orchestrator/cli/wiped.h"

#include <curl/curl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void wiped_free(void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *wiped_realloc(void *p, size_t size)
{
    void *fresh = malloc(size);
    size_t had = p ? malloc_usable_size(p) : 0;
    if (!fresh)
        return NULL;
    if (p)
        memcpy(fresh, p, had < size ? had : size);
    wiped_free(p);
    return fresh;
}

bool wiped_curl_init(void)
{
    return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiped_free, wiped_realloc, strdup,
                                calloc) == CURLE_OK;
}
