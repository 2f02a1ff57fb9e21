//! Every supported type with its edge values, as far as PostgreSQL can hold them.
//!
//! One [`TypeRow`] becomes three columns of its group's table: `name` (nullable), `name_w` (NOT NULL) and `name_d` (NOT NULL
//! with the first value as default, never named by an INSERT). [`shapes`] walks all column types that the product knows; a
//! new one does not compile here until it has its place, and fails the test until it has a row.

use tailrace_row::{Charset, ColumnType, GeometryKind, TextForm};

#[cfg(test)]
use super::mariadb::groups_of_mariadb;
use super::rules::Rule;

/// One column type and its values.
pub(crate) struct TypeRow {
    /// Column name.
    pub(crate) name: &'static str,
    /// The product's word for the type; members of ENUM and SET left out.
    pub(crate) shape: ColumnType,
    /// As CREATE TABLE says it in MySQL.
    pub(crate) declared: &'static str,
    /// What `tailrace schema` must make of it, as PostgreSQL's format_type() says it.
    pub(crate) target: &'static str,
    /// How values are compared.
    pub(crate) rule: Rule,
    /// SQL literals.
    pub(crate) values: &'static [&'static str],
    /// Whether a primary key may have it.
    pub(crate) is_key: bool,
}

impl TypeRow {
    pub(super) fn key(self) -> TypeRow {
        TypeRow { is_key: true, ..self }
    }
}

/// Types that share a table.
pub(crate) struct Group {
    /// Table name.
    pub(crate) name: &'static str,
    /// Its types.
    pub(crate) rows: Vec<TypeRow>,
}

/// All of them.
pub(crate) fn groups() -> Vec<Group> {
    let group = |name, rows| Group { name, rows };
    let mut groups = vec![
        group("integers", integers()),
        group("decimals", decimals()),
        group("floats", floats()),
        group("bits", bits()),
        group("texts", texts()),
        group("charsets", charsets()),
        group("wide", wide()),
        group("bytes", bytes()),
        group("members", members()),
        group("hidden_members", hidden_members()),
        group("days", days()),
        group("times", times()),
        group("clocks", clocks()),
        group("instants", instants()),
        group("documents", documents()),
        group("geometries", geometries()),
        group("vectors", vectors()),
    ];
    // All in one table would be too wide for MariaDB.
    let mut others = other_charsets().into_iter().peekable();
    while others.peek().is_some() {
        let name = format!("charsets_{}", groups.len()).leak();
        groups.push(group(name, others.by_ref().take(13).collect()));
    }
    groups
}

pub(super) fn row(
    name: &'static str,
    shape: ColumnType,
    [declared, target]: [&'static str; 2],
    rule: Rule,
    values: &'static [&'static str],
) -> TypeRow {
    TypeRow { name, shape, declared, target, rule, values, is_key: false }
}

fn integers() -> Vec<TypeRow> {
    let signed = |bits| ColumnType::Integer { bits, unsigned: false };
    let unsigned = |bits| ColumnType::Integer { bits, unsigned: true };
    let whole = |name, shape, names, values| row(name, shape, names, Rule::Whole, values).key();
    vec![
        whole("i8", signed(8), ["TINYINT", "smallint"], &["0", "-128", "127", "-1", "1", "100"]),
        whole("u8", unsigned(8), ["TINYINT UNSIGNED", "smallint"], &["0", "255", "128", "127", "1"]),
        whole("bool", signed(8), ["BOOLEAN", "smallint"], &["TRUE", "FALSE", "2", "-1"]),
        whole("i16", signed(16), ["SMALLINT", "smallint"], &["0", "-32768", "32767", "-1", "256"]),
        whole("u16", unsigned(16), ["SMALLINT UNSIGNED", "integer"], &["0", "65535", "32768", "32767", "1"]),
        whole("i24", signed(24), ["MEDIUMINT", "integer"], &["0", "-8388608", "8388607", "-1", "65536", "-65536"]),
        whole("u24", unsigned(24), ["MEDIUMINT UNSIGNED", "integer"], &["0", "16777215", "8388608", "1"]),
        whole("i32", signed(32), ["INT", "integer"], &["0", "-2147483648", "2147483647", "-1", "16777216"]),
        whole("u32", unsigned(32), ["INT UNSIGNED", "bigint"], &["0", "4294967295", "2147483648", "1"]),
        whole("zerofill", unsigned(32), ["INT(8) UNSIGNED ZEROFILL", "bigint"], &["0", "42", "4294967295"]),
        whole(
            "i64",
            signed(64),
            ["BIGINT", "bigint"],
            &["0", "-9223372036854775808", "9223372036854775807", "-1", "9007199254740993", "-9007199254740993"],
        ),
        whole(
            "u64",
            unsigned(64),
            ["BIGINT UNSIGNED", "numeric(20,0)"],
            &["0", "18446744073709551615", "9223372036854775808", "9223372036854775807", "10000000000000000000"],
        ),
    ]
}

