//! What keeps a table of the target from being written, all at once; changes nothing.
//!
//! One judge serves `check`, the start of apply and the first batch, so that they can't disagree.

use tailrace_contract::{Policy, Problem, Severity, TableMapping, advise_policy};
use tailrace_row::{Column, TableSchema};

use crate::{
    catalog::{TableShape, TargetColumn},
    ddl,
    identifier::is_same,
    target_type::{Fit, TargetType, fit, wanted},
};

pub(crate) mod policies;

/// Whether it keeps Tailrace from starting.
pub(crate) fn is_error(problem: &Problem) -> bool {
    problem.severity == Severity::Error
}

/// The missing table.
pub(crate) fn missing_table(mapping: &TableMapping) -> Problem {
    Problem {
        code: "target_table_missing",
        severity: Severity::Error,
        object: mapping.target.to_string(),
        found: "no such table in the target".into(),
        needed: format!("a table for the rows of {}", mapping.source),
        mend: Some("tailrace schema --apply".into()),
    }
}

/// What is wrong with the table whatever the source's looks like.
fn judge_table(mapping: &TableMapping, shape: &TableShape) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |code, severity, found: String, needed: &str| {
        let object = mapping.target.to_string();
        problems.push(Problem { code, severity, object, found, needed: needed.into(), mend: None });
    };
    if shape.kind != "table" {
        add("target_no_table", Severity::Error, format!("a {}", shape.kind), "a table");
    }
    if !shape.triggers.is_empty() {
        let found = format!("triggers ({})", shape.triggers.join(", "));
        add("target_triggers", Severity::Warning, found, "triggers that neither change nor swallow our rows");
    }
    if !shape.foreign_keys.is_empty() {
        let found = format!("foreign keys from or to it ({})", shape.foreign_keys.join(", "));
        let needed =
            "nothing that rests on them: Tailrace writes with foreign_keys off, as tables are applied independently";
        add("target_foreign_keys", Severity::Warning, found, needed);
    }
    problems
}

/// What is wrong with the table as long as nobody knows how the source's looks.
pub(crate) fn judge_alone(mapping: &TableMapping, shape: &TableShape) -> Vec<Problem> {
    let mut problems = judge_table(mapping, shape);
    if shape.unique_indexes.is_empty() {
        problems.push(Problem {
            code: "target_key_missing",
            severity: Severity::Error,
            object: mapping.target.to_string(),
            found: "no unique index".into(),
            needed: "a primary key or unique index on exactly the source's key columns".into(),
            mend: None,
        });
    }
    problems
}

/// What keeps rows of this schema from being written to the table.
pub(crate) fn judge(schema: &TableSchema, mapping: &TableMapping, shape: &TableShape) -> Vec<Problem> {
    let table = Table { mapping, shape };
    let mut problems = judge_table(mapping, shape);
    for (place, source) in schema.columns().iter().enumerate() {
        let is_key = schema.key().contains(&place);
        problems.extend(match shape.column(&source.name) {
            Some(target) => table.judge_column(source, is_key, target),
            None => vec![table.missing_column(source, is_key)],
        });
    }
    for target in &shape.columns {
        let is_ours = schema.columns().iter().any(|source| is_same(&source.name, &target.name));
        if !is_ours && !target.is_nullable && !target.has_default && !target.is_generated {
            let found = "a column that the source lacks, NOT NULL and without a default".into();
            problems.push(table.column(&target.name, "target_column_extra", found, "a default, or NULL allowed"));
        }
    }
    problems.extend(policies::judge(schema, mapping, Some(shape)));
    problems.extend(table.judge_key(schema));
    problems
}

struct Table<'t> {
    mapping: &'t TableMapping,
    shape: &'t TableShape,
}

