//! Rows as the target's table has them, where that differs from what the source sent: columns that have another name by now, and
//! columns whose values go nowhere. Only tables with `on_ddl = "ignore"`, and rows that are applied again from before statements
//! that changed columns, need it; batches without any are not looked at.

use std::{
    collections::{HashMap, hash_map::Entry},
    convert::Infallible,
    sync::Arc,
};

use tailrace_contract::{DdlPolicy, Error, Result, Sink, TableMapping};
use tailrace_row::{ImageSpan, Record, RecordBatch, RowImage, SchemaId, TableSchema};

/// For each column of a schema its name in the target; none for one whose values go nowhere.
pub(crate) type Names = Vec<Option<Box<str>>>;

/// Columns that the target does not have and need not have, by schema.
#[derive(Default)]
pub(crate) struct LeftOut {
    of_schema: HashMap<SchemaId, Option<Names>>,
}

impl LeftOut {
    /// Looks at the target for schemas that are new, where the target need not follow.
    pub(crate) async fn learn(
        &mut self,
        sink: &dyn Sink,
        records: &RecordBatch,
        mapping_of: impl Fn(&TableSchema) -> Option<Arc<TableMapping>>,
    ) -> Result<()> {
        for schema in records.schemas() {
            if self.of_schema.contains_key(&schema.id()) {
                continue;
            }
            let mapping = mapping_of(schema).filter(|mapping| mapping.on_ddl == DdlPolicy::Ignore);
            let names = match mapping {
                Some(mapping) => lacking(schema, sink.columns(&mapping).await?),
                None => None,
            };
            for (column, _) in schema.columns().iter().zip(names.iter().flatten()).filter(|(_, name)| name.is_none()) {
                tracing::warn!(table = %schema.name(), column = %column.name,
                    "on_ddl is \"ignore\": the target does not have the column, and its values are left out");
            }
            self.of_schema.insert(schema.id(), names);
        }
        Ok(())
    }

    /// The names of a schema of which columns are left out.
    pub(crate) fn names(&self, schema: &TableSchema) -> Option<&Names> {
        self.of_schema.get(&schema.id())?.as_ref()
    }

    /// Whether any schema of the batch has such columns.
    pub(crate) fn concerns(&self, records: &RecordBatch) -> bool {
        records.schemas().iter().any(|schema| self.names(schema).is_some())
    }
}

/// None where the target has all columns, or is not there: then the first row says so.
fn lacking(schema: &TableSchema, target: Option<Vec<Box<str>>>) -> Option<Names> {
    let target = target?;
    let name = |column: &tailrace_row::Column| target.contains(&column.name).then(|| column.name.clone());
    let names: Names = schema.columns().iter().map(name).collect();
    names.iter().any(Option::is_none).then_some(names)
}

/// A copy of the batch with these names; records without any are copied as they are.
pub(crate) fn project(from: &RecordBatch, names: impl Fn(&TableSchema, u32) -> Option<Names>) -> Result<RecordBatch> {
    let mut to = RecordBatch::new();
    project_onto(&mut to, from, names)?;
    Ok(to)
}

/// The same, behind the records of another batch.
pub(crate) fn project_onto(
    to: &mut RecordBatch,
    from: &RecordBatch,
    names: impl Fn(&TableSchema, u32) -> Option<Names>,
) -> Result<()> {
    let mut known: HashMap<(u32, u32), (u32, Vec<usize>)> = HashMap::new();
    let mut last_origin = None;
    for record in from.records() {
        let (schema, kept) = match known.entry((record.schema, record.lane)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let schema = from.schema(record);
                let (shape, kept) = match names(schema, record.lane) {
                    Some(names) => reshape(schema, &names)?,
                    None => (Arc::clone(schema), (0..schema.columns().len()).collect()),
                };
                place.insert((to.add_schema(&shape), kept))
            }
        };
        let origin = match last_origin {
            Some((of, number)) if of == record.origin => number,
            _ => to.add_origin(from.origin(record).clone()),
        };
        last_origin = Some((record.origin, origin));
        let before = from.before(record).map(|image| copy(to, image, kept));
        let after = from.after(record).map(|image| copy(to, image, kept));
        to.push(Record { schema: *schema, origin, before, after, ..*record });
    }
    Ok(())
}

