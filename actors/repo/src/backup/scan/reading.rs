//! Reading and cutting one file.

use std::{io, path::PathBuf};

use env::files::{FileTime, Metadata, SourceFile};
use probe::Point;
use protocol::{
    format::{
        content::Content,
        tree::{Blob, Entry, What},
    },
    time::UnixMillis,
};

use super::{Item, Need, Scanner, Step, attributes, broken_stream, describe, xattrs_len};
use crate::{backup::hints, paths};

/// A file that changed less than this before it was read is read again next time:
/// a later change could leave it with the same timestamps.
const SETTLED_AFTER_MS: u64 = 2000;
/// How often a file that changed while it was read is read again at once.
const RETRIES: u32 = 2;
/// A longer file is not: it would most likely change again.
const RETRY_BYTES_MAX: u64 = 64 << 20;
/// A shorter hole is read as zeros: they compress to nothing, and a file is not cut
/// into more pieces than its content asks for.
const HOLE_BYTES_MIN: u64 = 64 << 10;

/// A file being read.
pub(super) struct Open {
    path: PathBuf,
    name: Blob,
    file: Box<dyn SourceFile>,
    /// Whether it is no file but a stream: its length is not known before its end.
    pub(super) is_stream: bool,
    metadata: Metadata,
    began: UnixMillis,
    read: u64,
    /// Where the next hole may begin.
    data_end: u64,
    /// Where in the buffer the bytes start that are not cut yet.
    uncut: usize,
    /// The next window of hints to ask for; None if the file has none.
    hints_next: Option<u64>,
    was_file: bool,
    retries_left: u32,
    start: Start,
}

/// Where in a batch a file starts.
#[derive(Default)]
struct Start {
    batch: u64,
    filled: usize,
    chunks: usize,
    items: usize,
    items_len: usize,
}

impl Open {
    fn new(path: PathBuf, name: Blob, file: Box<dyn SourceFile>, metadata: Metadata, began: UnixMillis) -> Self {
        let has_holes = metadata.len >= HOLE_BYTES_MIN && metadata.allocated < metadata.len;
        Self {
            path,
            name,
            file,
            is_stream: false,
            data_end: if has_holes { 0 } else { u64::MAX },
            metadata,
            began,
            read: 0,
            uncut: 0,
            hints_next: None,
            was_file: false,
            retries_left: RETRIES,
            start: Start::default(),
        }
    }

    /// A stream that is read as the content of a file.
    pub(super) fn stream(
        path: PathBuf,
        name: Blob,
        stream: Box<dyn SourceFile>,
        began: UnixMillis,
    ) -> io::Result<Self> {
        let metadata = Metadata { len: u64::MAX, allocated: u64::MAX, ..stream.metadata()? };
        let open = Self::new(path, name, stream, metadata, began);
        Ok(Self { is_stream: true, hints_next: Some(0), ..open })
    }
}

impl Scanner {
    /// Opens a file; the next steps read it.
    pub(super) fn start_reading(&mut self, path: PathBuf, name: Blob, was_file: bool) {
        self.try_reading(path, name, was_file, RETRIES);
    }

