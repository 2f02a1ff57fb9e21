//! Records that Debezium itself wrote, read by the source's tables as they are now.
//!
//! Such a record names no schema of ours and holds no truths beside its fields, so its values are what the fields say under
//! the settings of the connector that wrote them (`[log.debezium]`), or under the record's own schema part where it has one.
//! The rule for what Debezium lost or changed:
//!
//! 1. What can only have been one value is that value: a negative BIGINT UNSIGNED wrapped around at 2^64, the year 1900 is
//!    0000, the epoch in a NOT NULL TIMESTAMP is the zero timestamp, a BINARY is padded, a widened FLOAT is itself again.
//! 2. What may have been several and can be seen is refused, by table and column: `true` in a BOOLEAN, null in a NOT NULL
//!    column, 1970-01-01 in a NOT NULL date, U+FFFD in a text whose charset does not have it, an infinite or narrowed DOUBLE, '' beside an ENUM's member ''.
//! 3. A record without a schema part is read by the table's shape only where the tables are said to have never been altered; one with
//!    a schema only if each column has the type there that it has now. The values of an ALTER TABLE are in no record.
//! 4. What can't be seen is in the documents of the product, with the setting of Debezium that avoids it.
//!
//! A key change comes as the delete and the insert that Debezium makes of it. The sequence is the record's offset, so nothing
//! is ever dropped as read before.

mod decimal_text;
mod field;
mod wire;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::Arc,
};

use serde::Deserialize;
use tailrace_contract::DebeziumSettings;

pub(super) use self::field::write_their_field;
use self::{field::TheirColumn, wire::Wire};
use super::form::TableForm;

/// A table whose records Debezium writes.
pub(crate) struct TheirTable {
    pub(super) form: Arc<TableForm>,
    pub(super) settings: DebeziumSettings,
    /// By the settings, in table order.
    by_settings: Box<[Wire]>,
    /// By the last schema part that was met, and its text: records of one connector repeat it.
    by_schema: RefCell<(String, Box<[Wire]>)>,
    has_schema: Cell<bool>,
}

impl TheirTable {
    pub(crate) fn new(form: Arc<TableForm>, settings: DebeziumSettings) -> Self {
        let by_settings = form.columns.iter().map(|column| Wire::by_settings(&column.value, &settings)).collect();
        let by_schema = RefCell::default();
        Self { form, settings, by_settings, by_schema, has_schema: Cell::new(false) }
    }

    /// A record begins; it may have a schema part.
    pub(super) fn begin_record(&self) {
        self.has_schema.set(false);
    }

    /// Takes the record's schema part. What is wrong with it is told with the column's number, if it is a column's fault.
    pub(super) fn learn(&self, schema: &str) -> Result<(), (Option<usize>, &'static str)> {
        self.has_schema.set(true);
        let mut known = self.by_schema.borrow_mut();
        if known.0 == schema {
            return Ok(());
        }
        let part: SchemaPart = serde_json::from_str(schema).map_err(|_| (None, "has a schema that can't be read"))?;
        let rows = part.fields.into_iter().find(|field| field.field.as_deref() == Some("after"));
        let rows = rows.ok_or((None, "has a schema without rows"))?;
        let by_name: HashMap<&str, &SchemaPart> =
            rows.fields.iter().filter_map(|field| Some((field.field.as_deref()?, field))).collect();
        let columns = self.form.schema.columns().iter().zip(&self.form.columns).enumerate();
        let wires = columns.map(|(index, (column, form))| match by_name.get(&*column.name) {
            Some(field) => Wire::by_schema(&form.value, field, &self.settings).map_err(|reason| (Some(index), reason)),
            // The row lacks it as well, and is refused for that.
            None => Ok(self.by_settings[index]),
        });
        *known = (String::new(), wires.collect::<Result<_, _>>()?);
        schema.clone_into(&mut known.0);
        Ok(())
    }

    pub(super) fn column(&self, index: usize) -> TheirColumn<'_> {
        let wire = if self.has_schema.get() { self.by_schema.borrow().1[index] } else { self.by_settings[index] };
        TheirColumn {
            column: &self.form.schema.columns()[index],
            form: &self.form.columns[index].value,
            wire,
            is_true_one: self.settings.is_true_one,
            is_epoch_a_day: self.settings.is_epoch_a_day,
            is_of_its_time: self.has_schema.get() || self.settings.is_unaltered,
        }
    }
}

/// A part of Connect's JSON schemas.
#[derive(Deserialize)]
struct SchemaPart {
    field: Option<String>,
    r#type: String,
    name: Option<String>,
    #[serde(default)]
    parameters: HashMap<String, String>,
    #[serde(default)]
    fields: Vec<SchemaPart>,
}
