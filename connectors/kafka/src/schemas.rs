//! `<prefix>.schemas`: every schema that a record names, so that old records are read with the schema of their time.
//!
//! Key: the schema's name (its content's hash). Value: `{"format":1,"schema":{…}}`. The writer puts a schema into the same
//! transaction as the first record that names it, and never again. A reader reads the topic at its start, and on once it
//! meets a name that it does not know: the records may have become visible a moment before the schema, because commit
//! markers reach partitions one after the other. `prepare` writes the schemas of tables that have no record yet.
//!
//! A schema that can't be read does no harm until a record names it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tailrace_contract::{Error, Result};
use tailrace_row::{SchemaId, TableName, TableSchema};

use crate::{
    checkpoint::check_format,
    debezium::TableForm,
    small_topic::{ReadTo, SmallRecord, SmallTopicReader, not_understood},
};

const FORMAT: u32 = 1;

#[derive(Serialize)]
struct SchemaValueRef<'a> {
    format: u32,
    schema: &'a TableSchema,
}

#[derive(Deserialize)]
struct SchemaValue {
    schema: TableSchema,
}

/// The value of a schema's record.
pub(crate) fn schema_value(schema: &TableSchema) -> Vec<u8> {
    serde_json::to_vec(&SchemaValueRef { format: FORMAT, schema }).expect("invariant: a schema has a JSON form")
}

/// The schemas of a log, as far as they were read.
#[derive(Default)]
pub(crate) struct SchemaBook {
    schemas: HashMap<SchemaId, Entry>,
    next_offset: i64,
}

enum Entry {
    Known(Arc<TableForm>),
    /// Where it lies and what is wrong with it.
    Broken(String),
}

impl SchemaBook {
    /// Reads on in the topic. Blocks.
    pub(crate) fn refresh(&mut self, topic: &str, reader: &SmallTopicReader, to: ReadTo) -> Result<()> {
        let (records, next_offset) = reader.read_on(topic, self.next_offset, to)?;
        for record in records {
            let Some(id) = std::str::from_utf8(&record.key).ok().and_then(|key| key.parse().ok()) else {
                return Err(not_understood(topic, &record, "has a key that is no schema's name")
                    .hint("something else writes into this topic: use another prefix"));
            };
            let entry = match read_schema(topic, id, &record) {
                Ok(form) => Entry::Known(Arc::new(form)),
                Err(error) => Entry::Broken(error.to_string()),
            };
            self.schemas.insert(id, entry);
        }
        self.next_offset = next_offset;
        Ok(())
    }

    /// The schema of this name: none if it was not met, an error's text if it can't be read.
    pub(crate) fn get(&self, id: SchemaId) -> Option<std::result::Result<&Arc<TableForm>, &str>> {
        self.schemas.get(&id).map(|entry| match entry {
            Entry::Known(form) => Ok(form),
            Entry::Broken(what) => Err(what.as_str()),
        })
    }

    /// The names of all schemas that can be read: they need not be written again.
    pub(crate) fn ids(&self) -> HashSet<SchemaId> {
        let known = self.schemas.iter().filter(|(_, entry)| matches!(entry, Entry::Known(_)));
        known.map(|(id, _)| *id).collect()
    }

    /// All tables that have a schema, ordered. Refused if a schema can't be read, because its table would be left out.
    pub(crate) fn tables(&self) -> Result<Vec<TableName>> {
        let mut names = Vec::new();
        for entry in self.schemas.values() {
            match entry {
                Entry::Known(form) => names.push(form.schema().name().clone()),
                Entry::Broken(what) => return Err(Error::refused(what.clone())),
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

pub(crate) fn read_schema(topic: &str, id: SchemaId, record: &SmallRecord) -> Result<TableForm> {
    let bytes = record.value.as_deref().ok_or_else(|| not_understood(topic, record, "has no value"))?;
    check_format(topic, record, bytes)?;
    let value: SchemaValue =
        serde_json::from_slice(bytes).map_err(|_| not_understood(topic, record, "can't be read as a schema"))?;
    if value.schema.id() != id {
        return Err(not_understood(topic, record, "holds another schema than its key says"));
    }
    Ok(TableForm::new(Arc::new(value.schema)))
}

#[cfg(test)]
mod tests {
    use tailrace_row::{Column, ColumnType};

    use super::*;

    fn schema() -> TableSchema {
        let column_type = ColumnType::Integer { bits: 32, unsigned: false };
        let column = Column { name: "id".into(), column_type, nullable: false };
        TableSchema::new(TableName::new("shop", "orders"), vec![column], vec![0]).unwrap()
    }

    #[test]
    fn schemas_return_and_broken_ones_tell_where_they_lie() {
        let schema = schema();
        let record = |key: String, value: Vec<u8>| SmallRecord { offset: 7, key: key.into(), value: Some(value) };
        let good = record(schema.id().to_string(), schema_value(&schema));
        assert_eq!(**read_schema("p.schemas", schema.id(), &good).unwrap().schema(), schema);
        let check = |record: SmallRecord, id: SchemaId, words: &str| {
            let text = read_schema("p.schemas", id, &record).err().unwrap().to_string();
            assert!(text.contains("p.schemas[0]@7") && text.contains(words), "{text}");
        };
        check(good.clone(), SchemaId(1), "another schema than its key says");
        check(record(String::new(), b"{\"format\":2}".to_vec()), SchemaId(1), "has format 2");
        check(
            record(String::new(), b"{\"format\":1,\"schema\":{}}".to_vec()),
            SchemaId(1),
            "can't be read as a schema",
        );
        check(SmallRecord { value: None, ..good }, schema.id(), "has no value");
    }
}
