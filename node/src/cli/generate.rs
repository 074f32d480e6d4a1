//! Completions and manual pages, made of the command line as it is.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter},
    path::Path,
};

use clap::CommandFactory as _;
use serde_json::json;

use super::{
    args::{Cli, Completions, Man},
    human,
    output::Output,
    trouble::Trouble,
};

/// `completions`.
pub fn completions(args: &Completions) -> Result<(), Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nuthatch", &mut script);
    match io::Write::write_all(&mut io::stdout().lock(), &script) {
        // Whoever reads may have read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Trouble::new("internal", format!("cannot print the script: {error}")))
        }
        _ => Ok(()),
    }
}

/// `man`.
pub fn man(args: &Man, output: Output) -> Result<(), Trouble> {
    let directory = super::session::absolute(&args.directory)?;
    fs::create_dir_all(&directory).map_err(|error| Trouble::file("make", &directory, &error))?;
    let mut command = Cli::command();
    // Names each command after those above it.
    command.build();
    let mut pages = 0;
    write_pages(&command, "nuthatch", &directory, &mut pages)?;
    output.result(json!({ "directory": directory, "pages": pages }), || {
        format!("Wrote {} into {}.", human::counted(pages, "page"), directory.display())
    });
    Ok(())
}

/// One page for a command, and for each below it.
fn write_pages(command: &clap::Command, name: &str, directory: &Path, pages: &mut u64) -> Result<(), Trouble> {
    let path = directory.join(format!("{name}.1"));
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)
        .and_then(|file| clap_mangen::Man::new(command.clone()).render(&mut BufWriter::new(file)))
        .map_err(|error| Trouble::file("write", &path, &error))?;
    *pages += 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, &format!("{name}-{}", below.get_name()), directory, pages)?;
    }
    Ok(())
}