fn decimals() -> Vec<TypeRow> {
    let decimal = |name, precision, scale, names, values| {
        row(name, ColumnType::Decimal { precision, scale }, names, Rule::Decimal, values)
    };
    vec![
        decimal("d10", 10, 0, ["DECIMAL", "numeric(10,0)"], &["0", "9999999999", "-9999999999", "1", "-1"]).key(),
        decimal("d5_2", 5, 2, ["DECIMAL(5,2)", "numeric(5,2)"], &["0", "999.99", "-999.99", "0.01", "-0.50", "1.10"])
            .key(),
        decimal("d1", 1, 0, ["DECIMAL(1)", "numeric(1,0)"], &["0", "9", "-9"]).key(),
        decimal("d9_9", 9, 9, ["DECIMAL(9,9)", "numeric(9,9)"], &["0", "0.999999999", "-0.999999999", "0.000000001"])
            .key(),
        decimal(
            "d10_2u",
            10,
            2,
            ["DECIMAL(10,2) UNSIGNED", "numeric(10,2)"],
            &["0", "99999999.99", "0.01", "10000.00", "1234.50"],
        )
        .key(),
        decimal(
            "d38_10",
            38,
            10,
            ["DECIMAL(38,10)", "numeric(38,10)"],
            &[
                "0",
                "9999999999999999999999999999.9999999999",
                "-9999999999999999999999999999.9999999999",
                "18446744073709551616.0000000001",
                "-9223372036854775809.5",
            ],
        )
        .key(),
        decimal(
            "d65",
            65,
            0,
            ["DECIMAL(65,0)", "numeric(65,0)"],
            &["0", "REPEAT('9', 65)", "CONCAT('-', REPEAT('9', 65))", "CONCAT('1', REPEAT('0', 64))", "-1"],
        ),
        decimal(
            "d65_30",
            65,
            30,
            ["DECIMAL(65,30)", "numeric(65,30)"],
            &[
                "0",
                "CONCAT(REPEAT('9', 35), '.', REPEAT('9', 30))",
                "CONCAT('-', REPEAT('9', 35), '.', REPEAT('9', 30))",
                "CONCAT('0.', REPEAT('0', 29), '1')",
                "CONCAT('-0.', REPEAT('0', 29), '1')",
                "'1.10'",
                "'-0'",
            ],
        ),
        decimal(
            "d30_30",
            30,
            30,
            ["DECIMAL(30,30)", "numeric(30,30)"],
            &["0", "CONCAT('0.', REPEAT('9', 30))", "CONCAT('-0.', REPEAT('9', 30))", "'0.5'"],
        ),
    ]
}

fn floats() -> Vec<TypeRow> {
    const SINGLE: &[&str] = &[
        "0",
        "3.402823466e38",
        "-3.402823466e38",
        "1.175494351e-38",
        "1.4e-45",
        "-1.4e-45",
        "-0e0",
        "0.1",
        "16777216",
        "16777215",
        "123456.7",
        "3.14159274",
        "1e7",
        "1.5e-5",
    ];
    const DOUBLE: &[&str] = &[
        "0",
        "1.7976931348623157e308",
        "-1.7976931348623157e308",
        "2.2250738585072014e-308",
        "5e-324",
        "-5e-324",
        "-0e0",
        "0.1",
        "0.3333333333333333",
        "3.141592653589793",
        "9007199254740993",
        "1e21",
        "1e-7",
        "123456789012345680",
    ];
    const ROUNDED: &[&str] = &["0", "9999.999", "-9999.999", "0.001", "-0e0", "3.142"];
    vec![
        row("f32", ColumnType::Float, ["FLOAT", "real"], Rule::Bits64, SINGLE).key(),
        row(
            "f32u",
            ColumnType::Float,
            ["FLOAT UNSIGNED", "real"],
            Rule::Bits64,
            &["0", "3.402823466e38", "1.4e-45", "0.1"],
        ),
        row("f7_3", ColumnType::Float, ["FLOAT(7,3)", "real"], Rule::Bits64, ROUNDED),
        row("f64", ColumnType::Double, ["DOUBLE", "double precision"], Rule::Bits64, DOUBLE).key(),
        row("f53", ColumnType::Double, ["FLOAT(53)", "double precision"], Rule::Bits64, DOUBLE),
        row("real", ColumnType::Double, ["REAL", "double precision"], Rule::Bits64, DOUBLE),
        row("d10_4", ColumnType::Double, ["DOUBLE(10,4)", "double precision"], Rule::Bits64, ROUNDED),
    ]
}

fn bits() -> Vec<TypeRow> {
    let bit = |name, length: u8, names, values| {
        row(name, ColumnType::Bit { length }, names, Rule::BitString(usize::from(length)), values).key()
    };
    vec![
        bit("bit1", 1, ["BIT(1)", "bit(1)"], &["b'0'", "b'1'"]),
        bit("bit8", 8, ["BIT(8)", "bit(8)"], &["b'0'", "255", "0x81", "1"]),
        bit("bit10", 10, ["BIT(10)", "bit(10)"], &["b'0'", "1023", "b'1000000001'", "b'0111111110'"]),
        bit("bit33", 33, ["BIT(33)", "bit(33)"], &["b'0'", "8589934591", "4294967296", "1"]),
        bit(
            "bit64",
            64,
            ["BIT(64)", "bit(64)"],
            &["b'0'", "18446744073709551615", "9223372036854775808", "0x0102030405060708", "1"],
        ),
    ]
}

