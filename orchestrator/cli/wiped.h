/*
 * wiped: memory for libcurl that is overwritten when it is freed: it makes copies of the token for
 * headers, and buffers in which answers tell secrets.
 *
 * Threading: safe. I/O: none.
 */
#pragma once

#include <stdbool.h>

/* Initialises libcurl with such memory; once, before its first use. False: it cannot be. */
bool wiped_curl_init(void);
