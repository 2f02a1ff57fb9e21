//! What keeps a table of the target from being written, all at once; changes nothing.
//!
//! One judge serves `check`, the start of apply and the first batch, so that they can't disagree.

use tailrace_contract::{Policy, Problem, Severity, TableMapping, advise_policy};
use tailrace_row::{Column, TableSchema};

use crate::{
    catalog::{TableShape, TargetColumn, UniqueBarrier},
    ddl, grants,
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
    let mut problems = judge_rights(mapping, shape);
    let target = crate::identifier::quote_table(&mapping.target).ok();
    // One statement for each name.
    let each = |names: &[String], statement: fn(&str, &str) -> String| {
        let target = target.as_deref()?;
        Some(names.iter().map(|name| statement(target, &ddl::quoted(name))).collect::<Vec<_>>().join(";\n"))
    };
    let mut add = |code, severity, found: String, needed: &str, mend: Option<String>| {
        let object = mapping.target.to_string();
        problems.push(Problem { code, severity, object, found, needed: needed.into(), mend });
    };
    if !matches!(shape.kind.as_str(), "r" | "p") {
        add("target_no_table", Severity::Error, "no plain or partitioned table".into(), "a table", None);
    }
    if !shape.rules.is_empty() {
        let found = format!("rules ({})", shape.rules.join(", "));
        let mend = each(&shape.rules, |table, rule| format!("DROP RULE {rule} ON {table}"));
        add("target_rules", Severity::Error, found, "no rules: PostgreSQL refuses ON CONFLICT beside them", mend);
    }
    if !shape.triggers.is_empty() {
        let found = format!("triggers ({})", shape.triggers.join(", "));
        let mend = each(&shape.triggers, |table, trigger| format!("ALTER TABLE {table} DISABLE TRIGGER {trigger}"));
        add("target_triggers", Severity::Warning, found, "triggers that neither change nor swallow our rows", mend);
    }
    if !shape.foreign_keys.is_empty() {
        let found = format!("foreign keys ({})", shape.foreign_keys.join(", "));
        let needed = "none while Tailrace writes: tables are applied independently, a child may come before its parent";
        let mend = Some(shape.foreign_key_drops.join(";\n")).filter(|mend| !mend.is_empty());
        add("target_foreign_keys", Severity::Warning, found, needed, mend);
    }
    problems
}

