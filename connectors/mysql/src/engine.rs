//! Storage engines of tables, and which of them are read by readers and by proof: those that keep versions of rows.
//!
//! Others lock the whole table for as long as a statement's rows are being taken, which is as long as their consumer likes, and show
//! each statement another moment. Changes are captured whatever the engine.

use tailrace_contract::{Error, Result};
use tailrace_row::TableName;

/// Whether reading a table keeps nobody from writing it, and several statements see one moment.
pub(crate) fn has_versions(engine: &str) -> bool {
    engine.eq_ignore_ascii_case("InnoDB")
}

/// Refuses to read a table of another engine; `mend` is the statement of [`mend`].
pub(crate) fn check(table: &TableName, engine: &str, mend: String) -> Result<()> {
    if has_versions(engine) {
        return Ok(());
    }
    let what = format!("its engine is {engine}, and to read it would lock it for as long as that takes");
    Err(Error::table_failed(table.clone(), what).hint(mend))
}

/// What makes the table one that can be read, by its quoted name.
pub(crate) fn mend(quoted: &str) -> String {
    format!("ALTER TABLE {quoted} ENGINE = InnoDB")
}
