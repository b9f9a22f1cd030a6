/*
 * support_rollout: a rollout under test. Each call below applies one event and gives what the
 * engine decided as one line of text, in order, for instance
 *
 *     "threshold_exceeded(1) cancel(2) batch_ended(1,3) rollback_started(1) rollback(0)"
 *
 *     start(S) cancel(S) cancel_now(S) rollback(S) rollback(S,ROUND) rollback!(S,ROUND) with force
 *     delay(BATCH,MS) end
 *     batch_started(BATCH,COUNT) batch_ended(BATCH,COUNT) rollout_ended(STATE)
 *     canary_passed(N) threshold_exceeded(N) rollback_started(N) and the other notes by name
 *
 * or "refused: CODE". Agents' entries are numbered by themselves. After each event the counts must
 * add up; a refused event must have changed nothing. rollout_free replays all events into a fresh
 * engine and compares.
 */
#pragma once

#include "orchestrator/engine/engine.h"

struct rollout;

/* Takes ownership of the plan. */
struct rollout *rollout_of(struct plan *plan);
void rollout_free(struct rollout *r);
struct engine *rollout_engine(struct rollout *r);
const char *rollout_refusal(const struct rollout *r); /* message of the last refused event */

/* Texts are borrowed until the next call. */
const char *apply(struct rollout *r, struct event event);
const char *created(struct rollout *r);
const char *begins(struct rollout *r, uint32_t server);
const char *ends(struct rollout *r, uint32_t server, enum execution_state state);
const char *succeeds(struct rollout *r, uint32_t server); /* begins and ends; decisions of both */
const char *fails(struct rollout *r, uint32_t server);    /* begins and ends, does not undo */
const char *fails_and_undoes(struct rollout *r, uint32_t server); /* begins and ends, undo begun */
const char *undo_begins(struct rollout *r, uint32_t server);
const char *undone(struct rollout *r, uint32_t server);
const char *undo_fails(struct rollout *r, uint32_t server);
const char *unreachable(struct rollout *r, uint32_t server);
const char *unknown(struct rollout *r, uint32_t server);
const char *withdrawn(struct rollout *r, uint32_t server);
const char *batch_due(struct rollout *r, uint32_t batch);
const char *paused(struct rollout *r);
const char *resumed(struct rollout *r);
const char *cancelled(struct rollout *r, bool now, bool undoing);
const char *rollback_ordered(struct rollout *r); /* of all; by bob, as what follows */
const char *server_ordered(struct rollout *r, uint32_t server);
const char *server_forced(struct rollout *r, uint32_t server);
const char *resolved(struct rollout *r, uint32_t server, enum execution_state state);
const char *undoes_step(struct rollout *r, uint32_t server, int32_t step, enum step_state state,
                        bool conflict);
/* Its first step begins and ends, so that it may be changed. */
void works(struct rollout *r, uint32_t server);
/* A rollout in which all have worked and succeeded. Takes ownership of the plan. */
struct rollout *succeeded(struct plan *plan);
/* One of so many servers in which server 0 fell silent, and that succeeded all the same. */
struct rollout *succeeded_with_unknown(uint32_t servers);
/* An entry about a step; fill in what matters. */
struct event entry(enum event_type type, uint32_t server, int32_t step);
const char *reports(struct rollout *r, struct event entry);
/* What engine_resume gives on this engine. */
const char *standing(struct rollout *r);
/* "pending in_flight succeeded failed unreachable unknown cancelled skipped / rolled_back
 * rollback_failed", as numbers. */
const char *counts(struct rollout *r);
enum rollout_state state_of(struct rollout *r);
const char *reason_of(struct rollout *r);
/* The state of a server, and "state/outcome" where they differ. */
const char *server_is(struct rollout *r, uint32_t server);

/* Fails the test when two engines differ in anything that can be seen. */
void assert_engines_equal(const struct engine *a, const struct engine *b);
/* Takes all decisions as text into `text`. */
void take_decisions(struct engine *e, char *text, size_t size);
