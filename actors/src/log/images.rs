//! The ledger's snapshots, each in a file of its own beside the log.
//!
//! `content ‖ BLAKE3 of it (32 bytes)`. Invariant: a file is written once, from its start to
//! its end, and is on disk before the log's database says that it counts. Whichever does not
//! count is removed when nobody reads it any more, or when the log is opened again.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use env::Disk;
use probe::Plant;
use redb::StorageBackend;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

const SUM_BYTES: u64 = blake3::OUT_LEN as u64;
/// How much is read or written at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// How many files there are at most: the one that counts, one that is written, one that
/// arrives, and older ones that are being sent.
const FILES_MAX: u8 = 8;

/// The files of one log. Clones share them.
#[derive(Clone)]
pub struct Images {
    disk: Arc<dyn Disk>,
    used: Arc<Mutex<BTreeSet<u8>>>,
}

/// An open file, and a position in it. The last handle that is dropped removes the file,
/// unless it counts.
pub struct ImageFile {
    slot: Arc<Slot>,
    at: u64,
}

struct Slot {
    number: u8,
    file: Box<dyn StorageBackend>,
    counts: AtomicBool,
    images: Images,
}

fn name(number: u8) -> String {
    format!("ledger-{number}")
}

impl Images {
    /// The files in a node's data directory, and the one of them that counts. Others, which a
    /// crash left behind, are removed. Blocks.
    pub fn open(disk: Arc<dyn Disk>, counts: Option<u8>) -> io::Result<(Self, Option<ImageFile>)> {
        let images = Self { disk, used: Arc::default() };
        let Some(counts) = counts else { return Ok((images, None)) };
        let kept = images.take(counts)?;
        kept.set_counts(true);
        for number in (0..FILES_MAX).filter(|number| *number != counts) {
            if !images.disk.exists(&name(number))? {
                continue;
            }
            match images.take(number) {
                Ok(left) => {
                    probe::sometimes("what a crash left of a ledger's snapshot is removed");
                    drop(left);
                }
                // Whoever still reads it removes it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok((images, Some(kept)))
    }

    /// A new, empty file. Blocks.
    pub fn create(&self) -> io::Result<ImageFile> {
        for number in 0..FILES_MAX {
            if self.used().contains(&number) {
                continue;
            }
            match self.take(number) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                made => {
                    let made = made?;
                    made.slot.file.set_len(0)?;
                    return Ok(made);
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "too many snapshots of the ledger are being sent"))
    }

    /// A new file with this content, on disk when this returns. Blocks.
    pub fn write(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<ImageFile> {
        let made = self.create()?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, Hashing::new(made.again()));
        fill(&mut out)?;
        let Hashing { mut inner, hasher } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        inner.write_all(hasher.finalize().as_bytes())?;
        if !probe::planted(Plant::LedgerFileUnsynced) {
            made.sync()?;
        }
        Ok(made)
    }

    fn take(&self, number: u8) -> io::Result<ImageFile> {
        let file = self.disk.file(&name(number))?;
        self.used().insert(number);
        let slot = Slot { number, file, counts: AtomicBool::new(false), images: self.clone() };
        Ok(ImageFile { slot: Arc::new(slot), at: 0 })
    }

    fn used(&self) -> MutexGuard<'_, BTreeSet<u8>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ImageFile {
    /// Which file it is.
    pub fn number(&self) -> u8 {
        self.slot.number
    }

    /// What it is called, for people.
    pub fn name(&self) -> String {
        name(self.slot.number)
    }

    /// Another handle, at the start.
    pub fn again(&self) -> Self {
        Self { slot: self.slot.clone(), at: 0 }
    }

    /// Says whether this file counts, which the log's database says as well.
    pub fn set_counts(&self, counts: bool) {
        self.slot.counts.store(counts, Ordering::Release);
    }

    /// Makes it durable. Blocks.
    pub fn sync(&self) -> io::Result<()> {
        self.slot.file.sync_data()
    }

    /// Whether it holds what was written into it; `InvalidData` if not. Blocks.
    pub fn check(&self) -> io::Result<()> {
        let mut hashing = Hashing::new(self.content()?);
        let mut buffer = vec![0; BUFFER_BYTES];
        while hashing.read(&mut buffer)? > 0 {}
        let mut sum = [0; blake3::OUT_LEN];
        let mut rest = self.again();
        rest.seek(SeekFrom::End(-(SUM_BYTES as i64)))?;
        rest.read_exact(&mut sum)?;
        match hashing.hasher.finalize() == sum {
            true => Ok(()),
            false => Err(damaged("it does not match its checksum")),
        }
    }

    /// Its content, once it is checked: for one look from the start to the end. Blocks.
    pub fn checked(&self) -> io::Result<impl Read + use<>> {
        self.check()?;
        Ok(BufReader::with_capacity(BUFFER_BYTES, self.content()?))
    }

    fn content(&self) -> io::Result<io::Take<Self>> {
        let len = self.len()?.checked_sub(SUM_BYTES).ok_or_else(|| damaged("it is cut short"))?;
        Ok(self.again().take(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.slot.file.len()
    }
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The other order would let go of a file of which somebody makes the next one.
        if !*self.counts.get_mut() {
            // Nobody needs it, and the next opening tries again.
            let _ = self.images.disk.remove(&name(self.number));
        }
        let _ = self.file.close();
        self.images.used().remove(&self.number);
    }
}

impl Read for ImageFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len()?.saturating_sub(self.at);
        let count = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.slot.file.read(self.at, &mut out[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for ImageFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.slot.file.write(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for ImageFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len()?.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

// openraft sends and receives a snapshot in chunks of half a frame, through these. They take
// as long as the page cache does: what makes a file durable, or reads all of it, goes to the
// threads that may block.

impl AsyncRead for ImageFile {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.read(out.initialize_unfilled())?;
        out.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ImageFile {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for ImageFile {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        self.seek(to).map(|_| ())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.at))
    }
}

impl fmt::Debug for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageFile({})", self.name())
    }
}

/// Hashes what passes through.
struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.hasher.update(&out[..count]);
        Ok(count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
