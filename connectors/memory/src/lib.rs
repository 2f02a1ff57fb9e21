//! Fakes of every trait, in memory.
