/* kitsune's command line, and the URL that its environment names: the first line. */
#include "orchestrator/cli/client.h"
#include "orchestrator/cli/options.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/words.h"

static void check_taken(const struct options *o)
{
    assert(o->arg_count <= COMMAND_ARGS_MAX);
    if (option_given(o, OPT_HELP) || option_given(o, OPT_VERSION))
        return;
    assert(o->command != NULL);
    assert(o->arg_count >= o->command->min_args && o->arg_count <= o->command->max_args);
    assert((o->given & ~(o->command->options | OPT_COMMON)) == 0);
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const struct option_spec *spec = &option_specs[i];
        bool valued = option_given(o, (enum option_id)i) && spec->kind != OPTION_FLAG;
        assert(!valued || o->texts[i] != NULL);
        assert(!valued || spec->kind != OPTION_NUMBER || o->numbers[i] >= spec->min);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct options options;
    struct error err = {0};
    struct words words;
    struct client *client = NULL;
    char *url = fuzz_line(&in, NULL);
    words_read(&words, &in);
    if (options_parse(words.count, words.list, &options, &err) == ERR_OK)
        check_taken(&options);
    else
        assert(err.code == ERR_INVALID && err.message[0] != '\0');
    err = (struct error){0};
    if (url != NULL && client_new(&(struct client_config){.url = url}, &client, &err) == ERR_OK)
        assert(client_url(client)[0] != '\0');
    else if (url != NULL)
        assert(err.code == ERR_INVALID && err.message[0] != '\0');
    client_free(client);
    words_done(&words);
    free(url);
    return 0;
}
