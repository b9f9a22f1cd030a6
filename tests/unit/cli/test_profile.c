/* Where orchestrator, CA and token come from, and which source counts. */
#include "orchestrator/cli/profile.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "unit/cli/support_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define USER_FILE "home/.config/kitsune/config"
#define SYSTEM_FILE "etc/kitsune.conf"

static struct folder folder;
static char home[FOLDER_PATH];
static char system_file[FOLDER_PATH];
static struct {
    const char *name, *value;
} environment[8];

static const char *env(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(environment); i++) {
        if (environment[i].name && strcmp(environment[i].name, name) == 0)
            return environment[i].value;
    }
    return NULL;
}

static void set_env(const char *name, const char *value)
{
    for (size_t i = 0; i < ARRAY_LEN(environment); i++) {
        if (environment[i].name && strcmp(environment[i].name, name) != 0)
            continue;
        environment[i].name = name;
        environment[i].value = value;
        return;
    }
    fail();
}

static int setup(void **state)
{
    (void)state;
    folder_make(&folder);
    memset(environment, 0, sizeof(environment));
    set_env("HOME", folder_path(&folder, "home", home));
    (void)folder_path(&folder, SYSTEM_FILE, system_file);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

static void put(const char *name, const char *text, mode_t mode)
{
    char path[FOLDER_PATH];
    (void)folder_put(&folder, name, text, mode, path);
}

static struct profile load(const char *url, const char *token_file)
{
    struct profile p = {0};
    struct error err = {0};
    const struct profile_sources sources = {
        .given = {[PROFILE_ORCHESTRATOR] = url, [PROFILE_TOKEN_FILE] = token_file},
        .env = env,
        .system_file = system_file};
    if (profile_load(&sources, &p, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return p;
}

/* NULL: nothing. */
static void is(const struct profile *p, enum profile_key key, const char *text)
{
    if (text)
        assert_string_equal(p->values[key].text, text);
    else
        assert_null(p->values[key].text);
}

static void refused(const char *message)
{
    struct profile p = {0};
    struct error err = {0};
    const struct profile_sources sources = {.env = env, .system_file = system_file};
    assert_int_not_equal(profile_load(&sources, &p, &err), ERR_OK);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" is not in: %s", message, err.message);
}

/* ---- Precedence ------------------------------------------------------------------------------ */

static void without_a_word_it_is_the_loopback(void **state)
{
    (void)state;
    AUTO_PROFILE struct profile p = load(NULL, NULL);
    is(&p, PROFILE_ORCHESTRATOR, "http://127.0.0.1:7233");
    is(&p, PROFILE_CA, NULL);
    is(&p, PROFILE_TOKEN_FILE, NULL);
    assert_null(p.values[PROFILE_ORCHESTRATOR].from);
    assert_null(profile_token_from(&p));
}

static void option_before_environment_before_user_before_machine(void **state)
{
    (void)state;
    put(SYSTEM_FILE, "orchestrator = https://system:1\n", 0644);
    AUTO_PROFILE struct profile of_system = load(NULL, NULL);
    is(&of_system, PROFILE_ORCHESTRATOR, "https://system:1");
    assert_string_equal(of_system.values[PROFILE_ORCHESTRATOR].from, system_file);
    put(USER_FILE, "orchestrator = https://user:1\n", 0600);
    AUTO_PROFILE struct profile of_user = load(NULL, NULL);
    is(&of_user, PROFILE_ORCHESTRATOR, "https://user:1");
    set_env("KITSUNE_ORCHESTRATOR", "https://env:1");
    AUTO_PROFILE struct profile of_env = load(NULL, NULL);
    is(&of_env, PROFILE_ORCHESTRATOR, "https://env:1");
    AUTO_PROFILE struct profile of_option = load("https://option:1", NULL);
    is(&of_option, PROFILE_ORCHESTRATOR, "https://option:1");
    assert_string_equal(of_option.values[PROFILE_ORCHESTRATOR].from, "--orchestrator");
}

static void the_users_file_is_below_xdg_config_home(void **state)
{
    (void)state;
    char path[FOLDER_PATH];
    put("xdg/kitsune/config", "orchestrator = https://xdg:1\n", 0600);
    put(USER_FILE, "orchestrator = https://home:1\n", 0600);
    set_env("XDG_CONFIG_HOME", folder_path(&folder, "xdg", path));
    AUTO_PROFILE struct profile p = load(NULL, NULL);
    is(&p, PROFILE_ORCHESTRATOR, "https://xdg:1");
    set_env("XDG_CONFIG_HOME", "relative");
    AUTO_PROFILE struct profile q = load(NULL, NULL);
    is(&q, PROFILE_ORCHESTRATOR, "https://home:1");
}

static void a_token_of_the_environment_counts_more_than_a_file_of_it(void **state)
{
    (void)state;
    char file[FOLDER_PATH];
    AUTO_SECRET struct pki_secret token = {0};
    (void)folder_put(&folder, "t", "kit_of_file\n", 0600, file);
    set_env("KITSUNE_TOKEN", "kit_of_env");
    set_env("KITSUNE_TOKEN_FILE", file);
    AUTO_PROFILE struct profile p = load(NULL, NULL);
    assert_int_equal(profile_token(&p, &token, NULL), ERR_OK);
    assert_string_equal(token.data, "kit_of_env");
    assert_string_equal(profile_token_from(&p), "KITSUNE_TOKEN");
    pki_secret_done(&token);
    AUTO_PROFILE struct profile q = load(NULL, file);
    assert_int_equal(profile_token(&q, &token, NULL), ERR_OK);
    assert_string_equal(token.data, "kit_of_file");
}

static void a_relative_path_begins_at_the_files_folder(void **state)
{
    (void)state;
    char ca[FOLDER_PATH];
    char token[FOLDER_PATH];
    put(USER_FILE, "orchestrator = https://user:1\nca = a.pem\ntoken-file = /abs/t\n", 0600);
    AUTO_PROFILE struct profile p = load(NULL, NULL);
    is(&p, PROFILE_CA, folder_path(&folder, "home/.config/kitsune/a.pem", ca));
    is(&p, PROFILE_TOKEN_FILE, "/abs/t");
    put(SYSTEM_FILE, "orchestrator = https://user:1\ntoken-file = t\n", 0600);
    put(USER_FILE, "", 0600);
    AUTO_PROFILE struct profile q = load(NULL, NULL);
    is(&q, PROFILE_TOKEN_FILE, folder_path(&folder, "etc/t", token));
}

/* ---- For whom a file's token is -------------------------------------------------------------- */

static void a_files_token_goes_to_no_orchestrator_named_elsewhere(void **state)
{
    (void)state;
    put(USER_FILE, "orchestrator = https://user:1\nca = /c\ntoken-file = /t\n", 0600);
    AUTO_PROFILE struct profile other = load("https://other:1", NULL);
    is(&other, PROFILE_TOKEN_FILE, NULL);
    is(&other, PROFILE_CA, NULL);
    AUTO_PROFILE struct profile same = load("https://user:1/", NULL);
    is(&same, PROFILE_TOKEN_FILE, "/t");
    is(&same, PROFILE_CA, "/c");
    set_env("KITSUNE_ORCHESTRATOR", "https://other:1");
    AUTO_PROFILE struct profile of_env = load(NULL, NULL);
    is(&of_env, PROFILE_TOKEN_FILE, NULL);
}

static void a_users_token_may_go_with_the_machines_orchestrator(void **state)
{
    (void)state;
    put(SYSTEM_FILE, "orchestrator = https://system:1\nca = /c\n", 0644);
    put(USER_FILE, "token-file = /t\n", 0600);
    AUTO_PROFILE struct profile p = load(NULL, NULL);
    is(&p, PROFILE_ORCHESTRATOR, "https://system:1");
    is(&p, PROFILE_CA, "/c");
    is(&p, PROFILE_TOKEN_FILE, "/t");
    AUTO_PROFILE struct profile other = load("https://other:1", NULL);
    is(&other, PROFILE_TOKEN_FILE, NULL);
    put(USER_FILE, "orchestrator = https://user:1\n", 0600);
    put(SYSTEM_FILE, "orchestrator = https://system:1\ntoken-file = /t\n", 0644);
    AUTO_PROFILE struct profile mine = load(NULL, NULL);
    is(&mine, PROFILE_ORCHESTRATOR, "https://user:1");
    is(&mine, PROFILE_TOKEN_FILE, NULL);
    put(SYSTEM_FILE, "token-file = /t\n", 0644);
    AUTO_PROFILE struct profile with = load(NULL, NULL);
    is(&with, PROFILE_TOKEN_FILE, "/t");
    AUTO_PROFILE struct profile without = load("https://other:1", NULL);
    is(&without, PROFILE_TOKEN_FILE, NULL);
}

/* ---- What is refused ------------------------------------------------------------------------- */

static void a_fault_in_a_file_is_told_with_file_and_line(void **state)
{
    (void)state;
    put(USER_FILE, "\norchestrtor = https://x\n", 0600);
    refused(".config/kitsune/config, line 2: unknown key \"orchestrtor\" (did you mean "
            "\"orchestrator\"?)");
    put(USER_FILE, "ca =\n", 0600);
    refused("line 1: ca has no value");
    put(USER_FILE, "ca = /a\nca = /b\n", 0600);
    refused("line 2: ca is there twice");
    put(USER_FILE, "token = kit_x\n", 0600);
    refused("unknown key \"token\"");
}

static void token_refused(const char *text, mode_t mode, const char *message)
{
    char file[FOLDER_PATH];
    AUTO_SECRET struct pki_secret token = {0};
    struct error err = {0};
    (void)folder_put(&folder, "t", text, mode, file);
    AUTO_PROFILE struct profile p = load(NULL, file);
    assert_int_not_equal(profile_token(&p, &token, &err), ERR_OK);
    if (!strstr(err.message, message) || strstr(err.message, "SECRET"))
        fail_msg("\"%s\" is not in, or the secret is in: %s", message, err.message);
}

static void a_token_file_that_is_not_right_is_refused_without_telling_it(void **state)
{
    (void)state;
    token_refused("kit_SECRET\n", 0644, "is open to others (mode 0644)");
    token_refused("kit_SECRET\n", 0640, "(mode 0640)");
    token_refused("kit_SECRET\nkit_SECRET\n", 0600, "holds no token");
    token_refused("kit SECRET\n", 0600, "holds no token");
    token_refused("kit\x01SECRET", 0600, "holds no token");
    token_refused("\n", 0600, "holds no token");
    char long_token[300];
    memset(long_token, 'a', sizeof(long_token) - 1);
    long_token[sizeof(long_token) - 1] = '\0';
    token_refused(long_token, 0600, "holds no token");
}

static void a_token_file_that_is_missing_is_told_with_who_named_it(void **state)
{
    (void)state;
    AUTO_SECRET struct pki_secret token = {0};
    struct error err = {0};
    put(USER_FILE, "token-file = gone\n", 0600);
    AUTO_PROFILE struct profile p = load(NULL, NULL);
    assert_int_equal(profile_token(&p, &token, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "the token file ("));
    assert_non_null(strstr(err.message, "config): reading "));
    assert_non_null(strstr(err.message, "gone: No such file"));
}

static void what_a_profile_cannot_hold_is_not_written(void **state)
{
    (void)state;
    const char *const bad[] = {"https://x ; y", "https://x\nca = /evil", " https://x", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTO_BUF struct buf text = BUF_INIT;
        const char *const values[PROFILE_KEYS] = {[PROFILE_ORCHESTRATOR] = bad[i]};
        assert_int_not_equal(profile_text(values, &text, NULL), ERR_OK);
    }
    AUTO_BUF struct buf text = BUF_INIT;
    const char *const values[PROFILE_KEYS] = {
        [PROFILE_ORCHESTRATOR] = "https://x:1", [PROFILE_TOKEN_FILE] = "t"};
    assert_int_equal(profile_text(values, &text, NULL), ERR_OK);
    put(USER_FILE, text.data, 0600);
    AUTO_PROFILE struct profile p = load(NULL, NULL);
    is(&p, PROFILE_ORCHESTRATOR, "https://x:1");
}

/* ---- The socket ------------------------------------------------------------------------------ */

static struct profile load_socket(const char *path, const char *url)
{
    struct profile p = {0};
    const struct profile_sources sources = {
        .given = {[PROFILE_ORCHESTRATOR] = url}, .env = env, .socket = path};
    assert_int_equal(profile_load(&sources, &p, NULL), ERR_OK);
    return p;
}

static void a_socket_that_answers_is_used_when_nothing_else_is_said(void **state)
{
    (void)state;
    char path[FOLDER_PATH];
    char url[FOLDER_PATH + 8];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)folder_path(&folder, "api.sock", path);
    (void)snprintf(url, sizeof(url), "unix://%s", path);
    AUTO_PROFILE struct profile none = load_socket(path, NULL);
    is(&none, PROFILE_ORCHESTRATOR, PROFILE_DEFAULT_URL);
    memcpy(address.sun_path, path, strlen(path));
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    AUTO_PROFILE struct profile dead = load_socket(path, NULL);
    is(&dead, PROFILE_ORCHESTRATOR, PROFILE_DEFAULT_URL);
    assert_int_equal(listen(fd, 4), 0);
    AUTO_PROFILE struct profile alive = load_socket(path, NULL);
    is(&alive, PROFILE_ORCHESTRATOR, url);
    AUTO_PROFILE struct profile said = load_socket(path, "https://x:1");
    is(&said, PROFILE_ORCHESTRATOR, "https://x:1");
    (void)close(fd);
}

/* ---- Want of memory -------------------------------------------------------------------------- */

static void without_memory_nothing_is_half_loaded(void **state)
{
    (void)state;
    char token_file[FOLDER_PATH];
    (void)folder_put(&folder, "home/.config/kitsune/t", "kit_x\n", 0600, token_file);
    put(USER_FILE, "orchestrator = https://user:1\nca = a.pem\ntoken-file = t\n", 0600);
    put(SYSTEM_FILE, "orchestrator = https://system:1\n", 0644);
    const struct profile_sources sources = {.env = env, .system_file = system_file};
    enum error_code code = ERR_NO_MEMORY;
    uint64_t n = 0;
    for (; code != ERR_OK; n++) {
        struct profile p = {0};
        assert_true(n < 1000);
        mem_fail_after(n);
        code = profile_load(&sources, &p, NULL);
        mem_fail_never();
        if (code == ERR_OK)
            is(&p, PROFILE_TOKEN_FILE, token_file);
        else
            assert_int_equal(code, ERR_NO_MEMORY);
        if (code != ERR_OK)
            assert_null(p.values[PROFILE_ORCHESTRATOR].text);
        profile_done(&p);
    }
    assert_true(n > 5);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_a_word_it_is_the_loopback),
        TEST(option_before_environment_before_user_before_machine),
        TEST(the_users_file_is_below_xdg_config_home),
        TEST(a_token_of_the_environment_counts_more_than_a_file_of_it),
        TEST(a_relative_path_begins_at_the_files_folder),
        TEST(a_files_token_goes_to_no_orchestrator_named_elsewhere),
        TEST(a_users_token_may_go_with_the_machines_orchestrator),
        TEST(a_fault_in_a_file_is_told_with_file_and_line),
        TEST(a_token_file_that_is_not_right_is_refused_without_telling_it),
        TEST(a_token_file_that_is_missing_is_told_with_who_named_it),
        TEST(what_a_profile_cannot_hold_is_not_written),
        TEST(a_socket_that_answers_is_used_when_nothing_else_is_said),
        TEST(without_memory_nothing_is_half_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
