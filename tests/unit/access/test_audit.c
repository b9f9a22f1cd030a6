#include "orchestrator/access/audit.h"
#include "unit/access/support_access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void append(struct store *s, const char *action, const char *detail)
{
    const struct audit_entry e = {.time_ms = 1760000000000,
                                  .who = "ci",
                                  .role = "operator",
                                  .peer = "127.0.0.1:1",
                                  .action = action,
                                  .result = "ok",
                                  .detail = detail};
    struct error err = {0};
    assert_int_equal(audit_append(s->access, &e, store_done, s, &err), ERR_OK);
}

static void three_entries(struct store *s)
{
    append(s, "rollout.submit", NULL);
    append(s, "rollout.cancel", "reason");
    append(s, "token.create", "");
    store_reopen(s);
    assert_int_equal(s->done, 3);
}

static void refused(struct store *s, const struct audit_head *kept, const char *message)
{
    struct audit_head head;
    struct error err = {0};
    assert_int_equal(audit_verify(s->access, kept, &head, &err), ERR_CORRUPT);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" does not say \"%s\"", err.message, message);
}

static bool gather(void *ctx, const struct audit_entry *e)
{
    char *text = ctx;
    (void)snprintf(text + strlen(text), 256 - strlen(text), "%lld %s %s %s;", (long long)e->seq,
                   e->who, e->action, e->detail ? e->detail : "-");
    return true;
}

static void entries_are_numbered_and_read_back(void **state)
{
    struct store *s = *state;
    char text[256] = "";
    struct error err = {0};
    three_entries(s);
    assert_int_equal(audit_read(s->access, 1, 10, gather, text, &err), ERR_OK);
    assert_string_equal(text, "2 ci rollout.cancel reason;3 ci token.create -;");
}

static void an_untouched_log_is_whole_and_has_a_head(void **state)
{
    struct store *s = *state;
    struct audit_head head;
    struct audit_head later;
    struct error err = {0};
    assert_int_equal(audit_verify(s->access, NULL, &head, &err), ERR_OK);
    assert_int_equal(head.seq, 0);
    three_entries(s);
    assert_int_equal(audit_verify(s->access, &head, &head, &err), ERR_OK);
    assert_int_equal(head.seq, 3);
    append(s, "more", NULL);
    store_reopen(s);
    assert_int_equal(audit_verify(s->access, &head, &later, &err), ERR_OK);
    assert_int_equal(later.seq, 4);
    assert_string_not_equal(later.hash, head.hash);
}

static void an_altered_entry_is_found_whatever_was_altered(void **state)
{
    static const char *const changes[] = {
        "UPDATE audit SET who = 'other' WHERE seq = 2",
        "UPDATE audit SET time_ms = time_ms + 1 WHERE seq = 2",
        "UPDATE audit SET detail = NULL WHERE seq = 2",
        "UPDATE audit SET target = '' WHERE seq = 2", /* nothing is not the same as an empty text */
        "UPDATE audit SET action = 'rollout.cancelr', detail = 'eason' WHERE seq = 2",
        "UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 1) WHERE seq = 2",
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        void *mine = NULL;
        (void)state;
        store_setup(&mine);
        struct store *s = mine;
        three_entries(s);
        store_tamper(s, changes[i]);
        refused(s, NULL, "entry 2 does not fit");
        store_teardown(&mine);
    }
}

static void an_entry_that_was_taken_out_is_found(void **state)
{
    struct store *s = *state;
    three_entries(s);
    store_tamper(s, "DELETE FROM audit WHERE seq = 2");
    refused(s, NULL, "entry 2 is missing");
}

static void entries_that_were_cut_off_are_found_by_who_kept_the_head(void **state)
{
    struct store *s = *state;
    struct audit_head kept;
    struct audit_head head;
    struct error err = {0};
    three_entries(s);
    assert_int_equal(audit_verify(s->access, NULL, &kept, &err), ERR_OK);
    store_tamper(s, "DELETE FROM audit WHERE seq = 3");
    assert_int_equal(audit_verify(s->access, NULL, &head, &err), ERR_OK);
    refused(s, &kept, "no longer has entry 3");
    /* Another one in its place is not it. */
    append(s, "something else", NULL);
    store_reopen(s);
    refused(s, &kept, "no longer has entry 3");
}

static void a_text_of_any_length_is_cut_to_what_is_kept(void **state)
{
    struct store *s = *state;
    char *text = calloc(1, 3 * AUDIT_MAX_TEXT);
    struct audit_head head;
    struct error err = {0};
    assert_non_null(text);
    for (size_t i = 0; i + 2 < (size_t)3 * AUDIT_MAX_TEXT; i += 2)
        memcpy(text + i, "\xC3\xA9", 2);
    append(s, "long", text);
    free(text);
    store_reopen(s);
    assert_int_equal(s->last, ERR_OK);
    assert_int_equal(audit_verify(s->access, NULL, &head, &err), ERR_OK);
}

/* As JSON it would be another text, with another hash. */
static void what_is_not_utf8_is_kept_as_something_that_is(void **state)
{
    struct store *s = *state;
    char text[256] = "";
    struct error err = {0};
    append(s, "x", "a\xFF\xC3z\xE2\x82");
    store_reopen(s);
    assert_int_equal(audit_read(s->access, 0, 10, gather, text, &err), ERR_OK);
    assert_string_equal(text, "1 ci x a\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD;");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(entries_are_numbered_and_read_back),
        T(an_untouched_log_is_whole_and_has_a_head),
        cmocka_unit_test(an_altered_entry_is_found_whatever_was_altered),
        T(an_entry_that_was_taken_out_is_found),
        T(entries_that_were_cut_off_are_found_by_who_kept_the_head),
        T(a_text_of_any_length_is_cut_to_what_is_kept),
        T(what_is_not_utf8_is_kept_as_something_that_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
