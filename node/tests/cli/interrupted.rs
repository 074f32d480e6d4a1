//! Backups that are killed, stopped, lose their storage, or meet another one.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use super::{
    cluster::Cluster,
    fleet::{Fleet, put},
    main_job::files_below,
};

const MIB: usize = 1 << 20;
/// What a pack holds at most.
const PACK: u64 = 16 << 20;
/// Packs on their way at one time, of which a killed client does not know whether they came.
const IN_FLIGHT: u64 = 4;
/// How often a test looks whether a process has come so far, and how often at most.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOKS_MAX: u32 = 150_000;

#[test]
fn a_backup_that_is_killed_is_gone_on_with() {
    let total = 8 * PACK;
    // On a busy machine a backup may be over before anyone looks: then the next one is killed.
    let killed = || {
        let fleet = Fleet::ready();
        fleet.enroll("c", &fleet.token(&[])).well();
        let source = fleet.path("source");
        (0..8).for_each(|number| noise(&source.join(format!("f{number}")), number, 16 * MIB));
        let mut child = start(&fleet, "c", &source, &[]);
        wait_for(|| packs(&fleet) >= 5 || ended(&mut child));
        child.kill().unwrap();
        child.wait().unwrap();
        (snapshots(&fleet, "c") == 0).then_some((fleet, source))
    };
    let (fleet, source) = std::iter::repeat_with(killed).take(5).flatten().next().unwrap();
    let known = packs(&fleet).saturating_sub(IN_FLIGHT);

    let second = fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
    let new = second["bytes_new"].as_u64().unwrap();
    assert!(new <= total - known * PACK + PACK / 2, "{known} packs were there, and {new} bytes were stored again");
    restores_as_it_was(&fleet, "c", &source);
}

#[test]
fn a_storage_that_is_killed_and_comes_back_only_delays() {
    let mut fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    (0..4).for_each(|number| noise(&source.join(format!("f{number}")), number, 16 * MIB));
    let mut child = start(&fleet, "c", &source, &[]);
    wait_for(|| packs(&fleet) >= 1 || ended(&mut child));
    fleet.restart_storage();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(snapshots(&fleet, "c"), 1);
    restores_as_it_was(&fleet, "c", &source);
}

/// The client, each orchestrator and the storage die once in the course of one backup. What
/// comes through a pipe goes on only when this test says so: nothing is killed too late.
#[test]
fn everything_is_killed_once_during_one_backup() {
    let mut cluster = Cluster::of_three();
    cluster.fleet.enroll("c", &cluster.fleet.token(&[])).well();
    let mut backup = Piped::start(&cluster.fleet);
    backup.feed(&cluster.fleet, 2);
    backup.child.kill().unwrap();
    backup.child.wait().unwrap();
    assert_eq!(snapshots(&cluster.fleet, "c"), 0);

    let mut backup = Piped::start(&cluster.fleet);
    for name in ["one", "two", "three"] {
        backup.feed(&cluster.fleet, 1);
        cluster.restart(name);
    }
    backup.feed(&cluster.fleet, 1);
    cluster.fleet.restart_storage();
    backup.feed(&cluster.fleet, 1);
    let written = backup.end();
    assert_eq!(snapshots(&cluster.fleet, "c"), 1);
    let target = cluster.fleet.path("target");
    cluster.fleet.client("c", &["restore", "latest", target.to_str().unwrap()]).well();
    let mut restored = Vec::new();
    fs::File::open(target.join("noise")).unwrap().read_to_end(&mut restored).unwrap();
    assert!(restored == written, "{} bytes were restored, not the {} that went in", restored.len(), written.len());
    // The first attempt's packs were not stored again.
    let stored = bytes_below(&cluster.fleet.path("storage/objects"));
    assert!(stored < written.len() as u64 + 2 * PACK * IN_FLIGHT, "{stored} bytes are stored of {}", written.len());
}

#[test]
fn a_second_backup_is_refused_waits_or_takes_over() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    (0..2).for_each(|number| noise(&source.join(format!("f{number}")), number, 16 * MIB));
    let path = source.to_str().unwrap();
    // A storage that hangs makes a backup last.
    fleet.storage.signal(Signal::STOP);
    let first = start(&fleet, "c", &source, &[]);
    let holder = format!("process {}", first.id());
    wait_for(|| fs::read(fleet.path("c").join("backup-holder")).is_ok_and(|held| has(&held, holder.as_bytes())));
    fleet.client("c", &["snapshot", "create", path]).fails(1, "busy", &["--wait", "--take-over", &holder]);

    let second = start(&fleet, "c", &source, &["--take-over"]);
    let first = first.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&first.stderr);
    assert!(first.status.code() == Some(1) && said.contains("took its place"), "{said}");

    let holder = format!("process {}", second.id());
    wait_for(|| fs::read(fleet.path("c").join("backup-holder")).is_ok_and(|held| has(&held, holder.as_bytes())));
    let mut third = start(&fleet, "c", &source, &["--wait"]);
    let mut said = BufReader::new(third.stderr.take().unwrap());
    read_until(&mut said, &format!("waiting: another backup of this machine is under way ({holder})"));
    fleet.storage.signal(Signal::CONT);
    let second = second.wait_with_output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(third.wait().unwrap().success(), "{rest}");
    assert_eq!(snapshots(&fleet, "c"), 2);
    restores_as_it_was(&fleet, "c", &source);
}

