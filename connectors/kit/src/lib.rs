//! Conformance tests that every connector runs.
