//! Which table of the source goes to which table of the target, what becomes of values that can't be held there (`policy`), and
//! of the target's table when DDL changes the source's (`evolve`). Used by schema and apply; later by backfill and verify.
//!
//! Columns go by name. An exact rule wins over one for a whole database; a table that no rule names is not moved.

pub mod chosen;
mod columns;
pub mod evolve;
pub mod policy;
pub(crate) mod projection;

use std::collections::{BTreeMap, BTreeSet};

use tailrace_contract::{
    DdlPolicy, Error, Policy, Result, TableFilter, TableMapping, TablePattern, TargetScope, TargetTable,
};
use tailrace_row::TableName;

pub use columns::ColumnChoice;

/// Where the tables of a pattern go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetRule {
    /// The source's database becomes the schema, the table keeps its name.
    SameName,
    /// Into this schema, under the table's own name.
    Schema(Box<str>),
    /// To exactly this table; only for a pattern that names one table.
    Table(TargetTable),
}

/// One `[[table]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRule {
    /// Which tables of the source.
    pub pattern: TablePattern,
    /// Where they go.
    pub target: TargetRule,
    /// What becomes of values that the target can't hold, by column; only for a pattern that names one table.
    pub policies: BTreeMap<Box<str>, Policy>,
    /// What becomes of the target's table when DDL changes the source's.
    pub on_ddl: DdlPolicy,
    /// Whether the rows that are in the table already are copied.
    pub is_copied: bool,
    /// What becomes of a table that was copied, and of which changes are missing.
    pub on_gap: GapPolicy,
    /// Which of the rows that are there already are copied, in the source's language; none: all.
    pub condition: Option<Box<str>>,
    /// Which columns are moved, of history and changes alike; only for a pattern that names one table.
    pub choice: ColumnChoice,
}

/// What becomes of a table that was copied, and of which changes are missing since (E10): rows that were deleted meanwhile are still
/// in the target, and no copy that adds and replaces rows removes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapPolicy {
    /// It keeps its rows and waits for an operator.
    #[default]
    Wait,
    /// The target's table is emptied and copied anew.
    Empty,
}

impl TableRule {
    /// A rule without policies.
    #[must_use]
    pub fn new(pattern: TablePattern, target: TargetRule) -> Self {
        Self {
            pattern,
            target,
            policies: BTreeMap::new(),
            on_ddl: DdlPolicy::default(),
            is_copied: true,
            on_gap: GapPolicy::default(),
            condition: None,
            choice: ColumnChoice::All,
        }
    }

    /// What of the target it writes.
    #[must_use]
    pub fn target_scope(&self) -> TargetScope {
        let table =
            |schema: &str, table: &str| TargetScope::Table(TargetTable { schema: schema.into(), table: table.into() });
        match (&self.target, &self.pattern) {
            (TargetRule::Table(target), _) => TargetScope::Table(target.clone()),
            (TargetRule::Schema(schema), TablePattern::Table(name)) => table(schema, &name.table),
            (TargetRule::SameName, TablePattern::Table(name)) => table(&name.database, &name.table),
            (TargetRule::Schema(schema), TablePattern::Database(_)) => TargetScope::Schema(schema.clone()),
            (TargetRule::SameName, TablePattern::Database(database)) => TargetScope::Schema(database.clone()),
        }
    }
}

/// Which names the target takes for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameEquality {
    /// Equal ones.
    #[default]
    Exact,
    /// Also those that differ in the case of ASCII letters.
    CaseBlind,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableRules {
    rules: Vec<TableRule>,
    equality: NameEquality,
}

impl NameEquality {
    /// One form for all names that are one to the target.
    #[must_use]
    pub fn fold(self, target: &TargetTable) -> TargetTable {
        match self {
            Self::Exact => target.clone(),
            Self::CaseBlind => TargetTable {
                schema: target.schema.to_ascii_lowercase().into(),
                table: target.table.to_ascii_lowercase().into(),
            },
        }
    }
}

impl TableRules {
    /// Takes the rules; the configuration has checked that no two name the same table.
    #[must_use]
    pub fn new(rules: Vec<TableRule>) -> Self {
        Self { rules, equality: NameEquality::Exact }
    }

    /// The same rules for a target that takes these names for one.
    #[must_use]
    pub fn with_equality(self, equality: NameEquality) -> Self {
        Self { equality, ..self }
    }

    /// The tables that the rules capture.
    #[must_use]
    pub fn filter(&self) -> TableFilter {
        TableFilter { patterns: self.rules.iter().map(|rule| rule.pattern.clone()).collect() }
    }

    /// The tables that are written, as far as the rules alone tell them.
    #[must_use]
    pub fn target_scopes(&self) -> Vec<TargetScope> {
        let all: BTreeSet<TargetScope> = self.rules.iter().map(TableRule::target_scope).collect();
        let is_covered = |scope: &TargetScope| match scope {
            TargetScope::Table(table) => all.contains(&TargetScope::Schema(table.schema.clone())),
            TargetScope::Schema(_) => false,
        };
        all.iter().filter(|scope| !is_covered(scope)).cloned().collect()
    }

