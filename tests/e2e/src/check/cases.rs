//! Every problem that a test can make with statements or topics: how it is made, its code, and how it goes away.
//!
//! All of them must be possible side by side, in this order: a table that is dropped can't have wrong columns, but another
//! one can. In statements `$` stands for the target's schema.

/// A problem that the statement which `check` prints for it mends.
pub(super) struct Case {
    pub(super) source: &'static str,
    pub(super) target: &'static str,
    pub(super) code: &'static str,
}

const fn of_source(source: &'static str, code: &'static str) -> Case {
    Case { source, target: "", code }
}

const fn of_target(target: &'static str, code: &'static str) -> Case {
    Case { source: "", target, code }
}

/// The captured tables.
pub(super) const TABLES: &str = "
    CREATE TABLE whole (id INT PRIMARY KEY, v BIGINT UNSIGNED);
    CREATE TABLE parts (id INT PRIMARY KEY, t VARCHAR(10), c VARCHAR(10), b BIGINT);
    CREATE TABLE names (id VARCHAR(10) PRIMARY KEY);
    CREATE TABLE children (id INT PRIMARY KEY, parent INT, made INT);
    CREATE TABLE late (id INT PRIMARY KEY)";

pub(super) const MENDED: &[Case] = &[
    of_source("SET GLOBAL binlog_format = STATEMENT", "binlog_format"),
    of_source("SET GLOBAL binlog_row_image = MINIMAL", "binlog_row_image"),
    of_source("SET GLOBAL binlog_row_metadata = MINIMAL", "binlog_row_metadata"),
    of_source("SET GLOBAL binlog_row_value_options = PARTIAL_JSON", "binlog_row_value_options"),
    of_source("SET GLOBAL binlog_checksum = NONE", "binlog_checksum"),
    of_source("SET GLOBAL sync_binlog = 0", "sync_binlog"),
    of_source("SET GLOBAL innodb_flush_log_at_trx_commit = 2", "innodb_flush_log_at_trx_commit"),
    of_source("SET GLOBAL binlog_order_commits = OFF", "binlog_order_commits"),
    of_source("SET GLOBAL binlog_expire_logs_seconds = 3600", "binlog_retention"),
    of_source(
        "ALTER TABLE children ADD CONSTRAINT follows FOREIGN KEY (parent) REFERENCES parts (id) ON DELETE CASCADE",
        "foreign_key_cascade",
    ),
    of_source("ALTER TABLE names ENGINE = MyISAM", "table_engine"),
    of_target("DROP TABLE $.whole", "target_table_missing"),
    of_target("ALTER TABLE $.parts DROP COLUMN t", "target_column_missing"),
    of_target("ALTER TABLE $.parts ALTER COLUMN c TYPE char(10)", "target_column_type"),
    of_target("ALTER TABLE $.parts ALTER COLUMN b TYPE integer", "target_column_narrow"),
    of_target(
        "ALTER TABLE $.parts ADD COLUMN IF NOT EXISTS extra int, ALTER COLUMN extra SET NOT NULL",
        "target_column_extra",
    ),
    of_target("ALTER TABLE $.parts ALTER COLUMN b SET NOT NULL", "target_column_not_null"),
    of_target(
        "ALTER TABLE $.parts DROP CONSTRAINT IF EXISTS parts_pkey; DROP INDEX IF EXISTS $.parts_id_idx",
        "target_key_missing",
    ),
    of_target(
        "ALTER TABLE $.late DROP CONSTRAINT IF EXISTS late_pkey, ADD CONSTRAINT at_the_end UNIQUE (id) DEFERRABLE",
        "target_key_deferrable",
    ),
    of_target(
        "CREATE COLLATION IF NOT EXISTS $.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         ALTER TABLE $.names ALTER COLUMN id TYPE text COLLATE $.ci",
        "target_key_collation",
    ),
    of_target(
        "ALTER TABLE $.children DROP COLUMN made, ADD COLUMN made integer GENERATED ALWAYS AS (1) STORED",
        "target_column_generated",
    ),
    of_target("CREATE UNIQUE INDEX only_child ON $.children (parent)", "target_unique_index"),
    of_target(
        "CREATE TABLE IF NOT EXISTS $.elders (id integer PRIMARY KEY);
         ALTER TABLE $.children ADD CONSTRAINT descends FOREIGN KEY (parent) REFERENCES $.elders (id)",
        "target_foreign_keys",
    ),
    of_target(
        "CREATE OR REPLACE FUNCTION $.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
         CREATE OR REPLACE TRIGGER watcher BEFORE INSERT ON $.children FOR EACH ROW EXECUTE FUNCTION $.look();
         ALTER TABLE $.children ENABLE TRIGGER watcher",
        "target_triggers",
    ),
    of_target("CREATE RULE aside AS ON DELETE TO $.children DO INSTEAD NOTHING", "target_rules"),
];

/// A problem that no statement mends which a test could run as it is printed.
pub(super) struct UndoneCase {
    pub(super) made: Case,
    pub(super) undo_source: &'static str,
    pub(super) undo_target: &'static str,
}