/// What text columns of every form hold: blanks at both ends, control characters, quotes, characters of one to four bytes,
/// joined and combining ones, and those that programs like to swallow (U+2028, U+FEFF, U+FFFD, U+FFFF, U+10FFFF, U+0085).
const UNICODE: &[&str] = &[
    "''",
    "'abc'",
    "' a  '",
    "'   '",
    "_utf8mb4 0x61080A0D090B0C1F7F",
    r#"'"''\\/%<&>{}\\N'"#,
    "'é中😀𝒳'",
    "'👨‍👩‍👧é'",
    "_utf8mb4 0xE280A8E280A9EFBBBFEFBFBDEFBFBFF48FBFBFC285",
    "'\\\\N'",
    "'NULL'",
];

fn texts() -> Vec<TypeRow> {
    use TextForm::{Fixed, Large, Varying};
    let text = |name, form, declared, values| {
        let shape = ColumnType::Text { form, bytes_max: 0, charset: Charset::Utf8mb4 };
        row(name, shape, [declared, "text"], Rule::Text, values)
    };
    const LONG: &[&str] =
        &["'m'", "REPEAT('é', 256)", "REPEAT('x', 255)", "REPEAT('x', 256)", "REPEAT('😀', 300)", "''"];
    const LARGE: &[&str] = &["'l'", "REPEAT('é中😀x', 8000)", "''", "REPEAT(' ', 70000)"];
    vec![
        text("c20", Fixed, "CHAR(20)", UNICODE).key(),
        text("c255", Fixed, "CHAR(255)", &["''", "REPEAT('😀', 255)", "REPEAT('x', 255)", "'é'"]),
        text("nchar_bin", Fixed, "CHAR(5) COLLATE utf8mb4_bin", &["'a'", "'A'", "'ééééé'", "' a'"]).key(),
        text("v60", Varying, "VARCHAR(60)", UNICODE).key(),
        text("v60_ci", Varying, "VARCHAR(60) COLLATE utf8mb4_0900_ai_ci", &["'a'", "'A'", "'á'", "'a '", "'B'", "'ß'"])
            .key(),
        text("v60_bin", Varying, "VARCHAR(60) COLLATE utf8mb4_bin", &["'a'", "'A'", "'a '", "'😀'"]).key(),
        text("v300", Varying, "VARCHAR(300)", LONG),
        text("tiny", Large, "TINYTEXT", UNICODE),
        text("text", Large, "TEXT", &["''", "'t'", "REPEAT('x', 65535)", "' é  '"]),
        text("medium", Large, "MEDIUMTEXT", LARGE),
        text("long", Large, "LONGTEXT", LARGE),
    ]
}

fn charsets() -> Vec<TypeRow> {
    use Charset::{Ascii, Latin1, Utf8mb3};
    use TextForm::{Fixed, Large, Varying};
    let text = |name, (form, charset), declared, values| {
        row(name, ColumnType::Text { form, bytes_max: 0, charset }, [declared, "text"], Rule::Text, values)
    };
    // All bytes but NUL, which PostgreSQL does not hold: printable ones, then the half where code pages differ.
    const LATIN: &[&str] = &[
        "''",
        "'é€ß ÿ'",
        "_latin1 0x808182838485868788898A8B8C8D8E8F",
        "_latin1 0x909192939495969798999A9B9C9D9E9F",
        "_latin1 0xA0A1A2A3A4A5A6A7A8A9AAABACADAEAF",
        "_latin1 0xB0B1B2B3B4B5B6B7B8B9BABBBCBDBEBF",
        "_latin1 0xC0C1C2C3C4C5C6C7C8C9CACBCCCDCECF",
        "_latin1 0xD0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF",
        "_latin1 0xE0E1E2E3E4E5E6E7E8E9EAEBECEDEEEF",
        "_latin1 0xF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF",
        "_latin1 0x0102030405060708090A0B0C0D0E0F10",
        "_latin1 0x1112131415161718191A1B1C1D1E1F7F",
    ];
    const SEVEN_BITS: &[&str] =
        &["''", "'az AZ 09'", "_ascii 0x0102030405060708090A0B0C0D0E0F", "_ascii 0x101112131415161718191A1B1C1D1E1F7F"];
    const THREE_BYTES: &[&str] = &["''", "'é中'", "_utf8mb3 0xEFBFBFEFBBBFC285", "' a  '"];
    vec![
        text("l_c", (Fixed, Latin1), "CHAR(20) CHARACTER SET latin1", LATIN).key(),
        text("l_v", (Varying, Latin1), "VARCHAR(300) CHARACTER SET latin1", LATIN),
        text("l_t", (Large, Latin1), "TEXT CHARACTER SET latin1", LATIN),
        text("a_c", (Fixed, Ascii), "CHAR(20) CHARACTER SET ascii", SEVEN_BITS).key(),
        text("a_v", (Varying, Ascii), "VARCHAR(20) CHARACTER SET ascii", SEVEN_BITS).key(),
        text("a_t", (Large, Ascii), "TEXT CHARACTER SET ascii", SEVEN_BITS),
        text("u3_c", (Fixed, Utf8mb3), "CHAR(20) CHARACTER SET utf8mb3", THREE_BYTES).key(),
        text("u3_v", (Varying, Utf8mb3), "VARCHAR(20) CHARACTER SET utf8mb3", THREE_BYTES).key(),
        text("u3_t", (Large, Utf8mb3), "TEXT CHARACTER SET utf8mb3", THREE_BYTES),
    ]
}

