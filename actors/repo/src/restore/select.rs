//! Which part of a snapshot is restored: paths and patterns.
//!
//! Patterns are those of `.gitignore` files, relative to where the restore starts.
//!
//! Invariant: a directory that nothing chosen can be in is not read, so a part costs
//! what the part is, not what the snapshot is.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

use crate::error::RepoError;

/// What is wanted. The default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These and what is below them; none: everything. Relative to where the restore starts.
    pub paths: Vec<PathBuf>,
    /// Of that, what one of these patterns matches; none: all.
    pub include: Vec<String>,
    /// Of that, all but what one of these matches.
    pub exclude: Vec<String>,
}

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is not restored, nor is anything below it.
    Out,
    /// A directory that is made only if something below it is restored.
    Way,
    /// It is restored.
    In,
}

/// A selection, ready to be asked.
pub struct Chooser {
    paths: Vec<PathBuf>,
    include: Option<Include>,
    exclude: Gitignore,
}

struct Include {
    patterns: Gitignore,
    ways: Vec<Way>,
}

/// The directories that a pattern leads through, component by component.
enum Way {
    /// A pattern that may match anywhere.
    Any,
    /// One that is bound to its place, as `/etc/*/conf`; `open` if it goes on with `**`.
    Through { components: Vec<GlobMatcher>, open: bool },
}

impl Chooser {
    /// Refuses patterns that cannot be understood, or that match nothing.
    pub fn new(selection: &Selection) -> Result<Self, RepoError> {
        let include = match &selection.include[..] {
            [] => None,
            patterns => Some(Include {
                ways: patterns.iter().map(|pattern| way(pattern)).collect::<Result<_, _>>()?,
                patterns: compile(patterns)?,
            }),
        };
        Ok(Self { paths: selection.paths.clone(), include, exclude: compile(&selection.exclude)? })
    }

    /// What becomes of a name, and whether patterns choose it (and so, unless they say
    /// otherwise, what is below it): `above` says that of the directory it is in.
    pub fn look(&self, path: &Path, is_dir: bool, above: bool) -> (Verdict, bool) {
        if self.exclude.matched(path, is_dir).is_ignore() {
            return (Verdict::Out, false);
        }
        let by_pattern = match &self.include {
            None => Verdict::In,
            Some(include) => match include.patterns.matched(path, is_dir) {
                Match::Ignore(_) => Verdict::In,
                Match::Whitelist(_) => Verdict::Out,
                Match::None if above => Verdict::In,
                Match::None if is_dir && include.ways.iter().any(|way| way.goes_through(path)) => Verdict::Way,
                Match::None => Verdict::Out,
            },
        };
        (by_pattern.min(self.by_path(path, is_dir)), by_pattern == Verdict::In)
    }

    fn by_path(&self, path: &Path, is_dir: bool) -> Verdict {
        let here = |wanted: &PathBuf| match () {
            () if path.starts_with(wanted) => Verdict::In,
            () if is_dir && wanted.starts_with(path) => Verdict::Way,
            () => Verdict::Out,
        };
        if self.paths.is_empty() { Verdict::In } else { self.paths.iter().map(here).max().unwrap_or(Verdict::Out) }
    }
}

impl Way {
    fn goes_through(&self, directory: &Path) -> bool {
        let Self::Through { components, open } = self else { return true };
        let mut wanted = components.iter();
        for name in directory.components() {
            match wanted.next() {
                Some(component) if component.is_match(Path::new(name.as_os_str())) => {}
                Some(_) => return false,
                None => return *open,
            }
        }
        true
    }
}

fn compile(patterns: &[String]) -> Result<Gitignore, RepoError> {
    let mut builder = GitignoreBuilder::new("");
    for pattern in patterns {
        let mut alone = GitignoreBuilder::new("");
        let added =
            alone.add_line(None, pattern).and_then(|alone| alone.build()).map_err(|error| refuse(pattern, error))?;
        if added.is_empty() {
            return Err(RepoError::invalid(format!(
                "the pattern {pattern:?} matches nothing: it is empty, or a comment as .gitignore has them (write \\# for a name with #)"
            )));
        }
        builder.add_line(None, pattern).map_err(|error| refuse(pattern, error))?;
    }
    builder.build().map_err(|error| RepoError::invalid("the patterns cannot be used together").because(error))
}

