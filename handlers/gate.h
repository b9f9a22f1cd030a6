/*
 * gate: the loop of a health gate. Probes one after the other until enough of them in a row have
 * succeeded or failed, and says how each went.
 *
 * What probes is handed in. A gate is the first member of the handler's state, so that the state
 * is found from it; the handler allocates it and gives a function that frees it.
 *
 * Threading: the loop's thread. I/O: a timer.
 */
#pragma once

#include "handlers/catalog.h"
#include "handlers/handler.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* ---- Pure: what has come of the probes so far -------------------------------------------- */

enum gate_verdict { GATE_GOES_ON, GATE_HEALTHY, GATE_UNHEALTHY };

struct gate_count {
    int64_t probes, successes, failures; /* in all; in a row */
};
enum gate_verdict gate_count_probe(struct gate_count *count, const struct gate_params *params,
                                   bool success);
/* From the end of a probe that began so long ago until the next begins. */
int64_t gate_wait_ms(const struct gate_params *params, int64_t since_begin_ms);

/* ---- The loop ---------------------------------------------------------------------------- */

struct gate;

struct gate_prober {
    /* Begins a probe. It ends in gate_probed() or gate_broken(), perhaps before this returns. */
    void (*probe)(struct gate *g);
    /* The probe under way is to end at once: it has taken too long or the step was cancelled. It
     * still ends in gate_probed(), whose words are then not used. May be called twice. */
    void (*stop)(struct gate *g);
    void (*free)(struct gate *g);
};

struct gate {
    const struct gate_prober *prober;
    const struct gate_params *params;
    struct handler_run *run;
    uv_timer_t timer; /* of the probe under way, else until the next one */
    struct gate_count count;
    uint64_t began_ns; /* the last probe */
    bool probing, timed_out, cancelled, over;
    struct handler_result result;
};

/* Begins with the first probe. Takes the gate over: it is freed before the run is finished. */
void gate_start(struct gate *g, const struct gate_prober *prober, const struct gate_params *params,
                struct handler_run *run);
/* A probe is over; the text says what it saw, in a few words on one line. */
void gate_probed(struct gate *g, bool success, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* It cannot be probed at all, and no further attempt would help. */
void gate_broken(struct gate *g, const struct error *err);
/* For handler.check: probes as execute does, which changes nothing; but not where an earlier step
 * would change something: what is there now is not what would be looked at. */
void gate_check(struct handler_run *run, void (*execute)(struct handler_run *run));
/* For handler.cancel; g may be NULL. */
void gate_cancel(struct gate *g);
