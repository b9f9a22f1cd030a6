/* kitsune-agent's command line and environment: the first two lines are the variables. */
#include "agent/options.h"
#include "common/base/id.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/words.h"

static void check_taken(const struct options *o)
{
    if (o->help || o->version)
        return;
    assert(o->servers.count > 0 && o->data_dir[0] != '\0' && o->stop_timeout_ms >= 0);
    assert(o->undo_retention_ms > 0 && o->undo_max_bytes >= 0 && o->artifact_max_bytes >= 0);
    assert(o->orchestrator != NULL && (!o->installroot || o->installroot[0] == '/'));
    for (size_t i = 0; i < o->servers.count; i++)
        assert(id_valid(*ARRAY_AT(&o->servers, const char *, i)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct options options;
    struct error err = {0};
    struct words words;
    char *server = fuzz_line(&in, NULL);
    char *url = fuzz_line(&in, NULL);
    const struct options_environment environment = {.server_id = server, .orchestrator = url};
    words_read(&words, &in);
    if (options_parse(words.count, words.list, &environment, &options, &err) == ERR_OK)
        check_taken(&options);
    else
        assert(err.message[0] != '\0');
    options_done(&options);
    words_done(&words);
    free(server);
    free(url);
    return 0;
}
