//! Writes the tables of the MySQL connector's charsets anew, as a MySQL server answers.

use std::{collections::HashMap, fmt::Write as _};

use anyhow::{Context, Result, ensure};
use lab::charsets::{NUMBERS, TABULATED, sequences};
use lab::{Mysql, say};
use mysql_async::prelude::Queryable;

fn main() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(write_tables())
}

async fn write_tables() -> Result<()> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors/mysql/charsets");
    std::fs::create_dir_all(&folder)?;
    let options = mysql_async::Opts::from_url(&Mysql::up("main")?.admin_url()?)?;
    let mut server = mysql_async::Conn::new(options).await?;
    for charset in TABULATED {
        let all = assigned(&mut server, charset).await.with_context(|| charset.to_owned())?;
        let file = folder.join(format!("{charset}.txt"));
        std::fs::write(&file, table(&all)).with_context(|| file.display().to_string())?;
        say(&format!("{charset}: {} characters", all.len()));
    }
    server.disconnect().await?;
    Ok(())
}

/// One sequence and its character.
struct Assigned {
    bytes: Vec<u8>,
    char: char,
    /// Whether another sequence is the one that this character is kept for.
    is_second: bool,
}

/// All sequences that the server turns into a character, by length and bytes.
async fn assigned(server: &mut mysql_async::Conn, charset: &str) -> Result<Vec<Assigned>> {
    let sql = format!(
        "{NUMBERS} SELECT HEX(b), CONVERT(c USING utf8mb4), HEX(CONVERT(CONVERT(c USING utf8mb4) USING {charset})) \
         FROM (SELECT b, CONVERT(b USING {charset}) AS c FROM ({}) s) t WHERE HEX(b) = HEX(c)",
        sequences(charset)
    );
    let rows: Vec<(String, Option<String>, Option<String>)> = server.query(sql).await?;
    let mut found = Vec::new();
    for (hex, text, back) in rows {
        let mut chars = text.as_deref().unwrap_or_default().chars();
        let (Some(char), None) = (chars.next(), chars.next()) else { continue };
        let is_question = char == '?' && hex != "3F";
        // GB 18030 has a place of its own for it.
        let is_replaced = char == char::REPLACEMENT_CHARACTER && charset != "gb18030";
        if is_question || is_replaced || char > '\u{ffff}' {
            continue;
        }
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        let bytes = bytes.collect::<Result<Vec<u8>, _>>().context("hex digits")?;
        found.push((bytes, char, back.as_deref() == Some(&*hex)));
    }
    ensure!(!found.is_empty(), "the server knows no {charset}");
    Ok(rank(found))
}

/// Of several sequences for one character the first is the one of a single byte, else the one that the server itself writes,
/// else the lowest.
fn rank(found: Vec<(Vec<u8>, char, bool)>) -> Vec<Assigned> {
    let rank = |bytes: &[u8], is_own: bool| (bytes.len() > 1, !is_own, bytes.to_vec());
    let mut first = HashMap::new();
    for (bytes, char, is_own) in &found {
        let rank = rank(bytes, *is_own);
        let best = first.entry(*char).or_insert_with(|| rank.clone());
        *best = rank.min(best.clone());
    }
    let assign = |(bytes, char, _): (Vec<u8>, char, bool)| {
        let is_second = first[&char].2 != bytes;
        Assigned { bytes, char, is_second }
    };
    let mut all: Vec<Assigned> = found.into_iter().map(assign).collect();
    all.sort_by_key(|one| (one.bytes.len(), one.bytes.clone()));
    all
}

/// The table's text: a line for each run of sequences that follow one another, with the characters of all, or with the first of
/// characters that follow one another and how many there are. `~` marks sequences that come second.
fn table(all: &[Assigned]) -> String {
    const LINE_CHARS_MAX: usize = 48;
    let mut text = String::new();
    let mut rest = all;
    while let [first, ..] = rest {
        let run = rest.windows(2).take_while(|pair| follows(&pair[0], &pair[1])).count() + 1;
        let is_counted = |pair: &&[Assigned]| u32::from(pair[0].char) + 1 == u32::from(pair[1].char);
        let counted = rest[..run].windows(2).take_while(is_counted).count() + 1;
        let letters = rest[..run.min(LINE_CHARS_MAX)].iter().take_while(|one| one.char.is_alphanumeric()).count();
        let mark = if first.is_second { "~" } else { "" };
        first.bytes.iter().fold(write!(text, "{mark}"), |_, byte| write!(text, "{byte:02X}")).expect("a String");
        let is_range = counted > 8 || letters == 0;
        let taken = if is_range {
            write!(text, " U+{:04X} {counted}", u32::from(first.char)).expect("a String");
            counted
        } else {
            text.push(' ');
            text.extend(rest[..letters].iter().map(|one| one.char));
            letters
        };
        text.push('\n');
        rest = &rest[taken..];
    }
    text
}

/// Whether one sequence is next to the other: of four bytes as GB 18030 counts, else in its last byte.
fn follows(one: &Assigned, next: &Assigned) -> bool {
    if one.is_second != next.is_second || one.bytes.len() != next.bytes.len() {
        return false;
    }
    let linear = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => {
            ((u32::from(a) * 10 + u32::from(b) - 0x30) * 126 + u32::from(c) - 0x81) * 10 + u32::from(d) - 0x30
        }
        _ => bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)),
    };
    let is_same_row = one.bytes.len() == 4 || one.bytes[..one.bytes.len() - 1] == next.bytes[..one.bytes.len() - 1];
    is_same_row && linear(&one.bytes) + 1 == linear(&next.bytes)
}
