//! How the rows of one source schema get into one target table: columns, codecs and statements, made once per shape.
//!
//! Statements rely on this: a row is found by its key's bytes. A text key has a deterministic collation (else `judge` refuses
//! the table), and of the types that know several forms of one number (-0 and 0 as real) the bytes are compared too; there
//! an upsert also rewrites the key columns, so that the delete of the other form finds nothing to delete.

use std::sync::Arc;

use tailrace_contract::{Error, Policy, PolicyUse, Result, TableMapping};
use tailrace_row::{RowImage, TableName, TableSchema};

use crate::{
    catalog::{TableShape, TargetColumn},
    check,
    encode::{Codec, Refusal},
    identifier::{quote, quote_table},
    target_type::TargetType,
};

/// A compiled table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) oid: u32,
    pub(crate) stamp: i64,
    pub(crate) columns: Vec<PlanColumn>,
    /// Places in `columns`, in key order.
    pub(crate) key: Vec<usize>,
    /// One array per column.
    pub(crate) upsert_arrays: Arc<str>,
    /// One array per key column.
    pub(crate) delete_arrays: Arc<str>,
    pub(crate) update: UpdateParts,
    pub(crate) stage: Stage,
    /// The COPY that writes rows into the table itself; none where it would not do what an upsert does.
    pub(crate) insert: Option<String>,
    /// Whether every row of an upsert counts as written: not where an existing row is left alone.
    pub(crate) counts_all: bool,
    /// Whether a row may be deleted and written again in one transaction.
    pub(crate) may_clear: bool,
    /// Places in `columns` that have a policy, and its name.
    policies: Vec<(usize, &'static str)>,
}

/// The temporary table through which big batches go; made when the first one comes.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) create: String,
    pub(crate) copy: String,
    pub(crate) upsert: String,
}

/// What the statements are made of that update rows of which only some columns came.
#[derive(Debug)]
pub(crate) struct UpdateParts {
    /// Quoted.
    table: String,
    names: Vec<String>,
    /// `t.key = d.k0 AND …`
    matches: String,
}

/// A column that is written; the same number of the source's columns.
#[derive(Debug)]
pub(crate) struct PlanColumn {
    pub(crate) name: Box<str>,
    pub(crate) target_type: TargetType,
    pub(crate) codec: Codec,
}

impl Plan {
    /// Compiles the statements, or says what keeps the table from taking the rows. `number` names the stage.
    pub(crate) fn new(schema: &TableSchema, mapping: &TableMapping, shape: &TableShape, number: usize) -> Result<Self> {
        if let Some(problem) = check::judge(schema, mapping, shape).into_iter().find(check::is_error) {
            let error = Error::table_failed(schema.name().clone(), format!("{}: {}", problem.object, problem.found));
            return Err(error.hint(problem.mend.unwrap_or_else(|| format!("needed: {}", problem.needed))));
        }
        let mut columns = Vec::with_capacity(schema.columns().len());
        let mut policies = Vec::new();
        for (place, source) in schema.columns().iter().enumerate() {
            let target = shape.column(&source.name).expect("invariant: the judge finds every column");
            let target_type = target.target_type.expect("invariant: the judge knows every type");
            let is_nullable = target.is_nullable && !schema.key().contains(&place);
            let policy = (mapping.policy(&source.name), schema.key().contains(&place));
            let codec = Codec::by_policy(&source.column_type, target_type, is_nullable, policy);
            let codec = codec.expect("invariant: the judge compiles every policy");
            if *policy.0 != Policy::Reject {
                policies.push((place, policy.0.name()));
            }
            columns.push(PlanColumn { name: source.name.clone(), target_type, codec });
        }
        let key = schema.key().to_vec();
        let statements = Statements::new(&columns, &key, quote_table(&mapping.target)?, number)?;
        let has_rest = columns.len() > key.len();
        Ok(Self {
            oid: shape.oid,
            stamp: shape.stamp,
            upsert_arrays: statements.upsert_arrays().into(),
            delete_arrays: statements.delete_arrays().into(),
            update: statements.update_parts(),
            stage: statements.stage(),
            insert: statements.insert(shape),
            may_clear: may_clear(schema, shape),
            counts_all: has_rest || !statements.forms.is_empty(),
            columns,
            key,
            policies,
        })
    }

