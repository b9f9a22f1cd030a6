/* What dnf says that it would do, when it is not quite dnf: whatever is read of it fits what is
 * installed, holds each package once, and is written and read again the same. */
#include "common/base/cleanup.h"
#include "handlers/yum_record.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

#define PACKAGE(name_, epoch_, version_, arch_)                                                    \
    {                                                                                              \
        .name = (char[]){name_}, .epoch = (epoch_), .version = (char[]){version_},                 \
        .release = (char[]){"1"}, .arch = (char[])                                                 \
        {                                                                                          \
            arch_                                                                                  \
        }                                                                                          \
    }

static void assert_distinct(const struct array *packages)
{
    for (size_t i = 0; i < packages->count; i++)
        assert(rpm_packages_find(packages, rpm_package_at(packages, i)) ==
               rpm_package_at(packages, i));
}

static void assert_same_again(const struct yum_record *record)
{
    AUTO_RECORD struct yum_record again = {0};
    AUTO_BUF struct buf first = BUF_INIT, second = BUF_INIT;
    struct error err = {0};
    json_encode(&first, &yum_record_table, record);
    assert(buf_check(&first, &err) == ERR_OK);
    /* An epoch may be larger than any that is kept. */
    if (json_read(first.data, first.len, first.len, &yum_record_table, &again, &err) != ERR_OK)
        return;
    json_encode(&second, &yum_record_table, &again);
    assert(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rpm_package items[] = {PACKAGE("a", 0, "1.0", "noarch"),
                                  PACKAGE("a", 0, "2.0", "noarch"),
                                  PACKAGE("b", 3, "1.0", "x86_64")};
    const struct array installed = {.items = items, .count = ARRAY_LEN(items)};
    AUTO_RECORD struct yum_record record = {0};
    AUTO_BUF struct buf lines = BUF_INIT;
    struct error err = {0};
    enum error_code code = yum_record_resolve((const char *)data, size, &installed, &record, &err);
    assert_distinct(&record.before);
    assert_distinct(&record.after);
    for (size_t i = 0; i < record.before.count; i++)
        assert(rpm_packages_find(&installed, rpm_package_at(&record.before, i)));
    for (size_t i = 0; i < record.after.count; i++)
        assert(!rpm_packages_find(&installed, rpm_package_at(&record.after, i)));
    yum_record_tell(&record, &lines);
    assert((lines.len > 0) == (record.before.count + record.after.count > 0));
    if (code == ERR_OK)
        assert_same_again(&record);
    if (code == ERR_OK)
        code = yum_record_offered((const char *)data, size, &record, &err);
    assert(code != ERR_INTERNAL);
    return 0;
}
