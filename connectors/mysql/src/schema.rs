//! Tables from the server's dictionary, in the very shape that their table maps will give them.
//!
//! A schema's id is its content, so a table asked for here and the same table met in the binlog must not differ in the
//! smallest thing: a test compares both for every type.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use tailrace_contract::{Error, Result, SeenTable, TableFilter, TablePattern};
use tailrace_row::{Column, ColumnType, GeometryKind, TableName, TableSchema, TextForm};

use crate::{
    binlog::{check_key, no_decoder},
    keys::{UniqueKey, choice},
    protocol::{Connection, Row, quote_text},
    row_decoder::{NoDecoder, Unsupported, charset::Encoding},
};

/// A table as the dictionary has it: the schema, or why it has none.
pub(crate) struct FoundTable {
    pub(crate) name: TableName,
    pub(crate) schema: Result<Arc<TableSchema>>,
    /// It has no primary key.
    pub(crate) is_keyless: bool,
    /// What stands for it.
    pub(crate) unique_key: Option<UniqueKey>,
    pub(crate) engine: Box<str>,
}

/// The index of a primary key.
pub(crate) const PRIMARY: &str = "PRIMARY";

impl FoundTable {
    /// The index of its key.
    pub(crate) fn key_index(&self) -> &str {
        self.unique_key.as_ref().map_or(PRIMARY, |key| &key.index)
    }
}

/// The schemas of all matching tables. The first that can't be captured is an error.
pub(crate) async fn tables(connection: &mut Connection, filter: &TableFilter) -> Result<Vec<Arc<TableSchema>>> {
    find(connection, filter).await?.into_iter().map(|found| found.schema).collect()
}

/// The first ENUM or SET whose members the dictionary may not show as they are: it has a question mark for each character above U+FFFF,
/// so one member may have become another unseen.
pub(crate) fn doubtful_members(schema: &TableSchema) -> Option<&Column> {
    let is_doubtful = |member: &str| member.chars().any(|char| char == '?' || char > '\u{ffff}');
    schema.columns().iter().find(|column| match &column.column_type {
        ColumnType::Enum { members } | ColumnType::Set { members } => members.iter().any(|member| is_doubtful(member)),
        _ => false,
    })
}

/// All matching tables, ordered by name.
pub(crate) async fn find(connection: &mut Connection, filter: &TableFilter) -> Result<Vec<FoundTable>> {
    let mut found = look(connection, filter).await?;
    // The dictionary answers in two parts: a table that is made or dropped between them seems to have no key. What can't be
    // captured counts only if it is seen twice.
    loop {
        let failed = |found: &[FoundTable]| -> BTreeSet<TableName> {
            found.iter().filter(|table| table.schema.is_err()).map(|table| table.name.clone()).collect()
        };
        let before = failed(&found);
        if before.is_empty() {
            return Ok(found);
        }
        found = look(connection, filter).await?;
        if failed(&found).is_subset(&before) {
            return Ok(found);
        }
    }
}