    /// How often each policy makes a difference for these rows, which were written.
    pub(crate) fn count_policy_uses<'r>(
        &self,
        table: &TableName,
        images: impl Iterator<Item = RowImage<'r>> + Clone,
    ) -> Vec<PolicyUse> {
        let mut scratch = Vec::new();
        let mut count = |(place, policy): &(usize, &'static str)| {
            let column = &self.columns[*place];
            let uses =
                images.clone().filter(|image| column.codec.uses_policy(image.field(*place), &mut scratch)).count();
            PolicyUse { table: table.clone(), column: column.name.clone(), policy, count: uses as u64 }
        };
        self.policies.iter().map(&mut count).filter(|uses| uses.count > 0).collect()
    }

    /// The statement that writes these columns into the rows that have these keys: one array per key column, then one for each
    /// of `places`, which are none of the key.
    pub(crate) fn update_arrays(&self, places: &[usize]) -> Arc<str> {
        let UpdateParts { table, names, matches } = &self.update;
        let set = |place: &usize| format!("{} = d.c{place}{}", names[*place], self.columns[*place].target_type.cast());
        let sets = match places {
            // Whether the row is there must be seen all the same.
            [] => format!("{0} = t.{0}", names[self.key[0]]),
            places => places.iter().map(set).collect::<Vec<_>>().join(", "),
        };
        let keys = (0..self.key.len()).map(|number| format!("k{number}"));
        let fields: Vec<String> = keys.chain(places.iter().map(|place| format!("c{place}"))).collect();
        let arrays = arrays(&self.columns, self.key.iter().chain(places).copied());
        format!("UPDATE {table} AS t SET {sets} FROM unnest({arrays}) AS d ({}) WHERE {matches}", fields.join(", "))
            .into()
    }

    /// The statement that counts the rows that have these keys: one array per key column.
    pub(crate) fn count_arrays(&self) -> String {
        let UpdateParts { table, matches, .. } = &self.update;
        let fields: Vec<String> = (0..self.key.len()).map(|number| format!("k{number}")).collect();
        let arrays = arrays(&self.columns, self.key.iter().copied());
        format!("SELECT count(*) FROM {table} AS t, unnest({arrays}) AS d ({}) WHERE {matches}", fields.join(", "))
    }

    /// The key columns' names, for messages.
    pub(crate) fn key_names(&self) -> String {
        self.key.iter().map(|place| &*self.columns[*place].name).collect::<Vec<_>>().join(", ")
    }

    /// The first column of the row that can't be written, if there is one.
    pub(crate) fn find_refusal(
        &self,
        image: RowImage<'_>,
        places: &[usize],
        scratch: &mut Vec<u8>,
    ) -> Option<(usize, Refusal)> {
        places.iter().filter(|place| self.key.contains(place) || !image.is_unchanged(**place)).find_map(|place| {
            scratch.clear();
            self.columns[*place].codec.write(image.field(*place), scratch).err().map(|refusal| (*place, refusal))
        })
    }
}

/// Nothing hangs on the delete, and the row has nothing that we don't write.
fn may_clear(schema: &TableSchema, shape: &TableShape) -> bool {
    let is_ours = |target: &TargetColumn| schema.columns().iter().any(|source| *source.name == *target.name);
    shape.foreign_keys.is_empty()
        && shape.triggers.is_empty()
        && shape.rules.is_empty()
        && shape.columns.iter().all(|target| target.is_generated || is_ours(target))
}

/// The parts of all statements.
struct Statements<'p> {
    columns: &'p [PlanColumn],
    key: &'p [usize],
    /// Quoted.
    names: Vec<String>,
    /// Key columns whose equality is wider than that of their bytes.
    forms: Vec<usize>,
    table: String,
    stage_table: String,
}

impl<'p> Statements<'p> {
    fn new(columns: &'p [PlanColumn], key: &'p [usize], table: String, number: usize) -> Result<Self> {
        let names = columns.iter().map(|column| quote(&column.name)).collect::<Result<_>>()?;
        let forms = key.iter().copied().filter(|place| byte_form(columns[*place].target_type).is_some()).collect();
        Ok(Self { columns, key, names, forms, table, stage_table: format!("pg_temp.tailrace_stage_{number}") })
    }

    fn upsert_arrays(&self) -> String {
        let arrays = arrays(self.columns, 0..self.columns.len());
        self.upsert(&format!("SELECT {} FROM unnest({arrays}) AS d ({})", self.casts(), self.fields()))
    }

    /// `c0, c1::real[]`: the columns as they can be assigned.
    fn casts(&self) -> String {
        let cast = |(place, column): (usize, &PlanColumn)| format!("c{place}{}", column.target_type.cast());
        self.columns.iter().enumerate().map(cast).collect::<Vec<_>>().join(", ")
    }

    fn fields(&self) -> String {
        (0..self.columns.len()).map(|place| format!("c{place}")).collect::<Vec<_>>().join(", ")
    }

