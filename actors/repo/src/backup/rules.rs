//! What a person leaves out of a backup.
//!
//! Patterns are those of gitignore, relative to each source: the last one that matches
//! decides, `!` takes back in, and what is below a directory that is left out is not
//! looked at. Rules are no part of a lineage: with other rules a backup still builds on
//! the one before.
//!
//! Invariant: a source itself is never left out, whatever the patterns say: it was named.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read as _},
    path::Path,
};

use env::{Files, files::SourceFile};
use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use protocol::limits;

use crate::error::RepoError;

/// The name of a file whose lines are patterns for the directory that it is in.
pub const IGNORE_FILE: &str = ".nuthatchignore";
/// What tells that a directory is a cache (Cache Directory Tagging Specification), if it
/// starts with these bytes.
const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What is left out, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Patterns as in a gitignore file, relative to each source.
    pub patterns: Vec<String>,
    /// What is on another file system than the source. A mount point is kept as an empty
    /// directory.
    pub one_file_system: bool,
    /// What is in a directory with a `CACHEDIR.TAG`, but for the tag.
    pub caches: bool,
    /// What is in a directory that has one of these names in it, but for that.
    pub if_present: Vec<OsString>,
    /// Whether files named `.nuthatchignore` mean nothing.
    pub no_ignore_files: bool,
}

impl Rules {
    /// Refuses patterns that make no sense, and more than can be tried on every name.
    pub fn check(&self) -> Result<(), RepoError> {
        self.matcher().map(drop)
    }

    pub(crate) fn matcher(&self) -> Result<Matcher, RepoError> {
        let bytes: usize = self.patterns.iter().map(String::len).sum();
        if self.patterns.len() > limits::EXCLUDES_MAX || bytes > limits::EXCLUDES_BYTES_MAX {
            let most = limits::EXCLUDES_MAX;
            return Err(RepoError::invalid(format!("there are more than {most} patterns of what to leave out")));
        }
        let mut builder = GitignoreBuilder::new("");
        for pattern in &self.patterns {
            let added = builder.add_line(None, pattern).map(drop);
            added.map_err(|error| RepoError::invalid(format!("the pattern {pattern:?} cannot be used: {error}")))?;
        }
        let built = builder.build();
        Ok(Matcher(built.map_err(|error| RepoError::invalid(format!("the patterns cannot be used: {error}")))?))
    }

    /// For people: the patterns, and the rest as options of the command line.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut all = self.patterns.clone();
        let options = [
            (self.one_file_system, "--one-file-system"),
            (self.caches, "--exclude-caches"),
            (self.no_ignore_files, "--no-ignore-files"),
        ];
        all.extend(options.iter().filter(|(asked, _)| *asked).map(|(_, option)| (*option).into()));
        all.extend(self.if_present.iter().map(|name| format!("--exclude-if-present {}", name.to_string_lossy())));
        all
    }
}

/// Patterns that are ready to be tried.
pub(crate) struct Matcher(Gitignore);

impl Matcher {
    /// What the patterns say of a path, relative to where they hold: whether it is left
    /// out. None if they say nothing.
    pub fn leaves_out(&self, path: &Path, is_dir: bool) -> Option<bool> {
        match self.0.matched(path, is_dir) {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        }
    }

    /// The patterns in a file, one a line, and what is wrong with some of them.
    pub fn of_file(files: &dyn Files, path: &Path) -> io::Result<(Self, Vec<String>)> {
        let bytes = head(&mut *files.open(path)?, limits::EXCLUDES_BYTES_MAX + 1)?;
        if bytes.len() > limits::EXCLUDES_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too long for a list of patterns"));
        }
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let mut builder = GitignoreBuilder::new("");
        let mut wrong = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if number > limits::EXCLUDES_MAX {
                wrong.push(format!("only its first {} lines are used", limits::EXCLUDES_MAX));
                break;
            }
            let added = match std::str::from_utf8(line) {
                Ok(line) => {
                    builder.add_line(None, line.trim_end_matches('\r')).map(drop).map_err(|error| error.to_string())
                }
                Err(_) => Err("it is not UTF-8".into()),
            };
            if let Err(reason) = added {
                wrong.push(format!("line {number} is not used: {reason}"));
            }
        }
        let built = builder.build().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok((Self(built), wrong))
    }
}

/// The name in a directory that says that the rest of it is left out.
pub(crate) fn tag<'a>(
    rules: &'a Rules,
    files: &dyn Files,
    directory: &Path,
    has: impl Fn(&OsStr) -> bool,
) -> Option<&'a OsStr> {
    if let Some(name) = rules.if_present.iter().find(|name| has(name)) {
        return Some(name);
    }
    let is_cache = rules.caches && has(CACHE_TAG.as_ref()) && has_signature(files, &directory.join(CACHE_TAG));
    is_cache.then(|| CACHE_TAG.as_ref())
}

/// Whether a file is the tag of a cache. One that cannot be read is none: what is kept
/// without need does less harm than what is left out by mistake.
fn has_signature(files: &dyn Files, path: &Path) -> bool {
    let read = || head(&mut *files.open(path)?, CACHE_SIGNATURE.len());
    read().is_ok_and(|bytes: Vec<u8>| bytes == CACHE_SIGNATURE)
}

/// The first bytes of a file.
fn head(file: &mut dyn SourceFile, len_max: usize) -> io::Result<Vec<u8>> {
    struct Reading<'a>(&'a mut dyn SourceFile);
    impl io::Read for Reading<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    let mut bytes = Vec::new();
    Reading(file).take(len_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> Rules {
        Rules { patterns: patterns.iter().map(ToString::to_string).collect(), ..Rules::default() }
    }

    #[test]
    fn patterns_mean_what_they_mean_in_gitignore() {
        let matcher = rules(&["*.o", "!keep.o", "/build", "cache/", "docs/**/*.pdf", "# not a pattern", ""]).matcher();
        let matcher = matcher.ok().unwrap();
        for (path, is_dir, expected) in [
            ("a.o", false, Some(true)),
            ("deep/below/a.o", false, Some(true)),
            ("deep/keep.o", false, Some(false)),
            ("build", true, Some(true)),
            ("src/build", true, None),
            ("x/cache", true, Some(true)),
            ("x/cache", false, None),
            ("docs/a/b/c.pdf", false, Some(true)),
            ("other/c.pdf", false, None),
        ] {
            assert_eq!(matcher.leaves_out(Path::new(path), is_dir), expected, "{path}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let error = rules(&["fine", "a{b"]).check().unwrap_err();
        assert!(error.message.contains("a{b"), "{error:?}");
        assert!(rules(&["x"; limits::EXCLUDES_MAX + 1]).check().is_err());
        assert!(rules(&[&"x".repeat(limits::EXCLUDES_BYTES_MAX + 1)]).check().is_err());
    }
}
