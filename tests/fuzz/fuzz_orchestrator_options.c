/* kitsune-orchestrator's command line. */
#include "orchestrator/options.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct options options;
    struct error err = {0};
    struct words words;
    words_read(&words, &in);
    if (options_parse(words.count, words.list, &options, &err) == ERR_OK) {
        assert(options.data_dir != NULL && strlen(options.host) < OPTIONS_MAX_HOST);
        assert(options.heartbeat_ms >= 100 && options.heartbeat_ms <= 3600 * 1000);
        assert(options.retain_ms >= 0 && options.accept_epoch >= 0);
        assert(options.accept_epoch <= OPTIONS_MAX_EPOCH);
        options_done(&options);
    } else {
        assert(err.message[0] != '\0');
    }
    words_done(&words);
    return 0;
}
