/*
 * catalog: the step types and their params, without the implementations. The orchestrator and the
 * CLI validate plans and document step types with it; the agent decodes params with the same
 * tables.
 *
 * Threading: constants. I/O: none.
 */
#pragma once

#include "common/plan/plan_json.h"

#include <stdbool.h>
#include <stdint.h>

/* All step types, by name. */
extern const struct step_catalog handler_catalog;

extern const struct step_type echo_type;
extern const struct step_type sleep_type;
extern const struct step_type script_type;
extern const struct step_type file_write_type;
extern const struct step_type file_remove_type;
extern const struct step_type directory_type;
extern const struct step_type symlink_type;
extern const struct step_type release_type;
extern const struct step_type yum_install_type;
extern const struct step_type yum_remove_type;
extern const struct step_type yum_upgrade_type;
extern const struct step_type http_check_type;
extern const struct step_type tcp_check_type;
extern const struct step_type command_check_type;
extern const struct step_type service_type;
extern const struct step_type reboot_type;

struct echo_params {
    char *message;
};

struct sleep_params {
    int64_t duration_ms; /* a number of seconds, or a text such as "1m30s" */
};

struct reboot_params {
    int64_t timeout_ms; /* to be back in */
    int64_t delay_ms;   /* before the server goes down */
    char *message;      /* why, for people; NULL: not said */
    bool only_if_required;
};

/* 0: none. */
struct script_limits {
    int64_t memory_bytes;
    int64_t pids;
    int64_t cpu_seconds;
};

struct script_params {
    /* What to run: a program (a path, or a name looked up in PATH) or a text. Of the first two one
     * is given; of each other two at most one. */
    char *script, *inline_text;
    char *rollback_script, *rollback_inline; /* neither: the step cannot be undone */
    char *check_script, *check_inline; /* neither: whether it would change anything is not known */
    char *interpreter;                 /* of the texts; NULL: what their first line says, else sh */
    struct array args;                 /* char *; of all of them */
    struct array env;                  /* char *: "NAME=value" */
    char *cwd;                         /* absolute; NULL: / */
    char *user;                        /* a name or number; NULL: the agent's */
    char *standard_input;              /* NULL: empty */
    char *umask;                       /* octal; NULL: the agent's */
    struct array success_exit_codes;   /* int64_t; empty: 0 */
    struct script_limits limits;
};

/* Bytes that a plan gives as Base64. */
struct plan_bytes {
    char *data; /* not NUL-terminated */
    size_t len;
    bool given;
};

struct file_write_params {
    char *path;    /* absolute */
    char *content; /* may be empty; NULL: see below */
    bool has_content;
    struct plan_bytes content_base64;
    char *source; /* an artifact's name; NULL: one of the two above */
    char *mode;   /* "0644", octal; NULL: that of the file there, else 0644 */
    char *owner;  /* name or number; NULL: that of the file there, else the agent's */
    char *group;
    bool follow_symlinks; /* false: a symlink at `path` is an error */
    bool create_parents;
    char *backup;          /* a name in the same folder for what was there; NULL: none */
    struct array validate; /* char *: a program and its arguments; empty: none */
};

struct file_remove_params {
    char *path; /* absolute; a symlink itself */
};

#define DIRECTORY_STATES(X)                                                                        \
    X(DIRECTORY_PRESENT, "present")                                                                \
    X(DIRECTORY_ABSENT, "absent")
#define X(value, name) value,
enum directory_state { DIRECTORY_STATES(X) DIRECTORY_STATE_COUNT };
#undef X

struct directory_params {
    char *path; /* absolute */
    int state;  /* enum directory_state */
    char *mode; /* NULL: that of the folder there, else 0755 */
    char *owner, *group;
    bool create_parents; /* present */
    bool recursive;      /* absent: with all that is in it */
};

struct symlink_params {
    char *path;   /* absolute */
    char *target; /* as it is written into the link */
    bool force;   /* in place of a file or of another link */
    bool create_parents;
};

/* Of yum_install, yum_remove and yum_upgrade; what a type does not have is zero. */
struct yum_params {
    struct array packages; /* char *: names, or NAME.ARCH; none: all (yum_upgrade with security) */
    char *version;         /* VERSION, VERSION-RELEASE or EPOCH:VERSION-RELEASE; NULL: the latest */
    struct array enable_repos, disable_repos; /* char * */
    bool security;
    bool allow_erasing;
    bool require_undo;
    int64_t lock_timeout_ms;
    char *installroot; /* NULL: the agent's, which is / unless set */
};

/* ---- release ----------------------------------------------------------------------------- */