fn refuse(pattern: &str, error: impl std::error::Error + Send + Sync + 'static) -> RepoError {
    RepoError::invalid(format!("{pattern:?} is not a pattern as .gitignore has them")).because(error)
}

/// Where what a pattern matches can be.
fn way(pattern: &str) -> Result<Way, RepoError> {
    let body = pattern.trim_end_matches('/');
    if !body.contains('/') || pattern.starts_with('!') {
        return Ok(Way::Any);
    }
    let mut components = Vec::new();
    for component in body.trim_start_matches('/').split('/') {
        if component.contains("**") {
            return Ok(Way::Through { components, open: true });
        }
        let glob = GlobBuilder::new(component)
            .literal_separator(true)
            .backslash_escape(true)
            .allow_unclosed_class(true)
            .build();
        components.push(glob.map_err(|error| refuse(pattern, error))?.compile_matcher());
    }
    Ok(Way::Through { components, open: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chooser(paths: &[&str], include: &[&str], exclude: &[&str]) -> Chooser {
        let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Chooser::new(&Selection {
            paths: paths.iter().map(Into::into).collect(),
            include: strings(include),
            exclude: strings(exclude),
        })
        .unwrap()
    }

    fn dir(chooser: &Chooser, path: &str) -> Verdict {
        chooser.look(path.as_ref(), true, false).0
    }

    fn file(chooser: &Chooser, path: &str) -> Verdict {
        chooser.look(path.as_ref(), false, false).0
    }

    #[test]
    fn a_pattern_bound_to_its_place_leads_through_no_other_directory() {
        let chooser = chooser(&[], &["/home/*/docs/*.txt"], &[]);
        assert_eq!(["home", "home/ann", "home/ann/docs"].map(|path| dir(&chooser, path)), [Verdict::Way; 3]);
        assert_eq!(["etc", "home/ann/music", "home/ann/docs/old"].map(|path| dir(&chooser, path)), [Verdict::Out; 3]);
        assert_eq!(file(&chooser, "home/ann/docs/a.txt"), Verdict::In);
        assert_eq!(file(&chooser, "home/ann/docs/a.pdf"), Verdict::Out);
        assert_eq!(file(&chooser, "home"), Verdict::Out);
    }

    #[test]
    fn a_pattern_without_a_place_leads_anywhere() {
        let chooser = chooser(&[], &["*.txt", "a/**/b"], &[]);
        assert_eq!(dir(&chooser, "x/y/z"), Verdict::Way);
        assert_eq!(file(&chooser, "x/y/z.txt"), Verdict::In);
        assert_eq!(file(&chooser, "a/k/b"), Verdict::In);
    }

    #[test]
    fn what_is_below_a_chosen_directory_is_chosen_unless_excluded() {
        let chooser = chooser(&[], &["/etc", "!*.old"], &["cache/"]);
        assert_eq!(chooser.look("etc".as_ref(), true, false), (Verdict::In, true));
        assert_eq!(chooser.look("etc/passwd".as_ref(), false, true), (Verdict::In, true));
        assert_eq!(chooser.look("etc/passwd.old".as_ref(), false, true).0, Verdict::Out);
        assert_eq!(chooser.look("etc/cache".as_ref(), true, true).0, Verdict::Out);
        assert_eq!(chooser.look("etc/cache".as_ref(), false, true).0, Verdict::In);
        assert_eq!(dir(&chooser, "var"), Verdict::Way, "the pattern !*.old has no place");
    }

    #[test]
    fn paths_and_patterns_choose_together() {
        let chooser = chooser(&["home/ann", "etc"], &["*.conf"], &[]);
        assert_eq!(dir(&chooser, "home"), Verdict::Way);
        assert_eq!(dir(&chooser, "home/bob"), Verdict::Out);
        assert_eq!(file(&chooser, "etc/a.conf"), Verdict::In);
        assert_eq!(file(&chooser, "etc/a.txt"), Verdict::Out);
        assert_eq!(file(&chooser, "opt/a.conf"), Verdict::Out);
    }

    #[test]
    fn patterns_that_match_nothing_are_refused() {
        for pattern in ["", "# comment", "a{b", "[z-a]"] {
            let selection = Selection { exclude: vec![pattern.into()], ..Selection::default() };
            assert!(Chooser::new(&selection).is_err(), "{pattern:?}");
        }
    }
}
