//! The `schema` part of records with `[log] schemas = true`: Kafka Connect's JSON form of Debezium's schemas.
//!
//! Rendered once per table and schema. Defaults of columns are left out (the table schema does not carry them), which a
//! consumer sees as fields without a default; everything else is Debezium's, names and versions included.

use tailrace_row::{Column, ColumnType, GeometryKind};

use super::{form::TableForm, json_text::write_string, source_block::Connector};

const SOURCE_FIELDS: &str = concat!(
    r#"{"type":"struct","fields":["#,
    r#"{"type":"string","optional":false,"field":"version"},"#,
    r#"{"type":"string","optional":false,"field":"connector"},"#,
    r#"{"type":"string","optional":false,"field":"name"},"#,
    r#"{"type":"int64","optional":false,"field":"ts_ms"},"#,
    r#"{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"#,
    r#""true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},"#,
    r#""default":"false","field":"snapshot"},"#,
    r#"{"type":"string","optional":false,"field":"db"},"#,
    r#"{"type":"string","optional":true,"field":"sequence"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_us"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_ns"},"#,
    r#"{"type":"string","optional":true,"field":"table"},"#,
    r#"{"type":"int64","optional":false,"field":"server_id"},"#,
    r#"{"type":"string","optional":true,"field":"gtid"},"#,
    r#"{"type":"string","optional":false,"field":"file"},"#,
    r#"{"type":"int64","optional":false,"field":"pos"},"#,
    r#"{"type":"int32","optional":false,"field":"row"},"#,
    r#"{"type":"int64","optional":true,"field":"thread"},"#,
    r#"{"type":"string","optional":true,"field":"query"}"#,
    r#"],"optional":false,"name":"io.debezium.connector."#,
);

const SOURCE_END: &str = r#".Source","version":1,"field":"source"}"#;

const FIELDS_BEHIND_SOURCE: &str = concat!(
    r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"id"},"#,
    r#"{"type":"int64","optional":false,"field":"total_order"},"#,
    r#"{"type":"int64","optional":false,"field":"data_collection_order"}],"#,
    r#""optional":true,"name":"event.block","version":1,"field":"transaction"},"#,
    r#"{"type":"string","optional":false,"field":"op"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_ms"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_us"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_ns"}"#,
);