/// Every other charset, with letters of many scripts: what a charset does not have the server stores as a question mark. Each
/// single character is a test of the MySQL connector.
fn other_charsets() -> Vec<TypeRow> {
    const KEYS: [Charset; 9] = [
        Charset::Big5,
        Charset::Cp932,
        Charset::Eucjpms,
        Charset::Gbk,
        Charset::Swe7,
        Charset::Ucs2,
        Charset::Utf16,
        Charset::Utf16Le,
        Charset::Utf32,
    ];
    const VALUES: &[&str] = &[
        "''",
        "'abc'",
        "' [\\\\]^{|}~  '",
        "'Ünïcødé €½ßÿŁőž'",
        "'Жуковґ Ωμέγα שלום سلام สวัสดี Ӂ ქართ Հայ'",
        "'中文 漢字 かなカナ ｶﾅ 한국어 ∮㈱≒'",
        "_utf8mb4 0xEFBBBF61E280A8F09F9880",
    ];
    let others = Charset::ALL.into_iter().filter(|charset| !has_every_form(*charset));
    let mut rows: Vec<TypeRow> = others
        .map(|charset| {
            let shape = ColumnType::Text { form: TextForm::Varying, bytes_max: 0, charset };
            let name = format!("in_{}", charset.name()).leak();
            let declared = format!("VARCHAR(60) CHARACTER SET {}", charset.name()).leak();
            let is_key = KEYS.contains(&charset);
            TypeRow { is_key, ..row(name, shape, [declared, "text"], Rule::Text, VALUES) }
        })
        .collect();
    let member = |name, declared| {
        let shape = ColumnType::Enum { members: Box::default() };
        row(name, shape, [declared, "text"], Rule::Text, &["'a'", "'é中'", "''", "3"])
    };
    rows.push(member("e_gbk", "ENUM('a','é中','[\\\\]') CHARACTER SET gbk"));
    rows.push(member("e_utf16", "ENUM('a','é中','[\\\\]') CHARACTER SET utf16"));
    rows
}

fn has_every_form(charset: Charset) -> bool {
    matches!(charset, Charset::Utf8mb4 | Charset::Utf8mb3 | Charset::Latin1 | Charset::Ascii)
}

/// A row near the 65,535 bytes that MySQL allows: two thirds in one column, so that the default column fits beside it.
fn wide() -> Vec<TypeRow> {
    let shape = ColumnType::Text { form: TextForm::Varying, bytes_max: 0, charset: Charset::Ascii };
    let values = &["REPEAT('w', 21800)", "''", "'x'", "REPEAT('y', 256)"];
    vec![row("w", shape, ["VARCHAR(21800) CHARACTER SET ascii", "text"], Rule::Text, values)]
}

fn bytes() -> Vec<TypeRow> {
    use TextForm::{Fixed, Large, Varying};
    let bytes = |name, form, declared, values| {
        row(name, ColumnType::Bytes { form, bytes_max: 0 }, [declared, "bytea"], Rule::Bytes, values)
    };
    const ODD: &[&str] =
        &["''", "0x00", "0xFF", "0x6100", "0x612020", "0xC328EDA08080", "0xFBEFFFFE", "0x0000FF00", "'\\\\x'"];
    const LARGE: &[&str] = &["''", "0x00", "REPEAT(0xFF, 70000)", "REPEAT(0x0027, 40000)"];
    vec![
        bytes("b1", Fixed, "BINARY", &["0x00", "0xFF", "0x20", "'a'"]).key(),
        bytes("b8", Fixed, "BINARY(8)", ODD).key(),
        bytes("b255", Fixed, "BINARY(255)", &["''", "REPEAT(0xFF, 255)", "REPEAT(0x00, 255)", "0x0100"]),
        bytes("vb20", Varying, "VARBINARY(20)", ODD).key(),
        bytes("vb300", Varying, "VARBINARY(300)", &["''", "REPEAT(0xAB, 256)", "REPEAT(0x00, 300)", "0x00FF80"]),
        bytes("c_binary", Fixed, "CHAR(4) CHARACTER SET binary", &["''", "0x00FF80", "'ab'"]).key(),
        bytes("tiny_blob", Large, "TINYBLOB", ODD),
        bytes("blob_", Large, "BLOB", &["''", "0x00", "REPEAT(0xFE, 65535)", "'text'"]),
        bytes("medium_blob", Large, "MEDIUMBLOB", LARGE),
        bytes("long_blob", Large, "LONGBLOB", LARGE),
    ]
}