async fn look(connection: &mut Connection, filter: &TableFilter) -> Result<Vec<FoundTable>> {
    if filter.patterns.is_empty() {
        return Ok(Vec::new());
    }
    let condition = condition(filter);
    let mut keys = primary_keys(connection, &condition).await?;
    let rows = connection
        .query(&format!(
            "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, c.IS_NULLABLE, \
             c.CHARACTER_OCTET_LENGTH, c.NUMERIC_PRECISION, c.NUMERIC_SCALE, c.DATETIME_PRECISION, c.CHARACTER_SET_NAME, \
             t.TABLE_TYPE, c.EXTRA, t.ENGINE \
             FROM information_schema.COLUMNS c JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME) \
             WHERE t.TABLE_TYPE IN ('BASE TABLE', {OF_MARIADB}) AND ({condition}) ORDER BY c.ORDINAL_POSITION"
        ))
        .await?;
    // 11.8.9 does so in updates and deletes, 11.8.6 and 10.11 do not: a server is updated any day, and an update without such a
    // column does not say what became of it. What lies between is not tried at the data's cost.
    let leaves_generated_out = connection.version().is_mariadb_since(11, 0);
    let is_mariadb = connection.version().is_mariadb_since(0, 0);
    let mut by_table: BTreeMap<TableName, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| filter.matches(row.text(0), row.text(1))) {
        by_table.entry(TableName::new(row.text(0), row.text(1))).or_default().push(row);
    }
    let mut unique_keys = BTreeMap::new();
    for (name, columns) in by_table.iter().filter(|(name, _)| !keys.contains_key(*name)) {
        let is_virtual =
            |column: &str| columns.iter().any(|row| row.text(2) == column && row.text(12).contains("VIRTUAL"));
        unique_keys.extend(choice::ask(connection, name, is_virtual).await?.map(|key| (name.clone(), key)));
    }
    let found = by_table.into_iter().map(|(name, columns)| {
        let primary_key = keys.remove(&name);
        let (is_keyless, unique_key) = (primary_key.is_none(), unique_keys.remove(&name));
        let key = primary_key.or_else(|| Some(unique_key.as_ref()?.columns.clone())).unwrap_or_default();
        let generated = columns.iter().find(|row| leaves_generated_out && row.text(12).contains("GENERATED"));
        let vector = columns.iter().find(|row| is_mariadb && row.text(3) == "vector");
        let schema = match (generated, vector) {
            (Some(row), _) => Err(generated_column(&name, row.text(2))),
            (None, Some(row)) => {
                let unsupported =
                    Unsupported { column: row.text(2).to_owned(), what: "type VECTOR of MariaDB".to_owned() };
                Err(no_decoder(name.clone(), NoDecoder::Unsupported(unsupported)))
            }
            (None, None) => schema(&name, &columns, &key),
        };
        let engine = columns.first().map_or("", |row| row.text(13)).into();
        FoundTable { schema: schema.map(Arc::new), is_keyless, unique_key, engine, name }
    });
    Ok(found.collect())
}

/// All tables of users' databases, and which of them can't be captured.
pub(crate) async fn inventory(connection: &mut Connection) -> Result<Vec<SeenTable>> {
    let rows = connection
        .query(
            "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA \
             WHERE SCHEMA_NAME NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')",
        )
        .await?;
    let patterns = rows.iter().map(|row| TablePattern::Database(row.text(0).into())).collect();
    let found = find(connection, &TableFilter { patterns }).await?;
    let seen = |table: FoundTable| {
        let obstacle = table.schema.err().map(|error| error.message().to_owned());
        SeenTable { name: table.name, obstacle }
    };
    Ok(found.into_iter().map(seen).collect())
}

/// MariaDB's tables of other kinds: they are in the binlog too.
const OF_MARIADB: &str = "'SYSTEM VERSIONED', 'SEQUENCE'";

pub(crate) fn condition(filter: &TableFilter) -> String {
    let one = |pattern: &TablePattern| match pattern {
        TablePattern::Table(name) => {
            format!("(TABLE_SCHEMA = {} AND TABLE_NAME = {})", quote_text(&name.database), quote_text(&name.table))
        }
        TablePattern::Database(database) => format!("TABLE_SCHEMA = {}", quote_text(database)),
    };
    filter.patterns.iter().map(one).collect::<Vec<_>>().join(" OR ")
}

async fn primary_keys(connection: &mut Connection, condition: &str) -> Result<BTreeMap<TableName, Vec<Box<str>>>> {
    let rows = connection
        .query(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
             WHERE INDEX_NAME = 'PRIMARY' AND ({condition}) ORDER BY SEQ_IN_INDEX"
        ))
        .await?;
    let mut keys: BTreeMap<TableName, Vec<Box<str>>> = BTreeMap::new();
    for row in &rows {
        keys.entry(TableName::new(row.text(0), row.text(1))).or_default().push(row.text(2).into());
    }
    Ok(keys)
}

/// The matching tables, by whether they have a primary key.
pub(crate) struct ByKey {
    pub(crate) primary: HashSet<TableName>,
    pub(crate) keyless: BTreeSet<TableName>,
}

pub(crate) async fn by_key(connection: &mut Connection, filter: &TableFilter) -> Result<ByKey> {
    if filter.patterns.is_empty() {
        return Ok(ByKey { primary: HashSet::new(), keyless: BTreeSet::new() });
    }
    let condition = condition(filter);
    let rows = connection
        .query(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND ({condition})"
        ))
        .await?;
    let primary = primary_keys(connection, &condition).await?.into_keys();
    let primary: HashSet<TableName> = primary.filter(|name| filter.matches(&name.database, &name.table)).collect();
    let all = rows.iter().filter(|row| filter.matches(row.text(0), row.text(1)));
    let all = all.map(|row| TableName::new(row.text(0), row.text(1)));
    Ok(ByKey { keyless: all.filter(|name| !primary.contains(name)).collect(), primary })
}

