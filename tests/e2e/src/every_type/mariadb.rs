//! The same types as MariaDB has them: its JSON is a text, its columns can be compressed, and it reads no time zone behind a
//! literal.

use tailrace_row::{Charset, ColumnType, GeometryKind, TextForm};

use super::catalog::{Group, TypeRow, groups, row};
use super::rules::Rule;

/// All of them.
pub(super) fn groups_of_mariadb() -> Vec<Group> {
    let mut groups = groups();
    for row in groups.iter_mut().flat_map(|group| &mut group.rows) {
        adapt(row);
    }
    groups.retain(|group| group.name != "vectors");
    for group in &mut groups {
        group.rows.retain(|row| !row.declared.contains("gb18030"));
    }
    groups.push(Group { name: "compressed", rows: compressed() });
    groups.push(Group { name: "addresses", rows: addresses() });
    groups.push(Group { name: "scales", rows: scales() });
    groups
}

fn adapt(row: &mut TypeRow) {
    if row.declared.contains("utf8mb4_0900_ai_ci") {
        row.declared = "VARCHAR(60) COLLATE utf8mb4_uca1400_ai_ci";
    }
    match row.rule {
        Rule::Instant => {
            let in_utc = row.values.iter().filter_map(|value| value.strip_suffix("+00:00'"));
            // The zero date is second 0 and nothing behind the point; what lies behind that is an instant here.
            let first = (row.declared != "TIMESTAMP").then_some("'1970-01-01 00:00:00.5'");
            row.values = in_utc.map(|value| &*format!("{value}'").leak()).chain(first).collect::<Vec<&str>>().leak();
        }
        // As typed; what MySQL's functions make of other types is another thing here.
        Rule::Json => {
            row.shape = ColumnType::Text { form: TextForm::Large, bytes_max: 0, charset: Charset::Utf8mb4 };
            (row.rule, row.target) = (Rule::Text, "text");
            let literals = row.values.iter().copied().filter(|value| value.starts_with('\''));
            row.values = literals.collect::<Vec<&str>>().leak();
        }
        // Its zero has no sign, however it is written.
        Rule::Bits64 => {
            let signed = row.values.iter().copied().filter(|value| *value != "-0e0");
            row.values = signed.collect::<Vec<&str>>().leak();
        }
        // Its parser takes no collection within a collection.
        Rule::Geometry => {
            let flat = row.values.iter().copied().filter(|value| !value.contains("COLLECTION(GEOMETRYCOLLECTION"));
            row.values = flat.collect::<Vec<&str>>().leak();
        }
        _ => {}
    }
}

/// More digits behind the point than MySQL allows.
fn scales() -> Vec<TypeRow> {
    const SMALL: &[&str] = &["0", "CONCAT('0.', REPEAT('9', 38))", "CONCAT('-0.', REPEAT('0', 37), '1')", "0.5"];
    const LARGE: &[&str] =
        &["CONCAT('-', REPEAT('9', 27), '.', REPEAT('9', 38))", "1.0", "CONCAT('7.', REPEAT('0', 37), '1')"];
    let decimal = |name, precision, declared, target, values| {
        row(name, ColumnType::Decimal { precision, scale: 38 }, [declared, target], Rule::Decimal, values).key()
    };
    vec![
        decimal("d38_38", 38, "DECIMAL(38,38)", "numeric(38,38)", SMALL),
        decimal("d65_38", 65, "DECIMAL(65,38)", "numeric(65,38)", LARGE),
    ]
}

/// Types that look like BINARY in the binlog: zeros at the end, which it leaves out, and every version of UUID.
fn addresses() -> Vec<TypeRow> {
    const UUIDS: &[&str] = &[
        "'f47ac10b-58cc-4372-a567-0e02b2c3d479'",
        "'f47ac10b-58cc-4372-a567-000000000000'",
        "'123e4567-e89b-12d3-a456-426655440000'",
        "'0192f0e1-7c1a-7a3b-8c4d-5e6f708192a3'",
        "'00000000-0000-0000-0000-000000000000'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        "'20202020-2020-4020-a020-202020202020'",
        "'11111111-2222-1333-4444-555555555555'",
    ];
    const INET4: &[&str] = &["'192.168.0.1'", "'0.0.0.0'", "'10.0.0.0'", "'32.32.32.32'", "'255.255.255.255'"];
    const INET6: &[&str] = &[
        "'2001:db8::ff00:42:8329'",
        "'::'",
        "'::1'",
        "'2001:db8::'",
        "'::ffff:1.2.3.4'",
        "'::1.2.3.4'",
        "'1:2:3:4:5:6:7:0'",
        "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'",
    ];
    const POINTS: &[&str] = &[
        "ST_GeomFromText('POINT(1 2)', 4294967295)",
        "ST_GeomFromText('POINT(1 2)')",
        "ST_GeomFromText('POINT(2 1)')",
    ];
    let point = ColumnType::Geometry { kind: GeometryKind::Point };
    vec![
        row("uuid", ColumnType::Uuid, ["UUID", "uuid"], Rule::Text, UUIDS).key(),
        row("inet4", ColumnType::Inet4, ["INET4", "inet"], Rule::Address, INET4).key(),
        row("inet6", ColumnType::Inet6, ["INET6", "inet"], Rule::Address, INET6).key(),
        row("g_far", point, ["POINT", "bytea"], Rule::Geometry, POINTS).key(),
    ]
}

/// Values short of what is worth compressing, and well above.
fn compressed() -> Vec<TypeRow> {
    use TextForm::{Large, Varying};
    let text = |name, form, charset, declared, values| {
        row(name, ColumnType::Text { form, bytes_max: 0, charset }, [declared, "text"], Rule::Text, values)
    };
    let bytes = |name, form, declared, values| {
        row(name, ColumnType::Bytes { form, bytes_max: 0 }, [declared, "bytea"], Rule::Bytes, values)
    };
    const TEXTS: &[&str] = &["'short'", "''", "REPEAT('é中😀x', 60)", "REPEAT(' ', 300)", "REPEAT('a', 100)", "'x'"];
    const LATIN: &[&str] = &["''", "REPEAT('é', 250)", "'é€ß ÿ'"];
    const BYTES: &[&str] = &["''", "0x00", "REPEAT(0x00FF, 120)", "REPEAT(0xC328EDA08080, 40)", "0x80"];
    const LARGE: &[&str] = &["''", "REPEAT(0xFF00, 40000)", "0x00", "REPEAT('abc', 99)"];
    vec![
        text("p_v", Varying, Charset::Utf8mb4, "VARCHAR(300) COMPRESSED", TEXTS),
        text("p_l", Varying, Charset::Latin1, "VARCHAR(255) COMPRESSED CHARACTER SET latin1", LATIN),
        text("p_t", Large, Charset::Utf8mb4, "TEXT COMPRESSED", TEXTS),
        bytes("p_vb", Varying, "VARBINARY(250) COMPRESSED", BYTES),
        bytes("p_b", Large, "BLOB COMPRESSED", BYTES),
        bytes("p_mb", Large, "MEDIUMBLOB COMPRESSED", LARGE),
    ]
}
