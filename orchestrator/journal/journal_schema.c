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

    /* Sums of what the rows hold: journal_sum.h. Rollouts up to number `unsummed` may have rows
     * from before, which are taken as they are. `removed`: rollouts whose events and outputs are
     * still to be deleted. */
    "ALTER TABLE rollout ADD COLUMN made_sum INTEGER;"
    "ALTER TABLE rollout ADD COLUMN sum INTEGER;"
    "ALTER TABLE plan ADD COLUMN sum INTEGER;"
    "ALTER TABLE event ADD COLUMN sum INTEGER;"
    "ALTER TABLE output ADD COLUMN sum INTEGER;"
    "CREATE TABLE removed(num INTEGER PRIMARY KEY);"
    "CREATE INDEX rollout_ended ON rollout(ended_ms, num) WHERE NOT open;"
    "INSERT INTO meta(name, value) SELECT 'unsummed', coalesce(max(num), 0) FROM rollout;",

    /* touch: which server a rollout has changed, or may have. key: rollout.num << 18 | server. The
     * rows of rollouts up to number `untouched` are still to be made of their events.
     * server_lock: of each server that a person ever locked, the last lock. */
    "ALTER TABLE rollout ADD COLUMN retry_of TEXT;"
    "CREATE TABLE touch("
    "  key INTEGER PRIMARY KEY,"
    "  server TEXT NOT NULL,"
    "  undone INTEGER NOT NULL,"
    "  sum INTEGER NOT NULL"
    ");"
    "CREATE INDEX touch_server ON touch(server);"
    "CREATE TABLE server_lock("
    "  server TEXT PRIMARY KEY,"
    "  locked INTEGER NOT NULL,"
    "  by TEXT,"
    "  reason TEXT NOT NULL,"
    "  time_ms INTEGER NOT NULL,"
    "  unlocked_by TEXT,"
    "  unlocked_ms INTEGER NOT NULL,"
    "  sum INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "INSERT INTO meta(name, value)"
    "  SELECT 'untouched', max(num) FROM rollout HAVING max(num) IS NOT NULL;",

    /* is_check: the rollout changes nothing. unchanged: servers that succeeded without a change; of
     * rollouts from before, and what follows for the servers that they touched, it is still to be
     * made of their events. */
    "ALTER TABLE rollout ADD COLUMN is_check INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE rollout ADD COLUMN unchanged INTEGER NOT NULL DEFAULT 0;"
    "INSERT OR REPLACE INTO meta(name, value)"
    "  SELECT 'untouched', max(num) FROM rollout HAVING max(num) IS NOT NULL;",
};

#define ROLLOUT_COLUMNS                                                                            \
    "id, name, by, state, created_ms, ended_ms, last_seq, servers, pending, in_flight, succeeded," \
    " failed, unreachable, unknown, cancelled, skipped, rolled_back, rollback_failed, open, num,"  \
    " made_sum, sum, retry_of, is_check, unchanged"
#define EVENT_COLUMNS "key, type, json, sum"
#define LOCK_COLUMNS "server, locked, by, reason, time_ms, unlocked_by, unlocked_ms, sum"

