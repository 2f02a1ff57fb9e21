//! Tables of the test on both sides: their statements, and the comparison of what both databases print.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::rules::Rule;
use crate::harness::{DRAIN_LIMIT, Scene, TargetKind, Texts, wait_until};

/// One column as both sides are asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Name on both sides.
    pub(crate) name: String,
    /// How its values are compared.
    pub(crate) rule: Rule,
    /// PostgreSQL's expression that brings another type back to the one of the rule; `$` is the column.
    pub(crate) target_form: &'static str,
    /// What the target is known to make of a value of the source, in the rule's form.
    pub(crate) altered: fn(String) -> String,
}

/// One table that is compared.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    /// Name on both sides.
    pub(crate) name: String,
    /// Its columns; every table also has `id`, by which both sides order.
    pub(crate) columns: Vec<Asked>,
}

impl Asked {
    /// A column of the type that the rule expects.
    pub(crate) fn plain(name: &str, rule: Rule) -> Asked {
        Asked { name: name.to_owned(), rule, target_form: "$", altered: |value| value }
    }
}

impl Compared {
    /// Values that differ, each described; empty if the table is equal on both sides.
    pub(crate) fn differences(&self, scene: &Scene) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let kind = scene.target_kind;
        let rows = scene.source_rows(&self.source_query())?;
        let expect = |column: &Asked, text: &str| column.rule.read(text).map(column.altered);
        let source = self.read(rows, expect, &mut found).context("MySQL's answer")?;
        let rows = scene.target_rows(&self.target_query(kind))?;
        let target = self.read(rows, |column, text| column.rule.read_target(kind, text), &mut found);
        let target = target.context("the target's answer")?;
        let ids = source.keys().chain(target.keys().filter(|id| !source.contains_key(*id)));
        for id in ids {
            match (source.get(id), target.get(id)) {
                (Some(source), Some(target)) => self.compare_row(id, source, target, &mut found),
                (Some(_), None) => found.push(format!("{} row {id}: missing in the target", self.name)),
                (None, _) => found.push(format!("{} row {id}: extra in the target", self.name)),
            }
        }
        Ok(found)
    }

    fn compare_row(&self, id: &str, source: &Texts, target: &Texts, found: &mut Vec<String>) {
        for (column, (source, target)) in self.columns.iter().zip(source.iter().zip(target)) {
            if source != target {
                let (source, target) = (shown(source), shown(target));
                found.push(format!(
                    "{} row {id}, {}: {source} in the source, {target} in the target",
                    self.name, column.name
                ));
            }
        }
    }

    fn source_query(&self) -> String {
        let forms = self.columns.iter().map(|column| column.rule.of_mysql(&mysql_name(&column.name)));
        format!("SELECT id, {} FROM {} ORDER BY id", forms.collect::<Vec<_>>().join(", "), mysql_name(&self.name))
    }

    fn target_query(&self, kind: TargetKind) -> String {
        let form = |column: &Asked| {
            let asked = column.target_form.replace('$', &postgres_name(&column.name));
            column.rule.of_target(kind, &asked)
        };
        let forms: Vec<String> = self.columns.iter().map(form).collect();
        format!("SELECT id, {} FROM {} ORDER BY id", forms.join(", "), postgres_name(&self.name))
    }

    /// The rows by `id`. An id stands twice while the halves of a key change, which lie in two partitions, are on their way:
    /// that is a difference until it passes.
    fn read(
        &self,
        rows: Vec<Texts>,
        read: impl Fn(&Asked, &str) -> Result<String>,
        found: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Texts>> {
        let mut by_id = BTreeMap::new();
        for mut row in rows {
            let id = row.remove(0).context("an id is never NULL")?;
            let columns = self.columns.iter().zip(row);
            let values = columns.map(|(column, text)| {
                let value = text.map(|text| read(column, &text)).transpose();
                value.with_context(|| format!("{} row {id}, {}", self.name, column.name))
            });
            let values = values.collect::<Result<Texts>>()?;
            if by_id.insert(id.clone(), values).is_some() {
                found.push(format!("{} row {id}: stands there twice", self.name));
            }
        }
        Ok(by_id)
    }
}

/// Waits until all tables are equal; the error shows what still differs.
pub(crate) fn wait_equal(scene: &Scene, stage: &str, tables: &[Compared]) -> Result<()> {
    wait_equal_while(scene, stage, tables, || Ok(()))
}

/// The same; an error of the check ends it.
pub(crate) fn wait_equal_while(
    scene: &Scene,
    stage: &str,
    tables: &[Compared],
    mut check: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut pending: Vec<&Compared> = tables.iter().collect();
    let mut found = Vec::new();
    let waited = wait_until(&format!("equal tables {stage}"), DRAIN_LIMIT, || {
        check()?;
        found.clear();
        let mut differing = Vec::new();
        for table in &pending {
            let differences = table.differences(scene)?;
            if !differences.is_empty() {
                differing.push(*table);
                found.extend(differences);
            }
        }
        pending = differing;
        Ok(pending.is_empty())
    });
    let examples = found.iter().take(40).cloned().collect::<Vec<_>>().join("\n  ");
    waited.with_context(|| format!("{} values differ:\n  {examples}", found.len()))
}

fn shown(value: &Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) if text.len() > 200 => {
            format!("{:?}… ({} bytes)", text.chars().take(60).collect::<String>(), text.len())
        }
        Some(text) => format!("{text:?}"),
    }
}

/// A name in MySQL's quotes.
pub(crate) fn mysql_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A name in PostgreSQL's quotes, which are SQLite's as well.
pub(crate) fn postgres_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
