//! The `tailrace` command. Everything stands in the library, where it can be tested.

fn main() -> std::process::ExitCode {
    tailrace::cli::main()
}
