//! The binary `serin`: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    verifier::cli::main()
}
