//! Every intended difference between our records and Debezium's, by name, with its reason. `docs/debezium.md` tells users of
//! each; one that no longer occurs in any recording fails, and so does a difference that is not named here.

/// A named difference.
pub(super) struct Difference {
    pub(super) name: &'static str,
    /// Values, as [`Change`] says; those that follow from a rule are in `rules`.
    pub(super) values: &'static [Change],
    /// A field of the schema part: where, table, Debezium's field without its default, ours.
    pub(super) fields: &'static [(&'static str, &'static str, &'static str, &'static str)],
}

/// Where (see `Recording::is`), table, end of the key or nothing, column, Debezium's text, ours.
pub(super) type Change = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const fn of_values(name: &'static str, values: &'static [Change]) -> Difference {
    Difference { name, values, fields: &[] }
}

/// Differences that a rule of the test applies.
pub(super) mod rule {
    /// BIGINT UNSIGNED is a Decimal by default: Debezium's default wraps around at 2^63.
    pub(crate) const BIGINT_UNSIGNED: &str = "bigint-unsigned";
    /// A copied row says `incremental`: ours is always copied beside the stream.
    pub(crate) const SNAPSHOT: &str = "snapshot-marker";
    /// `transaction` is null.
    pub(crate) const TRANSACTION: &str = "transaction-metadata";
    /// Defaults of columns are not in the schema part.
    pub(crate) const DEFAULTS: &str = "schema-defaults";
    /// A table without a key is refused.
    pub(crate) const NO_KEY: &str = "no-key";
    /// TRUNCATE is a barrier, and no record.
    pub(crate) const TRUNCATE: &str = "truncate";
    /// Two tables of one topic are refused.
    pub(crate) const SHARED_TOPIC: &str = "shared-topic";
    /// JSON is the text that the server prints; Debezium's stream prints its own.
    pub(crate) const JSON_TEXT: &str = "json-text";
    /// The SRID 0 is 0, where Debezium shows null.
    pub(crate) const GEOMETRY_SRID: &str = "geometry-srid";
    /// A fraction has exactly the column's digits in copied rows too.
    pub(crate) const TIMESTAMP_DIGITS: &str = "timestamp-digits";
    /// Texts are what the server makes of their bytes: Debezium's stream has tables of its own for some charsets, and takes a byte
    /// order mark away.
    pub(crate) const CHARSETS: &str = "charset-tables";
    pub(crate) const ALL: [&str; 11] = [
        GEOMETRY_SRID,
        BIGINT_UNSIGNED,
        SNAPSHOT,
        TRANSACTION,
        DEFAULTS,
        NO_KEY,
        TRUNCATE,
        SHARED_TOPIC,
        JSON_TEXT,
        TIMESTAMP_DIGITS,
        CHARSETS,
    ];
}

