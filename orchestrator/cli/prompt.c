#include "orchestrator/cli/prompt.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { KEY_INTERRUPT = 3, KEY_END = 4, KEY_BACKSPACE = 8, KEY_KILL = 21, KEY_DELETE = 127 };

struct prompt_line {
    char text[PROMPT_MAX];
    size_t len;
};

/* ERR_OK: go on. */
static enum error_code take(struct prompt_line *line, int c, struct error *err)
{
    if (line->len == sizeof(line->text))
        return error_set(err, ERR_LIMIT, "a line of more than %d characters", PROMPT_MAX);
    line->text[line->len++] = (char)c;
    return ERR_OK;
}

static enum error_code read_piped(FILE *in, struct prompt_line *line, struct error *err)
{
    enum error_code code = ERR_OK;
    /* The stream would keep a copy in its buffer. */
    (void)setvbuf(in, NULL, _IONBF, 0);
    for (int c = fgetc(in); code == ERR_OK && c != EOF && c != '\n'; c = fgetc(in))
        code = take(line, c, err);
    return code;
}

/* A key at a time, since the terminal does not see to them. *ret_end: the line is whole. */
static enum error_code take_key(struct prompt_line *line, char key, bool *ret_end,
                                struct error *err)
{
    switch ((int)(unsigned char)key) {
    case KEY_INTERRUPT:
        return error_set(err, ERR_CANCELLED, "interrupted");
    case '\r':
    case '\n':
    case KEY_END:
        *ret_end = true;
        return ERR_OK;
    case KEY_BACKSPACE:
    case KEY_DELETE:
        line->len -= line->len > 0 ? 1 : 0;
        return ERR_OK;
    case KEY_KILL:
        line->len = 0;
        return ERR_OK;
    default:
        return take(line, key, err);
    }
}

static enum error_code read_keys(int fd, struct prompt_line *line, struct error *err)
{
    bool end = false;
    enum error_code code = ERR_OK;
    while (code == ERR_OK && !end) {
        char key = 0;
        ssize_t n = read(fd, &key, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "reading the terminal");
        end = n == 0;
        if (n > 0)
            code = take_key(line, key, &end, err);
    }
    return code;
}

static enum error_code read_typed(int fd, FILE *err_out, const char *question,
                                  struct prompt_line *line, struct error *err)
{
    struct termios before;
    if (tcgetattr(fd, &before) != 0)
        return error_errno(err, errno, "asking the terminal");
    struct termios quiet = before;
    /* Keys come one by one, Ctrl-C too: nothing ends the program while the terminal is silent. */
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
    quiet.c_cc[VMIN] = 1;
    quiet.c_cc[VTIME] = 0;
    if (tcsetattr(fd, TCSAFLUSH, &quiet) != 0)
        return error_errno(err, errno, "silencing the terminal");
    (void)fputs(question, err_out);
    (void)fflush(err_out);
    enum error_code code = read_keys(fd, line, err);
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    (void)fputs("\n", err_out);
    (void)fflush(err_out);
    return code;
}

enum error_code prompt_secret(FILE *in, FILE *err_out, const char *question,
                              struct pki_secret *ret_secret, struct error *err)
{
    struct prompt_line line = {.len = 0};
    int fd = fileno(in);
    bool typed = fd >= 0 && isatty(fd) == 1;
    enum error_code code =
        typed ? read_typed(fd, err_out, question, &line, err) : read_piped(in, &line, err);
    if (code == ERR_OK && line.len == 0)
        code = error_set(err, ERR_NOT_FOUND, "nothing was given");
    if (code == ERR_OK)
        code = pki_secret_copy(line.text, line.len, ret_secret, err);
    explicit_bzero(&line, sizeof(line));
    return code;
}
