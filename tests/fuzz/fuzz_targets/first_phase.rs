//! See the target of this name in `tests/hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (hostile::target("first_phase").entry)(bytes));
