/* key new, key show, sign and verify: what a person types and reads. */
#include "common/base/cleanup.h"
#include "common/pki/pki_file.h"
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PLAN                                                                                       \
    "{\"servers\":[\"web-1\",\"web-2\"],\"steps\":[{\"name\":\"say\",\"type\":\"echo\","           \
    "\"params\":{\"message\":\"m\"}}]}"

enum { LINE_MAX_BYTES = 512, FILE_MAX_BYTES = 65536 };

struct desk {
    char dir[64];
    struct run run;
};

static int sit_down(void **state)
{
    static struct desk d;
    d = (struct desk){.dir = "/tmp/kitsune-sign-XXXXXX"};
    assert_non_null(mkdtemp(d.dir));
    *state = &d;
    return 0;
}

static int get_up(void **state)
{
    struct desk *d = *state;
    static const char *const names[] = {"a",       "a.pub", "b",       "b.pub",   "c",
                                        "trusted", "plan",  "one",     "two",     "other",
                                        "loose",   "c.pub", "changed", "unsigned"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[LINE_MAX_BYTES];
        (void)snprintf(path, sizeof(path), "%s/%s", d->dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(d->dir), 0);
    run_done(&d->run);
    return 0;
}

static const char *path_of(const struct desk *d, const char *name)
{
    static char path[LINE_MAX_BYTES];
    (void)snprintf(path, sizeof(path), "%s/%s", d->dir, name);
    return path;
}

static void put(const struct desk *d, const char *name, const char *text)
{
    assert_int_equal(pki_file_write(path_of(d, name), text, strlen(text), 0600, NULL), ERR_OK);
}

/* Caller: buf_done. */
static struct buf get(const struct desk *d, const char *name)
{
    struct buf b = BUF_INIT;
    assert_int_equal(pki_file_read(path_of(d, name), FILE_MAX_BYTES, &b, NULL), ERR_OK);
    return b;
}

/* Runs a command line in which % stands for the folder. */
static int type(struct desk *d, const char *words)
{
    AUTO_BUF struct buf line = BUF_INIT;
    for (; *words; words++) {
        if (*words == '%')
            buf_puts(&line, d->dir);
        else
            buf_putc(&line, *words);
    }
    run_cli(&d->run, line.data);
    return d->run.status;
}

static void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static void two_keys(struct desk *d)
{
    assert_int_equal(type(d, "key new %/a"), CLI_OK);
    assert_int_equal(type(d, "key new %/b"), CLI_OK);
    AUTO_BUF struct buf both = BUF_INIT;
    AUTO_BUF struct buf a = get(d, "a.pub");
    AUTO_BUF struct buf b = get(d, "b.pub");
    buf_puts(&both, "threshold 2\n");
    buf_append(&both, a.data, a.len);
    buf_append(&both, b.data, b.len);
    put(d, "trusted", both.data);
    put(d, "plan", PLAN);
}

/* ---- Keys --------------------------------------------------------------------------------------
 */

static void a_key_is_for_its_owner_and_never_replaced(void **state)
{
    struct desk *d = *state;
    struct stat info;
    assert_int_equal(type(d, "key new %/a"), CLI_OK);
    assert_int_equal(stat(path_of(d, "a"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    AUTO_BUF struct buf public = get(d, "a.pub");
    assert_int_equal(strncmp(public.data, "ed25519 ", 8), 0);
    assert_says(d->run.out, public.data); /* the line that goes into the agents' file */
    AUTO_BUF struct buf before = get(d, "a");
    assert_int_equal(type(d, "key new %/a"), CLI_USAGE);
    assert_says(d->run.err, "is there already, and a key is never replaced");
    AUTO_BUF struct buf after = get(d, "a");
    assert_string_equal(before.data, after.data);
    /* Nor is a public one, which a private one would not fit. */
    put(d, "c.pub", public.data);
    assert_int_equal(type(d, "key new %/c"), CLI_USAGE);
    assert_int_equal(stat(path_of(d, "c"), &info), -1);
}

static void keys_are_shown_from_each_kind_of_file_and_private_ones_to_nobody(void **state)
{
    struct desk *d = *state;
    two_keys(d);
    AUTO_BUF struct buf secret = get(d, "a");
    AUTO_BUF struct buf public = get(d, "a.pub");
    static const char *const files[] = {"key show %/a", "key show %/a.pub", "key show %/trusted",
                                        "key show %/trusted -o json"};
    public.data[strlen("ed25519 ") + 64] = '\0'; /* a private key does not know its name */
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        assert_int_equal(type(d, files[i]), CLI_OK);
        assert_says(d->run.out, public.data);
        assert_null(strstr(d->run.out, "PRIVATE"));
    }
    put(d, "loose", secret.data);
    assert_int_equal(chmod(path_of(d, "loose"), 0640), 0);
    assert_int_equal(type(d, "key show %/loose"), CLI_USAGE);
    assert_says(d->run.err, "is open to others");
    assert_int_equal(type(d, "key show %/plan"), CLI_USAGE);
    assert_says(d->run.err, "is neither \"threshold N\" nor \"ed25519 KEY NAME\"");
}

/* ---- Signing -----------------------------------------------------------------------------------
 */

static void a_plan_is_signed_by_one_and_by_another(void **state)
{
    struct desk *d = *state;
    two_keys(d);
    assert_int_equal(type(d, "sign %/plan --key %/a --out %/one"), CLI_OK);
    assert_string_equal(d->run.out, "");
    assert_says(d->run.err, "(signature 1); no server begins after 2");
    assert_int_equal(type(d, "verify %/one --trusted-keys %/trusted"), CLI_USAGE);
    assert_says(d->run.out, "missing");
    assert_says(d->run.err, "signed by 1 of the trusted keys, and 2 must have signed it");
    assert_int_equal(type(d, "sign %/one --key %/b --out %/two"), CLI_OK);
    assert_int_equal(type(d, "verify %/two --trusted-keys %/trusted"), CLI_OK);
    assert_says(d->run.out, "agents with these keys run it, each once, until 2");
    assert_int_equal(type(d, "verify %/two --trusted-keys %/trusted -o json"), CLI_OK);
    assert_says(d->run.out, "\"valid\": true");
    assert_int_equal(type(d, "verify %/one --trusted-keys %/trusted -o json"), CLI_USAGE);
    assert_says(d->run.out, "\"state\": \"missing\"");
    /* What was written is a plan like any other. */
    assert_int_equal(type(d, "validate %/two"), CLI_OK);
    assert_int_equal(type(d, "sign %/two --key %/b"), CLI_USAGE);
    assert_says(d->run.err, "has signed this plan already");
    assert_int_equal(type(d, "sign %/two --key %/a --expires 1h --anew"), CLI_OK);
    assert_says(d->run.err, "(signature 1)");
}

static void what_is_written_to_standard_output_is_the_plan_alone(void **state)
{
    struct desk *d = *state;
    two_keys(d);
    d->run.in = PLAN;
    assert_int_equal(type(d, "sign - --key %/a"), CLI_OK);
    AUTO_FREE char *signed_text = mem_strdup(d->run.out);
    assert_says(signed_text, "\"timeoutSeconds\": 3600"); /* what is signed is what is seen */
    d->run.in = signed_text;
    assert_int_equal(type(d, "verify - --trusted-keys %/a.pub"), CLI_OK);
    d->run.in = NULL;
}

static void a_plan_that_was_changed_gets_no_further_signature(void **state)
{
    struct desk *d = *state;
    two_keys(d);
    assert_int_equal(type(d, "sign %/plan --key %/a --out %/one"), CLI_OK);
    AUTO_BUF struct buf text = get(d, "one");
    strstr(text.data, "web-2")[4] = '3';
    put(d, "changed", text.data);
    assert_int_equal(type(d, "sign %/changed --key %/b"), CLI_USAGE);
    assert_says(d->run.err, "the plan is not what was signed");
    assert_int_equal(type(d, "verify %/changed --trusted-keys %/a.pub"), CLI_USAGE);
    assert_says(d->run.out, "does not fit");
    assert_says(d->run.err, "the plan is not what was signed");
    assert_int_equal(type(d, "sign %/one --key %/b --expires 1h"), CLI_USAGE);
    assert_says(d->run.err, "which has fixed its times");
}

static void each_signing_has_a_nonce_of_its_own(void **state)
{
    struct desk *d = *state;
    two_keys(d);
    assert_int_equal(type(d, "sign %/plan --key %/a --out %/one"), CLI_OK);
    assert_int_equal(type(d, "sign %/plan --key %/a --out %/two"), CLI_OK);
    AUTO_BUF struct buf one = get(d, "one");
    AUTO_BUF struct buf two = get(d, "two");
    const char *a = strstr(one.data, "\"nonce\": \"");
    const char *b = strstr(two.data, "\"nonce\": \"");
    assert_true(a && b);
    assert_memory_not_equal(a, b, strlen("\"nonce\": \"") + 32);
}

static void what_is_not_right_is_named(void **state)
{
    struct desk *d = *state;
    two_keys(d);
    static const struct {
        const char *words, *says;
    } wrong[] = {
        {"sign %/plan", "--key is missing"},
        {"sign %/plan --key %/none", "none"},
        {"sign %/plan --key %/a.pub", "a.pub"},
        {"sign %/plan --key %/a --expires 31d", "30 days at most"},
        {"sign %/plan --key %/a --expires 0", "--expires must be later"},
        {"sign %/plan --key %/a --expires soon", "--expires"},
        {"sign %/plan --key %/a --not-before 2h --expires 1h", "later than --not-before"},
        {"sign %/plan --key %/a --out %/none/file", "writing"},
        {"verify %/plan", "--trusted-keys is missing"},
        {"verify %/plan --trusted-keys %/trusted", "is not signed"},
        {"verify %/plan --trusted-keys %/plan", "line 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(type(d, wrong[i].words), CLI_USAGE);
        assert_says(d->run.err, wrong[i].says);
        assert_string_equal(d->run.out, "");
    }
    assert_int_equal(type(d, "sign %/plan --key %/a --not-before 1h --out %/other"), CLI_OK);
    assert_int_equal(type(d, "verify %/other --trusted-keys %/a.pub"), CLI_USAGE);
    assert_says(d->run.err, "is not to begin before");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, sit_down, get_up)
        TEST(a_key_is_for_its_owner_and_never_replaced),
        TEST(keys_are_shown_from_each_kind_of_file_and_private_ones_to_nobody),
        TEST(a_plan_is_signed_by_one_and_by_another),
        TEST(what_is_written_to_standard_output_is_the_plan_alone),
        TEST(a_plan_that_was_changed_gets_no_further_signature),
        TEST(each_signing_has_a_nonce_of_its_own),
        TEST(what_is_not_right_is_named),
#undef TEST
    };
    return cmocka_run_group_tests_name("sign", tests, NULL, NULL);
}
