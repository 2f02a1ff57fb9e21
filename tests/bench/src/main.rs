//! Benchmarks on real servers.
fn main() {}
