#include "orchestrator/access/access_internal.h"

static const char *const migrations[] = {
    /* Tokens that were revoked stay, for the audit log names them. */
    "CREATE TABLE token(id INTEGER PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,"
    " role TEXT NOT NULL, servers TEXT NOT NULL, steps TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL, by TEXT, revoked INTEGER NOT NULL DEFAULT 0);"
    "CREATE UNIQUE INDEX token_name ON token(name) WHERE NOT revoked;"
    "CREATE TABLE ticket(server TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE,"
    " expires_ms INTEGER NOT NULL, replaces INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE certificate(serial TEXT PRIMARY KEY, server TEXT NOT NULL,"
    " fingerprint TEXT NOT NULL, issued_ms INTEGER NOT NULL, not_after_ms INTEGER NOT NULL,"
    " revoked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE INDEX certificate_server ON certificate(server);"
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, time_ms INTEGER NOT NULL,"
    " who TEXT, role TEXT, peer TEXT, action TEXT NOT NULL, target TEXT, result TEXT NOT NULL,"
    " detail TEXT);",
    /* What was handed out for a server's last ticket, for one who asks again. */
    "CREATE TABLE enrolment(server TEXT PRIMARY KEY, hash TEXT NOT NULL, key TEXT NOT NULL,"
    " serial TEXT NOT NULL, pem TEXT NOT NULL, expires_ms INTEGER NOT NULL) WITHOUT ROWID;",
};

#define AUDIT_COLUMNS "seq, hash, time_ms, who, role, peer, action, target, result, detail"

static const char *const statements[ACCESS_STATEMENT_COUNT] = {
    [ACCESS_TOKEN_ADD] = "INSERT INTO token(name, hash, role, servers, steps, created_ms,"
                         " expires_ms, by) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [ACCESS_TOKEN_REVOKE] = "UPDATE token SET revoked = 1 WHERE name = ?1 AND NOT revoked",
    [ACCESS_TOKENS] = "SELECT name, hash, role, servers, steps, created_ms, expires_ms, by"
                      " FROM token WHERE NOT revoked",
    [ACCESS_TICKET_PUT] =
        "INSERT INTO ticket(server, hash, expires_ms, replaces) VALUES(?1, ?2, ?3, ?4)"
        " ON CONFLICT(server) DO UPDATE SET hash = excluded.hash,"
        " expires_ms = excluded.expires_ms, replaces = excluded.replaces",
    [ACCESS_TICKET_DROP] = "DELETE FROM ticket WHERE server = ?1",
    [ACCESS_TICKETS] = "SELECT server, hash, expires_ms, replaces FROM ticket",
    [ACCESS_ENROLMENT_PUT] =
        "INSERT INTO enrolment(server, hash, key, serial, pem, expires_ms)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT(server) DO UPDATE SET hash = excluded.hash, key = excluded.key,"
        " serial = excluded.serial, pem = excluded.pem, expires_ms = excluded.expires_ms",
    [ACCESS_ENROLMENT_DROP] = "DELETE FROM enrolment WHERE server = ?1",
    [ACCESS_ENROLMENT_GET] =
        "SELECT hash, key, serial, pem, expires_ms FROM enrolment WHERE server = ?1",
    [ACCESS_CERTIFICATE_ADD] =
        "INSERT INTO certificate(serial, server, fingerprint, issued_ms, not_after_ms)"
        " VALUES(?1, ?2, ?3, ?4, ?5)",
    [ACCESS_CERTIFICATE_REVOKE] = "UPDATE certificate SET revoked = 1 WHERE serial = ?1",
    /* One that has expired is good for nothing, on record or not; the audit log tells of it. */
    [ACCESS_CERTIFICATES_TIDY] = "DELETE FROM certificate WHERE server = ?1 AND not_after_ms <= ?2",
    [ACCESS_CERTIFICATES_REVOKE] = "UPDATE certificate SET revoked = 1 WHERE server = ?1",
    [ACCESS_CERTIFICATES] = "SELECT serial, server, fingerprint, issued_ms, not_after_ms, revoked"
                            " FROM certificate",
    [ACCESS_AUDIT_HEAD] = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
    [ACCESS_AUDIT_ADD] =
        "INSERT INTO audit(" AUDIT_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [ACCESS_AUDIT_AFTER] =
        "SELECT " AUDIT_COLUMNS " FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2",
};

const struct db_schema access_schema = {
    .application_id = 0x4b495441, /* "KITA" */
    .migrations = migrations,
    .migration_count = ARRAY_LEN(migrations),
    .statements = statements,
    .statement_count = ACCESS_STATEMENT_COUNT,
};
