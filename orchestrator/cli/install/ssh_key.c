#include "orchestrator/cli/install/ssh_key.h"

#include "common/base/cleanup.h"
#include "orchestrator/cli/install/target.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static bool read_text(const char *path, char *ret, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t len = fread(ret, 1, size - 1, file);
    ret[len] = '\0';
    (void)fclose(file);
    return len > 0;
}

/* OpenSSH's own form begins with a magic, then the cipher's name: a length of four bytes and so
 * many characters; behind the key derivation's stands the public key, type first. */
static enum ssh_key_kind openssh_kind(const char *body)
{
    static const char magic[] = "openssh-key-v1"; /* with its NUL */
    static const char no_cipher[] = "\0\0\0\4none";
    static const char rsa[] = "\0\0\0\7ssh-rsa";
    enum { HEAD = 128 }; /* characters of base64 that are looked at: a multiple of four */
    char packed[HEAD + 1];
    unsigned char head[HEAD];
    size_t len = 0;
    for (; *body && *body != '-' && len < HEAD; body++) {
        if (*body != '\n' && *body != '\r')
            packed[len++] = *body;
    }
    if (len < HEAD)
        return SSH_KEY_NONE;
    packed[len] = '\0';
    int bytes = EVP_DecodeBlock(head, (const unsigned char *)packed, (int)len);
    if (bytes < (int)sizeof(magic) + (int)sizeof(no_cipher) ||
        memcmp(head, magic, sizeof(magic)) != 0)
        return SSH_KEY_NONE;
    if (memcmp(head + sizeof(magic), no_cipher, sizeof(no_cipher) - 1) != 0)
        return SSH_KEY_ENCRYPTED;
    return memmem(head, (size_t)bytes, rsa, sizeof(rsa) - 1) ? SSH_KEY_RSA : SSH_KEY_PLAIN;
}

enum ssh_key_kind ssh_key_kind_of(const char *text)
{
    static const char begin[] = "-----BEGIN ";
    const char *start = strstr(text, begin);
    const char *body = start ? strchr(start, '\n') : NULL;
    const char *what = start ? start + sizeof(begin) - 1 : NULL;
    if (!body || !memmem(what, (size_t)(body - what), "PRIVATE KEY", 11))
        return SSH_KEY_NONE;
    if (strncmp(what, "OPENSSH ", 8) == 0)
        return openssh_kind(body + 1);
    if (strncmp(what, "ENCRYPTED ", 10) == 0 || strstr(body, "Proc-Type: 4,ENCRYPTED"))
        return SSH_KEY_ENCRYPTED;
    return strncmp(what, "RSA ", 4) == 0 ? SSH_KEY_RSA : SSH_KEY_PLAIN;
}

enum ssh_key_kind ssh_key_look(const char *path)
{
    char text[SSH_KEY_BYTES_MAX];
    enum ssh_key_kind kind =
        read_text(path, text, sizeof(text)) ? ssh_key_kind_of(text) : SSH_KEY_NONE;
    explicit_bzero(text, sizeof(text));
    return kind;
}

bool ssh_key_public_is(const char *path, const unsigned char *blob, size_t len)
{
    enum { BLOB_MAX = SSH_KEY_BYTES_MAX / 4 };
    char name[TARGET_PATH_MAX + 8];
    char text[SSH_KEY_BYTES_MAX];
    unsigned char packed[SSH_KEY_BYTES_MAX];
    if (len == 0 || len > BLOB_MAX)
        return false;
    (void)snprintf(name, sizeof(name), "%s.pub", path);
    if (!read_text(name, text, sizeof(text)))
        return false;
    (void)EVP_EncodeBlock(packed, blob, (int)len);
    return strstr(text, (const char *)packed) != NULL;
}
