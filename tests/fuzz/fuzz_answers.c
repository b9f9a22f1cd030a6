/*
 * What an orchestrator that may be anybody can make kitsune(1) do. The first line is the command,
 * one word of it chosen from a list; every further line is an answer, in the order of the asking:
 *
 *     200 {"rollouts":[]}        to a request: status and body
 *     event 7 batch_started {…}  on an event stream: id ("-": none), type and data
 *
 * When there are no more the orchestrator refuses everything. What is printed can steer no
 * terminal.
 */
#include "common/base/alloc.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/client.h"
#include "orchestrator/cli/download.h"
#include "orchestrator/cli/sse.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#include <stdio.h>

enum { ARGS_MAX = 16, REFUSED = 404, STATUS_MIN = 200, STATUS_RANGE = 400 };

/* Those that read or write no file. */
static const char *const allowed[] = {"list",     "show",   "watch",  "events",   "logs",
                                      "pause",    "resume", "cancel", "servers",  "server",
                                      "handlers", "help",   "submit", "validate", "preview",
                                      "simulate", "whoami", "token",  "agent",    "audit"};

/* ---- The client, whose orchestrator is the fuzzer's input ------------------------------------ */

static struct fuzz_input answers;

struct client {
    char *url;
};
struct stream {
    char *line; /* of the event that was given last */
    bool told;
    struct answer refusal;
};

void url_put(struct buf *b, const char *s)
{
    buf_puts(b, s); /* nobody reads it */
}

void answer_done(struct answer *answer)
{
    buf_done(&answer->body);
}

enum error_code client_new(const struct client_config *config, struct client **ret_client,
                           struct error *err)
{
    struct client *client = MEM_NEW(struct client);
    if (client == NULL || (client->url = mem_strdup(config->url)) == NULL) {
        mem_free(client);
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    *ret_client = client;
    return ERR_OK;
}

void client_free(struct client *client)
{
    if (client != NULL)
        mem_free(client->url);
    mem_free(client);
}

const char *client_url(const struct client *client)
{
    return client->url;
}

enum error_code client_call(struct client *client, const struct request *request,
                            struct answer *ret_answer, struct error *err)
{
    size_t len = 0;
    char *line = fuzz_line(&answers, &len);
    (void)client;
    (void)err;
    assert(request->method != NULL && request->path[0] == '/');
    ret_answer->status = REFUSED;
    buf_clear(&ret_answer->body);
    if (line != NULL) {
        char *end = line;
        long status = strtol(line, &end, 10);
        ret_answer->status = STATUS_MIN + (status < 0 ? 0 : status) % STATUS_RANGE;
        ret_answer->attempt = status % 5;
        end += *end == ' ';
        buf_append(&ret_answer->body, end, len - (size_t)(end - line));
    }
    free(line);
    return ERR_OK;
}

enum error_code client_download(struct client *client, const char *path,
                                bool (*take)(void *ctx, const char *data, size_t len), void *ctx,
                                struct answer *ret_answer, struct error *err)
{
    (void)client;
    (void)path;
    (void)take;
    (void)ctx;
    (void)ret_answer;
    return error_set(err, ERR_UNAVAILABLE, "nothing is downloaded");
}

enum error_code stream_open(struct client *client, const char *path, int64_t after,
                            struct stream **ret_stream, struct error *err)
{
    struct stream *stream = MEM_NEW(struct stream);
    (void)client;
    (void)path;
    (void)after;
    if (stream == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ret_stream = stream;
    return ERR_OK;
}

/* A word, ended with a NUL, and what stands behind it. */
static char *word(char **at)
{
    char *start = *at, *blank = strchr(start, ' ');
    *at = blank == NULL ? start + strlen(start) : blank + 1;
    if (blank != NULL)
        *blank = '\0';
    return start;
}

enum stream_result stream_next(struct stream *s, int64_t deadline_ms, int wake_fd,
                               struct sse_event *ret_event, struct error *err)
{
    (void)deadline_ms;
    (void)wake_fd;
    (void)err;
    free(s->line);
    s->line = NULL;
    if (!s->told) {
        s->told = true;
        return STREAM_CONNECTED;
    }
    s->line = fuzz_line(&answers, NULL);
    if (s->line == NULL) {
        s->refusal.status = REFUSED;
        return STREAM_REFUSED;
    }
    char *at = s->line;
    if (strcmp(word(&at), "event") != 0)
        return STREAM_DEADLINE;
    const char *id = word(&at), *type = word(&at);
    bool has_id = strcmp(id, "-") != 0 && strlen(id) <= SSE_MAX_NAME;
    *ret_event = (struct sse_event){.type = strlen(type) <= SSE_MAX_NAME ? type : "message",
                                    .id = has_id ? id : "",
                                    .has_id = has_id,
                                    .data = at,
                                    .len = strlen(at)};
    return STREAM_EVENT;
}

const struct answer *stream_answer(const struct stream *stream)
{
    return &stream->refusal;
}

void stream_free(struct stream *stream)
{
    if (stream != NULL)
        free(stream->line);
    mem_free(stream);
}

/* ---- What must hold -------------------------------------------------------------------------- */

static const char *no_environment(const char *name)
{
    (void)name;
    return NULL;
}

static int columns_of_a_terminal(void)
{
    return 40;
}

/* Text without anything that steers a terminal: newlines and tabs alone. */
static void check_printed(const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        bool valid;
        unsigned char c = (unsigned char)text[at];
        size_t next = text_utf8_next(text + at, len - at, &valid);
        assert(valid);
        assert(c >= 0x20 || c == '\n' || c == '\t');
        assert(c != 0x7f && !(next == 2 && c == 0xC2 && (unsigned char)text[at + 1] < 0xA0));
        at += next;
    }
}

static int split(char *line, char **argv)
{
    int argc = 1;
    static char program[] = "kitsune";
    argv[0] = program;
    argv[1] =
        (char *)(uintptr_t)allowed[(unsigned char)line[0] % (sizeof(allowed) / sizeof(allowed[0]))];
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        size_t len = strlen(allowed[i]);
        if (strncmp(line, allowed[i], len) == 0 && (line[len] == ' ' || line[len] == '\0'))
            argv[1] = (char *)(uintptr_t)allowed[i];
    }
    char *at = line;
    (void)word(&at);
    for (argc = 2; argc < ARGS_MAX && *at != '\0'; argc++)
        argv[argc] = word(&at);
    return argc;
}