fn generated_column(name: &TableName, column: &str) -> Error {
    let what = format!("its column {column} is generated, and this server logs updates without such columns");
    Error::table_failed(name.clone(), what).hint("make it a plain column, or leave the table out")
}

fn schema(name: &TableName, rows: &[&Row], key: &[Box<str>]) -> Result<TableSchema> {
    let kind = rows.first().map_or("", |row| row.text(11));
    if kind != "BASE TABLE" {
        let what = format!("it is a table of kind {kind}, which is not supported yet");
        return Err(Error::table_failed(name.clone(), what).hint("leave the table out"));
    }
    let columns = rows.iter().map(|row| column(row)).collect::<std::result::Result<Vec<_>, _>>();
    let columns = columns.map_err(|unsupported| no_decoder(name.clone(), NoDecoder::Unsupported(unsupported)))?;
    let places: Option<Vec<usize>> =
        key.iter().map(|part| columns.iter().position(|column| column.name == *part)).collect();
    let places =
        places.ok_or_else(|| Error::corrupt("the key names a column that is not listed").on_table(name.clone()))?;
    check_key(name.clone(), &places)?;
    TableSchema::new(name.clone(), columns, places).map_err(|error| no_decoder(name.clone(), NoDecoder::Schema(error)))
}

fn column(row: &Row) -> std::result::Result<Column, Unsupported> {
    let column_type = column_type(row).map_err(|what| Unsupported { column: row.text(2).to_owned(), what })?;
    Ok(Column { name: row.text(2).into(), column_type, nullable: row.text(5) == "YES" })
}

fn column_type(row: &Row) -> std::result::Result<ColumnType, String> {
    let (data_type, declared) = (row.text(3), row.text(4));
    let number = |column: usize| row.text(column).parse().map_err(|_| format!("type {declared}"));
    let small = |column: usize| row.text(column).parse().map_err(|_| format!("type {declared}"));
    let integer = |bits| ColumnType::Integer { bits, unsigned: declared.contains("unsigned") };
    if declared == "uuid /* old */" {
        return Err(
            "type UUID in its form before MariaDB 10.11.5 (ALTER TABLE … FORCE makes it a present one)".to_owned()
        );
    }
    if let Some((form, _)) = declared.split_once(" /* mariadb-5.3 */") {
        return Err(format!(
            "type {} in the form of MariaDB 5.3 (SET GLOBAL mysql56_temporal_format = ON, then ALTER TABLE … FORCE makes it a \
             present one)",
            form.to_uppercase()
        ));
    }
    Ok(match data_type {
        "tinyint" => integer(8),
        "smallint" => integer(16),
        "mediumint" => integer(24),
        "int" => integer(32),
        "bigint" => integer(64),
        "decimal" => ColumnType::Decimal { precision: small(7)?, scale: small(8)? },
        "float" => ColumnType::Float,
        "double" => ColumnType::Double,
        "bit" => ColumnType::Bit { length: small(7)? },
        "char" => text(row, TextForm::Fixed, number(6)?)?,
        "varchar" => text(row, TextForm::Varying, number(6)?)?,
        "tinytext" | "text" | "mediumtext" | "longtext" => text(row, TextForm::Large, number(6)?)?,
        "binary" => ColumnType::Bytes { form: TextForm::Fixed, bytes_max: number(6)? },
        "varbinary" => ColumnType::Bytes { form: TextForm::Varying, bytes_max: number(6)? },
        "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            ColumnType::Bytes { form: TextForm::Large, bytes_max: number(6)? }
        }
        "enum" => ColumnType::Enum { members: members(row)? },
        "set" => ColumnType::Set { members: members(row)? },
        "date" => ColumnType::Date,
        "time" => ColumnType::Time { fraction: small(9)? },
        "datetime" => ColumnType::DateTime { fraction: small(9)? },
        "timestamp" => ColumnType::Timestamp { fraction: small(9)? },
        // Its rows are logged with four digits, and read with two.
        "year" if declared.starts_with("year(2)") => {
            return Err("type YEAR(2) (ALTER TABLE … MODIFY makes it a YEAR)".to_owned());
        }
        "year" => ColumnType::Year,
        "json" => ColumnType::Json,
        "vector" => ColumnType::Vector { dimension: number(6)? / 4 },
        "uuid" => ColumnType::Uuid,
        "inet4" => ColumnType::Inet4,
        "inet6" => ColumnType::Inet6,
        "geometry" => ColumnType::Geometry { kind: GeometryKind::Geometry },
        "point" => ColumnType::Geometry { kind: GeometryKind::Point },
        "linestring" => ColumnType::Geometry { kind: GeometryKind::LineString },
        "polygon" => ColumnType::Geometry { kind: GeometryKind::Polygon },
        "multipoint" => ColumnType::Geometry { kind: GeometryKind::MultiPoint },
        "multilinestring" => ColumnType::Geometry { kind: GeometryKind::MultiLineString },
        "multipolygon" => ColumnType::Geometry { kind: GeometryKind::MultiPolygon },
        "geomcollection" | "geometrycollection" => ColumnType::Geometry { kind: GeometryKind::GeometryCollection },
        other => return Err(format!("type {}", other.to_uppercase())),
    })
}

