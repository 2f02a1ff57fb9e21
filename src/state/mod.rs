//! Documents with a meaning, over stores that know none.

pub mod ledger;
