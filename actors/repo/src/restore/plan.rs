//! The stages of a restore, and how they overlap.
//!
//! Invariant: waves are written in the order of the walk; at any moment at most
//! [`LOADS`] of them are being fetched, one waits and one is written, so memory is
//! bounded by their size.

use std::{collections::VecDeque, path::Path, pin::pin, sync::Arc};

use env::{Files, files::Kind};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::format::tree::{Entry, What};

use super::{
    Deed, Listing, RestoreJob, RestoreOutcome, compare, place,
    prepare::{self, Prepared},
    rights::{Left, Rights},
    select::Chooser,
    survey::Survey,
    wave::{Fate, Loaded, Start, Wave, WaveReader},
    write::{self, Target},
};
use crate::{
    context::Context,
    error::RepoError,
    fetch::Fetcher,
    index::Index,
    paths,
    progress::Progress,
    snapshot::{self, Snapshot},
    trees::TreeReader,
    walk::Walk,
};

/// Waves that are fetched at the same time, so that a slow request holds back no core.
const LOADS: usize = 2;
/// A wave's share of the memory. Those being fetched are there sealed and open, one waits,
/// one is written; the rest is for buffers that are used again, and what the largest
/// chunks overshoot. With the least memory a wave is two requests long.
const WAVES_IN_MEMORY: usize = 12;

/// Runs the job.
pub async fn run(context: Context, job: RestoreJob, progress: Arc<Progress>) -> Result<RestoreOutcome, RepoError> {
    let chooser = Chooser::new(&job.options.selection)?;
    if !job.target.is_absolute() {
        return Err(RepoError::invalid(format!("{} is not an absolute path", job.target.display())));
    }
    let snapshot = snapshot::show(&context, job.snapshot).await?;
    let index = Arc::new(Index::new(context.clone(), job.segments.clone()));
    let trees = TreeReader::new(context.clone(), index.clone());
    let found = find(&trees, &snapshot, &job).await?;
    let (files, path, overwrite) = (context.files.clone(), job.target.clone(), job.options.overwrite);
    let is_dry = job.options.dry_run.is_some();
    let prepared = context.run(move || prepare::prepare(&files, &path, overwrite, is_dry)).await?;

    let fetcher = Fetcher::new(context.clone(), index, job.downloads);
    let mut target = Target::new(context.files.clone(), prepared.rights, overwrite);
    let planner = Planner::new(&context, trees, &job, chooser, &prepared, found, &snapshot, &progress)?;
    let waves = stream::try_unfold(Box::new(planner), |planner| async { planner.next().await });
    let mut loads = pin!(waves.map_ok(|wave| load(&fetcher, wave)).try_buffered(LOADS).fuse());
    let mut waiting: VecDeque<Loaded> = VecDeque::new();
    loop {
        let loaded = match waiting.pop_front() {
            Some(loaded) => loaded,
            None => match loads.try_next().await? {
                Some(loaded) => loaded,
                None => return Ok(target.outcome),
            },
        };
        let mut writing = pin!(write::write(&context, target, loaded, &progress));
        target = loop {
            tokio::select! {
                written = &mut writing => break written?,
                next = loads.try_next(), if waiting.is_empty() && !loads.is_done() => waiting.extend(next?),
            }
        };
    }
}

async fn load(fetcher: &Fetcher, wave: Wave) -> Result<Loaded, RepoError> {
    let fetched = fetcher.fetch(&wave.refs).await?;
    Ok(Loaded { wave, fetched })
}

/// What the job names, if that is not the whole snapshot.
async fn find(trees: &TreeReader, snapshot: &Snapshot, job: &RestoreJob) -> Result<Option<Entry>, RepoError> {
    let path = job.path.clone().unwrap_or_else(|| "/".into());
    let names = paths::components(&path)?;
    let root = snapshot.manifest.root.clone();
    let found = match names.is_empty() {
        true => None,
        false => Some(trees.find(root.clone(), &names).await?.ok_or_else(|| snapshot::not_found(snapshot, &path))?),
    };
    // A path that is not there is a mistake of who asks.
    let below = match found.as_ref().map(|entry| &entry.what) {
        None => root,
        Some(What::Directory { content }) => content.clone(),
        Some(_) => return Ok(found),
    };
    for wanted in &job.options.selection.paths {
        let names = paths::components(&Path::new("/").join(wanted))?;
        if trees.find(below.clone(), &names).await?.is_none() {
            return Err(snapshot::not_found(snapshot, &path.join(wanted)));
        }
    }
    Ok(found)
}

