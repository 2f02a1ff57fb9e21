//! Documents that say how far something is done which takes long: they are stored together with the rows that it wrote.

use serde::{Deserialize, Serialize};

/// A document, as the log or the target keeps it: it reads nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its name; a later document of the same name replaces it.
    pub key: Box<str>,
    /// Its text; none forgets it.
    pub value: Option<Box<str>>,
}