    fn try_reading(&mut self, path: PathBuf, name: Blob, was_file: bool, retries_left: u32) {
        let began = self.clock.now();
        let opened = self.files.open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let (file, metadata) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.unvisited(&path, &error),
        };
        let hinted = was_file && metadata.len >= hints::FILE_LEN_MIN;
        let open = Open::new(path, name, file, metadata, began);
        let hints_next = if hinted { Some(0) } else { None };
        self.begin(Open { hints_next, was_file, retries_left, ..open });
    }

    /// The next steps read this file from its start.
    pub(super) fn begin(&mut self, mut open: Open) {
        let (items, items_len) = (self.filling.items.len(), self.filling.items_len);
        let (batch, chunks) = (self.filling.number, self.filling.chunks.len());
        open.start = Start { batch, filled: self.filled, chunks, items, items_len };
        open.uncut = self.filled;
        if open.metadata.len >= hints::FILE_LEN_MIN {
            self.item(Item::Begin(open.name.clone()), 0);
        }
        self.open = Some(open);
    }

    /// Reads more of a file. Some if the step ends here.
    pub(super) fn read(&mut self, mut open: Open) -> Option<Step> {
        let need = self.next_hints(&mut open);
        if need.is_some() {
            self.open = Some(open);
            return need;
        }
        if open.read >= open.data_end
            && let Err(error) = self.pass_hole(&mut open)
        {
            return self.unreadable(open, &error);
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
            self.end_file(open);
            return None;
        }
        let want = left.min(open.data_end - open.read);
        let most = if probe::buggify(Point::ReadsLittle) { 1000 } else { usize::MAX };
        let want = usize::try_from(want).unwrap_or(usize::MAX).min(room).min(most);
        match open.file.read(&mut self.filling.data[self.filled..self.filled + want]) {
            Ok(0) => self.end_file(open),
            Ok(len) => {
                self.filled += len;
                open.read += len as u64;
                self.progress.bytes.add(len as u64);
                self.open = Some(open);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.open = Some(open),
            Err(error) => return self.unreadable(open, &error),
        }
        None
    }

    /// Passes over the hole at which reading has come, if it is one worth passing over.
    fn pass_hole(&mut self, open: &mut Open) -> io::Result<()> {
        let len = open.metadata.len;
        let (hole_end, data_end) = match open.file.data_after(open.read)? {
            Some(data) => (data.start.clamp(open.read, len), data.end),
            // The rest is a hole, but of a file that may have become shorter.
            None => (open.file.metadata()?.len.clamp(open.read, len), u64::MAX),
        };
        let hole = hole_end - open.read;
        // At least a byte is read before this is asked again.
        open.data_end = data_end.max(hole_end + 1);
        if hole < HOLE_BYTES_MIN {
            return Ok(());
        }
        self.cut(open, true);
        self.item(Item::Hole(hole), 0);
        self.progress.bytes.add(hole);
        open.file.seek(hole_end);
        open.read = hole_end;
        // There are no hints of the windows in the hole.
        let window = hints::window(&self.keys, open.read).saturating_sub(1);
        open.hints_next = open.hints_next.map(|next| next.max(window));
        Ok(())
    }

    fn unreadable(&mut self, open: Open, error: &io::Error) -> Option<Step> {
        if open.is_stream {
            return Some(Step::Failed(broken_stream(error)));
        }
        self.problem(&open.path, describe(error));
        self.abandon(open);
        None
    }

    /// Leaves out the file being read.
    pub(super) fn abandon(&mut self, open: Open) {
        self.forget(&open);
    }

    /// Forgets what was read of a file.
    fn forget(&mut self, open: &Open) {
        let Start { batch, filled, chunks, items, items_len } = open.start;
        if batch == self.filling.number {
            self.filled = filled;
            self.filling.chunks.truncate(chunks);
            self.filling.private.split_off(&chunks);
            self.filling.items.truncate(items);
            self.filling.items_len = items_len;
        } else {
            // A part of it is under way.
            self.filled = open.uncut;
            self.item(Item::Abort, 0);
        }
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
            if self.keys.seals_privately(open.metadata.len) {
                self.filling.private.insert(self.filling.chunks.len());
            }
            self.filling.chunks.push(open.uncut..open.uncut + len);
            self.item(Item::Chunk, 0);
            open.uncut += len;
        }
    }

    fn end_file(&mut self, mut open: Open) {
        self.cut(&mut open, true);
        let xattrs = open.file.xattrs();
        let before = &open.metadata;
        // What was read is what the file was when it was opened, if nothing moved since.
        let changed = open
            .file
            .metadata()
            .map_or(true, |after| after.len != open.read || after.mtime != before.mtime || after.ctime != before.ctime);
        if changed && !open.is_stream {
            if open.retries_left > 0 && open.read <= RETRY_BYTES_MAX {
                self.forget(&open);
                return self.try_reading(open.path, open.name, open.was_file, open.retries_left - 1);
            }
            self.problem(&open.path, "it changed while it was read; what was read is kept");
        }
        let xattrs = xattrs.unwrap_or_else(|error| {
            self.problem_of_xattrs(&open.path, &error);
            Vec::new()
        });
        let unsettled = changed || !settled(before.ctime, open.began);
        let attributes = attributes(&open.metadata);
        let chunks = open.read / self.cutter.average() as u64 + 1;
        let linked = self.links.remember(&attributes, chunks, &xattrs);
        let len = xattrs_len(&xattrs);
        let what = What::File { len: open.read, content: Content::default() };
        let entry = Entry { name: open.name, attributes, unsettled, xattrs, what };
        self.item(Item::End { entry, linked }, len);
        self.progress.files.add(1);
    }
}

fn settled(ctime: FileTime, now: UnixMillis) -> bool {
    let ctime_ms = i128::from(ctime.secs) * 1000 + i128::from(ctime.nanos / 1_000_000);
    ctime_ms + i128::from(SETTLED_AFTER_MS) <= i128::from(now.0)
}
