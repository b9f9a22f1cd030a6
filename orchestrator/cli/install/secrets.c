#include "orchestrator/cli/install/secrets.h"

#include "common/base/buf.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 640 };

struct entry {
    char name[NAME_MAX_BYTES];
    char secret[SECRET_MAX];
    enum error_code failed; /* of asking: nobody is asked again */
    char why[ERROR_MESSAGE_MAX];
    bool good, bad;
};

struct secrets {
    pthread_mutex_t mutex;
    secrets_ask_fn *ask;
    void *ctx;
    struct entry *entries[SECRETS_MAX];
    size_t count;
};

struct secrets *secrets_new(secrets_ask_fn *ask, void *ctx)
{
    struct secrets *s = MEM_NEW(struct secrets);
    if (!s)
        return NULL;
    if (pthread_mutex_init(&s->mutex, NULL) != 0) {
        mem_free(s);
        return NULL;
    }
    s->ask = ask;
    s->ctx = ctx;
    return s;
}

void secrets_free(struct secrets *secrets)
{
    if (!secrets)
        return;
    for (size_t i = 0; i < secrets->count; i++) {
        explicit_bzero(secrets->entries[i], sizeof(*secrets->entries[i]));
        mem_free(secrets->entries[i]);
    }
    (void)pthread_mutex_destroy(&secrets->mutex);
    mem_free(secrets);
}

void secret_wipe(char secret[SECRET_MAX])
{
    explicit_bzero(secret, SECRET_MAX);
}

static struct entry *find(struct secrets *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->entries[i]->name, name) == 0)
            return s->entries[i];
    }
    return NULL;
}

/* Asks for a new one, and keeps the answer, or why there is none. */
static enum error_code add(struct secrets *s, const char *name, struct entry **ret_entry,
                           struct error *err)
{
    char prompt[NAME_MAX_BYTES + 2];
    struct error why = {0};
    if (s->count == SECRETS_MAX)
        return error_set(err, ERR_LIMIT, "more than %d passwords are wanted", SECRETS_MAX);
    struct entry *entry = MEM_NEW(struct entry);
    if (!entry)
        return error_set(err, ERR_NO_MEMORY, NULL);
    (void)snprintf(entry->name, sizeof(entry->name), "%s", name);
    (void)snprintf(prompt, sizeof(prompt), "%s: ", name);
    entry->failed = s->ask(s->ctx, prompt, entry->secret, sizeof(entry->secret), &why);
    memcpy(entry->why, why.message, sizeof(entry->why));
    s->entries[s->count++] = entry;
    *ret_entry = entry;
    return ERR_OK;
}

static enum error_code get(struct secrets *s, const char *name, char ret[SECRET_MAX],
                           struct error *err)
{
    struct entry *entry = find(s, name);
    enum error_code code = entry ? ERR_OK : add(s, name, &entry, err);
    if (code != ERR_OK || !entry)
        return code;
    if (entry->failed != ERR_OK)
        return error_set(err, entry->failed, "%s", entry->why);
    if (entry->bad)
        return error_set(err, ERR_DENIED, "the %.160s was refused, and is not tried again", name);
    memcpy(ret, entry->secret, SECRET_MAX);
    return ERR_OK;
}

enum error_code secrets_get(struct secrets *secrets, const char *name, char ret[SECRET_MAX],
                            struct error *err)
{
    (void)pthread_mutex_lock(&secrets->mutex);
    enum error_code code = get(secrets, name, ret, err);
    (void)pthread_mutex_unlock(&secrets->mutex);
    return code;
}

void secrets_used(struct secrets *secrets, const char *name, bool good)
{
    (void)pthread_mutex_lock(&secrets->mutex);
    struct entry *entry = find(secrets, name);
    if (entry) {
        entry->good = entry->good || good;
        entry->bad = !entry->good;
    }
    (void)pthread_mutex_unlock(&secrets->mutex);
}
