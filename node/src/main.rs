//! The `nuthatch` program.

use std::process::ExitCode;

use node::cli;

/// A backup allocates and frees buffers of megabytes on many threads, which leaves
/// glibc's arenas with twice what is in use. How it gives memory back is set where it
/// is built: `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Damage of a database is told as an error, with what to do.
    actors::db::hush_panics();
    match cli::parse(std::env::args_os()) {
        Ok(asked) => cli::run(asked),
        Err(exit) => exit,
    }
}