/* An option that names a file, with its value or before it. */
static bool names_a_file(const char *arg)
{
    static const char *const options[] = {"--out", "--ca", "--token-file"};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        size_t len = strlen(options[i]);
        if (strncmp(arg, options[i], len) == 0 && (arg[len] == '=' || arg[len] == '\0'))
            return true;
    }
    return false;
}

/* A plan comes from standard input alone. */
static bool reads_a_file(int argc, char *const *argv)
{
    for (int i = 2; i < argc; i++)
        if (names_a_file(argv[i]))
            return true;
    static const char *const readers[] = {"submit", "validate", "preview", "simulate"};
    for (size_t r = 0; r < sizeof(readers) / sizeof(readers[0]); r++) {
        if (strcmp(argv[1], readers[r]) != 0)
            continue;
        for (int i = 2; i < argc; i++)
            if (argv[i][0] != '-')
                return true;
    }
    return false;
}

/* Commands that connect to whatever host the input names. */
static bool goes_to_hosts(int argc, char *const *argv)
{
    static const char *const goers[] = {"install", "upgrade", "uninstall"};
    for (int i = 2; i < argc; i++)
        for (size_t g = 0; g < sizeof(goers) / sizeof(goers[0]); g++)
            if (strcmp(argv[i], goers[g]) == 0)
                return true;
    return false;
}

static void play(int argc, char *const *argv, bool terminal)
{
    static char plan[] = "{\"servers\":[\"a\",\"b\"],\"steps\":[{\"name\":\"s\",\"type\":\"echo\","
                         "\"params\":{\"message\":\"m\"}}]}";
    char *out = NULL, *err = NULL;
    size_t out_len = 0, err_len = 0;
    struct cli_io io = {.in = fmemopen(plan, sizeof(plan) - 1, "r"),
                        .out = open_memstream(&out, &out_len),
                        .err = open_memstream(&err, &err_len),
                        .env = no_environment,
                        .terminal = terminal,
                        .utf8 = true,
                        .columns = columns_of_a_terminal,
                        .give_up_ms = 1};
    assert(io.in != NULL && io.out != NULL && io.err != NULL);
    int status = cli_run(argc, argv, &io);
    assert(status >= CLI_OK && status <= CLI_UNREACHABLE);
    (void)fclose(io.in);
    (void)fclose(io.out);
    (void)fclose(io.err);
    check_printed(out, out_len);
    check_printed(err, err_len);
    free(out);
    free(err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[ARGS_MAX + 1] = {NULL};
    answers = (struct fuzz_input){data, size};
    char *line = fuzz_line(&answers, NULL);
    if (line == NULL)
        return 0;
    struct fuzz_input again = answers;
    int argc = split(line, argv);
    if (!reads_a_file(argc, argv) && !goes_to_hosts(argc, argv)) {
        play(argc, argv, false);
        /* A terminal of few columns, on which lines are cut and wrapped. */
        answers = again;
        play(argc, argv, true);
    }
    free(line);
    return 0;
}
