//! How the servers are asked what they make of every byte sequence of their charsets.
//!
//! The program `charsets` writes the answers into the tables of the MySQL connector (`cargo run -p lab --features drivers --bin
//! charsets`); a test of that connector compares what it decodes with the answers of both servers.

/// The charsets whose text takes a table: all but Unicode's own, `latin1`, `ascii` and `binary`.
pub const TABULATED: [&str; 32] = [
    "armscii8", "big5", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "cp932", "dec8", "eucjpms",
    "euckr", "gb18030", "gb2312", "gbk", "geostd8", "greek", "hebrew", "hp8", "keybcs2", "koi8r", "koi8u", "latin2",
    "latin5", "latin7", "macce", "macroman", "sjis", "swe7", "tis620", "ujis",
];

/// The numbers 0 to 255, for [`sequences`].
pub const NUMBERS: &str = "WITH RECURSIVE d (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM d WHERE n < 255)";

/// SQL that yields, as `b`, all byte sequences which may be one character of the charset; beyond U+FFFF only some.
pub fn sequences(charset: &str) -> String {
    const ONE: &str = "SELECT UNHEX(LPAD(HEX(n), 2, '0')) AS b FROM d";
    const TWO: &str = "SELECT UNHEX(CONCAT(LPAD(HEX(x.n), 2, '0'), LPAD(HEX(y.n), 2, '0'))) AS b FROM d x, d y";
    const THREE: &str = "SELECT UNHEX(CONCAT('8F', HEX(x.n), HEX(y.n))) FROM d x, d y WHERE x.n >= 128 AND y.n >= 128";
    const FOUR: &str = "SELECT UNHEX(CONCAT(HEX(x.n), HEX(48 + y.n), HEX(129 + z.n), HEX(48 + w.n))) FROM d x, d y, d z, d w \
                        WHERE x.n BETWEEN 129 AND 132 AND y.n < 10 AND z.n < 126 AND w.n < 10";
    const BEYOND: [&str; 6] = ["10000", "103FF", "1F600", "2FFFD", "E0001", "10FFFF"];
    let and_beyond = |all: &str| {
        let one =
            |code| format!("SELECT CAST(CONVERT(CONVERT(UNHEX('{code:0>8}') USING utf32) USING {charset}) AS BINARY)");
        format!("{all} UNION ALL {}", BEYOND.map(one).join(" UNION ALL "))
    };
    match charset {
        "ujis" | "eucjpms" => format!("{ONE} UNION ALL {TWO} WHERE x.n >= 128 UNION ALL {THREE}"),
        "gb18030" => and_beyond(&format!("{ONE} UNION ALL {TWO} WHERE x.n >= 128 UNION ALL {FOUR}")),
        "big5" | "cp932" | "euckr" | "gb2312" | "gbk" | "sjis" => format!("{ONE} UNION ALL {TWO} WHERE x.n >= 128"),
        "ucs2" => TWO.to_owned(),
        "utf16" | "utf16le" => and_beyond(TWO),
        "utf32" => and_beyond(&TWO.replace("CONCAT(", "CONCAT('0000', ")),
        "utf8mb4" | "utf8mb3" => format!(
            "SELECT CAST(CONVERT(CONVERT(b USING ucs2) USING {charset}) AS BINARY) AS b FROM ({TWO} WHERE x.n NOT BETWEEN 216 AND 223) t"
        ),
        _ => ONE.to_owned(),
    }
}