static const char *const statements[JOURNAL_STATEMENT_COUNT] = {
    [JOURNAL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [JOURNAL_META_PUT] = "INSERT INTO meta(name, value) VALUES(?1, ?2)"
                         " ON CONFLICT(name) DO UPDATE SET value = excluded.value",
    [JOURNAL_ROLLOUT_FIND] = "SELECT num, last_seq FROM rollout WHERE id = ?1",
    /* Above what is still to be deleted, too: its number is in the keys. */
    [JOURNAL_ROLLOUT_NEXT] = "SELECT 1 + max(coalesce((SELECT max(num) FROM rollout), 0),"
                             " coalesce((SELECT max(num) FROM removed), 0))",
    [JOURNAL_ROLLOUT_ADD] =
        "INSERT INTO rollout(num, id, name, by, retry_of, made_sum, state, open, created_ms, "
        "ended_ms,"
        " last_seq, servers, pending, in_flight, succeeded, failed, unreachable,"
        " unknown, cancelled, skipped, rolled_back, rollback_failed)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, '', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
    [JOURNAL_ROLLOUT_UPDATE] =
        "UPDATE rollout SET state = ?2, open = ?3, created_ms = ?4, ended_ms = ?5, last_seq = ?6,"
        " servers = ?7, pending = ?8, in_flight = ?9, succeeded = ?10, failed = ?11,"
        " unreachable = ?12, unknown = ?13, cancelled = ?14, skipped = ?15, rolled_back = ?16,"
        " rollback_failed = ?17, sum = ?18, is_check = ?19, unchanged = ?20 WHERE num = ?1",
    [JOURNAL_PLAN_ADD] = "INSERT INTO plan(rollout, text, sum) VALUES(?1, ?2, ?3)",
    [JOURNAL_EVENT_ADD] = "INSERT INTO event(key, type, json, sum) VALUES(?1, ?2, ?3, ?4)",
    /* What comes late of an earlier attempt does not replace a later one's. */
    [JOURNAL_OUTPUT_PUT] = "INSERT INTO output(key, attempt, text, sum) VALUES(?1, ?2, ?3, ?4)"
                           " ON CONFLICT(key) DO UPDATE SET attempt = excluded.attempt,"
                           " text = excluded.text, sum = excluded.sum"
                           " WHERE excluded.attempt >= attempt",
    [JOURNAL_ROLLOUT_GET] = "SELECT " ROLLOUT_COLUMNS " FROM rollout WHERE id = ?1",
    [JOURNAL_ROLLOUTS_OPEN] = "SELECT " ROLLOUT_COLUMNS " FROM rollout WHERE open ORDER BY num",
    [JOURNAL_ROLLOUTS_BEFORE] =
        "SELECT " ROLLOUT_COLUMNS " FROM rollout WHERE num < ?1 ORDER BY num DESC LIMIT ?2",
    [JOURNAL_RESOLVE] = "SELECT id FROM rollout WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 2",
    [JOURNAL_PLAN_GET] = "SELECT text, sum FROM plan WHERE rollout = ?1",
    [JOURNAL_EVENTS_AFTER] =
        "SELECT " EVENT_COLUMNS " FROM event WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT ?3",
    [JOURNAL_EVENT_GET] = "SELECT " EVENT_COLUMNS " FROM event WHERE key = ?1",
    [JOURNAL_OUTPUT_GET] = "SELECT attempt, text, sum FROM output WHERE key = ?1",
    [JOURNAL_OUTPUTS] = "SELECT attempt, text, sum, key FROM output WHERE key >= ?1 AND key <= ?2",
    [JOURNAL_ROLLOUTS_AFTER] =
        "SELECT " ROLLOUT_COLUMNS " FROM rollout WHERE num > ?1 ORDER BY num LIMIT 1",
    [JOURNAL_STRAYS] =
        "SELECT 'an event', key >> 32 AS n FROM event WHERE n NOT IN"
        " (SELECT num FROM rollout UNION ALL SELECT num FROM removed) GROUP BY n UNION ALL "
        "SELECT 'output', key >> 26 AS n FROM output WHERE n NOT IN"
        " (SELECT num FROM rollout UNION ALL SELECT num FROM removed) GROUP BY n UNION ALL "
        "SELECT 'a touched server', key >> 18 AS n FROM touch WHERE n NOT IN"
        " (SELECT num FROM rollout UNION ALL SELECT num FROM removed) GROUP BY n UNION ALL "
        "SELECT 'a plan', rollout FROM plan WHERE rollout NOT IN (SELECT num FROM rollout)",
    [JOURNAL_EXPIRED] = "SELECT num, id, ended_ms FROM rollout WHERE NOT open AND"
                        " (ended_ms, num) > (?1, ?2) AND ended_ms < ?3 AND ended_ms > 0"
                        " ORDER BY ended_ms, num LIMIT 1",
    [JOURNAL_REMOVED_NEXT] = "SELECT num FROM removed WHERE num > ?1 ORDER BY num LIMIT 1",
    [JOURNAL_REMOVED_ADD] = "INSERT INTO removed(num) VALUES(?1)",
    [JOURNAL_REMOVED_DROP] = "DELETE FROM removed WHERE num = ?1",
    [JOURNAL_ROLLOUT_DROP] = "DELETE FROM rollout WHERE num = ?1 AND NOT open",
    [JOURNAL_PLAN_DROP] = "DELETE FROM plan WHERE rollout ="
                          " (SELECT num FROM rollout WHERE num = ?1 AND NOT open)",
    [JOURNAL_EVENTS_DROP] = "DELETE FROM event WHERE key IN"
                            " (SELECT key FROM event WHERE key > ?1 AND key <= ?2 LIMIT ?3)",
    [JOURNAL_OUTPUTS_DROP] = "DELETE FROM output WHERE key IN"
                             " (SELECT key FROM output WHERE key >= ?1 AND key <= ?2 LIMIT ?3)",
    [JOURNAL_TOUCHES_DROP] = "DELETE FROM touch WHERE key IN"
                             " (SELECT key FROM touch WHERE key >= ?1 AND key <= ?2 LIMIT ?3)",
    [JOURNAL_META_DROP] = "DELETE FROM meta WHERE name = ?1",
    [JOURNAL_ROLLOUT_UP_TO] =
        "SELECT " ROLLOUT_COLUMNS " FROM rollout WHERE num <= ?1 ORDER BY num DESC LIMIT 1",
    [JOURNAL_TOUCH_PUT] = "INSERT INTO touch(key, server, undone, sum) VALUES(?1, ?2, ?3, ?4)"
                          " ON CONFLICT(key) DO UPDATE SET undone = excluded.undone,"
                          " sum = excluded.sum",
    [JOURNAL_TOUCHES] =
        "SELECT key, server, undone, sum FROM touch WHERE key >= ?1 AND key <= ?2 ORDER BY key",
    /* The rows of one server are in its index by their keys, so the newest are found at once. */
    [JOURNAL_TOUCH_LATER] =
        "SELECT touch.key, server, undone, touch.sum, id, created_ms FROM touch"
        " JOIN rollout ON num = touch.key >> 18 WHERE server = ?1 AND touch.key > ?2"
        " AND undone <= ?3 ORDER BY touch.key DESC LIMIT ?4",
    [JOURNAL_LOCK_PUT] = "INSERT OR REPLACE INTO server_lock(" LOCK_COLUMNS ")"
                         " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [JOURNAL_LOCKS] = "SELECT " LOCK_COLUMNS " FROM server_lock WHERE locked >= ?1 ORDER BY server",
    [JOURNAL_LOCK_GET] = "SELECT " LOCK_COLUMNS " FROM server_lock WHERE server = ?1",
};

const struct db_schema journal_schema = {
    .application_id = 0x4b49544a, /* "KITJ" */
    .migrations = migrations,
    .migration_count = ARRAY_LEN(migrations),
    .statements = statements,
    .statement_count = JOURNAL_STATEMENT_COUNT,
    .shrinks = true,
};