fn text(row: &Row, form: TextForm, bytes_max: u32) -> std::result::Result<ColumnType, String> {
    match Encoding::of(row.text(10)) {
        Encoding::Text(charset) => Ok(ColumnType::Text { form, bytes_max, charset }),
        Encoding::Binary => Ok(ColumnType::Bytes { form, bytes_max }),
        Encoding::Unsupported(charset) => Err(format!("charset {charset}")),
    }
}

/// The members out of `enum('a','it''s')`.
fn members(row: &Row) -> std::result::Result<Box<[Box<str>]>, String> {
    if let Encoding::Unsupported(charset) = Encoding::of(row.text(10)) {
        return Err(format!("charset {charset}"));
    }
    parse_members(row.text(4)).ok_or_else(|| "members that can't be read".to_owned())
}

/// Members stand in quotes; a quote in one is doubled, and some characters are behind a backslash.
fn parse_members(declared: &str) -> Option<Box<[Box<str>]>> {
    let list = declared.split_once('(')?.1.strip_suffix(')')?;
    let mut members: Vec<Box<str>> = Vec::new();
    let mut chars = list.chars().peekable();
    loop {
        (chars.next()? == '\'').then_some(())?;
        let mut member = String::new();
        loop {
            match chars.next()? {
                '\'' if chars.next_if_eq(&'\'').is_some() => member.push('\''),
                '\'' => break,
                '\\' => member.push(match chars.next()? {
                    'n' => '\n',
                    'r' => '\r',
                    '0' => '\0',
                    'Z' => '\u{1a}',
                    other => other,
                }),
                char => member.push(char),
            }
        }
        members.push(member.into());
        match chars.next() {
            None => return Some(members.into()),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_the_dictionary_may_not_show_are_found() {
        let check = |members: &[&str], expect: bool| {
            let members: Box<[Box<str>]> = members.iter().map(|member| Box::from(*member)).collect();
            for column_type in [ColumnType::Enum { members: members.clone() }, ColumnType::Set { members }] {
                let columns = [Column { name: "e".into(), column_type, nullable: false }];
                let schema = TableSchema::new(TableName::new("shop", "t"), columns, [0]).unwrap();
                assert_eq!(doubtful_members(&schema).map(|column| &*column.name), expect.then_some("e"), "{schema:?}");
            }
        };
        check(&["a", "é", "中", "\u{ffff}"], false);
        check(&["a", "😀"], true);
        check(&["really?"], true);
    }

    #[test]
    fn members_are_unquoted() {
        let check = |declared: &str, expect: &[&str]| {
            let members = parse_members(declared).unwrap();
            assert_eq!(members.iter().map(|member| &**member).collect::<Vec<_>>(), expect, "{declared}");
        };
        check("enum('a','b,c','it''s','')", &["a", "b,c", "it's", ""]);
        check("set('x')", &["x"]);
        check(r"enum('back\\slash','line\nfeed')", &[r"back\slash", "line\nfeed"]);
        for bad in ["enum", "enum()", "enum('a", "enum('a' 'b')"] {
            assert_eq!(parse_members(bad), None, "{bad}");
        }
    }
}
