//! Checks of the configuration, one line a case.
