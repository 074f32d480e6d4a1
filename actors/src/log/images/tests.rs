use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::*;
use crate::testing::MemoryDisk;

/// Longer than what is read at a time.
const LONG: usize = 3 * BUFFER_BYTES + 17;

fn content(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| seed ^ (at % 251) as u8).collect()
}

fn written(images: &Images, content: &[u8]) -> ImageFile {
    let mut pieces = content.chunks(1_000);
    images.write(|out| pieces.try_for_each(|piece| out.write_all(piece))).unwrap()
}

fn read(file: &ImageFile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.checked()?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn what_is_written_is_read_and_what_does_not_count_is_gone() {
    let disk = Arc::new(MemoryDisk::default());
    let (images, kept) = Images::open(disk.clone(), None).unwrap();
    assert!(kept.is_none());
    let first = written(&images, &content(1, LONG));
    first.set_counts(true);
    assert_eq!(read(&first).unwrap(), content(1, LONG));
    let second = written(&images, &[]);
    assert_eq!((read(&second).unwrap(), disk.names()), (vec![], vec!["ledger-0".to_owned(), "ledger-1".to_owned()]));
    // Somebody still reads it while the next one takes its place.
    let reader = first.again();
    second.set_counts(true);
    first.set_counts(false);
    drop(first);
    assert_eq!(read(&reader).unwrap().len(), LONG);
    drop(reader);
    assert_eq!(disk.names(), ["ledger-1"]);
    assert_eq!(written(&images, b"again").number(), 0);
    assert_eq!(disk.names(), ["ledger-1"], "one that nobody has use for stays");
}

#[test]
fn another_opening_finds_what_counts_and_sweeps_the_rest() {
    let disk = Arc::new(MemoryDisk::default());
    disk.set("ledger-0", b"left behind by a crash");
    disk.set("ledger-5", b"");
    let (images, _) = Images::open(disk.clone(), None).unwrap();
    let kept = written(&images, b"kept");
    assert_eq!(disk.bytes(&kept.name())[..4], *b"kept", "it begins with what was left there");
    kept.set_counts(true);
    let (number, sent) = (kept.number(), written(&images, b"old, and still being sent"));
    drop(kept);
    let (images, kept) = Images::open(disk.clone(), Some(number)).unwrap();
    assert_eq!(read(&kept.unwrap()).unwrap(), b"kept");
    let next = written(&images, b"next");
    assert_ne!(next.number(), sent.number());
    drop(sent);
    assert_eq!(read(&next).unwrap(), b"next");
    assert!(!disk.exists("ledger-5").unwrap());
}

#[test]
fn a_file_that_is_damaged_or_cut_short_is_refused() {
    let disk = Arc::new(MemoryDisk::default());
    let (images, _) = Images::open(disk.clone(), None).unwrap();
    let file = written(&images, &content(9, 2_000));
    file.set_counts(true);
    let (name, number) = (file.name(), file.number());
    drop(file);
    let whole = disk.bytes(&name);
    assert_eq!(whole.len(), 2_000 + blake3::OUT_LEN);
    let damages = (0..whole.len()).step_by(97).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    });
    for bytes in damages.chain([whole[..500].to_vec(), whole[..7].to_vec(), vec![]]) {
        disk.set(&name, &bytes);
        let (_, file) = Images::open(disk.clone(), Some(number)).unwrap();
        assert_eq!(read(&file.unwrap()).unwrap_err().kind(), io::ErrorKind::InvalidData, "{} bytes", bytes.len());
    }
    disk.set(&name, &whole);
    let (_, file) = Images::open(disk, Some(number)).unwrap();
    assert_eq!(read(&file.unwrap()).unwrap(), content(9, 2_000));
}

/// As openraft does it.
async fn send<T: AsyncRead + AsyncWrite + AsyncSeek + Unpin>(from: &mut T, to: &mut T) {
    let end = from.seek(SeekFrom::End(0)).await.unwrap();
    let mut at = 0;
    while at < end {
        from.seek(SeekFrom::Start(at)).await.unwrap();
        let mut chunk = Vec::with_capacity(70_000);
        AsyncReadExt::read_buf(from, &mut chunk).await.unwrap();
        to.seek(SeekFrom::Start(at)).await.unwrap();
        to.write_all(&chunk).await.unwrap();
        at += chunk.len() as u64;
    }
    to.shutdown().await.unwrap();
}

#[tokio::test]
async fn it_is_sent_and_received_in_chunks() {
    let (images, _) = Images::open(Arc::new(MemoryDisk::default()), None).unwrap();
    let (mut from, mut to) = (written(&images, &content(3, LONG)), images.create().unwrap());
    send(&mut from, &mut to).await;
    assert_eq!(read(&to).unwrap(), content(3, LONG));
}

#[test]
fn there_are_only_so_many() {
    let (images, _) = Images::open(Arc::new(MemoryDisk::default()), None).unwrap();
    let all: Vec<ImageFile> = (0..FILES_MAX).map(|_| images.create().unwrap()).collect();
    assert_eq!(images.create().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop(all);
    images.create().unwrap();
}