const SIXTY_FOUR: &str = "SET('01','02','03','04','05','06','07','08','09','10','11','12','13','14','15','16','17','18',\
'19','20','21','22','23','24','25','26','27','28','29','30','31','32','33','34','35','36','37','38','39','40','41','42',\
'43','44','45','46','47','48','49','50','51','52','53','54','55','56','57','58','59','60','61','62','63','64')";

fn members() -> Vec<TypeRow> {
    let enumeration = || ColumnType::Enum { members: Box::default() };
    let set = || ColumnType::Set { members: Box::default() };
    let text = |name, shape, declared, values| row(name, shape, [declared, "text"], Rule::Text, values);
    vec![
        // '' as a value that is no member is index 0.
        text("e", enumeration(), "ENUM('a','b','c')", &["'a'", "'c'", "''", "'b'"]).key(),
        text(
            "e_odd",
            enumeration(),
            r#"ENUM('x,y','it''s','"q"','sp ace','é中','back\\slash',' lead','NULL','{a}')"#,
            &["'x,y'", "'it''s'", "'\"q\"'", "'sp ace'", "'é中'", "6", "' lead'", "'NULL'", "'{a}'"],
        )
        .key(),
        text("e_empty", enumeration(), "ENUM('x','')", &["'x'", "2"]),
        text("e_latin", enumeration(), "ENUM('é','ü','€') CHARACTER SET latin1", &["'é'", "'ü'", "'€'"]).key(),
        text("s", set(), "SET('a','b','c')", &["'a'", "''", "'a,b,c'", "'c,a'", "'b'"]).key(),
        text("s_odd", set(), "SET('it''s','é中','sp ace','\"','z')", &["'it''s'", "''", "31", "'é中,z'", "8"]).key(),
        text("s64", set(), SIXTY_FOUR, &["'01'", "'64'", "18446744073709551615", "9223372036854775808", "3", "''"]),
    ]
}

/// Members that the source's dictionary shows as question marks: their changes are captured, and readers refuse the table.
fn hidden_members() -> Vec<TypeRow> {
    let (enumeration, set) =
        (ColumnType::Enum { members: Box::default() }, ColumnType::Set { members: Box::default() });
    vec![
        row("e_hidden", enumeration, ["ENUM('a','é😀','😁')", "text"], Rule::Text, &["'é😀'", "'a'", "3"]).key(),
        row("s_hidden", set, ["SET('a','é😀','😁')", "text"], Rule::Text, &["'é😀,a'", "''", "7", "'😁'"]).key(),
    ]
}

fn days() -> Vec<TypeRow> {
    const DAYS: &[&str] = &[
        "'1970-01-01'",
        "'0001-01-01'",
        "'0000-01-01'",
        "'0000-02-28'",
        "'0000-03-01'",
        "'0069-12-31'",
        "'0100-03-01'",
        "'1000-01-01'",
        "'1582-10-10'",
        "'1582-10-15'",
        "'1900-02-28'",
        "'1969-12-31'",
        "'2000-02-29'",
        "'2024-02-29'",
        "'9999-12-31'",
    ];
    let years = &["2024", "0", "1901", "2155", "1969", "1970", "2000"];
    vec![
        row("day", ColumnType::Date, ["DATE", "date"], Rule::Day, DAYS).key(),
        row("year", ColumnType::Year, ["YEAR", "smallint"], Rule::Whole, years).key(),
    ]
}

fn times() -> Vec<TypeRow> {
    let time = |name, fraction, declared, target, values| {
        row(name, ColumnType::Time { fraction }, [declared, target], Rule::Time, values).key()
    };
    const ALL: &[&str] = &[
        "'12:34:56.789123'",
        "'00:00:00'",
        "'-838:59:59'",
        "'838:59:59'",
        "'-838:59:58.999999'",
        "'838:59:58.999999'",
        "'-00:00:00.000001'",
        "'00:00:00.000001'",
        "'-00:00:00.5'",
        "'-00:00:01.500000'",
        "'-01:00:00'",
        "'24:00:00'",
        "'23:59:59.999999'",
        "'100:00:00.1'",
    ];
    vec![
        time("t0", 0, "TIME", "interval(0)", ALL),
        time("t1", 1, "TIME(1)", "interval(1)", ALL),
        time("t2", 2, "TIME(2)", "interval(2)", ALL),
        time("t3", 3, "TIME(3)", "interval(3)", ALL),
        time("t4", 4, "TIME(4)", "interval(4)", ALL),
        time("t5", 5, "TIME(5)", "interval(5)", ALL),
        time("t6", 6, "TIME(6)", "interval(6)", ALL),
    ]
}