/// Makes waves: walks, looks at what is there, and compares.
struct Planner {
    context: Context,
    trees: TreeReader,
    reader: WaveReader,
    survey: Option<Survey>,
    wave_len: usize,
    dry: Option<Dry>,
    done: bool,
}

/// What a dry run says of files that are there.
struct Dry {
    listing: Listing,
    rights: Rights,
    /// Whether the file that goes on was told already.
    told: bool,
}

impl Planner {
    fn new(
        context: &Context,
        trees: TreeReader,
        job: &RestoreJob,
        chooser: Chooser,
        prepared: &Prepared,
        found: Option<Entry>,
        snapshot: &Snapshot,
        progress: &Arc<Progress>,
    ) -> Result<Self, RepoError> {
        let (target, options, rights) = (&job.target, &job.options, prepared.rights);
        let start = match found {
            None => Start::Directory(Walk::new(target.clone(), snapshot.manifest.root.clone()), None),
            Some(entry) => match &entry.what {
                What::Directory { content } => {
                    let walk = Walk::new(target.clone(), content.clone());
                    let wanted =
                        rights.attributes(Kind::Directory, &entry.attributes, entry.xattrs, &mut Left::default());
                    let is_kept = prepared.found.as_ref().is_some_and(|found| options.overwrite.keeps(found, &wanted));
                    Start::Directory(walk, (!is_kept && options.dry_run.is_none()).then_some(wanted))
                }
                _ => Start::Single(Some(Box::new((paths::join(target, &entry.name), entry)))),
            },
        };
        let fresh = prepared.is_empty.then(|| target.clone());
        let files = context.files.clone();
        let survey = Survey::new(files, rights, options.overwrite, options.dry_run.clone(), progress.clone(), fresh);
        let dry = options.dry_run.clone().map(|listing| Dry { listing, rights, told: false });
        Ok(Self {
            reader: WaveReader::new(context.clone(), target.clone(), options.overwrite, rights, chooser, start),
            context: context.clone(),
            trees,
            survey: Some(survey),
            wave_len: job.memory_bytes / WAVES_IN_MEMORY,
            dry,
            done: false,
        })
    }

    async fn next(mut self: Box<Self>) -> Result<Option<(Wave, Box<Self>)>, RepoError> {
        if self.done {
            return Ok(None);
        }
        let walked = self.reader.next(&self.trees, self.wave_len).await?;
        self.done = walked.last;
        let Some(mut survey) = self.survey.take() else { return Ok(None) };
        let (survey, mut wave) = self
            .context
            .run(move || {
                let wave = survey.take(walked);
                (survey, wave)
            })
            .await;
        if survey.rest_left {
            self.reader.drop_unfinished();
        }
        self.survey = Some(survey);
        wave.parts = compare::compare(&self.context, wave.parts).await?;
        if let Some(mut dry) = self.dry.take() {
            let files = self.context.files.clone();
            let told = self.context.run(move || {
                dry.tell(&*files, &mut wave);
                (dry, wave)
            });
            let (dry, told) = told.await;
            (self.dry, wave) = (Some(dry), told);
        }
        let pieces = wave.parts.iter().flat_map(|part| &part.pieces);
        let needed = pieces.filter(|piece| !piece.same && !piece.reference.is_hole());
        wave.refs = needed.map(|piece| piece.reference).collect();
        Ok(Some((wave, self)))
    }
}

impl Dry {
    /// Tells what would be written, and leaves nothing to be written.
    fn tell(&mut self, files: &dyn Files, wave: &mut Wave) {
        for part in std::mem::take(&mut wave.parts) {
            if part.first {
                self.told = false;
            }
            let differing = part.pieces.iter().filter(|piece| !piece.same).map(|piece| u64::from(piece.reference.len));
            let bytes: u64 = differing.sum();
            wave.outcome.bytes += bytes;
            let deed = match &part.fate {
                Fate::New => Some(Deed::Made),
                Fate::Replace(_) => Some(Deed::Replaced),
                Fate::Amend(found) if bytes > 0 || found.len != part.len => Some(Deed::Replaced),
                Fate::Amend(found) if part.last && !self.told => {
                    wave.outcome.unchanged += 1;
                    let settled = place::has_attributes(files, &self.rights, &part.path, found, &part.attributes);
                    if !settled.unwrap_or(false) {
                        self.listing.tell(Deed::Adjusted, &part.path);
                    }
                    None
                }
                Fate::Amend(_) => None,
            };
            if let Some(deed) = deed.filter(|_| !self.told) {
                self.told = true;
                wave.outcome.files += 1;
                self.listing.tell(deed, &part.path);
            }
        }
    }
}
