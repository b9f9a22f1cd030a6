/* A program's configuration file. What is taken is a known option with a text of the file; every
 * fault names the file. */
#include "common/config/config.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <getopt.h>
#include <string.h>

enum { KEY_NAME = 1, KEY_DATA, KEY_HELP, KEY_CONFIG, TAKEN_MAX = 64 };

static const struct option options[] = {
    {"name", required_argument, NULL, KEY_NAME},
    {"data-dir", required_argument, NULL, KEY_DATA},
    {"help", no_argument, NULL, KEY_HELP},
    {"config", required_argument, NULL, KEY_CONFIG},
    {0},
};

struct taken {
    const char *values[TAKEN_MAX];
    size_t lengths[TAKEN_MAX];
    size_t count;
    bool refused;
};

static enum error_code take(void *ctx, int key, const char *value, struct error *err)
{
    struct taken *t = ctx;
    size_t len = strlen(value);
    assert(!t->refused && (key == KEY_NAME || key == KEY_DATA));
    assert(len <= CONFIG_MAX_LINE && strchr(value, '\n') == NULL);
    if (t->count < TAKEN_MAX) {
        t->values[t->count] = value;
        t->lengths[t->count++] = len;
    }
    t->refused = strcmp(value, "refuse") == 0;
    return t->refused ? error_set(err, ERR_INVALID, "not that one") : ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct taken taken = {0};
    struct config *config = NULL;
    struct error err = {0};
    const struct config_use use = {
        .options = options, .except = "config", .ctx = &taken, .take = take};
    enum error_code code = config_parse("x.conf", (const char *)data, size, &use, &config, &err);
    if (code != ERR_OK) {
        assert(config == NULL && strstr(err.message, "x.conf") != NULL);
        return 0;
    }
    assert(!taken.refused);
    for (size_t i = 0; i < taken.count; i++)
        assert(strlen(taken.values[i]) == taken.lengths[i]);
    config_free(config);
    return 0;
}
