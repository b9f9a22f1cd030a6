#include "orchestrator/journal/journal_schema.h"

#include "common/base/cleanup.h"

static const char *const migrations[] = {
    "CREATE TABLE meta("
    "  name TEXT PRIMARY KEY,"
    "  value NOT NULL"
    ") WITHOUT ROWID;"

    /* `num` counts rollouts in the order of their making. `open`: not ended, or undo is owed. */
    "CREATE TABLE rollout("
    "  num INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  name TEXT,"
    "  by TEXT,"
    "  state TEXT NOT NULL,"
    "  open INTEGER NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  ended_ms INTEGER NOT NULL,"
    "  last_seq INTEGER NOT NULL,"
    "  servers INTEGER NOT NULL,"
    "  pending INTEGER NOT NULL,"
    "  in_flight INTEGER NOT NULL,"
    "  succeeded INTEGER NOT NULL,"
    "  failed INTEGER NOT NULL,"
    "  unreachable INTEGER NOT NULL,"
    "  unknown INTEGER NOT NULL,"
    "  cancelled INTEGER NOT NULL,"
    "  skipped INTEGER NOT NULL,"
    "  rolled_back INTEGER NOT NULL,"
    "  rollback_failed INTEGER NOT NULL"
    ");"
    "CREATE INDEX rollout_open ON rollout(num) WHERE open;"

    /* Apart from the rollout, so that a list of rollouts does not read past megabytes of plans. */
    "CREATE TABLE plan("
    "  rollout INTEGER PRIMARY KEY REFERENCES rollout(num),"
    "  text TEXT NOT NULL"
    ");"

    /* key: rollout.num << 32 | seq */
    "CREATE TABLE event("
    "  key INTEGER PRIMARY KEY,"
    "  type TEXT NOT NULL,"
    "  json TEXT NOT NULL"
    ");"

    /* key: rollout.num << 26 | server << 8 | step, of the last attempt */
    "CREATE TABLE output("
    "  key INTEGER PRIMARY KEY,"
    "  attempt INTEGER NOT NULL,"
    "  text TEXT NOT NULL"
    ");",
};

#define ROLLOUT_COLUMNS                                                                            \
    "id, name, by, state, created_ms, ended_ms, last_seq, servers, pending, in_flight, succeeded," \
    " failed, unreachable, unknown, cancelled, skipped, rolled_back, rollback_failed, open"

static const char *const statements[JOURNAL_STATEMENT_COUNT] = {
    [JOURNAL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [JOURNAL_META_PUT] = "INSERT INTO meta(name, value) VALUES(?1, ?2)"
                         " ON CONFLICT(name) DO UPDATE SET value = excluded.value",
    [JOURNAL_ROLLOUT_FIND] = "SELECT num, last_seq FROM rollout WHERE id = ?1",
    [JOURNAL_ROLLOUT_ADD] =
        "INSERT INTO rollout(id, name, by, state, open, created_ms, ended_ms,"
        " last_seq, servers, pending, in_flight, succeeded, failed, unreachable,"
        " unknown, cancelled, skipped, rolled_back, rollback_failed)"
        " VALUES(?1, ?2, ?3, '', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
    [JOURNAL_ROLLOUT_SEQ] = "UPDATE rollout SET last_seq = ?2 WHERE num = ?1",
    [JOURNAL_ROLLOUT_UPDATE] =
        "UPDATE rollout SET state = ?2, open = ?3, created_ms = ?4, ended_ms = ?5, last_seq = ?6,"
        " servers = ?7, pending = ?8, in_flight = ?9, succeeded = ?10, failed = ?11,"
        " unreachable = ?12, unknown = ?13, cancelled = ?14, skipped = ?15, rolled_back = ?16,"
        " rollback_failed = ?17 WHERE num = ?1",
    [JOURNAL_PLAN_ADD] = "INSERT INTO plan(rollout, text) VALUES(?1, ?2)",
    [JOURNAL_EVENT_ADD] = "INSERT INTO event(key, type, json) VALUES(?1, ?2, ?3)",
    /* What comes late of an earlier attempt does not replace a later one's. */
    [JOURNAL_OUTPUT_PUT] = "INSERT INTO output(key, attempt, text) VALUES(?1, ?2, ?3)"
                           " ON CONFLICT(key) DO UPDATE"
                           " SET attempt = excluded.attempt, text = excluded.text"
                           " WHERE excluded.attempt >= attempt",
    [JOURNAL_ROLLOUT_GET] = "SELECT " ROLLOUT_COLUMNS " FROM rollout WHERE id = ?1",
    [JOURNAL_ROLLOUTS_OPEN] = "SELECT " ROLLOUT_COLUMNS " FROM rollout WHERE open ORDER BY num",
    [JOURNAL_ROLLOUTS_BEFORE] =
        "SELECT " ROLLOUT_COLUMNS " FROM rollout WHERE num < ?1 ORDER BY num DESC LIMIT ?2",
    [JOURNAL_RESOLVE] = "SELECT id FROM rollout WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 2",
    [JOURNAL_PLAN_GET] = "SELECT text FROM plan WHERE rollout = ?1",
    [JOURNAL_EVENTS_AFTER] =
        "SELECT key, type, json FROM event WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT ?3",
    [JOURNAL_EVENT_GET] = "SELECT json FROM event WHERE key = ?1",
    [JOURNAL_OUTPUT_GET] = "SELECT attempt, text FROM output WHERE key = ?1",
};

const struct db_schema journal_schema = {
    .application_id = 0x4b49544a, /* "KITJ" */
    .migrations = migrations,
    .migration_count = ARRAY_LEN(migrations),
    .statements = statements,
    .statement_count = JOURNAL_STATEMENT_COUNT,
};
