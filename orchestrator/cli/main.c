#include "common/pki/pki_key.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/wiped.h"

#include <curl/curl.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char *env_get(const char *name)
{
    return getenv(name);
}

static int terminal_columns(void)
{
    enum { USUAL = 80 };
    struct winsize size = {0};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : USUAL;
}

int main(int argc, char **argv)
{
    /* A closed pipe is an error of the write, which ends the program quietly. */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setlocale(LC_CTYPE, "");
    /* Of tokens, no core dump. Where the system does not grant it the limit of core(5) is left. */
    (void)pki_keys_protect();
    if (!wiped_curl_init()) {
        (void)fputs("kitsune: libcurl cannot be initialised\n", stderr);
        return CLI_USAGE;
    }
    struct cli_io io = {.in = stdin,
                        .out = stdout,
                        .err = stderr,
                        .env = env_get,
                        .terminal = isatty(STDOUT_FILENO) == 1,
                        .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
                        .columns = terminal_columns,
                        .system_config = CLI_SYSTEM_CONFIG,
                        .local_socket = CLI_LOCAL_SOCKET};
    int status = cli_run(argc, argv, &io);
    curl_global_cleanup();
    return status;
}
