//! Writing files.
//!
//! Invariant: what was there is there until what replaces it is whole. What takes more
//! than one wave, or replaces something, is made as a draft beside it and renamed; and
//! what could not be made whole gets a name that says so. A small file where there was
//! none is written in place: one that a kill cut short does not have its time yet, and
//! so differs when the restore is run again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::{
    Files,
    files::{Kind, Metadata, SourceFile, TargetFile},
};
use probe::Plant;

use super::{
    RestoreOutcome, compare, place,
    rights::Rights,
    wave::{Fate, Part, Piece},
};
use crate::{fetch::Fetched, progress::Progress};

/// Bytes copied at a time from the file that is replaced.
const COPY_BYTES: u64 = 1 << 20;

/// Writes the parts of one wave that fell to it.
pub struct PartWriter {
    pub files: Arc<dyn Files>,
    pub rights: Rights,
    pub fetched: Arc<Fetched>,
    pub progress: Arc<Progress>,
    /// The file that goes on from the last part.
    pub open: Option<Writing>,
    pub outcome: RestoreOutcome,
    /// Files for which there was no room, to be written again when all else is. None: this
    /// is that time.
    pub crowded: Option<Vec<Part>>,
}

/// A file being restored.
#[derive(Default)]
pub struct Writing {
    /// None: nothing had to be written so far, or nothing can be.
    handle: Option<Box<dyn TargetFile>>,
    /// Where it is made, if that is not its path.
    draft: Option<PathBuf>,
    /// The file that is there, once something was copied from it.
    source: Option<Box<dyn SourceFile>>,
    /// Why it cannot be made at all.
    failed: Option<String>,
    /// Whether that is for want of room.
    crowded: bool,
    written: u64,
    /// Bytes that are not in it, and the first reason.
    lost: u64,
    reason: Option<String>,
}

impl PartWriter {
    /// Writes a part, in order.
    pub fn part(&mut self, part: Part) {
        let mut writing = match (self.open.take(), part.first) {
            (Some(open), false) => open,
            _ => self.begin(&part),
        };
        for piece in &part.pieces {
            if self.crowded.is_some() {
                self.progress.bytes.add(u64::from(piece.reference.len));
            }
            if writing.failed.is_none() {
                self.piece(&part, &mut writing, piece);
            }
        }
        if let Some(error) = &part.damaged {
            writing.lost = writing.lost.max(1);
            writing.reason.get_or_insert_with(|| error.told());
        }
        match &mut self.crowded {
            _ if !part.last => self.open = Some(writing),
            // A larger one that is written at the same time may have taken the room, and
            // have to give it back.
            Some(crowded) if writing.crowded && part.first => crowded.push(part),
            _ => self.finish(&part, writing),
        }
    }

    fn begin(&self, part: &Part) -> Writing {
        let mut writing = Writing::default();
        match part.fate {
            Fate::New if part.last => match self.files.create_file(&part.path) {
                Ok(handle) => writing.handle = Some(handle),
                Err(error) => self.give_up(part, &mut writing, &error),
            },
            Fate::New | Fate::Replace(_) => self.draft(part, &mut writing, 0),
            // A draft is made when the first difference is met.
            Fate::Amend(_) => {}
        }
        writing
    }

    /// Starts a draft whose first bytes are those of the file that is there.
    fn draft(&self, part: &Part, writing: &mut Writing, same: u64) {
        let draft = place::draft_of(&part.path);
        match place::clear(&*self.files, &draft).and_then(|()| self.files.create_file(&draft)) {
            Ok(handle) if probe::planted(Plant::DraftNamedEarly) && self.files.rename(&draft, &part.path).is_ok() => {
                writing.handle = Some(handle);
            }
            Ok(handle) => (writing.handle, writing.draft) = (Some(handle), Some(draft)),
            Err(error) => self.give_up(part, writing, &error),
        }
        if same > 0 && writing.failed.is_none() {
            self.copy(part, writing, 0, same);
        }
    }

    fn piece(&self, part: &Part, writing: &mut Writing, piece: &Piece) {
        let Piece { offset, reference, same } = *piece;
        if writing.handle.is_none() {
            if same {
                return;
            }
            self.draft(part, writing, offset);
        }
        if same {
            return self.copy(part, writing, offset, offset + u64::from(reference.len));
        }
        let Some(handle) = writing.handle.as_mut().filter(|_| !reference.is_hole()) else { return };
        let lost = match self.fetched.chunks.get(&reference.id) {
            Some(Ok(plain)) => match handle.write_at(offset, plain) {
                Ok(()) => {
                    writing.written += plain.len() as u64;
                    return;
                }
                Err(error) if is_no_room(&error) => return self.give_up(part, writing, &error),
                Err(error) => error.to_string(),
            },
            Some(Err(_)) if probe::planted(Plant::LossHidden) => return,
            Some(Err(error)) => error.told(),
            None => "a chunk was not fetched".into(),
        };
        writing.lost += u64::from(reference.len);
        writing.reason.get_or_insert(lost);
    }

    /// Makes nothing of it, and leaves no room taken.
    fn give_up(&self, part: &Part, writing: &mut Writing, error: &io::Error) {
        let is_new = matches!(part.fate, Fate::New);
        if writing.handle.take().is_some() {
            let made = writing.draft.take().or_else(|| is_new.then(|| part.path.clone()));
            // A draft that cannot be removed is replaced by the next restore.
            made.map(|made| self.files.remove(&made));
        }
        let reason = error.to_string();
        writing.failed =
            Some(if is_new { format!("it could not be restored: {reason}") } else { kept_as_it_was(&reason) });
        writing.crowded = is_no_room(error);
    }