pub(super) const UNDONE: &[UndoneCase] = &[
    // The clock itself belongs to the whole machine; an account can be told another time.
    UndoneCase {
        made: of_source("SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP() + 3600'", "clock_skew"),
        undo_source: "SET GLOBAL init_connect = ''",
        undo_target: "",
    },
    UndoneCase {
        made: of_target(
            "CREATE FUNCTION $.clock_timestamp() RETURNS timestamptz LANGUAGE sql
               AS 'SELECT pg_catalog.clock_timestamp() - interval ''1 hour''';
             ALTER ROLE tailrace IN DATABASE $ SET search_path = $, pg_catalog",
            "clock_skew",
        ),
        undo_source: "",
        undo_target: "ALTER ROLE tailrace IN DATABASE $ RESET search_path; DROP FUNCTION $.clock_timestamp()",
    },
    UndoneCase {
        made: Case {
            source: "CREATE TABLE `two words` (id INT PRIMARY KEY); CREATE TABLE two_words (id INT PRIMARY KEY)",
            target: "CREATE TABLE $.\"two words\" (id integer PRIMARY KEY); CREATE TABLE $.two_words (id integer PRIMARY KEY)",
            code: "topic_collision",
        },
        undo_source: "DROP TABLE `two words`, two_words",
        undo_target: "DROP TABLE $.\"two words\", $.two_words",
    },
    // Its statements go step by step, by way of modes in which it is still wrong.
    UndoneCase {
        made: of_source("SET GLOBAL gtid_mode = ON_PERMISSIVE", "gtid_mode"),
        undo_source: "SET GLOBAL gtid_mode = ON",
        undo_target: "",
    },
    // Which of the two ends is right, only its coordinator knows.
    UndoneCase {
        made: of_source(
            "GRANT XA_RECOVER_ADMIN ON *.* TO tailrace;
             XA START 'open', 'branch', 7; INSERT INTO late VALUES (1); XA END 'open', 'branch', 7; XA PREPARE 'open', 'branch', 7",
            "xa_prepared",
        ),
        undo_source: "XA ROLLBACK 'open', 'branch', 7; REVOKE XA_RECOVER_ADMIN ON *.* FROM tailrace",
        undo_target: "",
    },
    UndoneCase {
        made: of_source("CREATE TABLE keyless (id INT)", "table_unsupported"),
        undo_source: "DROP TABLE keyless",
        undo_target: "",
    },
];

/// What makes a problem of its own table, or of Tailrace's own ones: made and undone beside [`UNDONE`], never together with them.
pub(super) const ALONE: &[UndoneCase] = &[
    // Beside other settings of the binlog it is an error.
    UndoneCase {
        made: Case {
            source: "CREATE TABLE unprimed (id INT NOT NULL UNIQUE)",
            target: "CREATE TABLE $.unprimed (id integer PRIMARY KEY)",
            code: "table_unique_key",
        },
        undo_source: "DROP TABLE unprimed",
        undo_target: "DROP TABLE $.unprimed",
    },
    UndoneCase {
        made: Case {
            source: "CREATE TABLE seen (id INT PRIMARY KEY)",
            target: "CREATE VIEW $.seen AS SELECT 1 AS id",
            code: "target_no_table",
        },
        undo_source: "DROP TABLE seen",
        undo_target: "DROP VIEW $.seen",
    },
    UndoneCase {
        made: of_target(
            "CREATE SCHEMA tailrace;
             CREATE TABLE tailrace.format (is_only_row boolean PRIMARY KEY DEFAULT true, version integer NOT NULL);
             INSERT INTO tailrace.format (version) VALUES (99)",
            "target_own_tables",
        ),
        undo_source: "",
        undo_target: "DROP SCHEMA tailrace CASCADE",
    },
];

/// A problem of the configuration: settings that stand instead of what is right. `$` is the database.
pub(super) struct ConfigCase {
    /// `section.key` and its value.
    pub(super) settings: &'static [(&'static str, &'static str)],
    pub(super) code: &'static str,
    pub(super) make_target: &'static str,
    pub(super) undo_target: &'static str,
}

const fn of_settings(settings: &'static [(&'static str, &'static str)], code: &'static str) -> ConfigCase {
    ConfigCase { settings, code, make_target: "", undo_target: "" }
}

/// A password that is none; an environment variable that everybody has.
const WRONG_PASSWORD: &str = "{ env = \"PATH\" }";