#[test]
fn a_damaged_journal_stops_no_backup() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    put(&source.join("file"), "content\n");
    let path = source.to_str().unwrap();
    fleet.client("c", &["snapshot", "create", path]).well();
    let journal = fleet.path("c").join("journal");
    let mut whole = Vec::new();
    fs::File::open(&journal).unwrap().read_to_end(&mut whole).unwrap();
    let mut flipped = whole.clone();
    flipped.iter_mut().skip(64).step_by(97).for_each(|byte| *byte ^= 0x55);
    for damaged in [b"nonsense".repeat(1000), whole[..whole.len() / 2].to_vec(), flipped, Vec::new()] {
        fs::File::create(&journal).unwrap().write_all(&damaged).unwrap();
        fleet.client("c", &["snapshot", "create", path]).well();
    }
    assert_eq!(snapshots(&fleet, "c"), 5);
}

#[test]
fn a_long_backup_is_told_as_one() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    (0..30).for_each(|number| noise(&source.join(format!("f{number:02}")), number, MIB));
    let path = source.to_str().unwrap();
    let made = fleet.client("c", &["snapshot", "create", path, "--part-size", "9MiB"]).well();
    assert_eq!((&made["files"], &made["files_unchanged"], &made["problems"]), (&30.into(), &0.into(), &0.into()));
    assert!(made["bytes_new"].as_u64().unwrap() < 31 << 20, "{made}");
    let list = fleet.client("c", &["snapshot", "list"]).well();
    let complete: Vec<bool> =
        list["snapshots"].as_array().unwrap().iter().map(|one| one["complete"].as_bool().unwrap()).collect();
    assert!(complete.len() > 2 && complete.iter().rev().skip(1).all(|complete| !complete), "{list}");
    assert_eq!(complete.last(), Some(&true));
    let newest = list["snapshots"].as_array().unwrap().last().unwrap();
    assert_eq!(newest["id"], made["snapshot"]);
    let latest = fleet.client("c", &["snapshot", "show", "latest"]).well();
    assert_eq!(latest["id"], made["snapshot"]);

    let part = list["snapshots"][0]["id"].as_str().unwrap();
    let target = fleet.path("part");
    let restored = super::fleet::run(&mut fleet.client_command("c", &["restore", part, target.to_str().unwrap()]));
    assert!(restored.code == 0 && restored.stderr.contains("partial"), "{restored:?}");
    restores_as_it_was(&fleet, "c", &source);
}

/// Ten random moments of a real tree: `cargo test --release -p node --test cli ten_random -- --ignored`.
/// `NUTHATCH_TREE` names another tree than `/usr/share`.
#[test]
#[ignore = "takes minutes, and rsync"]
fn ten_random_moments() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = std::env::var("NUTHATCH_TREE").unwrap_or_else(|_| "/usr/share".into());
    let source = Path::new(&source);
    let full = {
        fleet.enroll("other", &fleet.token(&[])).well();
        let began = std::time::Instant::now();
        fleet.client("other", &["snapshot", "create", source.to_str().unwrap()]);
        began.elapsed()
    };
    let whole = bytes_below(&fleet.path("storage/objects"));
    println!("one backup: {} MiB stored in {full:?}", whole >> 20);
    fs::remove_dir_all(fleet.path("storage/objects")).unwrap();
    drop(fleet);

    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let mut state = u64::from(std::process::id()) | 1;
    for round in 0..10 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut child = start(&fleet, "c", source, &[]);
        std::thread::sleep(full.mul_f64((state % 1000) as f64 / 1000.0 * 0.9));
        child.kill().unwrap();
        child.wait().unwrap();
        println!("killed {round}: {} MiB stored so far", bytes_below(&fleet.path("storage/objects")) >> 20);
    }
    let last = fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]);
    assert!(last.code == 0 || last.code == 3, "{last:?}");
    let stored = bytes_below(&fleet.path("storage/objects"));
    println!("in the end {} MiB, {:.3} of one backup", stored >> 20, stored as f64 / whole as f64);
    let target = fleet.path("target");
    let restored = fleet.client("c", &["restore", "latest", target.to_str().unwrap()]);
    assert!(restored.code == 0 || restored.code == 3, "{restored:?}");
    let from = format!("{}/", source.display());
    let to = format!("{}{}/", target.display(), source.display());
    let rsync = Command::new("rsync")
        .args(["-aHAXn", "--checksum", "--delete", "--itemize-changes", &from, &to])
        .output()
        .unwrap();
    let differs = String::from_utf8_lossy(&rsync.stdout);
    assert!(rsync.status.success() && differs.is_empty(), "{differs}");
}

