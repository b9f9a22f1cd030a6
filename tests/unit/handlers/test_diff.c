#include "handlers/diff.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct diff_counts counts;

/* Caller owns. */
static char *diff(const char *from, const char *to)
{
    struct buf b = BUF_INIT;
    const struct diff_text a = {from ? "/a" : NULL, from, from ? strlen(from) : 0};
    const struct diff_text z = {"/z", to, strlen(to)};
    assert_int_equal(diff_unified(&b, &a, &z, &counts, NULL), ERR_OK);
    char *text = buf_take(&b, NULL);
    assert_non_null(text);
    return text;
}

static void expect(const char *from, const char *to, const char *expected)
{
    char *text = diff(from, to);
    assert_string_equal(text, expected);
    mem_free(text);
}

static void equal_texts_have_none(void **state)
{
    (void)state;
    expect("", "", "");
    expect("a\nb\n", "a\nb\n", "");
    assert_int_equal(counts.added + counts.removed, 0);
}

static void it_reads_as_diff_u_writes_it(void **state)
{
    (void)state;
    expect("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n",
           "--- /a\n+++ /z\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
    assert_int_equal(counts.added, 1);
    assert_int_equal(counts.removed, 1);
    expect("a\n", "a\nb\nc\n", "--- /a\n+++ /z\n@@ -1 +1,3 @@\n a\n+b\n+c\n");
    expect(NULL, "new\n", "--- /dev/null\n+++ /z\n@@ -0,0 +1 @@\n+new\n");
    expect("old\n", "", "--- /a\n+++ /z\n@@ -1 +0,0 @@\n-old\n");
    expect("a\nb", "a\nb\n",
           "--- /a\n+++ /z\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n");
}

static void changes_far_apart_have_a_hunk_each(void **state)
{
    (void)state;
    expect("a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
           "--- /a\n+++ /z\n@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n"
           "@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+B\n");
    /* Between these there is no more than both show. */
    expect("a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n",
           "--- /a\n+++ /z\n@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n");
}

/* Applies a diff as patch(1) would, and holds every line of it against `from`. */
static char *patched(const char *from, const char *text)
{
    struct buf to = BUF_INIT;
    size_t line = 1;
    unsigned long first = 0;
    const char *at = text;
    if (*at) {
        at = strchr(at, '\n') + 1; /* --- */
        at = strchr(at, '\n') + 1; /* +++ */
    }
    while (*at) {
        const char *end = strchr(at, '\n') + 1;
        bool cut = strncmp(end, "\\ No newline", 12) == 0;
        size_t len = (size_t)(end - at) - 1 - (cut ? 1 : 0);
        if (*at == '@') {
            char *rest = NULL;
            first = strtoul(at + 4, &rest, 10);
            first += strncmp(rest, ",0", 2) == 0;
            for (; line < first; line++) {
                size_t taken = strcspn(from, "\n") + 1;
                buf_append(&to, from, taken);
                from += taken;
            }
        } else if (*at == '+') {
            buf_append(&to, at + 1, len);
        } else {
            assert_true(*at == '-' || *at == ' ');
            assert_int_equal(strncmp(from, at + 1, len), 0);
            if (*at == ' ')
                buf_append(&to, at + 1, len);
            from += len;
            line++;
        }
        at = cut ? strchr(end, '\n') + 1 : end;
    }
    buf_puts(&to, from);
    char *result = buf_take(&to, NULL);
    assert_non_null(result);
    return result;
}

static uint64_t seed_state = 7;
static uint32_t chance(uint32_t below)
{
    seed_state = seed_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed_state >> 33) % below;
}

/* Lines of few kinds, so that many are the same. */
static void random_text(char *text, size_t most)
{
    size_t lines = chance((uint32_t)most);
    for (size_t i = 0; i < lines; i++) {
        *text++ = (char)('a' + chance(5));
        *text++ = '\n';
    }
    if (chance(4) == 0)
        *text++ = 'z';
    *text = '\0';
}

static void applied_to_the_one_it_gives_the_other(void **state)
{
    static char from[4096], to[4096];
    (void)state;
    for (int i = 0; i < 3000; i++) {
        random_text(from, 1 + (size_t)i % 60);
        random_text(to, 1 + (size_t)i % 60);
        char *text = diff(from, to);
        char *result = patched(from, text);
        assert_string_equal(result, to);
        mem_free(result);
        mem_free(text);
    }
}

static void what_differs_too_much_is_replaced_as_a_whole(void **state)
{
    enum { LINES = 3 * DIFF_EDITS_MAX, SIZE = LINES * 8 };
    (void)state;
    char *from = mem_zalloc(SIZE);
    char *to = mem_zalloc(SIZE);
    assert_true(from && to);
    for (int i = 0; i < LINES; i++) {
        (void)snprintf(from + strlen(from), 8, "%d\n", i);
        (void)snprintf(to + strlen(to), 8, "%d\n", i == 0 || i == LINES - 1 ? i : i * 2);
    }
    char *text = diff(from, to);
    char *result = patched(from, text);
    assert_string_equal(result, to);
    assert_int_equal(counts.removed, LINES - 2);
    assert_int_equal(counts.added, LINES - 2);
    mem_free(result);
    mem_free(text);
    mem_free(from);
    mem_free(to);
}

static void want_of_memory_is_an_error(void **state)
{
    (void)state;
    const struct diff_text a = {"/a", "1\n2\n3\n", 6};
    const struct diff_text z = {"/z", "1\n3\n4\n", 6};
    enum error_code code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code != ERR_OK; n++) {
        struct buf b = BUF_INIT;
        mem_fail_after(n);
        code = diff_unified(&b, &a, &z, &counts, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_in_range(n, 0, 100);
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_texts_have_none),
        cmocka_unit_test(it_reads_as_diff_u_writes_it),
        cmocka_unit_test(changes_far_apart_have_a_hunk_each),
        cmocka_unit_test(applied_to_the_one_it_gives_the_other),
        cmocka_unit_test(what_differs_too_much_is_replaced_as_a_whole),
        cmocka_unit_test(want_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
