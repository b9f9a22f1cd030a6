#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WORDS_MAX = 16 };

/* Texts of the options point into the words, which live until the next parse. */
static char words_text[512];

static enum error_code parse(const char *words, struct options *ret, struct error *err)
{
    char *argv[WORDS_MAX];
    int argc = 0;
    static char program[] = "kitsune";
    char *rest = words_text;
    (void)snprintf(words_text, sizeof(words_text), "%s", words);
    argv[argc++] = program;
    for (char *w = strsep(&rest, " "); w; w = strsep(&rest, " "))
        argv[argc++] = w;
    return options_parse(argc, argv, ret, err);
}

static void expect(const char *words, const char *command, const char *arg)
{
    struct options o = {0};
    struct error err = {0};
    assert_int_equal(parse(words, &o, &err), ERR_OK);
    assert_string_equal(o.command->name, command);
    if (arg)
        assert_string_equal(o.args[0], arg);
    else
        assert_int_equal(o.arg_count, 0);
}

static void refuse(const char *words, const char *message)
{
    struct options o = {0};
    struct error err = {0};
    assert_int_equal(parse(words, &o, &err), ERR_INVALID);
    assert_string_equal(err.message, message);
}

static void options_stand_before_or_after_what_they_are_for(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "submit plan.json --id x --watch -o json",  "-o json submit --watch --id x plan.json",
        "--output=json submit --id=x plan.json -w", "submit -ojson -w plan.json --id x",
        "-wo json submit plan.json --id x",         "submit --id x --watch -o json -- plan.json",
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct options o = {0};
        struct error err = {0};
        assert_int_equal(parse(forms[i], &o, &err), ERR_OK);
        assert_string_equal(o.command->name, "submit");
        assert_string_equal(o.args[0], "plan.json");
        assert_true(o.json);
        assert_true(option_given(&o, OPT_WATCH));
        assert_string_equal(o.texts[OPT_ID], "x");
        assert_false(option_given(&o, OPT_NO_WAIT));
    }
}

static void a_lone_dash_is_an_argument(void **state)
{
    (void)state;
    expect("validate -", "validate", "-");
}

static void after_two_dashes_all_is_argument(void **state)
{
    (void)state;
    expect("validate -- --id", "validate", "--id");
}

static void numbers_are_taken_within_their_bounds(void **state)
{
    (void)state;
    struct options o = {0};
    struct error err = {0};
    assert_int_equal(parse("list -n 20", &o, &err), ERR_OK);
    assert_int_equal(o.numbers[OPT_LIMIT], 20);
    assert_int_equal(parse("events r1 --after 0", &o, &err), ERR_OK);
    assert_int_equal(o.numbers[OPT_AFTER], 0);
    refuse("list --limit 0", "--limit: \"0\" is not a number from 1 to 2147483647");
    refuse("list --limit -3", "--limit: \"-3\" is not a number from 1 to 2147483647");
    refuse("list --limit 1x", "--limit: \"1x\" is not a number from 1 to 2147483647");
    refuse("list --limit 99999999999999999999",
           "--limit: \"99999999999999999999\" is not a number from 1 to 2147483647");
}

static void a_mistyped_command_or_option_gets_a_hint(void **state)
{
    (void)state;
    refuse("sumbit x", "unknown command \"sumbit\" (did you mean \"submit\"?)");
    refuse("qqqqqqq", "unknown command \"qqqqqqq\" (\"kitsune help\" lists the commands)");
    refuse("rolback x", "unknown command \"rolback\" (did you mean \"rollback\"?)");
    refuse("submit x --wacth", "unknown option --wacth (did you mean --watch?)");
    refuse("submit x --qqqqqqq", "unknown option --qqqqqqq");
    refuse("submit x -q", "unknown option -q");
}

static void what_is_missing_or_too_much_is_named(void **state)
{
    (void)state;
    refuse("show", "show: ID is missing (usage: kitsune show ID)");
    refuse("show a b", "show: \"b\" is one argument too many (usage: kitsune show ID)");
    refuse("list a", "list: \"a\" is one argument too many (usage: kitsune list)");
    refuse("show ", "show: an argument is empty (usage: kitsune show ID)");
    refuse("submit x --id", "--id wants a value: ID");
    refuse("submit x --id=", "--id: its value is empty");
    refuse("list -n", "-n wants a value: N");
    refuse("submit x --watch=yes", "--watch takes no value");
    refuse("submit x --id a --id b", "--id is given twice");
    refuse("show x --server a --server b", "--server is given twice");
    refuse("resolve x", "resolve: ID SERVER is missing (usage: kitsune resolve ID SERVER)");
    refuse("list -o yaml", "--output: \"yaml\" is neither table nor json");
    refuse("-o json", "a command is missing");
}

static void an_option_of_another_command_is_refused(void **state)
{
    (void)state;
    refuse("list --watch", "list: there is no option --watch here");
    refuse("--now show x", "show: there is no option --now here");
}