/// Starts a backup.
fn start(fleet: &Fleet, client: &str, source: &Path, more: &[&str]) -> Child {
    let args = [&["snapshot", "create", source.to_str().unwrap()], more].concat();
    let mut command = fleet.client_command(client, &args);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A backup of what comes through a pipe.
struct Piped {
    child: Child,
    noise: Noise,
    written: Vec<u8>,
}

impl Piped {
    fn start(fleet: &Fleet) -> Self {
        let mut command = fleet.client_command("c", &["snapshot", "create", "--stdin", "--stdin-filename", "noise"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, noise: Noise::of(1), written: Vec::new() }
    }

    /// Feeds it until so many more packs are stored.
    fn feed(&mut self, fleet: &Fleet, more: u64) {
        let wanted = packs(fleet) + more;
        let mut pipe = self.child.stdin.take().unwrap();
        while packs(fleet) < wanted {
            let block = self.noise.block();
            pipe.write_all(&block).unwrap();
            self.written.extend(block);
        }
        self.child.stdin = Some(pipe);
    }

    /// Ends the pipe, and waits for the backup.
    fn end(mut self) -> Vec<u8> {
        drop(self.child.stdin.take());
        let done = self.child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        self.written
    }
}

fn ended(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_some()
}

/// Looks again and again, for as long as no machine is so slow.
fn wait_for(mut met: impl FnMut() -> bool) {
    let mut looks = 0;
    while !met() {
        looks += 1;
        assert!(looks < LOOKS_MAX, "it never came to that");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn read_until(from: &mut BufReader<ChildStderr>, wanted: &str) {
    let mut line = String::new();
    while !line.contains(wanted) {
        line.clear();
        assert!(from.read_line(&mut line).unwrap() > 0, "it ended without saying {wanted:?}");
    }
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Packs of contents that are stored.
fn packs(fleet: &Fleet) -> u64 {
    let objects = fleet.path("storage/objects");
    if !objects.exists() {
        return 0;
    }
    let large = |path: &std::path::PathBuf| fs::metadata(path).is_ok_and(|found| found.len() >= PACK - (1 << 20));
    files_below(&objects).iter().filter(|path| path.to_string_lossy().contains("/pack/") && large(path)).count() as u64
}

fn snapshots(fleet: &Fleet, client: &str) -> usize {
    fleet.client(client, &["snapshot", "list"]).well()["snapshots"].as_array().unwrap().len()
}

fn bytes_below(path: &Path) -> u64 {
    files_below(path).iter().map(|path| fs::metadata(path).map_or(0, |found| found.len())).sum()
}

fn restores_as_it_was(fleet: &Fleet, client: &str, source: &Path) {
    let target = fleet.path("restored");
    fleet.client(client, &["restore", "latest", target.to_str().unwrap()]).well();
    let restored = target.join(source.strip_prefix("/").unwrap());
    for path in files_below(source) {
        let name = path.strip_prefix(source).unwrap();
        assert!(same(&path, &restored.join(name)), "{} is not what it was", name.display());
    }
    assert_eq!(files_below(source).len(), files_below(&restored).len());
}

fn same(one: &Path, other: &Path) -> bool {
    let read = |path| {
        let mut bytes = Vec::new();
        fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map(|_| bytes).ok()
    };
    read(one).is_some_and(|bytes| read(other).is_some_and(|other| bytes == other))
}

/// A file that does not compress, other for every seed.
fn noise(path: &Path, seed: u64, len: usize) {
    put(path, "");
    let mut file = fs::File::options().write(true).open(path).unwrap();
    let mut noise = Noise::of(seed);
    (0..len / MIB).for_each(|_| file.write_all(&noise.block()).unwrap());
}

/// Bytes that do not compress.
struct Noise(u64);

impl Noise {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next MiB.
    fn block(&mut self) -> Vec<u8> {
        let mut block = vec![0; MIB];
        for word in block.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes());
        }
        block
    }
}
