//! MySQL as a source: replication connection, row decoder, checks.
