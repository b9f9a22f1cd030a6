#include "orchestrator/access/throttle.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct slot {
    char key[THROTTLE_KEY_BUFFER];
    int64_t begin_ms;
    uint32_t count;
    uint64_t untold;
};

struct throttle {
    struct throttle_config config;
    struct slot slots[THROTTLE_SETS][THROTTLE_WAYS];
    struct slot others; /* of all who found no place */
    int64_t told_ms;    /* the beginning of the window in which `told` were told */
    uint32_t told;
};

enum error_code throttle_new(const struct throttle_config *config, struct throttle **ret_throttle,
                             struct error *err)
{
    struct throttle *t = MEM_NEW(struct throttle);
    if (!t)
        return error_set(err, ERR_NO_MEMORY, NULL);
    t->config = *config;
    (void)snprintf(t->others.key, sizeof(t->others.key), "others");
    *ret_throttle = t;
    return ERR_OK;
}

void throttle_free(struct throttle *t)
{
    mem_free(t);
}

/* ---- Whose it is ----------------------------------------------------------------------------- */

static void key_of_v6(struct in6_addr *v6, char ret_key[THROTTLE_KEY_BUFFER])
{
    char text[INET6_ADDRSTRLEN] = "";
    if (IN6_IS_ADDR_V4MAPPED(v6)) {
        (void)inet_ntop(AF_INET, &v6->s6_addr[12], text, sizeof(text));
        (void)snprintf(ret_key, THROTTLE_KEY_BUFFER, "%s", text);
        return;
    }
    memset(&v6->s6_addr[8], 0, 8);
    (void)inet_ntop(AF_INET6, v6, text, sizeof(text));
    (void)snprintf(ret_key, THROTTLE_KEY_BUFFER, "%s/64", text);
}

void throttle_address(const char *peer, char ret_key[THROTTLE_KEY_BUFFER])
{
    char address[INET6_ADDRSTRLEN + 1] = "";
    struct in6_addr v6;
    bool brackets = peer[0] == '[';
    size_t len = brackets ? strcspn(peer + 1, "]") : strcspn(peer, ":");
    if (len < sizeof(address))
        memcpy(address, peer + brackets, len);
    if (brackets && inet_pton(AF_INET6, address, &v6) == 1)
        key_of_v6(&v6, ret_key);
    else
        (void)snprintf(ret_key, THROTTLE_KEY_BUFFER, "%s", address);
}

/* ---- Counting -------------------------------------------------------------------------------- */

static bool has_ended(const struct throttle *t, const struct slot *slot, int64_t now_ms)
{
    return slot->count == 0 || now_ms - slot->begin_ms >= t->config.window_ms ||
           now_ms < slot->begin_ms;
}

static struct slot *slot_of(struct throttle *t, const char *key, int64_t now_ms)
{
    struct slot *set = t->slots[id_hash(key) % THROTTLE_SETS];
    struct slot *place = NULL;
    for (size_t i = 0; i < THROTTLE_WAYS; i++) {
        if (set[i].count > 0 && strcmp(set[i].key, key) == 0)
            return &set[i];
        if (!place && has_ended(t, &set[i], now_ms) && set[i].untold == 0)
            place = &set[i];
    }
    if (!place)
        return &t->others;
    *place = (struct slot){.begin_ms = now_ms};
    (void)snprintf(place->key, sizeof(place->key), "%s", key);
    return place;
}

static bool may_tell(struct throttle *t, int64_t now_ms)
{
    if (now_ms - t->told_ms >= t->config.window_ms || now_ms < t->told_ms) {
        t->told_ms = now_ms;
        t->told = 0;
    }
    if (t->told >= t->config.tell_max)
        return false;
    t->told++;
    return true;
}

struct throttle_verdict throttle_note(struct throttle *t, const char *key, int64_t now_ms)
{
    struct slot *slot = slot_of(t, key, now_ms);
    if (has_ended(t, slot, now_ms)) {
        slot->begin_ms = now_ms;
        slot->count = 0;
    }
    if (slot->count < UINT32_MAX)
        slot->count++;
    struct throttle_verdict verdict = {
        .over = slot->count > t->config.limit,
        .wait_ms = slot->begin_ms + t->config.window_ms - now_ms,
    };
    verdict.tell = !verdict.over && may_tell(t, now_ms);
    slot->untold += !verdict.tell;
    return verdict;
}

/* ---- What was not told ----------------------------------------------------------------------- */

static void untold_add(struct throttle_untold *sum, struct slot *slot)
{
    sum->count += slot->untold;
    sum->keys++;
    if (slot->untold > sum->most) {
        sum->most = slot->untold;
        memcpy(sum->key, slot->key, sizeof(sum->key));
    }
    slot->untold = 0;
}

struct throttle_untold throttle_untold(struct throttle *t, int64_t now_ms, bool all)
{
    struct throttle_untold sum = {0};
    for (size_t set = 0; set < THROTTLE_SETS; set++) {
        for (size_t i = 0; i < THROTTLE_WAYS; i++) {
            struct slot *slot = &t->slots[set][i];
            if (slot->untold > 0 && (all || has_ended(t, slot, now_ms)))
                untold_add(&sum, slot);
        }
    }
    if (t->others.untold > 0 && (all || has_ended(t, &t->others, now_ms)))
        untold_add(&sum, &t->others);
    return sum;
}
