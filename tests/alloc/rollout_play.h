/*
 * rollout_play: one rollout over two agents, from its submission to the undoing of both, in small
 * steps. Everybody does as the real ones do: what was refused is asked again, whoever lost the
 * connection comes back and says again what was not acknowledged, and an orchestrator that cannot
 * go on is started again. So whatever a step has lacked, the play ends as it does when nothing is
 * lacking, or something was lost.
 */
#pragma once

#include "alloc/alloc.h"
#include "tests/fuzz/orchestrator_world.h"

enum { PLAY_AGENTS = 2 };

struct play_agent {
    struct net_conn *conn; /* NULL: none */
    size_t read;           /* of what was sent to it */
    bool greeted, welcomed;
    unsigned sent, acked, known; /* of its entries; known: it has happened */
};

struct play {
    struct alloc_world base;
    struct world world;
    struct play_agent agents[PLAY_AGENTS];
    bool submitted, paused, resumed;
};

void play_begin(void *play);
void play_end(void *play);
/* Does the next thing; false: the play is over. */
bool play_step(struct play *p);
/* To the end, then all that there is to see. */
void play_look(void *play, struct buf *b);
