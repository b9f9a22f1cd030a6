/* Secrets that are typed, on a terminal of the test's own, and piped in. */
#include "orchestrator/cli/prompt.h"

#include "common/base/cleanup.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A person at a terminal: reads the question, and types. */
struct person {
    int master, question;
    const char *types;
    pthread_t thread;
};

static void *person_types(void *arg)
{
    struct person *p = arg;
    char seen[16] = "";
    size_t len = 0;
    /* What is typed before the question is thrown away. */
    while (len < 7) {
        ssize_t n = read(p->question, seen + len, sizeof(seen) - len);
        if (n <= 0)
            return NULL;
        len += (size_t)n;
    }
    ssize_t n = write(p->master, p->types, strlen(p->types));
    return n == (ssize_t)strlen(p->types) ? p : NULL;
}

/* What the terminal has shown. */
static size_t shown(int master, char *to, size_t size)
{
    struct pollfd fd = {.fd = master, .events = POLLIN};
    size_t len = 0;
    while (len < size && poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN) != 0) {
        ssize_t n = read(master, to + len, size - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return len;
}

static enum error_code type(const char *keys, struct pki_secret *secret)
{
    struct person person = {.types = keys};
    struct termios before;
    struct termios after;
    int slave = -1;
    int fds[2];
    char echo[64];
    void *typed = NULL;
    assert_int_equal(openpty(&person.master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(pipe(fds), 0);
    person.question = fds[0];
    FILE *in = fdopen(slave, "r");
    FILE *err_out = fdopen(fds[1], "w");
    assert_true(in && err_out);
    assert_int_equal(tcgetattr(slave, &before), 0);
    assert_int_equal(pthread_create(&person.thread, NULL, person_types, &person), 0);
    enum error_code code = prompt_secret(in, err_out, "Token: ", secret, NULL);
    assert_int_equal(pthread_join(person.thread, &typed), 0);
    assert_non_null(typed);
    assert_int_equal(shown(person.master, echo, sizeof(echo)), 0);
    assert_int_equal(tcgetattr(slave, &after), 0);
    assert_int_equal(after.c_lflag, before.c_lflag);
    (void)fclose(in);
    (void)fclose(err_out);
    (void)close(fds[0]);
    (void)close(person.master);
    return code;
}

static void what_is_typed_is_not_shown(void **state)
{
    (void)state;
    AUTO_SECRET struct pki_secret secret = {0};
    assert_int_equal(type("kit_secret\r", &secret), ERR_OK);
    assert_string_equal(secret.data, "kit_secret");
}

static void keys_that_take_back_are_understood(void **state)
{
    (void)state;
    AUTO_SECRET struct pki_secret secret = {0};
    assert_int_equal(type("wrong\x15kitx\x7f_y\b\n", &secret), ERR_OK);
    assert_string_equal(secret.data, "kit_");
}

static void an_interrupt_ends_it_and_the_terminal_is_as_before(void **state)
{
    (void)state;
    AUTO_SECRET struct pki_secret secret = {0};
    assert_int_equal(type("kit_\x03", &secret), ERR_CANCELLED);
    assert_null(secret.data);
}

static enum error_code piped(const char *text, struct pki_secret *secret)
{
    char *copy = strdup(text);
    FILE *in = *text ? fmemopen(copy, strlen(copy), "r") : fopen("/dev/null", "re");
    assert_non_null(in);
    enum error_code code = prompt_secret(in, stderr, "Token: ", secret, NULL);
    (void)fclose(in);
    free(copy);
    return code;
}

static void of_what_is_piped_in_the_first_line_counts(void **state)
{
    (void)state;
    AUTO_SECRET struct pki_secret secret = {0};
    AUTO_SECRET struct pki_secret none = {0};
    char long_line[PROMPT_MAX + 2];
    assert_int_equal(piped("kit_a\nkit_b\n", &secret), ERR_OK);
    assert_string_equal(secret.data, "kit_a");
    assert_int_equal(piped("", &none), ERR_NOT_FOUND);
    memset(long_line, 'a', sizeof(long_line) - 1);
    long_line[sizeof(long_line) - 1] = '\0';
    assert_int_equal(piped(long_line, &none), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_typed_is_not_shown),
        cmocka_unit_test(keys_that_take_back_are_understood),
        cmocka_unit_test(an_interrupt_ends_it_and_the_terminal_is_as_before),
        cmocka_unit_test(of_what_is_piped_in_the_first_line_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
