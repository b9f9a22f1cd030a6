#include "unit/cli/support_run.h"

#include "common/json/json.h"
#include "orchestrator/cli/cli.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WORDS_MAX = 32 };

/* Of the run that is under way. */
static const char *const *environment;

static const char *env_of_run(const char *name)
{
    size_t len = strlen(name);
    for (const char *const *e = environment; e && *e; e++) {
        if (strncmp(*e, name, len) == 0 && (*e)[len] == '=')
            return *e + len + 1;
    }
    return strcmp(name, "TERM") == 0 ? "xterm" : NULL;
}

static int columns_80(void)
{
    return 80;
}

void run_cli(struct run *run, const char *words)
{
    char *argv[WORDS_MAX + 4];
    int argc = 0;
    char *copy = strdup(words);
    char program[] = "kitsune";
    char option[] = "--orchestrator";
    char *url = strdup(run->url ? run->url : "");
    char *rest = copy;
    size_t out_len = 0;
    size_t err_len = 0;
    assert(copy && url);
    argv[argc++] = program;
    for (char *word = strsep(&rest, " "); word; word = strsep(&rest, " ")) {
        assert(argc < WORDS_MAX);
        if (*word)
            argv[argc++] = word;
    }
    if (run->url) {
        argv[argc++] = option;
        argv[argc++] = url;
    }
    argv[argc] = NULL;
    run_done(run);
    const char *in = run->in ? run->in : "";
    char *in_copy = strdup(in);
    FILE *in_file = *in ? fmemopen(in_copy, strlen(in), "r") : fopen("/dev/null", "re");
    struct cli_io io = {.in = in_file,
                        .out = open_memstream(&run->out, &out_len),
                        .err = open_memstream(&run->err, &err_len),
                        .env = env_of_run,
                        .terminal = run->terminal,
                        .utf8 = true,
                        .columns = columns_80,
                        .give_up_ms = run->give_up_ms,
                        .system_config = run->system_config,
                        .local_socket = run->local_socket};
    assert(io.in && io.out && io.err);
    environment = run->env;
    run->status = cli_run(argc, argv, &io);
    (void)fclose(io.in);
    (void)fclose(io.out);
    (void)fclose(io.err);
    free(in_copy);
    free(copy);
    free(url);
}

void run_done(struct run *run)
{
    free(run->out);
    free(run->err);
    run->out = NULL;
    run->err = NULL;
}

void contains(const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text ? text : "(nothing)");
}

void expect_json(const char *text)
{
    struct json_doc *doc = NULL;
    struct error err = {0};
    if (json_parse(text, strlen(text), 1 << 24, &doc, &err) != ERR_OK)
        fail_msg("%s:\n%s", err.message, text);
    json_free(doc);
}