fn clocks() -> Vec<TypeRow> {
    let clock = |name, fraction, declared, target, values| {
        row(name, ColumnType::DateTime { fraction }, [declared, target], Rule::DayAndTime, values).key()
    };
    // Fractions that a shorter column rounds are given as such: the last second of 9999 only where it fits.
    const ALL: &[&str] = &[
        "'2024-02-29 12:34:56.123456'",
        "'0001-01-01 00:00:00'",
        "'0000-01-01 00:00:00'",
        "'1000-01-01 00:00:00.000001'",
        "'1582-10-10 23:59:59'",
        "'1969-12-31 23:59:59.4'",
        "'1970-01-01 00:00:00'",
        "'2024-03-31 02:30:00'",
        "'9999-12-31 23:59:59'",
        "'1677-09-21 00:12:43'",
        "'2262-04-11 23:47:16'",
    ];
    const FINEST: &[&str] = &[
        "'2024-02-29 12:34:56.123456'",
        "'9999-12-31 23:59:59.999999'",
        "'0001-01-01 00:00:00.000001'",
        "'0000-01-01 00:00:00.999999'",
        "'1969-12-31 23:59:59.999999'",
        "'1970-01-01 00:00:00.000001'",
        "'1999-12-31 23:59:59.999999'",
    ];
    vec![
        clock("c0", 0, "DATETIME", "timestamp(0) without time zone", ALL),
        clock("c1", 1, "DATETIME(1)", "timestamp(1) without time zone", ALL),
        clock("c2", 2, "DATETIME(2)", "timestamp(2) without time zone", ALL),
        clock("c3", 3, "DATETIME(3)", "timestamp(3) without time zone", ALL),
        clock("c4", 4, "DATETIME(4)", "timestamp(4) without time zone", ALL),
        clock("c5", 5, "DATETIME(5)", "timestamp(5) without time zone", ALL),
        clock("c6", 6, "DATETIME(6)", "timestamp(6) without time zone", FINEST),
    ]
}

fn instants() -> Vec<TypeRow> {
    let instant = |name, fraction, declared, target, values| {
        row(name, ColumnType::Timestamp { fraction }, [declared, target], Rule::Instant, values).key()
    };
    // The offsets say the instant without doubt, also where a zone skips or repeats an hour.
    const ALL: &[&str] = &[
        "'2024-02-29 12:34:56.123456+00:00'",
        "'1970-01-01 00:00:01+00:00'",
        "'2038-01-19 03:14:07+00:00'",
        "'2024-10-27 02:30:00+02:00'",
        "'2024-10-27 02:30:00+01:00'",
        "'1999-12-31 23:59:59.4+00:00'",
        "'2024-01-01 00:00:00-12:00'",
    ];
    const FINEST: &[&str] = &[
        "'2024-02-29 12:34:56.123456+00:00'",
        "'1970-01-01 00:00:01.000001+00:00'",
        "'2038-01-19 03:14:07.999999+00:00'",
        "'1999-12-31 23:59:59.999999+00:00'",
        "'2000-01-01 00:00:00.000001+00:00'",
    ];
    vec![
        instant("s0", 0, "TIMESTAMP", "timestamp(0) with time zone", ALL),
        instant("s1", 1, "TIMESTAMP(1)", "timestamp(1) with time zone", ALL),
        instant("s2", 2, "TIMESTAMP(2)", "timestamp(2) with time zone", ALL),
        instant("s3", 3, "TIMESTAMP(3)", "timestamp(3) with time zone", ALL),
        instant("s4", 4, "TIMESTAMP(4)", "timestamp(4) with time zone", ALL),
        instant("s5", 5, "TIMESTAMP(5)", "timestamp(5) with time zone", ALL),
        instant("s6", 6, "TIMESTAMP(6)", "timestamp(6) with time zone", FINEST),
    ]
}

fn documents() -> Vec<TypeRow> {
    const DOCUMENTS: &[&str] = &[
        r#"'{"b": 1, "aa": [true, false, null], "a": {"": {}}}'"#,
        "'null'",
        "'[]'",
        r#"'""'"#,
        "'[0, -1, 127, 128, 32767, 32768, -32769, 2147483647, 2147483648, 4294967296]'",
        "'[9223372036854775807, -9223372036854775808, 18446744073709551615, 9223372036854775808]'",
        "'[0.1, 1.0, -0.0, 1.5e300, 1e-7, 5e-324, 1.7976931348623157e308, 123456789012345680.0, 1e20, 1e21]'",
        "JSON_ARRAY(CAST('123.4560' AS DECIMAL(10,4)), CAST(REPEAT('9', 65) AS DECIMAL(65)), CAST('-0.000000000000000000000000000001' AS DECIMAL(65,30)))",
        "JSON_ARRAY(CAST('2024-02-29' AS DATE), CAST('2024-02-29 12:34:56.123456' AS DATETIME(6)), CAST('2024-02-29 12:34:56' AS DATETIME))",
        "JSON_ARRAY(CAST('-838:59:59' AS TIME), CAST('-00:00:00.5' AS TIME(6)), CAST('12:34:56.789123' AS TIME(6)))",
        "JSON_ARRAY(CAST(0x00FF41 AS BINARY), TRUE, NULL, 'é😀')",
        r#"'{"a": 1, "a": 2}'"#,
        r#"'["é中😀", "\\u2028\\u0001\\n\\t\\"\\\\/", "\\ud83d\\ude00"]'"#,
        r#"'{"é😀": 1, "k\\"q": 2, "": 3}'"#,
        "CONCAT(REPEAT('[', 99), '1', REPEAT(']', 99))",
        r#"CONCAT('{"long": "', REPEAT('xé', 30000), '", "many": [', REPEAT('1234567890, ', 8000), '0]}')"#,
        r#"'"scalar"'"#,
        "'17'",
        "'-1.50'",
        "'true'",
    ];
    vec![row("j", ColumnType::Json, ["JSON", "json"], Rule::Json, DOCUMENTS)]
}

