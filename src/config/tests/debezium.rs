//! `[log.debezium]`: Debezium's own words, and none for what loses digits.

use tailrace_contract::{DebeziumBytes, DebeziumTimes};

use super::{LOG, SOURCE, TABLE, TARGET, config, log};

#[test]
fn debeziums_settings_are_checked() {
    let debezium = |line: &str, expect: &str| log(&format!("debezium = {{ {line} }}"), expect);
    debezium("decimal_handling_mode = \"string\", binary_handling_mode = \"hex\", boolean_true = \"one\"", "ok");
    debezium("zero_dates = \"epoch\"", "ok");
    debezium("schemaless_records = \"unaltered\"", "ok");
    debezium(
        "zero_dates = \"null\"",
        "4:27: log.debezium.zero_dates: \"null\" is not known here; use \"refuse\" or \"epoch\"",
    );
    debezium(
        "decimal_handling_mode = \"double\"",
        "4:38: log.debezium.decimal_handling_mode: \"double\" is not known here; use \"precise\" or \"string\"",
    );
    debezium(
        "time_precision_mode = \"connect\"",
        "4:36: log.debezium.time_precision_mode: \"connect\" is not known here; use \"adaptive_time_microseconds\", \
         \"microseconds\", \"nanoseconds\" or \"isostring\"",
    );
    let text = "debezium = { decimal_format = \"numeric\", bigint_unsigned_handling_mode = \"precise\", \
                time_precision_mode = \"isostring\" }\n";
    let read = config(&format!("{SOURCE}{LOG}{text}{TARGET}{TABLE}")).log.expect("a log").debezium.expect("Debezium's");
    assert!(read.has_numeric_decimals && read.has_precise_unsigned && !read.is_true_one && !read.is_epoch_a_day);
    assert_eq!((read.times, read.bytes), (DebeziumTimes::IsoString, DebeziumBytes::Bytes));
    assert_eq!(config(&format!("{SOURCE}{LOG}{TARGET}{TABLE}")).log.expect("a log").debezium, None);
}
