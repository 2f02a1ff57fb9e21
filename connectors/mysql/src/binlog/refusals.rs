//! The events that end the stream by name: each error says what came, for which table, where, and how to go on.

use tailrace_contract::Error;
use tailrace_row::{TableName, TableSchema};

use super::{BinlogReader, Phase, Span, Transaction};
use crate::{
    events::QueryEvent,
    gtid::DomainGtid,
    position::{BinlogPosition, FileOffset},
    statement::Verdict,
};

/// Longer positions are told by file and offset.
const HINT_BYTES_MAX: usize = 300;

impl BinlogReader {
    pub(super) fn refuse_partial_json(&self, schema: &TableSchema, column: usize) -> Error {
        let column = &schema.columns()[column].name;
        let what =
            format!("an UPDATE logged only what changed in the JSON of column {column}, and not what it was before");
        Error::table_failed(schema.name().clone(), what).at(self.here()).hint(
            "where binlog_row_value_options is PARTIAL_JSON, binlog_row_image must be FULL, also in sessions that set it; then start \
             anew behind this transaction",
        )
    }

    pub(super) fn refuse_missing_key(&self, schema: &TableSchema, column: usize) -> Error {
        let column = &schema.columns()[column].name;
        Error::table_failed(schema.name().clone(), format!("its rows are logged without column {column} of their key"))
            .at(self.here())
            .hint(self.image_hint())
    }

    pub(super) fn refuse_unknown_default(&self, schema: &TableSchema, column: usize) -> Error {
        let column = &schema.columns()[column].name;
        let what =
            format!("a row was inserted and logged without column {column}, whose default the binlog does not tell");
        Error::table_failed(schema.name().clone(), what).at(self.here()).hint(self.image_hint())
    }

    pub(super) fn refuse_moved_row(&self, table: &TableName) -> Error {
        let what = "an UPDATE changed the key of a row and was logged without all columns";
        Error::table_failed(table.clone(), what).at(self.here()).hint(self.image_hint())
    }

    fn image_hint(&self) -> &'static str {
        match self.place.boundary() {
            BinlogPosition::Domains { .. } => {
                "SET GLOBAL binlog_row_image = 'FULL', also in sessions that set it; MariaDB 11 leaves generated columns out all the \
                 same, so leave a table with such a column out; then start anew behind this transaction"
            }
            BinlogPosition::Gtids { .. } | BinlogPosition::File { .. } => {
                "SET PERSIST binlog_row_image = 'FULL', also in sessions that set it; then start anew behind this transaction"
            }
        }
    }

    pub(super) fn refuse_backward(&self, gtid: DomainGtid) -> Error {
        Error::refused(format!("transaction {gtid} comes behind one with a higher number of the same server and domain"))
            .at(self.here())
            .hint(
                "numbers that go back name no place to resume from: SET GLOBAL gtid_strict_mode = ON, find who sets gtid_seq_no, \
                 then start anew behind it and copy the tables again",
            )
    }

    pub(super) fn refuse_incident(&self) -> Error {
        Error::refused("the server reports an incident: it lost changes that are not in its binlog")
            .at(self.here())
            .hint("start anew behind it and copy the tables again")
    }

    pub(super) fn refuse_unknown(&self, kind: u8) -> Error {
        Error::refused(format!("an event of type {kind} came, which this version does not know"))
            .at(self.here())
            .hint("a newer version of Tailrace may know it")
    }

    pub(super) fn refuse_anonymous(&self) -> Error {
        Error::refused("a transaction without GTID came, and the position is a GTID set")
            .at(self.here())
            .hint("gtid_mode was changed: set it back to ON and start anew behind this transaction")
    }

    pub(super) fn refuse_torn(&self) -> Error {
        Error::corrupt(
            "a transaction ends with its file, and a part of it was handed over: the server died while it wrote",
        )
        .at(self.here())
        .hint("copy the captured tables again")
    }

    pub(super) fn refuse_rollback(&self, span: Option<Span>) -> Error {
        let what = "a part of a transaction was handed over, and then the source took it back";
        let (Phase::Open(transaction) | Phase::Named(transaction)) = &self.phase else {
            return Error::refused(what).at(self.here());
        };
        let error = match &transaction.captured {
            Some(schema) => Error::table_failed(schema.name().clone(), what),
            None => Error::refused(what),
        };
        error.at(self.here()).hint(self.way_on(span, "make sure that the target has what the source has of its rows"))
    }

    /// The statement's text is not shown: its literals are row values. The digest tells the forms of two statements apart, and has none.
    pub(super) fn refuse_statement(&self, query: &QueryEvent<'_>, verdict: Verdict, span: Option<Span>) -> Error {
        let digest = self.tables.captured().digest(query);
        let is_open = matches!(self.phase, Phase::Open(_));
        let act = if is_open { "make the same change at the target" } else { "carry it out at the target too" };
        let error = match verdict {
            Verdict::Table { verb, table } => {
                Error::table_failed(table, format!("{verb} can't be followed yet (statement digest {digest:016x})"))
            }
            Verdict::Database { verb, database } => Error::refused(format!(
                "{verb} may concern captured tables of database {database} and can't be followed (statement digest {digest:016x})"
            )),
            Verdict::Harmless | Verdict::Changes(_) => unreachable!("only what can't be followed is refused"),
        };
        let error = error.at(self.here());
        if is_open {
            return error.hint(format!(
                "{act}, have the session use binlog_format=ROW, and start anew behind this transaction"
            ));
        }
        error.hint(self.way_on(span, act))
    }

    /// No server logs such a statement inside a transaction, for it ends the one before it.
    pub(super) fn refuse_inner_change(&self, table: &TableName, span: Option<Span>) -> Error {
        Error::table_failed(table.clone(), "a statement inside of a transaction changes the table itself")
            .at(self.here())
            .hint(self.way_on(span, "carry it out at the target too"))
    }

    /// What to do, and where to start anew: behind the statement that makes up the transaction in progress.
    pub(super) fn way_on(&self, span: Option<Span>, act: &str) -> String {
        let (Phase::Named(Transaction { id, .. }) | Phase::Open(Transaction { id, .. })) = &self.phase else {
            return act.to_owned();
        };
        let Some(span) = span else { return act.to_owned() };
        let behind = self.place.boundary_behind(*id, span.end);
        let text = match &behind {
            BinlogPosition::Gtids { set, .. } => set.to_string(),
            BinlogPosition::Domains { list, .. } => list.to_string(),
            BinlogPosition::File { at, .. } => at.to_string(),
        };
        let end = FileOffset { offset: span.end, ..self.place.here() };
        let text = if text.len() > HINT_BYTES_MAX { end.to_string() } else { text };
        format!("{act}, then start capture anew at {text}")
    }
}