#[rustfmt::skip]
pub(super) const DIFFERENCES: &[Difference] = &[
    // BOOLEAN is TINYINT(1): its values are numbers, and 2 is not true.
    Difference {
        name: "boolean",
        values: &[
            ("stream", "t_bit", ":4}", "bo", "true", "2"),
            ("stream", "t_bit", "", "bo", "false", "0"),
            ("stream", "t_bit", "", "bo", "true", "1"),
            ("stream", "t_default", "", "bo", "true", "1"),
        ],
        fields: &[
            ("stream", "t_bit", r#"{"type":"boolean","optional":true,"field":"bo"}"#, r#"{"type":"int16","optional":true,"field":"bo"}"#),
            ("stream", "t_default", r#"{"type":"boolean","optional":false,"field":"bo"}"#, r#"{"type":"int16","optional":false,"field":"bo"}"#),
        ],
    },
    // FLOAT(7,3) is a FLOAT: Debezium widens it to a double.
    Difference {
        name: "float-with-digits",
        values: &[
            ("", "t_float", "", "f73", "9999.9990234375", "9999.999"),
            ("", "t_float", "", "f73", "-9999.9990234375", "-9999.999"),
            ("", "t_float", "", "f73", "0.0010000000474974513", "0.001"),
            ("", "t_float", "", "f73", "3.1419999599456787", "3.142"),
        ],
        fields: &[("", "t_float", r#"{"type":"double","optional":true,"field":"f73"}"#, r#"{"type":"float","optional":true,"field":"f73"}"#)],
    },
    // REAL is a DOUBLE in MySQL: Debezium's stream narrows it.
    Difference {
        name: "real",
        values: &[
            ("stream", "t_float", "", "r", r#""Infinity""#, "1.7976931348623157E308"),
            ("stream", "t_float", "", "r", r#""-Infinity""#, "-1.7976931348623157E308"),
            ("stream", "t_float", ":3}", "r", "0.0", "2.2250738585072014E-308"),
            ("stream", "t_float", ":4}", "r", "0.0", "4.9E-324"),
            ("stream", "t_float", "", "r", "3.1415927", "3.141592653589793"),
            ("stream", "t_float", "", "r", "1.6777216E7", "1.6777217E7"),
        ],
        fields: &[("stream", "t_float", r#"{"type":"float","optional":true,"field":"r"}"#, r#"{"type":"double","optional":true,"field":"r"}"#)],
    },
    // Copied rows have all digits of a FLOAT: Debezium reads the six that the server prints.
    of_values("float-six-digits", &[
        ("read", "t_float", "", "f", "3.40282E38", "3.4028235E38"),
        ("read", "t_float", "", "f24", "3.40282E38", "3.4028235E38"),
        ("read", "t_float", "", "fu", "3.40282E38", "3.4028235E38"),
        ("read", "t_float", "", "f", "-3.40282E38", "-3.4028235E38"),
        ("read", "t_float", "", "f24", "-3.40282E38", "-3.4028235E38"),
        ("read", "t_float", "", "f", "1.17549E-38", "1.1754944E-38"),
        ("read", "t_float", "", "f24", "1.17549E-38", "1.1754944E-38"),
        ("read", "t_float", "", "fu", "1.17549E-38", "1.1754944E-38"),
        ("read", "t_float", "", "f", "1.67772E7", "1.6777216E7"),
        ("read", "t_float", "", "f24", "1.67772E7", "1.6777216E7"),
        ("read", "t_float", "", "fu", "1.67772E7", "1.6777216E7"),
        ("read", "t_float", "", "fu", "123457.0", "123456.7"),
    ]),
    // Java before 19 prints a digit too many here (JDK-4511638): the same number.
    of_values("java-float-text", &[
        ("stream", "t_float", "", "f", "1.17549435E-38", "1.1754944E-38"),
        ("stream", "t_float", "", "f24", "1.17549435E-38", "1.1754944E-38"),
        ("stream", "t_float", "", "fu", "1.17549435E-38", "1.1754944E-38"),
        ("", "t_vector", "", "v", "[3.4028235E38,-3.4028235E38,1.17549435E-38,-0.0]", "[3.4028235E38,-3.4028235E38,1.1754944E-38,-0.0]"),
    ]),
    // MariaDB's connector 3.5.0 takes INTEGER UNSIGNED for INT.
    Difference {
        name: "integer-unsigned",
        values: &[("mariadb stream", "t_int", "", "i2u", "-1", "4294967295"), ("mariadb stream", "t_int", "", "i2u", "-2147483648", "2147483648")],
        fields: &[("mariadb stream", "t_int", r#"{"type":"int32","optional":true,"field":"i2u"}"#, r#"{"type":"int64","optional":true,"field":"i2u"}"#)],
    },
    // NULL is null, whatever the column's default.
    of_values("null-with-default", &[
        ("", "t_default", ":2}", "den", r#""Bdw=""#, "null"),
        ("", "t_default", ":2}", "dbl", "-2.5E-10", "null"),
        ("stream", "t_default", ":2}", "vc", r#""it''s \"q\" \\\\ é\uD83D\uDE00""#, "null"),
        ("mysql read", "t_default", ":2}", "vc", r#""6974277320227122205C20C3A9F09F988""#, "null"),
        ("mariadb read", "t_default", ":2}", "vc", r#""it''s \"q\" \\\\ é?""#, "null"),
        ("", "t_default", ":2}", "vb", r#""eHk=""#, "null"),
        ("", "t_default", ":2}", "se", r#""a,b""#, "null"),
        ("", "t_default", ":2}", "dt6", "1709210096123456", "null"),
    ]),
    // Members have their own text in the stream too.
    of_values("enum-escapes", &[
        ("stream", "t_enum_set", "", "eo", r#""x\\,y""#, r#""x,y""#),
        ("stream", "t_enum_set", "", "eo", r#""back\\\\slash""#, r#""back\\slash""#),
    ]),
    // BINARY without a length is BINARY(1), padded like any other.
    of_values("binary-without-length", &[
        ("stream", "t_binary", ":2}", "b1", r#""""#, r#""AA==""#),
        ("stream", "t_binary", ":7}", "b1", r#""""#, r#""AA==""#),
    ]),
    // The years 0 to 99 are not two-digit years.
    of_values("early-years", &[
        ("stream", "t_date", ":5}", "d", "null", "-719528"),
        ("stream", "t_date", ":5}", "dn", "0", "-719528"),
        ("read", "t_date", ":5}", "d", "10957", "-719528"),
        ("read", "t_date", ":5}", "dn", "10957", "-719528"),
        ("", "t_date", ":6}", "d", "11323", "-719162"),
        ("", "t_date", ":6}", "dn", "11323", "-719162"),
        ("", "t_date", ":7}", "d", "36524", "-693962"),
        ("", "t_date", ":7}", "dn", "36524", "-693962"),
        ("", "t_date", ":8}", "d", "0", "-693961"),
        ("", "t_date", ":8}", "dn", "0", "-693961"),
        ("", "t_date", ":9}", "d", "10956", "-683004"),
        ("", "t_datetime", ":6}", "d0", "978307200000", "-62135596800000"),
        ("", "t_datetime", ":6}", "d1", "978307200000", "-62135596800000"),
        ("", "t_datetime", ":6}", "d3", "3124224000000", "-59989766400000"),
        ("", "t_datetime", ":6}", "d4", "3124224000000000", "-59989766400000000"),
        ("", "t_datetime", ":6}", "d6", "0", "-59958230400000000"),
        ("", "t_datetime", ":6}", "dn0", "915148800000", "-59042995200000"),
    ]),
    // The year 0000 has one substitute: Debezium's stream shows 1900, its copied rows 2000.
    of_values("year-zero", &[
        ("mysql read", "t_date", ":2}", "y", "2000", "1900"),
        ("mysql read", "t_date", ":2}", "yn", "2000", "1900"),
    ]),
    // The zero timestamp is null where the column allows it: MariaDB's connector 3.5.0 shows the epoch.
    of_values("timestamp-zero", &[
        ("mariadb stream", "t_timestamp", ":4}", "s0", r#""1970-01-01T00:00:00Z""#, "null"),
        ("mariadb stream", "t_timestamp", ":4}", "s1", r#""1970-01-01T00:00:00.0Z""#, "null"),
        ("mariadb stream", "t_timestamp", ":4}", "s3", r#""1970-01-01T00:00:00.000Z""#, "null"),
        ("mariadb stream", "t_timestamp", ":4}", "s6", r#""1970-01-01T00:00:00.000000Z""#, "null"),
        ("mariadb stream", "t_timestamp", ":4}", "sn6", r#""1970-01-01T00:00:00.000000Z""#, r#""1970-01-01T00:00:00Z""#),
    ]),
    // latin1 has no holes: the five bytes that cp1252 lacks are U+0081 and so on.
    of_values("latin1-holes", &[
        ("stream", "t_charset", ":2}", "l1",
         "\"€\u{fffd}‚ƒ„…†‡ˆ‰Š‹Œ\u{fffd}Ž\u{fffd}\u{fffd}‘’“”•–—˜™š›œ\u{fffd}žŸ\"",
         "\"€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ\""),
        ("stream", "t_charset", ":2}", "l1c", "\"\u{fffd}\"", "\"\u{81}\""),
        ("stream", "t_charset", ":2}", "l1t", "\"\u{fffd}\u{fffd}\u{fffd}\u{fffd}\"", "\"\u{8d}\u{8f}\u{90}\u{9d}\""),
    ]),
    // Bytes that the server has no character for are no text: they stand in the header.
    of_values("bytes-without-character", &[
        ("stream", "t_charset", ":4}", "gbkt", "\"\u{e864}\"", "\"\u{fffd}\u{fffd}\""),
        ("read", "t_charset", ":4}", "gbkt", "\"?\"", "\"\u{fffd}\u{fffd}\""),
    ]),
    // VARCHAR CHARACTER SET binary is VARBINARY.
    Difference {
        name: "charset-binary",
        values: &[
            ("stream", "t_charset", ":1}", "bin", r#""az""#, r#""YXo=""#),
            ("stream", "t_charset", ":3}", "bin", "\"\\u0000ÿ\u{80}\"", r#""AP+A""#),
            ("stream", "t_charset", ":4}", "bin", r#""x""#, r#""eA==""#),
            ("stream", "t_charset", ":5}", "bin", r#""a ""#, r#""YSA=""#),
        ],
        fields: &[("stream", "t_charset", r#"{"type":"string","optional":true,"field":"bin"}"#, r#"{"type":"bytes","optional":true,"field":"bin"}"#)],
    },
    // Members of an ENUM or SET are whole: Debezium reads the list from SHOW CREATE TABLE, which shows `?` for characters above U+FFFF.
    Difference {
        name: "enum-list",
        values: &[],
        fields: &[
            ("read", "t_enum_set", r#"{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"x\\,y,it's,\"q\",sp ace,é?,,back\\\\slash"},"field":"eo"}"#,
             r#"{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"x\\,y,it's,\"q\",sp ace,é\uD83D\uDE00,,back\\\\slash"},"field":"eo"}"#),
            ("read", "t_enum_set", r#"{"type":"string","optional":true,"name":"io.debezium.data.EnumSet","version":1,"parameters":{"allowed":"it's,é?,sp ace,z"},"field":"so"}"#,
             r#"{"type":"string","optional":true,"name":"io.debezium.data.EnumSet","version":1,"parameters":{"allowed":"it's,é\uD83D\uDE00,sp ace,z"},"field":"so"}"#),
        ],
    },
    // MariaDB's log cuts zeros off the end of a UUID: Debezium's stream shifts what is left.
    of_values("uuid-zeros", &[
        ("stream", "t_uuid", "", "u", r#""0000123e-4567-e89b-12d3-a45642665544""#, r#""123e4567-e89b-12d3-a456-426655440000""#),
        ("stream", "t_uuid", "", "un", r#""0000123e-4567-e89b-12d3-a45642665544""#, r#""123e4567-e89b-12d3-a456-426655440000""#),
        ("stream", "t_uuid", "", "u", r#""00f47ac1-0b58-cc43-72a5-670e02b2c3d4""#, r#""f47ac10b-58cc-4372-a567-0e02b2c3d400""#),
        ("stream", "t_uuid", "", "un", r#""00000000-0000-f47a-c10b-58cc4372a567""#, r#""f47ac10b-58cc-4372-a567-000000000000""#),
        ("stream", "t_pk_uuid", "", "u", r#""0000123e-4567-e89b-12d3-a45642665544""#, r#""123e4567-e89b-12d3-a456-426655440000""#),
        ("stream", "t_pk_uuid", "", "u", r#""00000000-0000-f47a-c10b-58cc4372a567""#, r#""f47ac10b-58cc-4372-a567-000000000000""#),
    ]),
    // MariaDB's JSON is LONGTEXT: a text of any form, which copied rows of Debezium say too.
    Difference {
        name: "mariadb-json",
        values: &[],
        fields: &[
            ("mariadb stream", "t_json", r#"{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1,"field":"j"}"#, r#"{"type":"string","optional":true,"field":"j"}"#),
            ("mariadb stream", "t_delete", r#"{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1,"field":"j"}"#, r#"{"type":"string","optional":true,"field":"j"}"#),
            ("mariadb stream", "t_default", r#"{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1,"field":"js"}"#, r#"{"type":"string","optional":true,"field":"js"}"#),
        ],
    },
];

/// JSON texts that no copied row shows, because the row was changed or deleted: table, end of the key, Debezium's, the server's.
pub(super) const JSON_TEXTS: &[(&str, &str, &str, &str)] = &[
    ("t_json", ":8}", r#""{\"\":5,\"a\":2,\"c\":3,\"bb\":4}""#, r#""{\"\": 5, \"a\": 2, \"c\": 3, \"bb\": 4}""#),
    ("t_delete", ":1}", r#""{\"a\":1}""#, r#""{\"a\": 1}""#),
];

/// What `tailrace.exact` holds of a row: where, table, key, truths of the image and of the key.
#[rustfmt::skip]
pub(super) const TRUTHS: &[(&str, &str, &str, &str)] = &[
    ("stream", "t_date", ":2}", r#""d":"0000-00-00","dn":"0000-00-00","y":"0000","yn":"0000""#),
    ("mysql read", "t_date", ":2}", r#""d":"0000-00-00","dn":"0000-00-00","y":"0000","yn":"0000""#),
    // Its years were changed before these recordings: they stop the connector.
    ("mariadb read", "t_date", ":2}", r#""d":"0000-00-00","dn":"0000-00-00""#),
    ("", "t_date", ":3}", r#""d":"2024-00-00","dn":"2024-00-00""#),
    ("", "t_date", ":4}", r#""d":"2024-02-00","dn":"2024-02-00""#),
    ("", "t_datetime", ":2}", r#""d0":"0000-00-00 00:00:00","d1":"0000-00-00 00:00:00","d3":"0000-00-00 00:00:00","d4":"0000-00-00 00:00:00","d6":"0000-00-00 00:00:00","dn0":"0000-00-00 00:00:00","dn6":"0000-00-00 00:00:00""#),
    ("", "t_datetime", ":3}", r#""d0":"2024-00-00 00:00:00","d1":"2024-00-00 01:02:03","d3":"2024-00-00 01:02:03.004000","d4":"2024-00-00 00:00:00","d6":"2024-00-00 01:02:03.000004","dn0":"2024-00-00 00:00:00","dn6":"2024-00-00 01:02:03.000004""#),
    ("", "t_datetime", ":4}", r#""d0":"2024-02-00 00:00:00","d1":"2024-02-00 00:00:00","d3":"2024-02-00 00:00:00","d4":"2024-02-00 00:00:00","d6":"2024-02-00 00:00:00","dn0":"2024-02-00 00:00:00","dn6":"2024-02-00 00:00:00""#),
    ("", "t_charset", ":4}", r#""gbkt":{"base64":"/qA="}"#),
    ("", "t_delete", ":3}", r#""d":"0000-00-00""#),
    ("", "t_enum_set", ":3}", r#""eo":"0""#),
    ("", "t_default", "", r#""dz":"0000-00-00","dtz":"0000-00-00 00:00:00""#),
    ("", "t_pk_types", r#""dt":0,"da":0,"ti":0,"ts":"1970-01-01T00:00:00Z","en":"","bt":"AA=="}"#, r#""dt":"0000-00-00 00:00:00","da":"0000-00-00","ts":"0000-00-00 00:00:00""#),
    ("", "t_timestamp", ":4}", r#""s0":"0000-00-00 00:00:00","s1":"0000-00-00 00:00:00","s3":"0000-00-00 00:00:00","s6":"0000-00-00 00:00:00","sn":"0000-00-00 00:00:00","sn6":"0000-00-00 00:00:00""#),
];

/// Recorded columns of types that are not ours yet: they are left out of the comparison.
#[rustfmt::skip]
pub(super) const NOT_COMPARED: &[(&str, &str, &[&str])] = &[];

/// The documents name what the tests know, in the same words.
#[test]
fn every_difference_is_in_the_documents() {
    let manual = include_str!("../../../../../docs/debezium.md");
    let section = |from: &str| manual.split(from).nth(1).expect("the section");
    let rows = |text: &str| -> std::collections::BTreeSet<String> {
        let of_line = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned());
        text.split("\n## ").next().expect("one at least").lines().filter_map(of_line).collect()
    };
    let ours = DIFFERENCES.iter().map(|difference| difference.name).chain(rule::ALL);
    assert_eq!(rows(section("## Where our records differ")), ours.map(str::to_owned).collect());
    let described = rows(section("### What can't be had"));
    for name in super::reading::names_of_losses() {
        assert!(described.contains(name), "{name} is not in docs/debezium.md");
    }
}