/// The schema with these names, and the places of the columns that it keeps.
pub(super) fn reshape(schema: &TableSchema, names: &Names) -> Result<(Arc<TableSchema>, Vec<usize>)> {
    let table = schema.name();
    let kept: Vec<usize> = (0..names.len()).filter(|place| names[*place].is_some()).collect();
    let columns = kept.iter().map(|place| {
        let name = names[*place].clone().unwrap_or_default();
        tailrace_row::Column { name, ..schema.columns()[*place].clone() }
    });
    let columns: Vec<tailrace_row::Column> = columns.collect();
    let place_of = |place: &usize| kept.iter().position(|kept| kept == place);
    let key: Option<Vec<usize>> = schema.key().iter().map(place_of).collect();
    let key =
        key.ok_or_else(|| Error::table_failed(table.clone(), "the target has no column for a column of the key"))?;
    let shape = TableSchema::new(table.clone(), columns, key);
    let shape = shape.map_err(|error| Error::table_failed(table.clone(), error.to_string()))?;
    Ok((Arc::new(shape), kept))
}

fn copy(to: &mut RecordBatch, image: RowImage<'_>, kept: &[usize]) -> ImageSpan {
    let written = to.write_image::<Infallible>(kept.len(), |writer| {
        kept.iter().for_each(|place| writer.copy(image.field_bytes(*place)));
        Ok(())
    });
    match written {
        Ok(span) => span.allow_absence(image.may_be_absent()),
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use tailrace_row::{Column, ColumnType, Field, Operation, Origin, TableName, Value};

    use super::*;

    fn schema(names: &[&str]) -> Arc<TableSchema> {
        let integer = ColumnType::Integer { bits: 64, unsigned: false };
        let column = |name: &&str| Column { name: (*name).into(), column_type: integer.clone(), nullable: true };
        let columns: Vec<Column> = names.iter().map(column).collect();
        Arc::new(TableSchema::new(TableName::new("shop", "orders"), columns, [1]).unwrap())
    }

    /// One row of the columns x, id, y with the values 0, 1, 2, in lane 3.
    fn batch() -> RecordBatch {
        let mut batch = RecordBatch::new();
        let number = batch.add_schema(&schema(&["x", "id", "y"]));
        let origin = batch.add_origin(Origin {
            epoch: tailrace_row::Epoch(1),
            transaction: 7,
            event: 0,
            committed_at_micros: 0,
            transaction_name: None,
            file: "".into(),
            file_offset: 0,
            server_id: 0,
            thread: None,
        });
        let after = batch.write_image::<Infallible>(3, |writer| {
            (0..3).for_each(|value| writer.value(Value::Integer(value)));
            Ok(())
        });
        let (operation, after) = (Operation::Insert, after.ok());
        batch.push(Record { operation, schema: number, origin, row: 4, lane: 3, offset: 9, before: None, after });
        batch
    }

    #[test]
    fn columns_get_other_names_or_go() {
        let from = batch();
        let names = |_: &TableSchema, lane| (lane == 3).then(|| vec![None, Some("key".into()), Some("z".into())]);
        let to = project(&from, names).unwrap();
        let record = &to.records()[0];
        let shown: Vec<&str> = to.schema(record).columns().iter().map(|column| &*column.name).collect();
        assert_eq!((shown, to.schema(record).key()), (vec!["key", "z"], &[0][..]));
        let fields: Vec<Field<'_>> = to.after(record).unwrap().fields().collect();
        assert_eq!(fields, [1, 2].map(|value| Field::Value(Value::Integer(value))));
        assert_eq!((to.sequence(record), record.lane, record.offset), (from.sequence(&from.records()[0]), 3, 9));
        let same = project(&from, |_, _| None).unwrap();
        assert_eq!(same.schema(&same.records()[0]).id(), from.schema(&from.records()[0]).id());
        let keyless = project(&from, |_, _| Some(vec![Some("x".into()), None, None])).unwrap_err();
        assert!(keyless.to_string().contains("key"), "{keyless}");
    }

    #[test]
    fn only_what_the_target_lacks_is_left_out() {
        let schema = schema(&["x", "id", "y"]);
        assert_eq!(lacking(&schema, None), None);
        assert_eq!(lacking(&schema, Some(vec!["y".into(), "id".into(), "x".into(), "more".into()])), None);
        let names = lacking(&schema, Some(vec!["id".into(), "y".into()]));
        assert_eq!(names, Some(vec![None, Some("id".into()), Some("y".into())]));
    }
}
