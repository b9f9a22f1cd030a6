#include "common/config/arguments.h"

#include <stdbool.h>
#include <string.h>

/* Stops at the first that is no option, as what is behind it is refused anyway; and tells a missing
 * value from an unknown option. */
static const char short_options[] = "+:";

/* The next option of the command line; NULL: there is none. */
static enum error_code next_option(int argc, char **argv, const struct config_use *use,
                                   const struct option **ret_option, struct error *err)
{
    int index = -1;
    int key = getopt_long(argc, argv, short_options, use->options, &index);
    if (key == ':')
        return error_set(err, ERR_INVALID, "%s needs a value (see --help)", argv[optind - 1]);
    if (key == '?')
        return error_set(err, ERR_INVALID, "unknown option %s (see --help)", argv[optind - 1]);
    *ret_option = key == -1 ? NULL : &use->options[index];
    return ERR_OK;
}

static bool is_last(const struct option *option)
{
    return strcmp(option->name, "help") == 0 || strcmp(option->name, "version") == 0;
}

static bool names_file(const struct option *option, const struct config_use *use)
{
    return use->except != NULL && strcmp(option->name, use->except) == 0;
}

static void begin_anew(void)
{
    optind = 0;
    opterr = 0;
}

enum error_code arguments_file(int argc, char **argv, const struct config_use *use,
                               struct config **ret_config, struct error *err)
{
    const char *path = NULL;
    const struct option *option = NULL;
    begin_anew();
    do {
        enum error_code code = next_option(argc, argv, use, &option, err);
        if (code != ERR_OK)
            return code;
        if (option != NULL && names_file(option, use))
            path = optarg;
    } while (option != NULL && !is_last(option));
    return path == NULL ? ERR_OK : config_load(path, use, ret_config, err);
}

enum error_code arguments_take(int argc, char **argv, const struct config_use *use,
                               struct error *err)
{
    begin_anew();
    for (;;) {
        const struct option *option = NULL;
        enum error_code code = next_option(argc, argv, use, &option, err);
        if (code == ERR_OK && option != NULL && !names_file(option, use))
            code = use->take(use->ctx, option->val, optarg, err);
        if (code != ERR_OK || (option != NULL && is_last(option)))
            return code;
        if (option == NULL)
            break;
    }
    if (optind < argc)
        return error_set(err, ERR_INVALID, "unexpected argument %s (see --help)", argv[optind]);
    return ERR_OK;
}

enum error_code arguments_log_format(const char *value, enum log_format *ret_format,
                                     struct error *err)
{
    if (log_format_parse(value, ret_format))
        return ERR_OK;
    return error_set(err, ERR_INVALID, "--log-format must be logfmt or json, not %s", value);
}

enum error_code arguments_log_level(const char *value, enum log_level *ret_level, struct error *err)
{
    if (log_level_parse(value, ret_level))
        return ERR_OK;
    return error_set(err, ERR_INVALID, "--log-level must be debug, info, warn or error, not %s",
                     value);
}
