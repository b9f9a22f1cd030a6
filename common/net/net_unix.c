/*
 * Listening on a Unix socket. The socket is made under a name of its own and put in place when it
 * is ready, so that there is no moment at which it is there and refuses, or is open to too many.
 */
#include "common/net/net_internal.h"

#include "common/base/cleanup.h"
#include "common/base/id.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    UNIX_BACKLOG = 512,
    UNIX_MODE = 0600,
    PEER_GROUPS_MAX = 4096,         /* of one in more groups nothing is believed */
    SUFFIX_MAX = ID_RANDOM_LEN + 1, /* ".<random id>" */
    UNIX_PATH_MAX_LEN = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 - SUFFIX_MAX
};

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return address;
}

/* Returns 0 when somebody listens there, or an errno: ECONNREFUSED when nobody does any more. */
static int unix_probe(const char *path)
{
    struct sockaddr_un address = address_of(path);
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN)
        return 0; /* EAGAIN: its backlog is full */
    return errno;
}

static enum error_code path_check(const char *path, struct error *err)
{
    if (path[0] != '/')
        return error_set(err, ERR_INVALID,
                         "\"unix:%.80s\": give an absolute path, as in unix:/run/kitsune/api.sock",
                         path);
    if (strlen(path) > UNIX_PATH_MAX_LEN)
        return error_set(err, ERR_INVALID, "unix:%.100s: the path may have at most %zu bytes", path,
                         (size_t)UNIX_PATH_MAX_LEN);
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "unix:%.100s", path);
    if (!S_ISSOCK(info.st_mode))
        return error_set(err, ERR_INVALID,
                         "unix:%.100s: something is there that is not a socket; remove it, or "
                         "choose another path",
                         path);
    int state = unix_probe(path);
    if (state == 0)
        return error_set(err, ERR_BUSY,
                         "unix:%.100s is in use: another program listens there; stop it, or choose "
                         "another path",
                         path);
    if (state != ECONNREFUSED && state != ENOENT)
        return error_errno(err, state, "unix:%.100s", path);
    return ERR_OK;
}

/* Takes the dead socket out of the way. Between looking and taking another program may have put its
 * live one there: what was taken is looked at again, and given back. */
static int stale_remove(const char *path, const char *aside)
{
    if (unix_probe(path) == 0)
        return EADDRINUSE;
    if (rename(path, aside) != 0)
        return errno == ENOENT ? 0 : errno;
    if (unix_probe(aside) == ECONNREFUSED)
        return unlink(aside) == 0 ? 0 : errno;
    if (renameat2(AT_FDCWD, aside, AT_FDCWD, path, RENAME_NOREPLACE) != 0)
        (void)unlink(aside);
    return EADDRINUSE;
}

/* Returns an errno. */
static int unix_publish(const char *path, const char *fresh, const char *aside)
{
    if (renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EEXIST)
        return errno;
    int failed = stale_remove(path, aside);
    if (failed != 0)
        return failed;
    if (renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    return errno == EEXIST ? EADDRINUSE : errno;
}

static int unix_make(int fd, const char *fresh, uint32_t mode)
{
    struct sockaddr_un address = address_of(fresh);
    /* Nobody else can connect before the mode is set: it does not listen yet. */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        chmod(fresh, mode == 0 ? UNIX_MODE : (mode_t)(mode & 0777)) != 0 ||
        listen(fd, UNIX_BACKLOG) != 0)
        return errno;
    return 0;
}

static bool names_make(const char *path, char *ret_fresh, char *ret_aside, size_t room)
{
    char one[ID_RANDOM_LEN + 1];
    char two[ID_RANDOM_LEN + 1];
    if (id_random(one, NULL) != ERR_OK || id_random(two, NULL) != ERR_OK)
        return false;
    (void)snprintf(ret_fresh, room, "%s.%s", path, one);
    (void)snprintf(ret_aside, room, "%s.%s", path, two);
    return true;
}

enum error_code net_unix_listen(struct net_server *server, struct error *err)
{
    const char *path = server->unix_path;
    char fresh[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char aside[sizeof(fresh)];
    enum error_code code = path_check(path, err);
    if (code != ERR_OK)
        return code;
    if (!names_make(path, fresh, aside, sizeof(fresh)))
        return error_set(err, ERR_INTERNAL, "no random numbers");
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, errno, "listening socket");
    struct stat info;
    int failed = unix_make(fd, fresh, server->config.unix_mode);
    if (failed == 0 && lstat(fresh, &info) != 0)
        failed = errno;
    if (failed == 0)
        failed = unix_publish(path, fresh, aside);
    if (failed != 0) {
        (void)unlink(fresh);
        return error_errno(err, failed, "listening on unix:%.100s", path);
    }
    server->unix_dev = info.st_dev;
    server->unix_ino = info.st_ino;
    server->fd = fd_take(&fd);
    return ERR_OK;
}

bool net_request_peer_user(const struct net_request *req, uid_t *ret_uid, pid_t *ret_pid)
{
    struct ucred user = {0};
    socklen_t len = sizeof(user);
    if (req->server->unix_path == NULL || req->wsi == NULL ||
        getsockopt(lws_get_socket_fd(req->wsi), SOL_SOCKET, SO_PEERCRED, &user, &len) != 0)
        return false;
    *ret_uid = user.uid;
    *ret_pid = user.pid;
    return true;
}

bool net_request_peer_in_group(const struct net_request *req, gid_t group)
{
    gid_t groups[PEER_GROUPS_MAX];
    struct ucred user = {0};
    socklen_t len = sizeof(user);
    if (req->server->unix_path == NULL || req->wsi == NULL)
        return false;
    int fd = lws_get_socket_fd(req->wsi);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &len) == 0 && user.gid == group)
        return true;
    len = sizeof(groups);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) != 0)
        return false;
    for (size_t i = 0; i < len / sizeof(groups[0]); i++) {
        if (groups[i] == group)
            return true;
    }
    return false;
}

void net_unix_remove(const struct net_server *server)
{
    struct stat info;
    if (server->unix_path != NULL && lstat(server->unix_path, &info) == 0 &&
        info.st_dev == server->unix_dev && info.st_ino == server->unix_ino)
        (void)unlink(server->unix_path);
}
