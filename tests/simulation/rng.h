/*
 * rng: the one source of chance in a simulation. The same seed gives the same numbers on every
 * machine, so a failing seed reproduces. xoshiro256** (Blackman, Vigna), seeded by splitmix64.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

static inline uint64_t rng_rotl(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void rng_init(struct rng *r, uint64_t seed)
{
    for (size_t i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        r->s[i] = z ^ (z >> 31);
    }
}

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t result = rng_rotl(r->s[1] * 5, 7) * 9;
    uint64_t t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rng_rotl(r->s[3], 45);
    return result;
}

/* 0 .. bound - 1. The bias of the multiplication is below 2^-32 for the bounds used here. */
static inline uint32_t rng_below(struct rng *r, uint32_t bound)
{
    assert(bound > 0);
    return (uint32_t)(((rng_next(r) >> 32) * bound) >> 32);
}

/* low .. high, both included. */
static inline uint32_t rng_between(struct rng *r, uint32_t low, uint32_t high)
{
    return low + rng_below(r, high - low + 1);
}

/* True `percent` times in a hundred. */
static inline bool rng_chance(struct rng *r, uint32_t percent)
{
    return rng_below(r, 100) < percent;
}

/* True once in `times`; never when 0. */
static inline bool rng_once_in(struct rng *r, uint32_t times)
{
    return times > 0 && rng_below(r, times) == 0;
}