pub(super) const CONFIGURED: &[ConfigCase] = &[
    of_settings(&[("source.tls", "{ mode = \"verify-ca\", ca = \"tailrace.toml\" }")], "source_settings"),
    of_settings(&[("source.url", "\"mysql://tailrace@127.0.0.1:1\"")], "source_unreachable"),
    of_settings(&[("source.password", WRONG_PASSWORD)], "source_login"),
    of_settings(&[("source.server_id", "1")], "server_id"),
    of_settings(&[("source.start", "\"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5\"")], "source_start"),
    of_settings(&[("source.start", "\"2001-01-01T00:00:00Z\"")], "source_start"),
    of_settings(&[("source.start", "\"binlog.999999:4\"")], "source_start"),
    of_settings(&[("table.source", "\"$.nowhere\"")], "table_missing"),
    of_settings(&[("source.read_url", "\"mysql://tailrace@127.0.0.1:1\"")], "read_server"),
    of_settings(&[("backfill.throttle.replicas", "[\"mysql://tailrace@127.0.0.1:1\"]")], "throttle_replica"),
    of_settings(
        &[("backfill.throttle.query", "\"SELECT nothing\""), ("backfill.throttle.query_max", "1")],
        "throttle_load",
    ),
    of_settings(&[("more.source", "\"$.parts\""), ("more.only_columns", "[\"id\", \"nosuch\"]")], "table_columns"),
    of_settings(&[("more.source", "\"$.parts\""), ("more.backfill_where", "\"nosuch > 1\"")], "backfill_where"),
    of_settings(&[("log.replication", "3")], "kafka_brokers"),
    of_settings(&[("target.password", WRONG_PASSWORD)], "target_login"),
    // Two tables go to one: this one by the rule that is added, the other under its own name.
    of_settings(&[("more.source", "\"$.whole\""), ("more.target", "\"$.parts\"")], "check_refused"),
    of_settings(
        &[("source.server_id", "1"), ("more.source", "\"$.whole\""), ("more.target", "\"$.parts\"")],
        "tables_not_compared",
    ),
    of_settings(
        &[("more.source", "\"$.parts\""), ("more.columns", "{ T = { on_unholdable = \"null\" } }")],
        "target_policy_column",
    ),
    of_settings(
        &[("more.source", "\"$.parts\""), ("more.columns", "{ id = { on_unholdable = \"null\" } }")],
        "target_policy_key",
    ),
    of_settings(
        &[("more.source", "\"$.parts\""), ("more.columns", "{ b = { on_unholdable = { sentinel = \"x\" } } }")],
        "target_policy_sentinel",
    ),
    of_settings(
        &[("more.source", "\"$.parts\""), ("more.columns", "{ b = { on_unholdable = \"text\" } }")],
        "target_policy_text",
    ),
    ConfigCase {
        make_target: "ALTER TABLE $.parts ALTER COLUMN c SET NOT NULL",
        undo_target: "ALTER TABLE $.parts ALTER COLUMN c DROP NOT NULL",
        ..of_settings(
            &[("more.source", "\"$.parts\""), ("more.columns", "{ c = { on_unholdable = \"null\" } }")],
            "target_policy_null",
        )
    },
    // A database of one byte a character.
    ConfigCase {
        make_target: "CREATE DATABASE $_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
        undo_target: "DROP DATABASE $_latin1 WITH (FORCE)",
        ..of_settings(&[("target.url", "\"postgres://tailrace@PLACE/$_latin1\"")], "target_encoding")
    },
];

/// A topic that somebody made before Tailrace.
pub(super) struct TopicCase {
    /// What follows the prefix; `$` stands for the database.
    pub(super) name: &'static str,
    pub(super) partitions: i32,
    pub(super) setting: (&'static str, &'static str),
    pub(super) code: &'static str,
    /// Whether `check` prints a command of Kafka's that mends it.
    pub(super) has_command: bool,
}

pub(super) const TOPICS: &[TopicCase] = &[
    TopicCase {
        name: "$.names",
        partitions: 7,
        setting: ("retention.ms", "604800000"),
        code: "topic_partitions",
        has_command: false,
    },
    TopicCase {
        name: "$.children",
        partitions: 4,
        setting: ("retention.ms", "60000"),
        code: "topic_retention",
        has_command: true,
    },
    TopicCase {
        name: "$.parts",
        partitions: 4,
        setting: ("max.message.bytes", "1000"),
        code: "topic_batch_bytes",
        has_command: true,
    },
    TopicCase {
        name: "$.whole",
        partitions: 4,
        setting: ("min.insync.replicas", "2"),
        code: "topic_settings",
        has_command: true,
    },
    TopicCase {
        name: "checkpoint",
        partitions: 1,
        setting: ("cleanup.policy", "delete"),
        code: "topic_cleanup",
        has_command: true,
    },
];

/// The topic of schemas, and a record in it that a later version might write.
pub(super) const SCHEMAS: (TopicCase, &str) = (
    TopicCase {
        name: "schemas",
        partitions: 1,
        setting: ("cleanup.policy", "compact"),
        code: "log_schemas",
        has_command: false,
    },
    r#"{"format":99}"#,
);

/// A column that may hold more than a topic takes. Its topic is there, so that the shared broker is not to be mended.
pub(super) const LONG_ROWS: (UndoneCase, TopicCase) = (
    UndoneCase {
        made: Case {
            source: "CREATE TABLE documents (id INT PRIMARY KEY, body JSON)",
            target: "CREATE TABLE $.documents (id integer PRIMARY KEY, body json)",
            code: "topic_row_bytes",
        },
        undo_source: "DROP TABLE documents",
        undo_target: "DROP TABLE $.documents",
    },
    TopicCase {
        name: "$.documents",
        partitions: 4,
        setting: ("retention.ms", "604800000"),
        code: "topic_row_bytes",
        has_command: true,
    },
);
