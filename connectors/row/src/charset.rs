//! The charsets of text columns: all that MySQL and MariaDB have.

use serde::{Deserialize, Serialize};

/// The charset of a text column. Values are Unicode by the time they are in a row; it says which bytes they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Charset {
    /// UTF-8 of up to four bytes.
    Utf8mb4,
    /// UTF-8 of up to three bytes.
    Utf8mb3,
    /// MySQL's latin1, which is Windows code page 1252 with its five holes filled by U+0081, 8D, 8F, 90 and 9D.
    Latin1,
    /// Seven bits.
    Ascii,
    /// Armenian, ARMSCII-8.
    Armscii8,
    /// Traditional Chinese.
    Big5,
    /// Windows, Central Europe.
    Cp1250,
    /// Windows, Cyrillic.
    Cp1251,
    /// Windows, Arabic.
    Cp1256,
    /// Windows, Baltic.
    Cp1257,
    /// DOS, Western Europe.
    Cp850,
    /// DOS, Central Europe.
    Cp852,
    /// DOS, Russian.
    Cp866,
    /// Windows, Japanese: Shift JIS with the letters of NEC and IBM.
    Cp932,
    /// DEC, Western Europe.
    Dec8,
    /// EUC for Windows' Japanese.
    Eucjpms,
    /// Korean: EUC-KR with the further syllables of Windows.
    Euckr,
    /// Chinese, the national standard.
    Gb18030,
    /// Simplified Chinese.
    Gb2312,
    /// Simplified Chinese, extended.
    Gbk,
    /// Georgian.
    Geostd8,
    /// Greek, ISO 8859-7.
    Greek,
    /// Hebrew, ISO 8859-8.
    Hebrew,
    /// HP, Western Europe.
    Hp8,
    /// DOS, Czech and Slovak of Kamenický.
    Keybcs2,
    /// Russian, KOI8-R.
    Koi8R,
    /// Ukrainian, KOI8-U.
    Koi8U,
    /// Central Europe, ISO 8859-2.
    Latin2,
    /// Turkish, ISO 8859-9.
    Latin5,
    /// Baltic, ISO 8859-13.
    Latin7,
    /// Macintosh, Central Europe.
    Macce,
    /// Macintosh, Western Europe.
    Macroman,
    /// Japanese, Shift JIS.
    Sjis,
    /// Swedish in seven bits: some signs of ASCII are letters.
    Swe7,
    /// Thai.
    Tis620,
    /// Unicode in two bytes, the high one first.
    Ucs2,
    /// Japanese, EUC-JP.
    Ujis,
    /// UTF-16, the high byte first.
    Utf16,
    /// UTF-16, the low byte first.
    Utf16Le,
    /// UTF-32, the highest byte first.
    Utf32,
}

impl Charset {
    /// All of them.
    pub const ALL: [Self; 40] = [
        Self::Utf8mb4,
        Self::Utf8mb3,
        Self::Latin1,
        Self::Ascii,
        Self::Armscii8,
        Self::Big5,
        Self::Cp1250,
        Self::Cp1251,
        Self::Cp1256,
        Self::Cp1257,
        Self::Cp850,
        Self::Cp852,
        Self::Cp866,
        Self::Cp932,
        Self::Dec8,
        Self::Eucjpms,
        Self::Euckr,
        Self::Gb18030,
        Self::Gb2312,
        Self::Gbk,
        Self::Geostd8,
        Self::Greek,
        Self::Hebrew,
        Self::Hp8,
        Self::Keybcs2,
        Self::Koi8R,
        Self::Koi8U,
        Self::Latin2,
        Self::Latin5,
        Self::Latin7,
        Self::Macce,
        Self::Macroman,
        Self::Sjis,
        Self::Swe7,
        Self::Tis620,
        Self::Ucs2,
        Self::Ujis,
        Self::Utf16,
        Self::Utf16Le,
        Self::Utf32,
    ];

    /// The charset that the servers call so; `binary` is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            // What servers before MySQL 8.0.30 call it, and MariaDB where it is told to.
            "utf8" => Some(Self::Utf8mb3),
            _ => Self::ALL.into_iter().find(|charset| charset.name() == name),
        }
    }

    /// What the servers call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8mb4 => "utf8mb4",
            Self::Utf8mb3 => "utf8mb3",
            Self::Latin1 => "latin1",
            Self::Ascii => "ascii",
            Self::Armscii8 => "armscii8",
            Self::Big5 => "big5",
            Self::Cp1250 => "cp1250",
            Self::Cp1251 => "cp1251",
            Self::Cp1256 => "cp1256",
            Self::Cp1257 => "cp1257",
            Self::Cp850 => "cp850",
            Self::Cp852 => "cp852",
            Self::Cp866 => "cp866",
            Self::Cp932 => "cp932",
            Self::Dec8 => "dec8",
            Self::Eucjpms => "eucjpms",
            Self::Euckr => "euckr",
            Self::Gb18030 => "gb18030",
            Self::Gb2312 => "gb2312",
            Self::Gbk => "gbk",
            Self::Geostd8 => "geostd8",
            Self::Greek => "greek",
            Self::Hebrew => "hebrew",
            Self::Hp8 => "hp8",
            Self::Keybcs2 => "keybcs2",
            Self::Koi8R => "koi8r",
            Self::Koi8U => "koi8u",
            Self::Latin2 => "latin2",
            Self::Latin5 => "latin5",
            Self::Latin7 => "latin7",
            Self::Macce => "macce",
            Self::Macroman => "macroman",
            Self::Sjis => "sjis",
            Self::Swe7 => "swe7",
            Self::Tis620 => "tis620",
            Self::Ucs2 => "ucs2",
            Self::Ujis => "ujis",
            Self::Utf16 => "utf16",
            Self::Utf16Le => "utf16le",
            Self::Utf32 => "utf32",
        }
    }

    /// Most bytes of one character, by which the servers count the bytes of CHAR(n) and VARCHAR(n).
    #[must_use]
    pub fn bytes_each_max(self) -> u32 {
        match self {
            Self::Utf8mb4 | Self::Gb18030 | Self::Utf16 | Self::Utf16Le | Self::Utf32 => 4,
            Self::Utf8mb3 | Self::Eucjpms | Self::Ujis => 3,
            Self::Big5 | Self::Cp932 | Self::Euckr | Self::Gb2312 | Self::Gbk | Self::Sjis | Self::Ucs2 => 2,
            Self::Latin1
            | Self::Ascii
            | Self::Armscii8
            | Self::Cp1250
            | Self::Cp1251
            | Self::Cp1256
            | Self::Cp1257
            | Self::Cp850
            | Self::Cp852
            | Self::Cp866
            | Self::Dec8
            | Self::Geostd8
            | Self::Greek
            | Self::Hebrew
            | Self::Hp8
            | Self::Keybcs2
            | Self::Koi8R
            | Self::Koi8U
            | Self::Latin2
            | Self::Latin5
            | Self::Latin7
            | Self::Macce
            | Self::Macroman
            | Self::Swe7
            | Self::Tis620 => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_name_under_which_schemas_are_kept() {
        for charset in Charset::ALL {
            assert_eq!(serde_json::to_string(&charset).unwrap(), format!("\"{}\"", charset.name()));
            assert_eq!(Charset::named(charset.name()), Some(charset));
        }
        assert_eq!(Charset::named("utf8"), Some(Charset::Utf8mb3));
        assert_eq!(Charset::named("binary"), None);
    }
}
