//! Reading and cutting one file.

use std::{io, path::PathBuf};

use env::files::{Metadata, SourceFile};
use protocol::{
    format::{
        content::Content,
        tree::{Blob, Entry, What},
    },
    time::{FileTime, UnixMillis},
};

use super::{Item, Need, Scanner, Step, attributes, describe};
use crate::{backup::hints, paths};

/// A file that changed less than this before it was read is read again next time:
/// a later change could leave it with the same timestamps.
const SETTLED_AFTER_MS: u64 = 2000;

/// A file being read.
pub(super) struct Open {
    path: PathBuf,
    name: Blob,
    file: Box<dyn SourceFile>,
    metadata: Metadata,
    began: UnixMillis,
    read: u64,
    /// Where in the buffer the bytes start that are not cut yet.
    uncut: usize,
    /// The next window of hints to ask for; None if the file has none.
    hints_next: Option<u64>,
}

impl Scanner {
    /// Opens a file; the next steps read it.
    pub(super) fn start_reading(&mut self, path: PathBuf, name: Blob, was_file: bool) {
        let began = self.clock.now();
        let opened = self.files.open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let (file, metadata) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.problem(&path, describe(&error));
                return;
            }
        };
        let hinted = was_file && metadata.len >= hints::FILE_LEN_MIN;
        let hints_next = if hinted { Some(0) } else { None };
        self.open = Some(Open { path, name, file, metadata, began, read: 0, uncut: self.filled, hints_next });
    }

    /// Reads more of a file. Some if the step ends here.
    pub(super) fn read(&mut self, mut open: Open) -> Option<Step> {
        let need = self.next_hints(&mut open);
        if need.is_some() {
            self.open = Some(open);
            return need;
        }
        let left = open.metadata.len - open.read;
        let room = self.filling.data.len() - self.filled;
        // A file that fits a batch of its own is not torn in two.
        let unbegun = open.read == 0 && self.filled > 0;
        if left > 0 && (room == 0 || unbegun && room as u64 <= left.min(self.cutter.max() as u64)) {
            self.cut(&mut open, false);
            let carry = self.filled - open.uncut;
            open.uncut = 0;
            self.open = Some(open);
            return Some(Step::Batch(self.end_batch(carry)));
        }
        if left == 0 {
            self.end_file(open, false);
            return None;
        }
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(room);
        match open.file.read(&mut self.filling.data[self.filled..self.filled + want]) {
            Ok(0) => self.end_file(open, true),
            Ok(len) => {
                self.filled += len;
                open.read += len as u64;
                self.progress.bytes.add(len as u64);
                self.open = Some(open);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.open = Some(open),
            Err(error) => {
                self.problem(&open.path, describe(&error));
                self.filled = open.uncut;
                self.item(Item::Abort, 0);
            }
        }
        None
    }

    pub(super) fn next_hints(&mut self, open: &mut Open) -> Option<Step> {
        let window = open.hints_next?;
        // What an insertion pushed forward, or a deletion pulled back, is in a window beside.
        if window > hints::window(&self.keys, open.read) + 1 {
            return None;
        }
        open.hints_next = Some(window + 1);
        let path = paths::blob(open.path.as_os_str()).0;
        Some(Step::Need(Need::Hints { path, window }))
    }

    pub(super) fn cut(&mut self, open: &mut Open, last: bool) {
        while open.uncut < self.filled {
            let Some(len) = self.cutter.cut(&self.filling.data[open.uncut..self.filled], last) else { return };
            self.filling.chunks.push(open.uncut..open.uncut + len);
            self.item(Item::Chunk, 0);
            open.uncut += len;
        }
    }

    pub(super) fn end_file(&mut self, mut open: Open, short: bool) {
        self.cut(&mut open, true);
        let before = &open.metadata;
        // What was read is what the file was when it was opened, if nothing moved since.
        let changed = short
            || open.file.metadata().map_or(true, |after| {
                after.len != before.len || after.mtime != before.mtime || after.ctime != before.ctime
            });
        if changed {
            self.problem(&open.path, "it changed while it was read; what was read is kept");
        }
        let unsettled = changed || !settled(before.ctime, open.began);
        let what = What::File { len: open.read, content: Content::default() };
        let entry = Entry { name: open.name, attributes: attributes(before), unsettled, what };
        self.remember_link(&entry.attributes);
        self.item(Item::End(entry), 0);
        self.progress.files.add(1);
    }
}

fn settled(ctime: FileTime, now: UnixMillis) -> bool {
    let ctime_ms = i128::from(ctime.secs) * 1000 + i128::from(ctime.nanos / 1_000_000);
    ctime_ms + i128::from(SETTLED_AFTER_MS) <= i128::from(now.0)
}
