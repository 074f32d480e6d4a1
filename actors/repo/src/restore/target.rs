//! Writing what a wave brought into the target.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::{
    Files,
    files::{Kind, TargetFile},
};

use crate::{
    context::Context,
    error::RepoError,
    fetch::Fetched,
    paths,
    progress::Progress,
    restore::{
        RestoreOutcome,
        wave::{Action, Loaded, Part, Wave},
    },
};

/// Where it is restored to.
pub struct Target {
    files: Arc<dyn Files>,
    overwrite: bool,
    /// The file that the last wave did not finish.
    open: Option<Writing>,
    /// What came of it so far.
    pub outcome: RestoreOutcome,
}

/// A file being written. Without a handle it could not be made: that was told.
struct Writing {
    handle: Option<Box<dyn TargetFile>>,
    /// Where it is written while another file has its name: that one is replaced only
    /// by a whole one.
    draft: Option<PathBuf>,
    /// Bytes that are not in it.
    lost: u64,
    reason: Option<String>,
}

impl Target {
    /// Makes the target directory, or checks that what is there may be used.
    pub fn prepare(files: Arc<dyn Files>, path: PathBuf, overwrite: bool) -> Result<Self, RepoError> {
        let fail = |error: io::Error| {
            RepoError::invalid(format!("cannot restore to {}: {error}", path.display())).because(error)
        };
        match files.metadata(&path) {
            Ok(metadata) if metadata.kind != Kind::Directory => {
                return Err(RepoError::invalid(format!("{} exists and is not a directory", path.display())));
            }
            Ok(_) if overwrite => {}
            Ok(_) => {
                if !files.read_dir(&path).map_err(fail)?.is_empty() {
                    return Err(RepoError::invalid(format!(
                        "{} exists and is not empty: restore to another place, or ask for overwriting",
                        path.display()
                    )));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let missing: Vec<&Path> =
                    path.ancestors().take_while(|ancestor| files.metadata(ancestor).is_err()).collect();
                missing.iter().rev().try_for_each(|ancestor| files.create_dir(ancestor)).map_err(fail)?;
            }
            Err(error) => return Err(fail(error)),
        }
        Ok(Self { files, overwrite, open: None, outcome: RestoreOutcome::default() })
    }

    fn problem(&mut self, path: &Path, reason: impl Into<String>) {
        self.outcome.problems.add(path, reason);
    }

    fn act(&mut self, action: Action) {
        let files = self.files.clone();
        let (path, done) = match &action {
            Action::Directory(path) => (path, self.directory(path)),
            Action::Symlink(path, target, attributes) => {
                let made = self.clear(path).and_then(|()| files.symlink(&paths::os(target), path));
                self.outcome.others += 1;
                (path, made.and_then(|()| files.set_attributes(path, attributes)))
            }
            Action::HardLink { existing, path } => {
                self.outcome.others += 1;
                (path, self.clear(path).and_then(|()| files.hard_link(existing, path)))
            }
            Action::Leave(path, attributes) => (path, files.set_attributes(path, attributes)),
        };
        if let Err(error) = done {
            let path = path.clone();
            self.problem(&path, error.to_string());
        }
    }

    fn directory(&mut self, path: &Path) -> io::Result<()> {
        self.outcome.directories += 1;
        match self.files.create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.overwrite => {
                // A link to a directory is not one: following it would lead out of the target.
                if self.files.metadata(path)?.kind == Kind::Directory {
                    return Ok(());
                }
                self.files.remove(path)?;
                self.files.create_dir(path)
            }
            made => made,
        }
    }

    fn clear(&self, path: &Path) -> io::Result<()> {
        clear(&*self.files, self.overwrite, path)
    }
}

fn clear(files: &dyn Files, overwrite: bool, path: &Path) -> io::Result<()> {
    match overwrite {
        true => match files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        false => Ok(()),
    }
}

/// Writes a wave: directories and links first, then files on all cores, then what
/// must come last.
pub async fn write(
    context: &Context,
    mut target: Target,
    loaded: Loaded,
    progress: &Arc<Progress>,
) -> Result<Target, RepoError> {
    let Loaded { wave, fetched } = loaded;
    let Wave { before, parts, after, problems, .. } = wave;
    target.outcome.bytes_fetched += fetched.bytes_fetched;
    progress.bytes_moved.add(fetched.bytes_fetched);
    let problems_before = target.outcome.problems.count;
    target.outcome.problems.merge(problems);
    let directories_before = target.outcome.directories;
    if !before.is_empty() {
        target = context
            .run(move || {
                before.into_iter().for_each(|action| target.act(action));
                target
            })
            .await;
    }
    progress.directories.add(target.outcome.directories - directories_before);

    let mut open = target.open.take();
    let fetched = Arc::new(fetched);
    let shares = share(parts, context.cores());
    let shares_count = shares.len();
    let jobs: Vec<_> = shares
        .into_iter()
        .enumerate()
        .map(|(number, parts)| {
            // Only the very first part can go on with a file that was begun before.
            let mut writer = PartWriter {
                files: target.files.clone(),
                overwrite: target.overwrite,
                fetched: fetched.clone(),
                progress: progress.clone(),
                open: if number == 0 { open.take() } else { None },
                outcome: RestoreOutcome::default(),
            };
            context.run(move || {
                parts.into_iter().for_each(|part| writer.part(part));
                writer
            })
        })
        .collect();
    for (number, writer) in futures_util::future::join_all(jobs).await.into_iter().enumerate() {
        target.outcome.files += writer.outcome.files;
        target.outcome.bytes += writer.outcome.bytes;
        target.outcome.problems.merge(writer.outcome.problems);
        if number + 1 == shares_count {
            target.open = writer.open;
        }
    }
    if !after.is_empty() {
        target = context
            .run(move || {
                after.into_iter().for_each(|action| target.act(action));
                target
            })
            .await;
    }
    progress.problems.add(target.outcome.problems.count - problems_before);
    Ok(target)
}

