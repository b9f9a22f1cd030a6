#include "orchestrator/cli/install/payload.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

const char *const payload_kind_names[PAYLOAD_KIND_COUNT] = {
    [PAYLOAD_BINARY] = "binary", [PAYLOAD_DEB] = "deb", [PAYLOAD_RPM] = "rpm"};

/* How machines are called in ELF files, and in packages' names. */
static const struct {
    int elf;
    const char *machine, *deb;
} machines[] = {
    {EM_X86_64, "x86_64", "amd64"},   {EM_AARCH64, "aarch64", "arm64"},
    {EM_RISCV, "riscv64", "riscv64"}, {EM_S390, "s390x", "s390x"},
    {EM_PPC64, "ppc64le", "ppc64el"},
};

void payload_done(struct payload *payload)
{
    buf_done(&payload->data);
}

void payload_sum(const void *data, size_t len, char ret[FACTS_SUM_MAX])
{
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    unsigned size = 0;
    ret[0] = '\0';
    if (EVP_Digest(data, len, sum, &size, EVP_sha256(), NULL) != 1)
        return;
    static_assert(FACTS_SUM_MAX > 2 * SHA256_DIGEST_LENGTH, "room for the sum");
    text_hex(sum, size, ret);
}

static void machine_of_name(const char *path, bool deb, char ret[FACTS_TEXT_MAX])
{
    for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
        char end[32];
        (void)snprintf(end, sizeof(end), deb ? "_%s.deb" : ".%s.rpm",
                       deb ? machines[i].deb : machines[i].machine);
        size_t len = strlen(path);
        if (len > strlen(end) && strcmp(path + len - strlen(end), end) == 0)
            (void)snprintf(ret, FACTS_TEXT_MAX, "%s", machines[i].machine);
    }
}

static void machine_of_elf(const unsigned char *data, size_t len, char ret[FACTS_TEXT_MAX])
{
    size_t at = offsetof(Elf64_Ehdr, e_machine);
    if (len < at + sizeof(Elf64_Half))
        return;
    bool big = data[EI_DATA] == ELFDATA2MSB;
    int number = data[big ? at : at + 1] << 8 | data[big ? at + 1 : at];
    for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
        if (number == machines[i].elf)
            (void)snprintf(ret, FACTS_TEXT_MAX, "%s", machines[i].machine);
    }
}

bool payload_look(const char *path, const unsigned char *data, size_t len,
                  enum payload_kind *ret_kind, char ret_machine[FACTS_TEXT_MAX])
{
    static const char deb[] = "!<arch>\ndebian-binary";
    static const unsigned char rpm[] = {0xed, 0xab, 0xee, 0xdb};
    ret_machine[0] = '\0';
    if (len >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0) {
        *ret_kind = PAYLOAD_BINARY;
        machine_of_elf(data, len, ret_machine);
    } else if (len >= sizeof(deb) && memcmp(data, deb, sizeof(deb) - 1) == 0) {
        *ret_kind = PAYLOAD_DEB;
        machine_of_name(path, true, ret_machine);
    } else if (len >= sizeof(rpm) && memcmp(data, rpm, sizeof(rpm)) == 0) {
        *ret_kind = PAYLOAD_RPM;
        machine_of_name(path, false, ret_machine);
    } else {
        return false;
    }
    return true;
}

static enum error_code read_file(const char *path, struct buf *b, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char data[65536];
    ssize_t len = 0;
    if (fd < 0)
        return error_errno(err, errno, "cannot read %.160s", path);
    b->max = PAYLOAD_BYTES_MAX;
    while ((len = read(fd, data, sizeof(data))) != 0) {
        if (len < 0 && errno != EINTR)
            return error_errno(err, errno, "cannot read %.160s", path);
        if (len > 0)
            buf_append(b, data, (size_t)len);
        if (b->failed != ERR_OK)
            return buf_check(b, err);
    }
    return ERR_OK;
}

enum error_code payload_load(const char *path, bool package, struct payload *ret_payload,
                             struct error *err)
{
    AUTO_BUF struct buf data = BUF_INIT;
    struct payload p = {.path = path};
    enum error_code code = read_file(path, &data, err);
    if (code != ERR_OK)
        return code;
    if (!payload_look(path, (const unsigned char *)(data.len > 0 ? data.data : ""), data.len,
                      &p.kind, p.machine) ||
        (p.kind != PAYLOAD_BINARY) != package)
        return error_set(err, ERR_INVALID, "%.160s is not %s", path,
                         package ? "a package (.deb or .rpm)" : "a program for Linux");
    payload_sum(data.data, data.len, p.sum);
    p.data = data;
    data = BUF_INIT;
    *ret_payload = p;
    return ERR_OK;
}