    /// The rules, in the order of the configuration.
    #[must_use]
    pub fn as_slice(&self) -> &[TableRule] {
        &self.rules
    }

    /// Whether the rows that are in the table already are copied.
    #[must_use]
    pub fn is_copied(&self, source: &TableName) -> bool {
        self.rule(source).is_some_and(|rule| rule.is_copied)
    }

    /// Whether it is emptied and copied anew by itself when changes of it are missing.
    #[must_use]
    pub fn is_renewed(&self, source: &TableName) -> bool {
        self.rule(source).is_some_and(|rule| rule.is_copied && rule.on_gap == GapPolicy::Empty)
    }

    /// Which of the rows that are there already are copied, in the source's language; none: all.
    #[must_use]
    pub fn condition(&self, source: &TableName) -> Option<&str> {
        self.rule(source)?.condition.as_deref()
    }

    /// Which columns are moved.
    #[must_use]
    pub fn choice(&self, source: &TableName) -> &ColumnChoice {
        self.rule(source).map_or(&ColumnChoice::All, |rule| &rule.choice)
    }

    /// The place of the rule that the table goes by, in the order of the configuration.
    #[must_use]
    pub fn place(&self, source: &TableName) -> Option<usize> {
        let rule = self.rule(source)?;
        self.rules.iter().position(|known| std::ptr::eq(known, rule))
    }

    fn rule(&self, source: &TableName) -> Option<&TableRule> {
        let matching = |rule: &&TableRule| rule.pattern.matches(&source.database, &source.table);
        let exact = self.rules.iter().filter(|rule| matches!(rule.pattern, TablePattern::Table(_))).find(matching);
        exact.or_else(|| self.rules.iter().find(matching))
    }

    /// Where a table goes; none if no rule names it.
    #[must_use]
    pub fn mapping(&self, source: &TableName) -> Option<TableMapping> {
        let rule = self.rule(source)?;
        let same_name = |schema: &str| TargetTable { schema: schema.into(), table: source.table.clone() };
        let target = match &rule.target {
            TargetRule::SameName => same_name(&source.database),
            TargetRule::Schema(schema) => same_name(schema),
            TargetRule::Table(table) => table.clone(),
        };
        let on_ddl = rule.on_ddl;
        let policies = rule.policies.clone();
        Some(TableMapping { policies, on_ddl, ..TableMapping::new(source.clone(), target) })
    }

    /// Where the tables go. Two tables that meet in one target table would overwrite each other: refused.
    pub fn mappings(&self, sources: &[TableName]) -> Result<Vec<TableMapping>> {
        let mut by_target = BTreeMap::<TargetTable, TableName>::new();
        let mut mappings = Vec::new();
        for mapping in sources.iter().filter_map(|source| self.mapping(source)) {
            if let Some(other) = by_target.insert(self.equality.fold(&mapping.target), mapping.source.clone()) {
                return Err(Error::refused(format!(
                    "the tables {other} and {} both go to {}",
                    mapping.source, mapping.target
                ))
                .hint("give each a [[table]] section with a target of its own"));
            }
            mappings.push(mapping);
        }
        Ok(mappings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> TableRules {
        let table = |database: &str, table: &str| TablePattern::Table(TableName::new(database, table));
        let target = TargetTable { schema: "public".into(), table: "purchases".into() };
        TableRules::new(vec![
            TableRule::new(TablePattern::Database("shop".into()), TargetRule::Schema("public".into())),
            TableRule::new(table("shop", "orders"), TargetRule::Table(target)),
            TableRule::new(table("crm", "items"), TargetRule::SameName),
            TableRule::new(TablePattern::Database("old".into()), TargetRule::Schema("public".into())),
        ])
    }

    fn check(source: (&str, &str), expect: Option<&str>) {
        let mapping = rules().mapping(&TableName::new(source.0, source.1));
        assert_eq!(mapping.map(|mapping| mapping.target.to_string()).as_deref(), expect, "{source:?}");
    }

    #[test]
    fn exact_rules_win_over_databases() {
        check(("shop", "orders"), Some("public.purchases"));
        check(("shop", "items"), Some("public.items"));
        check(("crm", "items"), Some("crm.items"));
        check(("crm", "other"), None);
    }

    #[test]
    fn two_tables_in_one_target_are_refused() {
        let sources = [TableName::new("shop", "items"), TableName::new("old", "items")];
        let error = rules().mappings(&sources).unwrap_err();
        assert_eq!(error.message(), "the tables shop.items and old.items both go to public.items");
        assert_eq!(rules().mappings(&sources[..1]).unwrap().len(), 1);
    }

    #[test]
    fn names_that_are_one_to_the_target_are_refused() {
        let sources = [TableName::new("shop", "Items"), TableName::new("old", "items")];
        assert_eq!(rules().mappings(&sources).unwrap().len(), 2);
        let error = rules().with_equality(NameEquality::CaseBlind).mappings(&sources).unwrap_err();
        assert_eq!(error.message(), "the tables shop.Items and old.items both go to public.items");
    }
}
