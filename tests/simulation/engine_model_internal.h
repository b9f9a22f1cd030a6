/*
 * engine_model_internal: the facts that the model's parts share. Nothing else includes it.
 */
#pragma once

#include "simulation/engine_model.h"

/* ---- engine_model.c ------------------------------------------------------------------------ */

uint32_t model_with_outcome(const struct model *m, enum execution_state outcome);
uint32_t model_slots_held(const struct model *m);
bool model_any_busy(const struct model *m);
/* Belongs to what is undone, whether it was already or not. */
bool model_affected(const struct model *m, const struct model_server *s);
/* Could be told to undo now. */
bool model_eligible(const struct model *m, const struct model_server *s);
/* Needs undoing and cannot be asked. */
bool model_given_up(const struct model *m, const struct model_server *s);
bool model_failed_undo(const struct model *m, const struct model_server *s);
/* How it ends, or would have, as things are. */
enum rollout_state model_end(const struct model *m);

/* ---- engine_model_decision.c --------------------------------------------------------------- */

/* The most servers of a batch (from 0) that may be in flight. */
uint32_t model_cap(const struct model *m, uint32_t batch);
uint32_t model_undos_asked(const struct model *m);

/* ---- engine_model_order.c ------------------------------------------------------------------ */

/* An order for the whole rollout would have it undone. */
bool model_needs_undo(const struct model *m, const struct model_server *s);
/* It waits for others to be undone before it. */
enum model_opinion model_waits(const struct model *m, const struct model_server *s);
void model_ordered(struct model *m, const struct event *event);
void model_resolved(struct model *m, const struct event *event);
void model_conclude(struct model *m);
/* A person wants everything undone: what was settled too. */
void model_release(struct model *m);