#[expect(clippy::too_many_lines, reason = "a table of kinds reads best in one piece")]
fn geometries() -> Vec<TypeRow> {
    use GeometryKind as K;
    let geometry = |name, kind, declared, values| {
        row(name, ColumnType::Geometry { kind }, [declared, "bytea"], Rule::Geometry, values)
    };
    const POINTS: &[&str] = &[
        "ST_GeomFromText('POINT(1.5 -2.25)')",
        "ST_GeomFromText('POINT(1e308 5e-324)')",
        "ST_GeomFromText('POINT(-0.0 0.1)')",
        "ST_GeomFromText('POINT(52.52 13.405)', 4326)",
        "ST_GeomFromText('POINT(1 2)', 3857)",
        // A coordinate that is no number, and one without end.
        "0x000000000101000000000000000000F87F000000000000F03F",
        "0x110F00000101000000000000000000F07F000000000000F03F",
    ];
    const ANY: &[&str] = &[
        "ST_GeomFromText('POINT(1 2)', 3857)",
        "ST_GeomFromText('LINESTRING(0 0,1 1)')",
        "ST_GeomFromText('POLYGON((0 0,4 0,4 4,0 4,0 0))', 4326)",
        "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))')",
    ];
    vec![
        geometry("g", K::Geometry, "GEOMETRY", ANY),
        geometry("g_point", K::Point, "POINT", POINTS),
        geometry(
            "g_line",
            K::LineString,
            "LINESTRING",
            &["ST_GeomFromText('LINESTRING(0 0,1 1,2 0)')", "ST_GeomFromText('LINESTRING(0 0,1e-300 -7)', 3857)"],
        ),
        geometry(
            "g_polygon",
            K::Polygon,
            "POLYGON",
            &[
                "ST_GeomFromText('POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 1))')",
                "ST_GeomFromText('POLYGON((0 0,4 0,4 4,0 4,0 0))', 4326)",
            ],
        ),
        geometry(
            "g_points",
            K::MultiPoint,
            "MULTIPOINT",
            &["ST_GeomFromText('MULTIPOINT(0 0,1 1)')", "ST_GeomFromText('MULTIPOINT(5 5)', 3857)"],
        ),
        geometry(
            "g_lines",
            K::MultiLineString,
            "MULTILINESTRING",
            &[
                "ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))')",
                "ST_GeomFromText('MULTILINESTRING((0 0,1 1))', 4326)",
            ],
        ),
        geometry(
            "g_polygons",
            K::MultiPolygon,
            "MULTIPOLYGON",
            &[
                "ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')",
                "ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))', 3857)",
            ],
        ),
        geometry(
            "g_all",
            K::GeometryCollection,
            "GEOMETRYCOLLECTION",
            &[
                "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))')",
                "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
                "ST_GeomFromText('GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(POINT(1 2)))', 4326)",
            ],
        ),
    ]
}

fn vectors() -> Vec<TypeRow> {
    let vector = |name, declared, values| {
        row(name, ColumnType::Vector { dimension: 0 }, [declared, "real[]"], Rule::Vector, values)
    };
    const ALL: &[&str] = &[
        "STRING_TO_VECTOR('[1,-2.5,0.1,3]')",
        "STRING_TO_VECTOR('[3.4028235e38,-3.4028235e38,1.17549435e-38,-0.0]')",
        "STRING_TO_VECTOR('[0,16777216,0.33333334]')",
        // The smallest numbers there are.
        "0x01000000010000800000008000000000",
        "STRING_TO_VECTOR('[1]')",
    ];
    const LONG: &[&str] = &["STRING_TO_VECTOR(CONCAT('[', REPEAT('0.1,', 16382), '7]'))", "0x0000803F"];
    vec![vector("v4", "VECTOR(4)", ALL), vector("v", "VECTOR", ALL), vector("v16383", "VECTOR(16383)", LONG)]
}

/// Every column type that the product knows, by a chain that an unknown type breaks at compile time.
pub(crate) fn shapes() -> Vec<ColumnType> {
    let first = ColumnType::Integer { bits: 8, unsigned: false };
    std::iter::successors(Some(first), successor).collect()
}