impl Table<'_> {
    fn name(&self) -> Option<String> {
        crate::identifier::quote_table(&self.mapping.target).ok()
    }

    /// An error about a column. SQLite alters no column: what mends most of them is a new table.
    fn column(&self, column: &str, code: &'static str, found: String, needed: &str) -> Problem {
        let object = format!("{}.{column}", self.mapping.target);
        Problem { code, severity: Severity::Error, object, found, needed: needed.into(), mend: None }
    }

    fn missing_column(&self, source: &Column, is_key: bool) -> Problem {
        let policy = self.mapping.policy(&source.name);
        let wanted = wanted(&source.column_type, is_key, policy).sql_in(self.shape.is_strict);
        let needed = format!("a column of type {wanted}");
        let problem = self.column(&source.name, "target_column_missing", "no such column".into(), &needed);
        let add = |name| format!("ALTER TABLE {name} ADD COLUMN {} {wanted}", ddl::quoted(&source.name));
        Problem { mend: self.name().map(add), ..problem }
    }

    fn judge_column(&self, source: &Column, is_key: bool, target: &TargetColumn) -> Vec<Problem> {
        let name = &*source.name;
        let mut problems: Vec<Problem> = self.judge_type(source, is_key, target).into_iter().collect();
        if target.is_generated {
            let found = "a column whose values SQLite makes itself".into();
            problems.push(self.column(name, "target_column_generated", found, "a plain column"));
        }
        if source.nullable && !is_key && !target.is_nullable {
            let found = "NOT NULL, while the source allows NULL".into();
            let problem = self.column(name, "target_column_not_null", found, "NULL allowed");
            problems.push(Problem { severity: Severity::Warning, ..problem });
        }
        problems
    }

    fn judge_type(&self, source: &Column, is_key: bool, target: &TargetColumn) -> Option<Problem> {
        let policy = self.mapping.policy(&source.name);
        if *policy == Policy::Text {
            // Judged with the policies: any column of text will do.
            return None;
        }
        let wanted = TargetType::holding(&source.column_type, is_key).sql_in(self.shape.is_strict);
        let unknown = Fit::Refused("Tailrace does not know that type");
        let fit = target.target_type.map_or(unknown, |held| fit(&source.column_type, is_key, held));
        let declared = if target.type_name.is_empty() { "(none)" } else { &target.type_name };
        match fit {
            Fit::Full => None,
            Fit::Partial(_) if *policy != Policy::Reject => None,
            Fit::Partial(what) => {
                let found = format!("type {declared}, which does not hold {what}");
                let advice = advise_policy(&self.mapping.source, source, is_key);
                let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
                let needed = format!("{wanted}, or no such values: they stop the table{advice}");
                let problem = self.column(&source.name, "target_column_narrow", found, &needed);
                Some(Problem { severity: Severity::Warning, ..problem })
            }
            Fit::Refused(why) => {
                let found = format!("type {declared}: {why}");
                Some(self.column(&source.name, "target_column_type", found, wanted))
            }
        }
    }

    fn judge_key(&self, schema: &TableSchema) -> Vec<Problem> {
        let error = |code, found: String, needed: String, mend| {
            let object = self.mapping.target.to_string();
            vec![Problem { code, severity: Severity::Error, object, found, needed, mend }]
        };
        let columns: Vec<&str> = schema.key().iter().map(|place| &*schema.columns()[*place].name).collect();
        if columns.is_empty() {
            let needed = "a primary key, or a unique key over NOT NULL columns, in the source";
            return error("source_key_missing", "the source's table has no usable key".into(), needed.into(), None);
        }
        if columns.iter().any(|column| self.shape.column(column).is_none()) {
            return Vec::new();
        }
        let shown = columns.iter().map(|column| ddl::quoted(column)).collect::<Vec<_>>().join(", ");
        let mut indexes = self.shape.indexes_on(&columns).peekable();
        if indexes.peek().is_none() {
            let mend = self.name().map(|_| {
                let name = ddl::quoted(&format!("{}_key", self.mapping.target.table));
                format!("CREATE UNIQUE INDEX {name} ON {} ({shown})", ddl::quoted(&self.mapping.target.table))
            });
            let found = "no unique index on exactly the source's key columns".into();
            return error("target_key_missing", found, format!("a primary key or unique index on ({shown})"), mend);
        }
        // SQLite may take any of them for the row's key.
        match indexes.find(|index| !index.is_binary) {
            Some(index) => error(
                "target_key_collation",
                format!("the unique index {} takes different texts for equal, which would join rows", index.name),
                "only unique indexes with the collation BINARY on the key".into(),
                None,
            ),
            None => Vec::new(),
        }
    }
}
