//! The `nuthatch` program.

fn main() {}
