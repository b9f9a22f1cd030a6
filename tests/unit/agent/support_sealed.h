/* support_sealed: a key that is trusted, and plans that it has signed. */
#pragma once

#include "agent/trust.h"
#include "common/pki/pki_sign.h"
#include "common/plan/plan.h"

struct sealed_rig {
    struct pki_signer *signer;
    struct trust *trust;
    char key[PKI_SIGN_KEY_ID_MAX];
    int64_t confirm_ms; /* of plans signed from now on */
    int64_t epoch;      /* of frames; 1 at first */
    struct plan *plan;  /* signed last: for "s0", "s1" and "s2", from an hour ago to one ahead */
};

void sealed_rig_init(struct sealed_rig *s);
void sealed_rig_done(struct sealed_rig *s);
/* Makes a plan of these steps, as JSON texts with commas between, and signs it. */
void sealed_rig_sign(struct sealed_rig *s, const char *steps);
/* The execute frame for that server. Caller: mem_free. */
char *sealed_rig_frame(const struct sealed_rig *s, const char *rollout, uint32_t server);
