//! The program `menshen`.

use std::process::ExitCode;

fn main() -> ExitCode {
    menshen::cli::run()
}