fn successor(shape: &ColumnType) -> Option<ColumnType> {
    Some(match shape {
        ColumnType::Integer { bits, unsigned: false } => ColumnType::Integer { bits: *bits, unsigned: true },
        ColumnType::Integer { bits: 32, unsigned: true } => ColumnType::Integer { bits: 64, unsigned: false },
        ColumnType::Integer { bits: 64, unsigned: true } => ColumnType::Decimal { precision: 65, scale: 30 },
        ColumnType::Integer { bits, unsigned: true } => ColumnType::Integer { bits: bits + 8, unsigned: false },
        ColumnType::Decimal { .. } => ColumnType::Float,
        ColumnType::Float => ColumnType::Double,
        ColumnType::Double => ColumnType::Bit { length: 1 },
        ColumnType::Bit { length: 64 } => text_of(TextForm::Fixed, Charset::Utf8mb4),
        ColumnType::Bit { .. } => ColumnType::Bit { length: 64 },
        ColumnType::Text { form, charset, .. } => match (next_form(*form), next_charset(*charset)) {
            (Some(form), _) if has_every_form(*charset) => text_of(form, *charset),
            (_, Some(charset)) if has_every_form(charset) => text_of(TextForm::Fixed, charset),
            (_, Some(charset)) => text_of(TextForm::Varying, charset),
            (_, None) => ColumnType::Bytes { form: TextForm::Fixed, bytes_max: 0 },
        },
        ColumnType::Bytes { form, .. } => match next_form(*form) {
            Some(form) => ColumnType::Bytes { form, bytes_max: 0 },
            None => ColumnType::Enum { members: Box::default() },
        },
        ColumnType::Enum { .. } => ColumnType::Set { members: Box::default() },
        ColumnType::Set { .. } => ColumnType::Date,
        ColumnType::Date => ColumnType::Time { fraction: 0 },
        ColumnType::Time { fraction: 6 } => ColumnType::DateTime { fraction: 0 },
        ColumnType::Time { fraction } => ColumnType::Time { fraction: fraction + 1 },
        ColumnType::DateTime { fraction: 6 } => ColumnType::Timestamp { fraction: 0 },
        ColumnType::DateTime { fraction } => ColumnType::DateTime { fraction: fraction + 1 },
        ColumnType::Timestamp { fraction: 6 } => ColumnType::Year,
        ColumnType::Timestamp { fraction } => ColumnType::Timestamp { fraction: fraction + 1 },
        ColumnType::Year => ColumnType::Json,
        ColumnType::Json => ColumnType::Geometry { kind: GeometryKind::Geometry },
        ColumnType::Geometry { kind } => match next_kind(*kind) {
            Some(kind) => ColumnType::Geometry { kind },
            None => ColumnType::Vector { dimension: 0 },
        },
        ColumnType::Vector { .. } => ColumnType::Uuid,
        ColumnType::Uuid => ColumnType::Inet4,
        ColumnType::Inet4 => ColumnType::Inet6,
        ColumnType::Inet6 => return None,
    })
}

fn text_of(form: TextForm, charset: Charset) -> ColumnType {
    ColumnType::Text { form, bytes_max: 0, charset }
}

fn next_kind(kind: GeometryKind) -> Option<GeometryKind> {
    Some(match kind {
        GeometryKind::Geometry => GeometryKind::Point,
        GeometryKind::Point => GeometryKind::LineString,
        GeometryKind::LineString => GeometryKind::Polygon,
        GeometryKind::Polygon => GeometryKind::MultiPoint,
        GeometryKind::MultiPoint => GeometryKind::MultiLineString,
        GeometryKind::MultiLineString => GeometryKind::MultiPolygon,
        GeometryKind::MultiPolygon => GeometryKind::GeometryCollection,
        GeometryKind::GeometryCollection => return None,
    })
}

fn next_form(form: TextForm) -> Option<TextForm> {
    match form {
        TextForm::Fixed => Some(TextForm::Varying),
        TextForm::Varying => Some(TextForm::Large),
        TextForm::Large => None,
    }
}

fn next_charset(charset: Charset) -> Option<Charset> {
    Charset::ALL.into_iter().skip_while(|known| *known != charset).nth(1)
}

#[test]
fn every_column_type_has_a_row() {
    let rows = |groups: Vec<Group>| groups.into_iter().flat_map(|group| group.rows).collect::<Vec<TypeRow>>();
    let catalogues = [rows(groups()), rows(groups_of_mariadb())];
    let shapes = shapes();
    assert!(shapes.len() > 60, "the chain of column types is cut short: {}", shapes.len());
    for shape in shapes {
        let has_row = catalogues.iter().flatten().any(|row| row.shape == shape);
        assert!(has_row, "no test row for {shape:?}");
    }
    for rows in &catalogues {
        for row in rows {
            assert!(row.values.len() > 1, "{} has too few values", row.name);
            assert_eq!(rows.iter().filter(|other| other.name == row.name).count(), 1, "{} stands twice", row.name);
        }
    }
}
