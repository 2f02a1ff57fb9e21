//! The values that Debezium was recorded to lose or change (docs/debezium.md names them): each stands in a test of ours that ends
//! right on the real servers. Whoever takes the value out of that test is told what it was there for.

use super::catalog::{Group, groups};
use super::mariadb::groups_of_mariadb;
use crate::flow;

/// Name in docs/debezium.md, group, column, and the literal that Debezium loses.
type Loss = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const OF_BOTH: &[Loss] = &[
    ("bigint-unsigned", "integers", "u64", "18446744073709551615"),
    ("bigint-unsigned", "integers", "u64", "9223372036854775808"),
    ("integer-unsigned", "integers", "u32", "4294967295"),
    ("boolean", "integers", "bool", "2"),
    ("boolean", "integers", "bool", "-1"),
    ("real", "floats", "real", "1.7976931348623157e308"),
    ("real", "floats", "real", "5e-324"),
    ("real", "floats", "real", "3.141592653589793"),
    ("float-six-digits", "floats", "f32", "16777216"),
    ("float-six-digits", "floats", "f32", "123456.7"),
    ("float-with-digits", "floats", "f7_3", "9999.999"),
    ("early-years", "days", "day", "'0001-01-01'"),
    ("early-years", "days", "day", "'0000-01-01'"),
    ("early-years", "days", "day", "'0069-12-31'"),
    ("early-years", "clocks", "c0", "'0001-01-01 00:00:00'"),
    ("early-years", "clocks", "c6", "'0001-01-01 00:00:00.000001'"),
    ("year-zero", "days", "year", "0"),
    ("latin1-holes", "charsets", "l_v", "_latin1 0x808182838485868788898A8B8C8D8E8F"),
    ("latin1-holes", "charsets", "l_v", "_latin1 0x909192939495969798999A9B9C9D9E9F"),
    ("charset-binary", "bytes", "c_binary", "0x00FF80"),
    ("binary-without-length", "bytes", "b1", "0x00"),
    ("enum-escapes", "members", "e_odd", "'x,y'"),
    ("enum-escapes", "members", "e_odd", "6"),
    ("enum-list", "hidden_members", "e_hidden", "'é😀'"),
    ("isostring", "times", "t6", "'-838:59:59'"),
    ("isostring", "times", "t0", "'24:00:00'"),
    ("nanoseconds", "clocks", "c0", "'9999-12-31 23:59:59'"),
    ("geometry-srid", "geometries", "g_point", "ST_GeomFromText('POINT(1.5 -2.25)')"),
];

#[rustfmt::skip]
const OF_MYSQL: &[Loss] = &[
    ("json-text", "documents", "j", "JSON_ARRAY(CAST('-838:59:59' AS TIME), CAST('-00:00:00.5' AS TIME(6)), CAST('12:34:56.789123' AS TIME(6)))"),
    ("json-text", "documents", "j", "'[0.1, 1.0, -0.0, 1.5e300, 1e-7, 5e-324, 1.7976931348623157e308, 123456789012345680.0, 1e20, 1e21]'"),
    ("json-text", "documents", "j", "JSON_ARRAY(CAST(0x00FF41 AS BINARY), TRUE, NULL, 'é😀')"),
];

const OF_MARIADB: &[Loss] = &[("uuid-zeros", "addresses", "uuid", "'f47ac10b-58cc-4372-a567-000000000000'")];

#[test]
fn what_debezium_loses_is_in_a_test_of_ours() {
    let check = |groups: &[Group], losses: &[Loss]| {
        for (name, group, column, value) in losses {
            let group = groups.iter().find(|found| found.name == *group);
            let row = group.and_then(|group| group.rows.iter().find(|row| row.name == *column));
            let has_value = row.is_some_and(|row| row.values.contains(value));
            assert!(has_value, "{name}: {column} no longer has {value}");
        }
    };
    check(&groups(), OF_BOTH);
    check(&groups(), OF_MYSQL);
    check(&groups_of_mariadb(), OF_BOTH);
    check(&groups_of_mariadb(), OF_MARIADB);
    // null-with-default, in both servers' flows; zero dates are in the test of files, which alone hold them.
    assert!(flow::TABLES.contains("sku VARCHAR(20) DEFAULT") && flow::CHANGES.contains("(2, 2, NULL)"));
    let zeros = include_str!("in_file.rs");
    for value in
        ["'0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00'", "'2024-00-00', '2024-02-00 23:59:59.999'"]
    {
        assert!(zeros.contains(value), "zero-dates: {value}");
    }
    let manual = include_str!("../../../../docs/debezium.md");
    for (name, ..) in OF_BOTH.iter().chain(OF_MYSQL).chain(OF_MARIADB) {
        assert!(manual.contains(&format!("| `{name}` |")), "{name} is not in docs/debezium.md");
    }
}
