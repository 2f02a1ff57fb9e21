//! docs/check.md held against the cases: each code is made and found by a test here, or stands below with the reason why not.

use std::collections::BTreeSet;

use super::acls::LOCKED;
use super::away::{AWAY, IN_FILE};
use super::cases::{ALONE, CONFIGURED, LONG_ROWS, MENDED, SCHEMAS, TOPICS, UNDONE};
use super::grants::RIGHTS;
use super::peers::PEERS;
use super::started::{STARTED, STARTED_MARIADB, STARTED_POSTGRES};

const MANUAL: &str = include_str!("../../../../docs/check.md");

/// Codes that no run of `tailrace check` prints with the connectors of today, and who proves them.
const UNREACHED: &[(&str, &str)] = &[
    ("log_settings", "the configuration's own check refuses the same settings before; connectors/kafka proves it"),
    (
        "source_key_missing",
        "the source refuses a table without a key before (table_unsupported); connectors/postgres proves it",
    ),
];

#[test]
fn every_code_of_the_manual_is_made_and_found() {
    let rows = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let described: BTreeSet<&str> = rows.map(|(code, _)| code).collect();
    let mut made: BTreeSet<&str> = MENDED.iter().map(|case| case.code).collect();
    made.extend(UNDONE.iter().chain(ALONE).map(|case| case.made.code));
    made.extend(CONFIGURED.iter().map(|case| case.code));
    made.extend(TOPICS.iter().chain([&LONG_ROWS.1, &SCHEMAS.0]).map(|case| case.code));
    made.extend(STARTED.iter().map(|case| case.code));
    made.extend([STARTED_MARIADB, STARTED_POSTGRES, IN_FILE, "target_rows"]);
    made.extend(AWAY.iter().chain(PEERS).chain(RIGHTS).chain(LOCKED));
    let unreached: BTreeSet<&str> = UNREACHED.iter().map(|(code, _)| *code).collect();
    assert!(made.is_disjoint(&unreached), "made after all: {:?}", made.intersection(&unreached));
    made.extend(unreached);
    assert_eq!(described, made, "docs/check.md on the left, the cases on the right");
}