/// What the account may not do.
fn judge_rights(mapping: &TableMapping, shape: &TableShape) -> Vec<Problem> {
    let account = ddl::quoted(&shape.account);
    let mut problems = Vec::new();
    let mut add = |code, object: String, found: String, needed: &str, mend: Option<String>| {
        problems.push(Problem { code, severity: Severity::Error, object, found, needed: needed.into(), mend });
    };
    if !shape.may_use_schema {
        let schema = &mapping.target.schema;
        let grant = format!("GRANT USAGE ON SCHEMA {} TO {account}", ddl::quoted(schema));
        let found = "the account may not use it".into();
        add("target_schema_privilege", format!("schema {schema}"), found, "USAGE", Some(grant));
    }
    if !shape.missing_privileges.is_empty() {
        let missing = shape.missing_privileges.join(", ");
        let name = crate::identifier::quote_table(&mapping.target).ok();
        let grant = name.map(|name| format!("GRANT {missing} ON {name} TO {account}"));
        let found = format!("the account lacks a privilege on it: {missing}");
        add("target_privilege", mapping.target.to_string(), found, grants::TABLE_PRIVILEGES, grant);
    }
    if shape.hides_rows {
        let found = "row security policies hide rows from the account".into();
        let needed = "an account that sees every row (BYPASSRLS, or the owner)";
        let mend = Some(format!("ALTER ROLE {account} BYPASSRLS"));
        add("target_row_security", mapping.target.to_string(), found, needed, mend);
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
    for source in schema.columns() {
        problems.extend(match shape.column(&source.name) {
            Some(target) => table.judge_column(schema, source, target),
            None => vec![table.missing_column(source)],
        });
    }
    for target in &shape.columns {
        let is_ours = schema.columns().iter().any(|source| *source.name == *target.name);
        if !is_ours && !target.is_nullable && !target.has_default && !target.is_generated {
            let found = "a column that the source lacks, NOT NULL and without a default";
            let problem = table.column(&target.name, "target_column_extra", found.into(), "a default, or NULL allowed");
            let drop = format!("ALTER COLUMN {} DROP NOT NULL", ddl::quoted(&target.name));
            problems.push(Problem { mend: table.alter(&drop), ..problem });
        }
    }
    problems.extend(policies::judge(schema, mapping, Some(shape)));
    problems.extend(table.judge_key(schema));
    problems.extend(table.judge_barriers(schema));
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

    /// An error about a column; the caller adds what mends it.
    fn column(&self, column: &str, code: &'static str, found: String, needed: &str) -> Problem {
        let object = format!("{}.{column}", self.mapping.target);
        Problem { code, severity: Severity::Error, object, found, needed: needed.into(), mend: None }
    }

    fn alter(&self, action: &str) -> Option<String> {
        self.name().map(|name| format!("ALTER TABLE {name} {action}"))
    }

    fn missing_column(&self, source: &Column) -> Problem {
        let wanted = wanted(&source.column_type, self.mapping.policy(&source.name)).sql();
        let found = "no such column".into();
        let problem = self.column(&source.name, "target_column_missing", found, &format!("a column of type {wanted}"));
        let add = format!("ADD COLUMN {} {wanted}", ddl::quoted(&source.name));
        Problem { mend: self.alter(&add), ..problem }
    }

    fn judge_column(&self, schema: &TableSchema, source: &Column, target: &TargetColumn) -> Vec<Problem> {
        let name = &*source.name;
        let quoted = ddl::quoted(name);
        let is_key = schema.key().iter().any(|place| schema.columns()[*place].name == source.name);
        let mut problems: Vec<Problem> = self.judge_type(source, is_key, target).into_iter().collect();
        if target.is_generated || (target.is_identity_always && !is_key) {
            let found = "a column whose values PostgreSQL makes itself".into();
            let problem = self.column(name, "target_column_generated", found, "a plain column");
            let what = if target.is_generated { "EXPRESSION" } else { "IDENTITY" };
            problems.push(Problem { mend: self.alter(&format!("ALTER COLUMN {quoted} DROP {what}")), ..problem });
        }
        if source.nullable && !target.is_nullable {
            let found = "NOT NULL, while the source allows NULL".into();
            let problem = self.column(name, "target_column_not_null", found, "NULL allowed");
            let mend = self.alter(&format!("ALTER COLUMN {quoted} DROP NOT NULL"));
            problems.push(Problem { severity: Severity::Warning, mend, ..problem });
        }
        if is_key && !target.is_deterministic {
            let found = "a key column whose collation takes different texts for equal, which would join rows".into();
            let problem = self.column(name, "target_key_collation", found, "a deterministic collation, best \"C\"");
            let mend = self.alter(&format!("ALTER COLUMN {quoted} TYPE {} COLLATE \"C\"", target.type_name));
            problems.push(Problem { mend, ..problem });
        }
        problems
    }

    fn judge_type(&self, source: &Column, is_key: bool, target: &TargetColumn) -> Option<Problem> {
        let policy = self.mapping.policy(&source.name);
        if *policy == Policy::Text {
            // Judged with the policies: any column of text will do.
            return None;
        }
        let wanted = TargetType::holding(&source.column_type);
        let unknown = Fit::Refused("Tailrace does not write that type");
        let fit = target.target_type.map_or(unknown, |held| fit(&source.column_type, held));
        let (name, sql) = (ddl::quoted(&source.name), wanted.sql());
        let widen = format!("ALTER COLUMN {name} TYPE {sql}");
        match fit {
            Fit::Full => None,
            Fit::Partial(_) if *policy != Policy::Reject && target.target_type != Some(TargetType::Jsonb) => None,
            Fit::Partial(what) => {
                let found = format!("type {}, which does not hold {what}", target.type_name);
                let advice = advise_policy(&self.mapping.source, source, is_key).filter(|_| *policy == Policy::Reject);
                let needed = match advice {
                    Some(advice) => format!("{sql}, or no such values: they stop the table; {advice}"),
                    None => format!("{sql}, or no such values"),
                };
                let problem = self.column(&source.name, "target_column_narrow", found, &needed);
                Some(Problem { severity: Severity::Warning, mend: self.alter(&widen), ..problem })
            }
            Fit::Refused(why) => {
                let found = format!("type {}: {why}", target.type_name);
                let problem = self.column(&source.name, "target_column_type", found, &sql);
                // Between many types there is no cast but by way of text. Where that would change what the column holds already
                // (by the session's time zone, by rounding, by reading backslashes), it is the operator's to decide.
                let changes_values = |sql: &str| {
                    ["timestamp", "time", "interval", "double", "real", "bytea"]
                        .iter()
                        .any(|word| sql.starts_with(word))
                };
                let is_safe = !changes_values(&target.type_name) && !changes_values(&sql);
                let mend = self.alter(&format!("{widen} USING {name}::text::{sql}")).filter(|_| is_safe);
                Some(Problem { mend, ..problem })
            }
        }
    }

    /// A partition whose row takes a value over waits until the row that had it is written. Two partitions that hand values to
    /// each other may wait for each other.
    fn judge_barriers(&self, schema: &TableSchema) -> Vec<Problem> {
        let number = |column: &Column| self.shape.column(&column.name).map(|column| column.number);
        let ours: Vec<i16> = schema.columns().iter().filter_map(number).collect();
        let key: Vec<i16> = schema.key().iter().filter_map(|place| number(&schema.columns()[*place])).collect();
        // With the whole key among its columns no two rows can have one value. The key's own index is judged elsewhere.
        let holds_key = |barrier: &UniqueBarrier| {
            let has_it = key.iter().all(|part| barrier.columns.contains(part));
            barrier.is_plain && has_it && (barrier.is_deterministic || barrier.columns.len() == key.len())
        };
        // A column that the source lacks gets its values from the target, an expression may be made of ours.
        let is_ours =
            |barrier: &UniqueBarrier| barrier.columns.iter().any(|column| *column == 0 || ours.contains(column));
        let barriers = self.shape.barriers.iter().filter(|barrier| is_ours(barrier) && !holds_key(barrier));
        let problem = |barrier: &UniqueBarrier| {
            Problem {
            code: "target_unique_index",
            severity: Severity::Warning,
            object: self.mapping.target.to_string(),
            found: format!("{} holds values apart that are not the key", barrier.name),
            needed: "none until the cutover, or one partition: rows of two partitions that hand a value to each other can stop \
                     the table"
                .into(),
            mend: Some(barrier.drop.clone()),
        }
        };
        barriers.map(problem).collect()
    }

    fn judge_key(&self, schema: &TableSchema) -> Vec<Problem> {
        let object = self.mapping.target.to_string();
        let names: Vec<String> = schema.key().iter().map(|place| ddl::quoted(&schema.columns()[*place].name)).collect();
        let error = |code, found: String, needed: String, mend| {
            vec![Problem { code, severity: Severity::Error, object: object.clone(), found, needed, mend }]
        };
        if names.is_empty() {
            let needed = "a primary key, or a unique key over NOT NULL columns, in the source";
            return error("source_key_missing", "the source's table has no usable key".into(), needed.into(), None);
        }
        let numbers: Option<Vec<i16>> = schema
            .key()
            .iter()
            .map(|place| self.shape.column(&schema.columns()[*place].name).map(|column| column.number))
            .collect();
        let Some(numbers) = numbers else { return Vec::new() };
        let columns = names.join(", ");
        if let Some(index) = self.shape.deferrable_index(&numbers) {
            let found = format!("the unique constraint {} on the key is deferrable", index.name);
            let needed = "one that is not: ON CONFLICT does not take it, nor another index beside it".into();
            let drop = format!("DROP CONSTRAINT {}", ddl::quoted(&index.name));
            let is_alone = self.shape.unique_index(&numbers).is_none();
            let mend = self.alter(&if is_alone { format!("{drop}, ADD UNIQUE ({columns})") } else { drop });
            return error("target_key_deferrable", found, needed, mend);
        }
        match self.shape.unique_index(&numbers) {
            None => {
                let mend = self.name().map(|name| format!("CREATE UNIQUE INDEX ON {name} ({columns})"));
                let found = "no unique index on exactly the source's key columns".into();
                error("target_key_missing", found, format!("a primary key or unique index on ({columns})"), mend)
            }
            // By its columns' collation, which is told with each of them.
            Some(_) if numbers.iter().any(|number| !self.shape.is_deterministic(*number)) => Vec::new(),
            Some(index) if !index.is_deterministic => {
                let found =
                    format!("the unique index {} takes different texts for equal, which would join rows", index.name);
                let drop = self.shape.barriers.iter().find(|barrier| barrier.name == index.name);
                let make = self.name().map(|name| format!("CREATE UNIQUE INDEX ON {name} ({columns})"));
                let mend = drop.zip(make).map(|(barrier, make)| format!("{};\n{make}", barrier.drop));
                let needed = "a unique index with a deterministic collation, best \"C\"".into();
                error("target_key_collation", found, needed, mend)
            }
            Some(_) => Vec::new(),
        }
    }
}
