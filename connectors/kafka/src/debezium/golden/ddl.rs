//! The tables of the recorded SQL, from its own CREATE TABLE statements: what the tests expect of a column's type comes from
//! the words that Debezium read too, and not from our connector.

use std::sync::Arc;

use tailrace_row::{Charset, Column, ColumnType, GeometryKind, TableName, TableSchema, TextForm};

const MYSQL: &str = include_str!("../../../testdata/debezium/mysql_types.sql");
const MARIADB: &str = include_str!("../../../testdata/debezium/mariadb_types.sql");

/// Shapes that the SQL makes by other statements than CREATE TABLE.
const ALTERED: &str = "
CREATE TABLE t_alter (first_col INT, id INT NOT NULL PRIMARY KEY, name VARCHAR(120) NOT NULL, a SMALLINT, b VARCHAR(10) NOT NULL);
CREATE TABLE t_alter (first_col INT, id INT NOT NULL PRIMARY KEY, name VARCHAR(120) NOT NULL, a BIGINT UNSIGNED, c VARCHAR(10) NOT NULL);
CREATE TABLE t_alter (id INT NOT NULL PRIMARY KEY, name VARCHAR(120) NOT NULL, a BIGINT UNSIGNED);
CREATE TABLE t_alter_renamed (id INT NOT NULL PRIMARY KEY, name VARCHAR(120) NOT NULL, a BIGINT UNSIGNED);
CREATE TABLE t_like (id INT NOT NULL PRIMARY KEY, name VARCHAR(120) NOT NULL, a BIGINT UNSIGNED);
CREATE TABLE t_ctas (id INT NOT NULL PRIMARY KEY, name VARCHAR(120) NOT NULL);
";

/// A table as it was created.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Declared>,
    key: Vec<String>,
}

/// A column as it was declared.
pub(super) struct Declared {
    pub(super) name: String,
    /// None: a type that is not ours yet.
    pub(super) column_type: Option<ColumnType>,
    nullable: bool,
}

impl Table {
    pub(super) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The schema of the columns that can be compared; none without a key.
    pub(super) fn schema(&self) -> Option<Arc<TableSchema>> {
        let ours = self.columns.iter().filter_map(|column| {
            let column_type = column.column_type.clone()?;
            Some(Column { name: column.name.as_str().into(), column_type, nullable: column.nullable })
        });
        let columns: Vec<Column> = ours.collect();
        let place = |name: &String| columns.iter().position(|column| *column.name == **name);
        let key: Vec<usize> = self.key.iter().filter_map(place).collect();
        let name = TableName::new("inventory", &self.name);
        (!key.is_empty() && key.len() == self.key.len())
            .then(|| Arc::new(TableSchema::new(name, columns, key).expect("a schema")))
    }
}

/// Every shape of every table of the server's SQL.
pub(super) fn tables(server: &str) -> Vec<Table> {
    let sql = if server == "mysql" { MYSQL } else { MARIADB };
    let mut tables = Vec::new();
    for text in [sql, ALTERED] {
        for statement in text.split("CREATE TABLE ").skip(1) {
            let (name, rest) = name(statement);
            // CREATE TABLE … LIKE and … AS SELECT stand in ALTERED.
            if let Some(body) = rest.trim_start().strip_prefix('(').filter(|_| name != "t_ctas" || text == ALTERED) {
                tables.push(table(name, body, server));
            }
        }
    }
    tables
}

fn table(name: String, body: &str, server: &str) -> Table {
    let mut table = Table { name, columns: Vec::new(), key: Vec::new() };
    for item in items(body) {
        let upper = item.to_uppercase();
        if let Some(at) = ["PRIMARY KEY (", "UNIQUE KEY ("].iter().find_map(|word| upper.strip_prefix(word)) {
            let names = &item[item.len() - at.len()..];
            let names = names.trim_end_matches(')').split(',').map(|name| name.trim().to_owned());
            let names: Vec<String> = names.collect();
            // A unique key that allows NULL is none.
            let is_nullable =
                |name: &String| table.columns.iter().any(|column| column.name == *name && column.nullable);
            if upper.starts_with("PRIMARY") || !names.iter().any(is_nullable) {
                table.key = names;
            }
        } else if !upper.starts_with("FOREIGN KEY") {
            let column = column(&item, server);
            if upper.contains(" PRIMARY KEY") {
                table.key = vec![column.name.clone()];
            }
            table.columns.push(column);
        }
    }
    table
}

fn column(item: &str, server: &str) -> Declared {
    let (name, rest) = name(item);
    let rest = rest.trim_start();
    let upper = rest.to_uppercase();
    let nullable = !upper.contains("NOT NULL") && !upper.contains("PRIMARY KEY");
    Declared { name, column_type: column_type(rest, &upper, server), nullable }
}