    fn upsert(&self, rows: &str) -> String {
        let is_key = |place: &usize| self.key.contains(place);
        let updates: Vec<String> = (0..self.columns.len())
            .filter(|place| !is_key(place) || self.forms.contains(place))
            .map(|place| format!("{0} = excluded.{0}", self.names[place]))
            .collect();
        let action = match updates.as_slice() {
            [] => "DO NOTHING".to_owned(),
            updates => format!("DO UPDATE SET {}", updates.join(", ")),
        };
        let key: Vec<&str> = self.key.iter().map(|place| self.names[*place].as_str()).collect();
        // The alias is for a table named `excluded`.
        format!(
            "INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE {rows} ON CONFLICT ({}) {action}",
            self.table,
            self.names.join(", "),
            key.join(", ")
        )
    }

    fn delete_arrays(&self) -> String {
        let arrays = arrays(self.columns, self.key.iter().copied());
        let fields: Vec<String> = (0..self.key.len()).map(|place| format!("k{place}")).collect();
        format!(
            "DELETE FROM {} AS t USING unnest({arrays}) AS d ({}) WHERE {}",
            self.table,
            fields.join(", "),
            self.matches()
        )
    }

    fn update_parts(&self) -> UpdateParts {
        UpdateParts { table: self.table.clone(), names: self.names.clone(), matches: self.matches() }
    }

    /// The row `t` has the key that is `k0`, `k1`, … of `d`, byte for byte.
    fn matches(&self) -> String {
        let mut matches = Vec::new();
        for (number, place) in self.key.iter().enumerate() {
            let (name, target_type) = (&self.names[*place], self.columns[*place].target_type);
            let given = match target_type {
                // They travel as bit varying, which the column's index does not know.
                TargetType::Bit { .. } => format!("d.k{number}::{}", target_type.sql()),
                _ => format!("d.k{number}{}", target_type.cast()),
            };
            matches.push(format!("t.{name} = {given}"));
            if let Some(bytes_of) = byte_form(target_type) {
                matches.push(format!("{bytes_of}(t.{name}) = {bytes_of}({given})"));
            }
        }
        matches.join(" AND ")
    }

    /// COPY passes rules by, and knows no casts: values must travel in the column's own type. What triggers do is not tried twice.
    fn insert(&self, shape: &TableShape) -> Option<String> {
        let travels = |column: &PlanColumn| match column.target_type {
            TargetType::Bit { .. } | TargetType::RealArray => false,
            target_type => shape.column(&column.name).is_some_and(|target| target.target_type == Some(target_type)),
        };
        let is_possible = shape.rules.is_empty() && shape.triggers.is_empty() && self.columns.iter().all(travels);
        is_possible.then(|| format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.table, self.names.join(", ")))
    }

    fn stage(&self) -> Stage {
        let table = &self.stage_table;
        let types = self.columns.iter().map(|column| column.target_type.wire_name());
        let fields: Vec<String> = types.enumerate().map(|(place, name)| format!("c{place} {name}")).collect();
        Stage {
            // Emptied by the server at the end of the transaction, in place: cheaper than any statement of ours.
            create: format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {table} ({}) ON COMMIT DELETE ROWS",
                fields.join(", ")
            ),
            copy: format!("COPY {table} FROM STDIN (FORMAT binary)"),
            upsert: self.upsert(&format!("SELECT {} FROM {table}", self.casts())),
        }
    }
}

/// The parameters, an array for each of these columns.
fn arrays(columns: &[PlanColumn], places: impl Iterator<Item = usize>) -> String {
    let array =
        |(number, place): (usize, usize)| format!("${}::{}[]", number + 1, columns[place].target_type.wire_name());
    places.enumerate().map(array).collect::<Vec<_>>().join(", ")
}

/// The function that tells forms of one number apart, for types that have several.
fn byte_form(target_type: TargetType) -> Option<&'static str> {
    match target_type {
        TargetType::Real => Some("float4send"),
        TargetType::Double => Some("float8send"),
        TargetType::Boolean
        | TargetType::SmallInt
        | TargetType::Integer
        | TargetType::BigInt
        | TargetType::Numeric { .. }
        | TargetType::Bit { .. }
        | TargetType::VarBit { .. }
        | TargetType::Text
        | TargetType::Varchar { .. }
        | TargetType::Bytea
        | TargetType::Date
        | TargetType::Time { .. }
        | TargetType::Interval { .. }
        | TargetType::Timestamp { .. }
        | TargetType::TimestampTz { .. }
        | TargetType::Json
        | TargetType::Jsonb
        | TargetType::RealArray
        | TargetType::Uuid
        | TargetType::Inet => None,
    }
}