/// `{"schema":…,"payload":` of a key.
pub(super) fn key_opening(topic: &str, table: &TableForm) -> Vec<u8> {
    let schema = &table.schema;
    let mut out = br#"{"schema":{"type":"struct","fields":["#.to_vec();
    write_fields(&mut out, schema.key().iter().map(|index| &schema.columns()[*index]));
    out.extend_from_slice(br#"],"optional":false,"name":"#);
    write_string(&mut out, &format!("{topic}.Key"));
    out.extend_from_slice(br#"},"payload":"#);
    out
}

/// `{"schema":…,"payload":` of a value.
pub(super) fn value_opening(topic: &str, table: &TableForm, connector: Connector) -> Vec<u8> {
    let mut out = br#"{"schema":{"type":"struct","fields":["#.to_vec();
    for side in ["before", "after"] {
        out.extend_from_slice(br#"{"type":"struct","fields":["#);
        write_fields(&mut out, table.schema.columns().iter());
        out.extend_from_slice(br#"],"optional":true,"name":"#);
        write_string(&mut out, &format!("{topic}.Value"));
        out.extend_from_slice(format!(r#","field":"{side}"}},"#).as_bytes());
    }
    for part in [SOURCE_FIELDS, connector.name(), SOURCE_END] {
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b',');
    out.extend_from_slice(FIELDS_BEHIND_SOURCE.as_bytes());
    out.extend_from_slice(br#"],"optional":false,"name":"#);
    write_string(&mut out, &format!("{topic}.Envelope"));
    out.extend_from_slice(br#","version":2},"payload":"#);
    out
}

fn write_fields<'a>(out: &mut Vec<u8>, columns: impl Iterator<Item = &'a Column>) {
    for (place, column) in columns.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_field(out, column);
    }
}

fn write_field(out: &mut Vec<u8>, column: &Column) {
    let connect = ConnectType::of(&column.column_type);
    let (primitive, parts) = (connect.primitive, connect.parts);
    out.extend_from_slice(format!(r#"{{"type":"{primitive}"{parts},"optional":{}"#, column.nullable).as_bytes());
    if let Some(name) = connect.name {
        out.extend_from_slice(format!(r#","name":"{name}","version":1"#).as_bytes());
    }
    if let Some(doc) = connect.doc {
        out.extend_from_slice(format!(r#","doc":"{doc}""#).as_bytes());
    }
    for (place, (name, value)) in connect.parameters.iter().enumerate() {
        out.extend_from_slice(if place == 0 { br#","parameters":{""# } else { br#",""# });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(br#"":"#);
        write_string(out, value);
    }
    if !connect.parameters.is_empty() {
        out.push(b'}');
    }
    out.extend_from_slice(br#","field":"#);
    write_string(out, &column.name);
    out.push(b'}');
}

/// A column's type in Connect's words.
struct ConnectType {
    primitive: &'static str,
    name: Option<&'static str>,
    doc: Option<&'static str>,
    parameters: Vec<(&'static str, String)>,
    /// What stands behind the type of a struct or an array.
    parts: &'static str,
}

const POINT_PARTS: &str = concat!(
    r#","fields":[{"type":"double","optional":false,"field":"x"},{"type":"double","optional":false,"field":"y"},"#,
    r#"{"type":"bytes","optional":true,"field":"wkb"},{"type":"int32","optional":true,"field":"srid"}]"#,
);

const GEOMETRY_PARTS: &str = concat!(
    r#","fields":[{"type":"bytes","optional":false,"field":"wkb"},"#,
    r#"{"type":"int32","optional":true,"field":"srid"}]"#,
);

const VECTOR_PARTS: &str = r#","items":{"type":"float","optional":false}"#;

impl ConnectType {
    fn of(column_type: &ColumnType) -> Self {
        let plain = |primitive| Self { primitive, name: None, doc: None, parameters: Vec::new(), parts: "" };
        let named = |primitive, name| Self { name: Some(name), ..plain(primitive) };
        let with = |primitive, name, parameters| Self { parameters, ..named(primitive, name) };
        let decimal = |scale: u8, precision: u8| {
            let parameters = vec![("scale", scale.to_string()), ("connect.decimal.precision", precision.to_string())];
            with("bytes", "org.apache.kafka.connect.data.Decimal", parameters)
        };
        match column_type {
            ColumnType::Integer { bits: 0..=8, .. } | ColumnType::Integer { bits: 9..=16, unsigned: false } => {
                plain("int16")
            }
            ColumnType::Integer { bits: 9..=24, .. } | ColumnType::Integer { bits: 25..=32, unsigned: false } => {
                plain("int32")
            }
            ColumnType::Integer { bits: 25..=32, unsigned: true } | ColumnType::Integer { unsigned: false, .. } => {
                plain("int64")
            }
            ColumnType::Integer { unsigned: true, .. } => decimal(0, 20),
            ColumnType::Decimal { precision, scale } => decimal(*scale, *precision),
            ColumnType::Float => plain("float"),
            ColumnType::Double => plain("double"),
            ColumnType::Bit { length: 1 } => plain("boolean"),
            ColumnType::Bit { length } => with("bytes", "io.debezium.data.Bits", vec![("length", length.to_string())]),
            ColumnType::Text { .. } => plain("string"),
            ColumnType::Bytes { .. } => plain("bytes"),
            ColumnType::Enum { members } => {
                with("string", "io.debezium.data.Enum", vec![("allowed", allowed(members))])
            }
            ColumnType::Set { members } => {
                with("string", "io.debezium.data.EnumSet", vec![("allowed", allowed(members))])
            }
            ColumnType::Date => named("int32", "io.debezium.time.Date"),
            ColumnType::Time { .. } => named("int64", "io.debezium.time.MicroTime"),
            ColumnType::DateTime { fraction: 0..=3 } => named("int64", "io.debezium.time.Timestamp"),
            ColumnType::DateTime { .. } => named("int64", "io.debezium.time.MicroTimestamp"),
            ColumnType::Timestamp { .. } => named("string", "io.debezium.time.ZonedTimestamp"),
            ColumnType::Year => named("int32", "io.debezium.time.Year"),
            ColumnType::Json => named("string", "io.debezium.data.Json"),
            ColumnType::Geometry { kind: GeometryKind::Point } => Self {
                doc: Some("Geometry (POINT)"),
                parts: POINT_PARTS,
                ..named("struct", "io.debezium.data.geometry.Point")
            },
            ColumnType::Geometry { .. } => Self {
                doc: Some("Geometry"),
                parts: GEOMETRY_PARTS,
                ..named("struct", "io.debezium.data.geometry.Geometry")
            },
            ColumnType::Vector { .. } => Self { parts: VECTOR_PARTS, ..named("array", "io.debezium.data.FloatVector") },
            ColumnType::Uuid => named("string", "io.debezium.data.Uuid"),
            ColumnType::Inet4 | ColumnType::Inet6 => plain("string"),
        }
    }
}

/// The members joined by commas; commas and backslashes inside them have a backslash before, as Debezium writes the list
/// (the values themselves are written without, where Debezium's stream has them too).
fn allowed(members: &[Box<str>]) -> String {
    let escaped: Vec<String> = members.iter().map(|member| member.replace('\\', "\\\\").replace(',', "\\,")).collect();
    escaped.join(",")
}