struct release_params {
    char *source; /* an artifact's name */
    char *path;   /* absolute */
    char *name;   /* NULL: release_name() makes one */
    char *link;   /* NULL: RELEASE_LINK */
    int64_t keep; /* releases, this one among them; 0: all */
    int64_t strip_components;
    char *owner, *group;    /* NULL: the agent's */
    int64_t max_size_bytes; /* 0: RELEASE_SIZE_MAX */
    bool create_parents;
};
#define RELEASE_LINK "current"
#define RELEASE_FOLDER "releases"
#define RELEASE_SIZE_MAX (INT64_C(4) * 1024 * 1024 * 1024)
enum { RELEASE_NAME_MAX = 128, RELEASE_NAME_DIGITS = 12, RELEASE_KEEP_MAX = 1000 };
/* What the release is called. */
void release_name(const struct release_params *params, char ret_name[RELEASE_NAME_MAX + 1]);

/* ---- Health gates ------------------------------------------------------------------------ */

/* Of every health gate: when to probe, and what counts. */
struct gate_params {
    int64_t interval_ms; /* from the start of one probe to the start of the next */
    int64_t timeout_ms;  /* of one probe */
    int64_t success_threshold, failure_threshold; /* in a row */
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_OPTIONS, HTTP_POST, HTTP_METHOD_COUNT };
extern const char *const http_method_names[HTTP_METHOD_COUNT];

enum { HTTP_STATUS_MIN = 100, HTTP_STATUS_MAX = 599 };

/* A set of HTTP statuses; an empty one stands for all of 2xx. */
struct http_statuses {
    bool wanted[HTTP_STATUS_MAX - HTTP_STATUS_MIN + 1];
};
bool http_status_wanted(const struct http_statuses *statuses, long status);

struct http_header {
    char *name, *value;
};

struct http_check_params {
    char *url;
    int method; /* enum http_method */
    struct http_statuses expect_status;
    char *expect_body;       /* NULL: any */
    char *expect_body_regex; /* POSIX extended; NULL: any */
    struct array headers;    /* struct http_header */
    char *body;              /* POST; NULL: empty */
    int64_t max_redirects;   /* where has_max_redirects is false: see http_redirects_max() */
    bool has_max_redirects;
    char *connect_to; /* HOST or HOST:PORT in place of the address's; NULL: as the address says */
    char *proxy;      /* NULL: none, whatever the environment says */
    char *ca_file;    /* NULL: the system's */
    bool insecure_skip_verify;
    struct gate_params gate;
};
/* Who waits for a redirect does not follow it. */
int64_t http_redirects_max(const struct http_check_params *params);

struct tcp_check_params {
    char *host; /* NULL: localhost */
    int64_t port;
    char *send;   /* NULL: nothing */
    char *expect; /* what must come; NULL: a connection is enough */
    struct gate_params gate;
};

struct command_check_params {
    char *command;     /* as script_params.script */
    struct array args; /* char * */
    struct gate_params gate;
};

/* ---- service ----------------------------------------------------------------------------- */

#define SERVICE_STATES(X)                                                                          \
    X(SERVICE_LEAVE, NULL) /* as it is */                                                          \
    X(SERVICE_STARTED, "started")                                                                  \
    X(SERVICE_STOPPED, "stopped")                                                                  \
    X(SERVICE_RESTARTED, "restarted")                                                              \
    X(SERVICE_RELOADED, "reloaded")
#define SERVICE_UNDOS(X)                                                                           \
    X(SERVICE_UNDO_RESTORE, "restore")                                                             \
    X(SERVICE_UNDO_RESTART, "restart")   /* and, where it runs then, restart it */                 \
    X(SERVICE_UNDO_RELOAD, "reload")     /* or reload it */                                        \
    X(SERVICE_UNDO_DEFERRED, "deferred") /* an earlier step of the unit does it */
#define X(value, name) value,
enum service_state { SERVICE_STATES(X) SERVICE_STATE_COUNT };
enum service_undo { SERVICE_UNDOS(X) SERVICE_UNDO_COUNT };
#undef X
extern const char *const service_state_names[SERVICE_STATE_COUNT];

struct service_params {
    char *name; /* a unit; without a suffix a .service */
    int state;  /* enum service_state */
    bool enabled, has_enabled;
    int undo; /* enum service_undo */
    int64_t settle_ms;
    bool has_settle;    /* false: SERVICE_SETTLE_MS where systemd cannot tell when a unit is up */
    int64_t timeout_ms; /* of what is asked of systemd; 0: none but the step's */
};
enum { SERVICE_SETTLE_MS = 2000, UNIT_NAME_MAX = 255 };
/* The unit's full name, with its suffix. The name is one that its table has let through. */
void service_unit_name(const char *name, char ret_unit[UNIT_NAME_MAX + 1]);