/// Splits the parts into runs of about the same work.
fn share(parts: Vec<Part>, cores: usize) -> Vec<Vec<Part>> {
    const FILE_COST: u64 = 64 << 10;
    let cost = |part: &Part| FILE_COST + part.chunks.iter().map(|(_, reference)| u64::from(reference.len)).sum::<u64>();
    let fair = parts.iter().map(cost).sum::<u64>() / cores as u64 + 1;
    let mut shares: Vec<Vec<Part>> = Vec::new();
    let mut full = fair;
    for part in parts {
        if full >= fair {
            shares.push(Vec::new());
            full = 0;
        }
        full += cost(&part);
        if let Some(share) = shares.last_mut() {
            share.push(part);
        }
    }
    shares
}

struct PartWriter {
    files: Arc<dyn Files>,
    overwrite: bool,
    fetched: Arc<Fetched>,
    progress: Arc<Progress>,
    open: Option<Writing>,
    outcome: RestoreOutcome,
}

impl PartWriter {
    fn part(&mut self, part: Part) {
        let mut writing = match (self.open.take(), part.first) {
            (Some(open), false) => open,
            _ => self.create(&part),
        };
        for (offset, reference) in &part.chunks {
            self.progress.bytes.add(u64::from(reference.len));
            let failed = match self.fetched.chunks.get(&reference.id) {
                Some(Ok(plain)) => match &mut writing.handle {
                    Some(handle) => match handle.write_at(*offset, plain) {
                        Ok(()) => {
                            self.outcome.bytes += plain.len() as u64;
                            continue;
                        }
                        Err(error) => error.to_string(),
                    },
                    None => continue,
                },
                Some(Err(error)) => error.told(),
                None => "a chunk was not fetched".into(),
            };
            writing.lost += u64::from(reference.len);
            writing.reason.get_or_insert(failed);
        }
        if let Some(error) = &part.damaged {
            writing.lost = writing.lost.max(1);
            writing.reason.get_or_insert_with(|| error.told());
        }
        if part.last { self.finish(part, writing) } else { self.open = Some(writing) }
    }

    fn create(&mut self, part: &Part) -> Writing {
        let draft = self.draft(&part.path);
        let made = match &draft {
            // One that an earlier restore left behind is of no use to anyone.
            Some(draft) => clear(&*self.files, true, draft).and_then(|()| self.files.create_file(draft)),
            None => clear(&*self.files, self.overwrite, &part.path).and_then(|()| self.files.create_file(&part.path)),
        };
        let handle = made.map_err(|error| self.problem(&part.path, error.to_string())).ok();
        Writing { handle, draft, lost: 0, reason: None }
    }

    /// Where to write what replaces a file; none if there is no file to lose.
    fn draft(&self, path: &Path) -> Option<PathBuf> {
        let in_the_way = self.overwrite && self.files.metadata(path).is_ok_and(|found| found.kind == Kind::File);
        let name = blake3::hash(path.as_os_str().as_encoded_bytes());
        in_the_way.then(|| path.with_file_name(format!(".nuthatch-restore-{}", &name.to_hex()[..16])))
    }

    fn finish(&mut self, part: Part, writing: Writing) {
        let Some(handle) = writing.handle else { return };
        let mut finished = handle.finish(part.len, &part.attributes);
        if let Some(draft) = writing.draft {
            if finished.is_ok() && writing.reason.is_none() {
                finished = self.files.rename(&draft, &part.path);
            }
            if finished.is_err() || writing.reason.is_some() {
                let _ = self.files.remove(&draft);
                let reason = writing.reason.or(finished.err().map(|error| error.to_string())).unwrap_or_default();
                self.problem(
                    &part.path,
                    format!("it could not be restored, and the file that was there is kept: {reason}"),
                );
                return;
            }
        }
        match (writing.reason, finished) {
            (None, Ok(())) => {
                self.outcome.files += 1;
                self.progress.files.add(1);
            }
            (Some(reason), _) => {
                let lost = writing.lost;
                self.problem(&part.path, format!("only a part of it was restored, {lost} bytes are missing: {reason}"));
            }
            (None, Err(error)) => self.problem(&part.path, error.to_string()),
        }
    }

    fn problem(&mut self, path: &Path, reason: impl Into<String>) {
        self.outcome.problems.add(path, reason);
    }
}
