//! The `nuthatch` program.

use std::process::ExitCode;

use node::cli;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(asked) => cli::run(asked),
        Err(exit) => exit,
    }
}
