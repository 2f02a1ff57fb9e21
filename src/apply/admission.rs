//! What must hold of a target table before the first record is applied to it.

use tailrace_contract::{Error, Result, Sink, TableMapping, TargetState};

/// A target table must exist, and must not hold rows of somebody else.
pub(crate) async fn admit(sink: &dyn Sink, mapping: &TableMapping, allow_existing: bool) -> Result<()> {
    let failed = |message: String| Error::table_failed(mapping.source.clone(), message);
    match sink.table_state(mapping).await? {
        TargetState::Missing => Err(failed(format!("the target table {} does not exist", mapping.target))
            .hint("run `tailrace schema --apply`, or create it yourself (`tailrace schema` prints the statement)")),
        TargetState::Foreign if !allow_existing => {
            Err(failed(format!("the target table {} has rows that Tailrace did not write", mapping.target))
                .hint("empty it, or start with --allow-existing: rows with the same key will then be overwritten"))
        }
        TargetState::Foreign | TargetState::Empty | TargetState::Known => sink.adopt_table(mapping).await,
    }
}