    /// Copies from the file that is there, and leaves its holes out.
    fn copy(&self, part: &Part, writing: &mut Writing, from: u64, to: u64) {
        let copied = self.try_copy(part, writing, from, to);
        if let Err(error) = copied {
            if is_no_room(&error) {
                return self.give_up(part, writing, &error);
            }
            writing.lost += to - from;
            writing.reason.get_or_insert_with(|| format!("the file that is there cannot be copied: {error}"));
        }
    }

    fn try_copy(&self, part: &Part, writing: &mut Writing, mut at: u64, to: u64) -> io::Result<()> {
        let Fate::Amend(found) = &part.fate else { return Ok(()) };
        if writing.source.is_none() {
            writing.source = compare::open_as_found(&*self.files, part, found);
        }
        let (Some(source), Some(handle)) = (&mut writing.source, &mut writing.handle) else {
            return Err(io::Error::other("it has changed since"));
        };
        let mut buffer = Vec::new();
        while let Some(data) = source.data_after(at)?.filter(|data| data.start < to) {
            at = data.start;
            let end = data.end.min(to);
            source.seek(at);
            while at < end {
                buffer.resize((end - at).min(COPY_BYTES) as usize, 0);
                if !compare::read_full(&mut **source, &mut buffer)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                handle.write_at(at, &buffer)?;
                at += buffer.len() as u64;
                writing.written += buffer.len() as u64;
            }
        }
        Ok(())
    }

    fn finish(&mut self, part: &Part, mut writing: Writing) {
        if let (None, None, Fate::Amend(found)) = (&writing.handle, &writing.failed, &part.fate) {
            if let Some(reason) = writing.reason.take() {
                return self.damaged(part, &writing, &reason);
            }
            match self.settle(part, found) {
                Ok(true) => {
                    self.outcome.unchanged += 1;
                    self.progress.files.add(1);
                    return;
                }
                Ok(false) => self.draft(part, &mut writing, part.len.min(found.len)),
                Err(error) => return self.problem(&part.path, error.to_string()),
            }
        }
        if let Some(failed) = writing.failed {
            return self.problem(&part.path, failed);
        }
        let Some(handle) = writing.handle.take() else { return };
        if let (Some(source), Fate::Amend(found)) = (writing.source.take(), &part.fate)
            && !source.metadata().is_ok_and(|now| compare::is_unchanged(&now, found))
        {
            writing.reason.get_or_insert_with(|| "the file that is there changed while it was copied".into());
        }
        let finished = handle.finish(part.len, &part.attributes);
        match writing.reason.take() {
            None => self.whole(part, &writing, finished),
            Some(reason) => self.damaged(part, &writing, &reason),
        }
    }

    /// A file in which nothing differs gets its attributes. False: it must be made anew.
    fn settle(&self, part: &Part, found: &Metadata) -> io::Result<bool> {
        if found.len != part.len {
            return Ok(false);
        }
        let (files, wanted) = (&*self.files, &part.attributes);
        if place::has_attributes(files, &self.rights, &part.path, found, wanted)? {
            return Ok(true);
        }
        // What other names share is not changed, but made anew.
        let others_share = found.links > 1 && part.links == 1;
        if !others_share {
            files.set_attributes(&part.path, wanted)?;
        }
        Ok(!others_share)
    }

    fn whole(&mut self, part: &Part, writing: &Writing, finished: io::Result<()>) {
        let at = writing.draft.as_deref().unwrap_or(&part.path);
        // All bytes are in it; if it has its length too, only attributes are wanting.
        if let Err(error) = &finished
            && !self.files.metadata(at).is_ok_and(|made| made.len == part.len)
        {
            let error = error.to_string();
            return self.damaged(part, writing, &error);
        }
        if let Some(draft) = &writing.draft
            && let Err(error) = self.rename(draft, part)
        {
            let _ = self.files.remove(draft);
            return self.problem(&part.path, error.to_string());
        }
        self.outcome.files += 1;
        self.outcome.bytes += writing.written;
        self.progress.files.add(1);
        if let Err(error) = finished {
            self.problem(&part.path, format!("its content was restored, but not all of its attributes: {error}"));
        }
    }

    fn rename(&self, draft: &Path, part: &Part) -> io::Result<()> {
        if let Fate::Replace(Kind::Directory) = part.fate {
            self.files.remove(&part.path).map_err(place::in_the_way)?;
        }
        self.files.rename(draft, &part.path)
    }

    /// What there is of a file is kept under another name, unless something whole is there.
    fn damaged(&mut self, part: &Part, writing: &Writing, reason: &str) {
        let is_new = matches!(part.fate, Fate::New);
        let at = match &writing.draft {
            Some(draft) => draft,
            None if is_new => &part.path,
            None => return self.problem(&part.path, kept_as_it_was(reason)),
        };
        if !is_new || writing.written == 0 {
            // A draft that cannot be removed is replaced by the next restore.
            let _ = self.files.remove(at);
            let told = if is_new { format!("it could not be restored: {reason}") } else { kept_as_it_was(reason) };
            return self.problem(&part.path, told);
        }
        let damaged = place::damaged_of(&part.path);
        let kept = place::clear(&*self.files, &damaged).and_then(|()| self.files.rename(at, &damaged));
        self.problem(
            &part.path,
            match kept {
                Ok(()) => format!(
                    "only a part of it was restored, as {}: {} bytes are missing, and are zeros there: {reason}",
                    damaged.display(),
                    writing.lost
                ),
                Err(error) => {
                    format!("only a part of it was restored, and is left as {}: {reason} ({error})", at.display())
                }
            },
        );
    }

    fn problem(&mut self, path: &Path, reason: impl Into<String>) {
        self.outcome.problems.add(path, reason);
    }
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn kept_as_it_was(reason: &str) -> String {
    format!("it could not be restored, and what was there is kept: {reason}")
}
