//! Writing waves: files on all cores, then what must come after them.

use std::{io, path::Path, sync::Arc};

use env::{Files, files::Kind};

use super::{
    Overwrite, RestoreOutcome, compare,
    file::{PartWriter, Writing},
    place,
    rights::Rights,
    wave::{Loaded, Part, Step, Wave},
};
use crate::{context::Context, error::RepoError, progress::Progress};

/// Where it is restored to.
pub struct Target {
    files: Arc<dyn Files>,
    rights: Rights,
    overwrite: Overwrite,
    /// The file that the last wave did not finish.
    open: Option<Writing>,
    /// What came of it so far.
    pub outcome: RestoreOutcome,
}

impl Target {
    /// Nothing was restored yet.
    pub fn new(files: Arc<dyn Files>, rights: Rights, overwrite: Overwrite) -> Self {
        Self { files, rights, overwrite, open: None, outcome: RestoreOutcome::default() }
    }

    fn after(&mut self, step: Step) {
        let (path, done) = match step {
            Step::HardLink { existing, path, attributes } => {
                let linked = self.link(&existing, &path, &attributes);
                let linked = linked.map_err(|error| {
                    let reason = format!(
                        "it is a further name of {}, and could not be linked to it: {error}",
                        existing.display()
                    );
                    io::Error::new(error.kind(), reason)
                });
                (path, linked)
            }
            Step::Leave(path, attributes) => {
                let found = self.files.metadata(&path);
                let left =
                    found.and_then(|found| place::adjust(&*self.files, &self.rights, &path, &found, &attributes));
                (path, left.map(drop))
            }
            Step::Directory(..) | Step::Make(..) | Step::Part(_) => return,
        };
        if let Err(error) = done {
            self.outcome.problems.add(&path, error.to_string());
        }
    }

    /// Gives what is at `existing` a further name.
    fn link(&mut self, existing: &Path, path: &Path, wanted: &env::files::Attributes) -> io::Result<()> {
        let files = &*self.files;
        let first = files.metadata(existing)?;
        let found = match files.metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found?),
        };
        match found {
            Some(found) if self.overwrite.keeps(&found, wanted) => self.outcome.kept += 1,
            Some(found) if (found.device, found.inode) == (first.device, first.inode) => self.outcome.others += 1,
            Some(found) if found.kind == Kind::Directory && !files.read_dir(path)?.is_empty() => {
                return Err(place::in_the_way(io::ErrorKind::DirectoryNotEmpty.into()));
            }
            found => {
                place::replace(files, path, found.map(|found| found.kind), |path| files.hard_link(existing, path))?;
                self.outcome.others += 1;
            }
        }
        Ok(())
    }
}

/// Writes a wave.
pub async fn write(
    context: &Context,
    mut target: Target,
    loaded: Loaded,
    progress: &Arc<Progress>,
) -> Result<Target, RepoError> {
    let Loaded { wave, fetched } = loaded;
    let Wave { parts, after, outcome, .. } = wave;
    let problems_before = target.outcome.problems.count;
    target.outcome.merge(outcome);
    target.outcome.bytes_fetched += fetched.bytes_fetched;
    progress.bytes_moved.add(fetched.bytes_fetched);

    let mut open = target.open.take();
    let fetched = Arc::new(fetched);
    let shares = compare::share(parts, context.cores());
    let shares_count = shares.len();
    let jobs: Vec<_> = shares
        .into_iter()
        .enumerate()
        .map(|(number, parts)| {
            // Only the very first part can go on with a file that was begun before.
            let mut writer = PartWriter {
                files: target.files.clone(),
                rights: target.rights,
                fetched: fetched.clone(),
                progress: progress.clone(),
                open: if number == 0 { open.take() } else { None },
                outcome: RestoreOutcome::default(),
                crowded: Some(Vec::new()),
            };
            context.run(move || {
                parts.into_iter().for_each(|part| writer.part(part));
                writer
            })
        })
        .collect();
    let mut crowded: Vec<Part> = Vec::new();
    for (number, writer) in futures_util::future::join_all(jobs).await.into_iter().enumerate() {
        target.outcome.merge(writer.outcome);
        crowded.extend(writer.crowded.unwrap_or_default());
        if number + 1 == shares_count {
            target.open = writer.open;
        }
    }
    if !crowded.is_empty() {
        // The smallest first: what fits is kept.
        crowded.sort_by_key(|part| part.len);
        let mut writer = PartWriter {
            files: target.files.clone(),
            rights: target.rights,
            fetched: fetched.clone(),
            progress: progress.clone(),
            open: None,
            outcome: RestoreOutcome::default(),
            crowded: None,
        };
        let write = move || {
            crowded.into_iter().for_each(|part| writer.part(part));
            writer.outcome
        };
        target.outcome.merge(context.run(write).await);
    }
    if !after.is_empty() {
        target = context
            .run(move || {
                after.into_iter().for_each(|step| target.after(step));
                target
            })
            .await;
    }
    progress.problems.add(target.outcome.problems.count - problems_before);
    Ok(target)
}
