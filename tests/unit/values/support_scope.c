#include "unit/values/support_scope.h"

#include "common/base/cleanup.h"

#include <string.h>

#define TEXT(text_)                                                                                \
    {                                                                                              \
        .kind = VALUE_TEXT, .text = (text_)                                                        \
    }
#define NUMBER(number_)                                                                            \
    {                                                                                              \
        .kind = VALUE_NUMBER, .number = (number_)                                                  \
    }

static const struct value disks[] = {TEXT("sda"), TEXT("sdb")};
static const struct {
    const char *name;
    struct value value;
} known[] = {
    {"server.id", TEXT("web-1")},
    {"server.labels.tier", TEXT("front")},
    {"facts.os.id", TEXT("debian")},
    {"facts.os.version", TEXT("12.5")},
    {"facts.cpus", NUMBER(4)},
    {"facts.virtual", {.kind = VALUE_BOOL, .yes = true}},
    {"facts.disks", {.kind = VALUE_LIST, .items = disks, .count = ARRAY_LEN(disks)}},
    {"vars.port", NUMBER(8080)},
    {"vars.trick", TEXT("${secrets.s}")},
    {"steps.get.outputs.sum", TEXT("abc")},
};

static bool find(void *ctx, const char *name, struct value *ret_value)
{
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(known[i].name, name) == 0) {
            *ret_value = known[i].value;
            return true;
        }
    }
    return false;
}

const struct value_scope test_scope = {.find = find};