static void help_needs_no_arguments(void **state)
{
    (void)state;
    struct options o = {0};
    struct error err = {0};
    assert_int_equal(parse("submit --help", &o, &err), ERR_OK);
    assert_true(option_given(&o, OPT_HELP));
    assert_string_equal(o.command->name, "submit");
    assert_int_equal(parse("-h", &o, &err), ERR_OK);
    assert_null(o.command);
}

static void every_command_has_help_with_its_options_and_an_example(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        AUTO_BUF struct buf b = BUF_INIT;
        char example[32];
        options_help(&b, &commands[i]);
        (void)snprintf(example, sizeof(example), "  kitsune %s", commands[i].name);
        assert_non_null(strstr(b.data, example));
        for (size_t k = 0; k < OPT_COUNT; k++) {
            char name[32];
            (void)snprintf(name, sizeof(name), "--%s", option_specs[k].name);
            bool has = ((commands[i].options | OPT_COMMON) & OPT_BIT(k)) != 0;
            if (has)
                assert_non_null(strstr(b.data, name));
        }
        assert_true(commands[i].max_args <= COMMAND_ARGS_MAX);
        assert_true(commands[i].min_args <= commands[i].max_args);
    }
}

static void every_example_is_a_command_line_that_parses(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        char line[256];
        struct options o = {0};
        struct error err = {0};
        bool quoted = false;
        size_t n = 0;
        const char *s = strchr(commands[i].example, ' ');
        assert_non_null(s);
        /* A quoted text is one word; a redirection is the shell's. */
        for (s++; *s && *s != '>'; s++) {
            if (*s == '"')
                quoted = !quoted;
            else
                line[n++] = (char)(quoted && *s == ' ' ? '_' : *s);
        }
        while (n > 0 && line[n - 1] == ' ')
            n--;
        line[n] = '\0';
        assert_int_equal(parse(line, &o, &err), ERR_OK);
        assert_ptr_equal(o.command, &commands[i]);
    }
}

/* ---- The manual page and the completion --------------------------------------------------------
 */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;
    assert_non_null(f);
    assert_true(getdelim(&text, &size, '\0', f) > 0);
    (void)fclose(f);
    return text;
}

static void the_manual_page_tells_of_every_command_and_option(void **state)
{
    (void)state;
    char *page = read_file(KITSUNE_SOURCE_DIR "/docs/man/kitsune.1");
    for (size_t i = 0; i < command_count; i++) {
        char heading[48];
        (void)snprintf(heading, sizeof(heading), ".B kitsune %s\n", commands[i].name);
        if (!strstr(page, heading))
            fail_msg("docs/man/kitsune.1 has no \"%s\"", heading);
    }
    for (size_t i = 0; i < OPT_COUNT; i++) {
        char name[48];
        size_t n = (size_t)snprintf(name, sizeof(name), "\\-\\-");
        for (const char *s = option_specs[i].name; *s; s++)
            n += (size_t)snprintf(name + n, sizeof(name) - n, *s == '-' ? "\\-" : "%c", *s);
        if (!strstr(page, name))
            fail_msg("docs/man/kitsune.1 does not tell of %s", name);
    }
    free(page);
}

/* "--step" is not in "--step-time". */
static bool has_word(const char *line, size_t len, const char *word)
{
    size_t n = strlen(word);
    const char *s = line;
    while ((s = memmem(s, len - (size_t)(s - line), word, n)) != NULL) {
        if (s[n] == ' ' || s[n] == '"')
            return true;
        s += n;
    }
    return false;
}

static void the_completion_knows_every_command_and_its_options(void **state)
{
    (void)state;
    char *script = read_file(KITSUNE_SOURCE_DIR "/orchestrator/cli/kitsune.bash");
    for (size_t i = 0; i < command_count; i++) {
        char start[48];
        (void)snprintf(start, sizeof(start), "        [%s]=\"", commands[i].name);
        const char *line = strstr(script, start);
        if (!line)
            fail_msg("kitsune.bash does not know the command %s", commands[i].name);
        size_t len = line ? strcspn(line, "\n") : 0;
        for (size_t k = 0; k < OPT_COUNT; k++) {
            char option[48];
            (void)snprintf(option, sizeof(option), "--%s", option_specs[k].name);
            bool wanted = (commands[i].options & OPT_BIT(k)) != 0;
            bool there = line && has_word(line, len, option);
            if (wanted != there)
                fail_msg("kitsune.bash: %s and %s", commands[i].name, option);
        }
    }
    free(script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_before_or_after_what_they_are_for),
        cmocka_unit_test(a_lone_dash_is_an_argument),
        cmocka_unit_test(after_two_dashes_all_is_argument),
        cmocka_unit_test(numbers_are_taken_within_their_bounds),
        cmocka_unit_test(a_mistyped_command_or_option_gets_a_hint),
        cmocka_unit_test(what_is_missing_or_too_much_is_named),
        cmocka_unit_test(an_option_of_another_command_is_refused),
        cmocka_unit_test(help_needs_no_arguments),
        cmocka_unit_test(every_command_has_help_with_its_options_and_an_example),
        cmocka_unit_test(every_example_is_a_command_line_that_parses),
        cmocka_unit_test(the_manual_page_tells_of_every_command_and_option),
        cmocka_unit_test(the_completion_knows_every_command_and_its_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
