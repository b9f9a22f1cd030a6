/* support_store: an artifact store in a folder of its own, on a loop of its own, asked one thing at
 * a time. */
#pragma once

#include "orchestrator/artifacts/artifact_store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What most tests put, in two pieces. */
#define TEXT "some content that is put in pieces"
enum { LEN = sizeof(TEXT) - 1, FIRST = 10, HEX_BUFFER = ARTIFACT_DIGEST_BUFFER };

struct world {
    uv_loop_t loop;
    char dir[64];
    struct artifact_store_config config;
    struct artifact_store *store;
};

/* How something that was asked for has ended. */
struct ended {
    int times;
    enum error_code code;
    char message[ERROR_MESSAGE_MAX];
    bool there; /* with facts: */
    int64_t size, offset;
    bool whole;
};

void world_begin(struct world *w);
void world_end(struct world *w);
/* The same for each test of a group: *state is the world. */
int world_setup(void **state);
int world_teardown(void **state);
void world_open(struct world *w);
/* Ends the store, and waits until nothing of it is left. */
void world_close(struct world *w);
/* As after a crash: what is on the disk is looked at anew. */
void world_again(struct world *w);
/* Lets the loop run until that many things have ended. */
void wait_for(struct world *w, const struct ended *ended, int times);

/* DIR/artifacts/NAME; borrowed until the next call. */
const char *path_of(const struct world *w, const char *name);
bool is_there(const struct world *w, const char *name);
/* Bytes of a file there; -1: there is none. */
int64_t length_of(const struct world *w, const char *name);
void file_make(const struct world *w, const char *name, const char *text);

void hex_of(const char *data, size_t len, char ret[HEX_BUFFER]);

/* Asks without waiting: `done` with the ended as ctx. */
void ended_done(void *ctx, enum error_code result, const struct error *err,
                const struct artifact_facts *facts);
void begin(struct world *w, const char *hex, int64_t size, struct ended *ended);
void piece(struct world *w, const char *hex, int64_t offset, const char *data, size_t len,
           struct ended *ended);
/* And with. */
struct ended begun(struct world *w, const char *hex, int64_t size);
struct ended put(struct world *w, const char *hex, int64_t offset, const char *data, size_t len);
struct ended deleted(struct world *w, const char *hex);
/* A text as a whole artifact. */
void stored(struct world *w, const char *text, char ret_hex[HEX_BUFFER]);
bool found(const struct world *w, const char *hex, struct artifact_facts *ret);

/* TEXT, of which the first piece is there. */
void half_put(struct world *w, char ret_hex[HEX_BUFFER]);
/* Fails the test otherwise: told of and on the disk. */
void is_whole(struct world *w, const char *hex);
void nothing_is_left(const struct world *w, const char *hex);
