/* support_seal: what tests of signed plans share: a plan of which everything is known, worked out
 * by another program from docs/signing.md, and keys. */
#pragma once

#include "common/pki/pki_sign.h"
#include "common/plan/plan_json.h"
#include "common/seal/seal_keys.h"
#include "common/seal/seal_plan.h"

/* Signed by the key of RFC 8032's first example. */
#define GOLDEN_KEY "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
#define GOLDEN_KEY_ID "21fe31dfa154a261"
#define GOLDEN_SIGNATURE                                                                           \
    "f5284bd908f883d6ccd973d248adef7be99bd55825aa41f1839a24707866c156"                             \
    "051edfbec23480e05a4aa16749b56df845c1a65ae1df3563b4b79a228b82b70b"
#define GOLDEN_DIGEST "011ebda3a950eda82fdefdc994d8e254bcea6c90f6747de3d35f49a2140c17ed"
#define GOLDEN_NOT_BEFORE_MS INT64_C(1795672800000) /* 2026-11-26T06:00:00Z */
#define GOLDEN_EXPIRES_MS INT64_C(1795701600000)    /* 2026-11-26T14:00:00Z */
extern const char golden_plan[];

/* Reads a plan as what the journal holds is read; fails the test when it is none. Caller owns. */
struct plan *plan_of(const char *text);
/* What is signed of it. Caller: buf_done. */
struct buf statement_of(const struct plan *plan);
/* Its hash, as digits. */
void digest_of(const struct plan *plan, char ret[SEAL_HASH_TEXT]);
/* Keys from a text. Caller owns. */
struct seal_keys *keys_of(const char *text);
