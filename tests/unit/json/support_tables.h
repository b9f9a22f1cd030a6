/* A document with a field of every kind, for the tests of this folder. */
#pragma once

#include "common/json/json.h"

enum color { COLOR_RED, COLOR_GREEN, COLOR_BLUE, COLOR_COUNT };

struct part {
    char *name;
    int64_t weight;
    bool spare;
};

struct limits {
    int64_t attempts;
    double factor;
};

/* Custom: "<n>%" as a number. */
struct share {
    int64_t percent;
};

struct thing {
    char *name;
    bool on;
    int64_t count;
    double ratio;
    int64_t delay_ms;
    int color;
    struct limits limits;
    struct array parts;  /* struct part */
    struct array tags;   /* char * */
    struct array grid;   /* struct array of int64_t */
    struct array shares; /* struct share */
    char *extra;
    char *options;
    struct share share;
    bool has_code;
    int64_t code;
};

extern const struct json_table limits_table;
extern const struct json_table part_table;
extern const struct json_table thing_table;

/* A thing with every field set, as json_encode writes it. */
extern const char thing_full[];