fn column_type(text: &str, upper: &str, server: &str) -> Option<ColumnType> {
    let word: String = upper.chars().take_while(char::is_ascii_alphanumeric).collect();
    let arguments = text[word.len()..].strip_prefix('(').map(items).unwrap_or_default();
    let number = |place: usize| arguments.get(place).map(|text| text.parse::<u8>().expect("a small number"));
    let unsigned = upper.contains("UNSIGNED") || upper.contains("ZEROFILL");
    let fraction = number_or_zero(&arguments);
    let members = || arguments.iter().map(|text| Box::from(unquoted(text))).collect::<Box<[Box<str>]>>();
    Some(match word.as_str() {
        "BOOLEAN" => ColumnType::Integer { bits: 8, unsigned: false },
        "TINYINT" => ColumnType::Integer { bits: 8, unsigned },
        "SMALLINT" => ColumnType::Integer { bits: 16, unsigned },
        "MEDIUMINT" => ColumnType::Integer { bits: 24, unsigned },
        "INT" | "INTEGER" => ColumnType::Integer { bits: 32, unsigned },
        "BIGINT" => ColumnType::Integer { bits: 64, unsigned },
        "DECIMAL" | "NUMERIC" => {
            ColumnType::Decimal { precision: number(0).unwrap_or(10), scale: number(1).unwrap_or(0) }
        }
        "FLOAT" if arguments.len() == 1 && number(0) > Some(24) => ColumnType::Double,
        "FLOAT" => ColumnType::Float,
        "DOUBLE" | "REAL" => ColumnType::Double,
        "BIT" => ColumnType::Bit { length: number(0).unwrap_or(1) },
        "BINARY" => bytes(TextForm::Fixed, number(0).map_or(1, u32::from)),
        "VARBINARY" => bytes(TextForm::Varying, 300),
        "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => bytes(TextForm::Large, u32::MAX),
        "CHAR" | "NCHAR" => text_type(TextForm::Fixed, upper)?,
        "VARCHAR" | "NVARCHAR" => text_type(TextForm::Varying, upper)?,
        "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" => text_type(TextForm::Large, upper)?,
        "ENUM" => ColumnType::Enum { members: members() },
        "SET" => ColumnType::Set { members: members() },
        "DATE" => ColumnType::Date,
        "TIME" => ColumnType::Time { fraction },
        "DATETIME" => ColumnType::DateTime { fraction },
        "TIMESTAMP" => ColumnType::Timestamp { fraction },
        "YEAR" => ColumnType::Year,
        "JSON" if server == "mysql" => ColumnType::Json,
        // In MariaDB it is another word for LONGTEXT.
        "JSON" => text_type(TextForm::Large, "")?,
        "VECTOR" => {
            let dimension = arguments.first().map_or(2048, |text| text.parse().expect("a number"));
            ColumnType::Vector { dimension }
        }
        "UUID" => ColumnType::Uuid,
        "INET6" => ColumnType::Inet6,
        other => ColumnType::Geometry { kind: geometry(other) },
    })
}

fn geometry(word: &str) -> GeometryKind {
    match word {
        "GEOMETRY" => GeometryKind::Geometry,
        "POINT" => GeometryKind::Point,
        "LINESTRING" => GeometryKind::LineString,
        "POLYGON" => GeometryKind::Polygon,
        "MULTIPOINT" => GeometryKind::MultiPoint,
        "MULTILINESTRING" => GeometryKind::MultiLineString,
        "MULTIPOLYGON" => GeometryKind::MultiPolygon,
        "GEOMETRYCOLLECTION" => GeometryKind::GeometryCollection,
        other => panic!("{other} has no type here"),
    }
}

fn bytes(form: TextForm, bytes_max: u32) -> ColumnType {
    ColumnType::Bytes { form, bytes_max }
}

/// None: a charset that is not ours yet.
fn text_type(form: TextForm, upper: &str) -> Option<ColumnType> {
    let charset = upper
        .split("CHARACTER SET ")
        .nth(1)
        .map_or("UTF8MB4", |rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().expect("a charset"));
    if charset == "BINARY" {
        return Some(bytes(form, 300));
    }
    let charset = Charset::named(&charset.to_lowercase())?;
    Some(ColumnType::Text { form, bytes_max: 1200, charset })
}

fn number_or_zero(arguments: &[String]) -> u8 {
    arguments.first().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A name, in backticks or bare, and what stands behind it.
fn name(text: &str) -> (String, &str) {
    if let Some(quoted) = text.strip_prefix('`') {
        let mut end = 0;
        loop {
            end += quoted[end..].find('`').expect("a name ends");
            if !quoted[end + 1..].starts_with('`') {
                break;
            }
            end += 2;
        }
        return (quoted[..end].replace("``", "`"), &quoted[end + 1..]);
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '(').expect("a name ends");
    (text[..end].to_owned(), &text[end..])
}

/// What stands between the commas up to the closing parenthesis.
fn items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let (mut depth, mut quote) = (0_u32, None);
    let mut is_escaped = false;
    for c in text.chars() {
        match (quote, c) {
            (None, ',') if depth == 0 => {
                items.push(String::new());
                continue;
            }
            (None, ')') if depth == 0 => break,
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, '\'' | '`') => quote = Some(c),
            (Some(open), c) if c == open && !is_escaped => quote = None,
            (Some(_) | None, _) => {}
        }
        is_escaped = quote.is_some() && c == '\\' && !is_escaped;
        items.last_mut().expect("one at least").push(c);
    }
    items.iter().map(|item| item.trim().to_owned()).collect()
}

/// The text of a literal.
fn unquoted(literal: &str) -> String {
    let inner = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).expect("a literal");
    inner.replace("''", "'").replace("\\\\", "\\")
}
