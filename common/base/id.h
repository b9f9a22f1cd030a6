/*
 * id: names of things. Random ids for rollouts and instances, and the rule that server ids and
 * chosen rollout ids follow. Randomness from getrandom(2). Threading: no shared state.
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ID_MAX = 128,       /* longest name, bytes, without the NUL */
    ID_RANDOM_LEN = 16, /* characters in a random id: 80 bits, base 32 (Crockford, lower case) */
    ID_BUFFER = ID_MAX + 1
};

/* True for [A-Za-z0-9][A-Za-z0-9._-]{0,127}. */
bool id_valid(const char *s);
/* Writes a fresh random id; its first character is a letter, so a unique prefix reads as a name. */
enum error_code id_random(char ret_id[ID_RANDOM_LEN + 1], struct error *err) MUST_CHECK;
/* Fills with random bytes. */
enum error_code id_random_bytes(void *ret, size_t len, struct error *err) MUST_CHECK;

/* FNV-1a over a string, for hash tables. */
uint64_t id_hash(const char *s);
