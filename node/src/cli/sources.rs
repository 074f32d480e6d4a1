//! What a person asks to be backed up, as the data plane takes it.

use std::{
    ffi::OsStr,
    io::{self, IsTerminal as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use env::Clock;
use repo::{Rules, Stream};

use super::{
    args::{RuleArgs, SourceArgs, StreamArgs},
    input::read_list,
    output::Output,
    session::absolute,
    stream,
    trouble::Trouble,
};

/// What is backed up.
pub struct Sources {
    /// Absolute paths.
    pub paths: Vec<PathBuf>,
    /// What is left out of them.
    pub rules: Rules,
    /// What is backed up in their place.
    pub stream: Option<Stream>,
}

/// Understands the arguments. Starts a command whose output is to be backed up last, when
/// nothing else is wrong.
pub fn sources(args: SourceArgs, clock: &dyn Clock, output: Output) -> Result<Sources, Trouble> {
    let rules = rules(args.rules)?;
    let StreamArgs { stdin, stdin_from_command, stdin_filename } = args.stream;
    if !stdin && !stdin_from_command {
        let paths = args.paths.iter().map(|path| source(path, output)).collect::<Result<_, _>>()?;
        return Ok(Sources { paths, rules, stream: None });
    }
    // The name is checked before anything is run.
    let path = Path::new("/").join(&stdin_filename);
    if Path::new(&stdin_filename).components().count() != 1 || path.file_name() != Some(&stdin_filename) {
        return Err(Trouble::usage(format!("{} is not a file name", path.display()))
            .hint("--stdin-filename takes one name, without a slash."));
    }
    let source = match &args.paths[..] {
        [command, more @ ..] if stdin_from_command => {
            let more: Vec<&OsStr> = more.iter().map(|arg| arg.as_os_str()).collect();
            stream::output_of(command.as_os_str(), &more, clock)?
        }
        _ if io::stdin().is_terminal() => {
            return Err(Trouble::usage("standard input is a terminal")
                .hint("Pipe something into it: pg_dump db | nuthatch snapshot create --stdin"));
        }
        _ => stream::stdin(clock),
    };
    Ok(Sources { paths: vec![path], rules, stream: Some(Stream::new(stdin_filename, source)?) })
}

/// A path, absolute and as it is stored. A symbolic link is backed up as such, unless a
/// slash behind it says that what it leads to is meant.
fn source(path: &Path, output: Output) -> Result<PathBuf, Trouble> {
    let refuse = |error| Trouble::file("find", path, &error);
    let whole: PathBuf = absolute(path)?.components().collect();
    if !std::fs::symlink_metadata(&whole).is_ok_and(|found| found.is_symlink()) {
        return Ok(whole);
    }
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return whole.canonicalize().map_err(refuse);
    }
    let shown = super::text::safe_path(&whole);
    output.note(&format!(
        "{shown} is a symbolic link, and backed up as such. For what it leads to, put a slash behind it: {shown}/"
    ));
    Ok(whole)
}

fn rules(args: RuleArgs) -> Result<Rules, Trouble> {
    let mut patterns = Vec::new();
    for file in &args.exclude_file {
        let text = read_list(file)?;
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        patterns.extend(lines.map(str::to_owned));
    }
    patterns.extend(args.exclude);
    let rules = Rules {
        patterns,
        one_file_system: args.one_file_system,
        caches: args.exclude_caches,
        if_present: args.exclude_if_present,
        no_ignore_files: args.no_ignore_files,
    };
    rules.check().map_err(|error| Trouble::usage(error.message))?;
    Ok(rules)
}
