//! Where the demo plays: a directory, and the processes in it.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use actors::operator::Candidate;
use env::Disk as _;
use protocol::{
    ids::PublicKey,
    records::{Storage, StorageCredential},
};
use serde_json::{Value, json};

use super::{
    process::{Process, address},
    storage::{StorageAccess, random, storage},
};
use crate::{
    cli::{Demo, Trouble, say},
    env::DataDir,
};

/// Orchestrators: the fewest that survive the loss of one.
const ORCHESTRATORS: [&str; 3] = ["a", "b", "c"];
/// The bucket of the demo's storage.
const BUCKET: &str = "demo";

/// The demo's directory and processes.
pub struct Stage {
    work: PathBuf,
    /// Whether the directory goes, or only what is in it.
    made: bool,
    disk: DataDir,
    keep: bool,
    orchestrators: Vec<Seat>,
    storage: Option<Process>,
    /// The S3 that is used instead of a storage of the demo's own.
    elsewhere: Option<StorageAccess>,
    /// Whether something was stored there.
    stored: bool,
}

struct Seat {
    process: Process,
    address: SocketAddr,
    key: PublicKey,
    lost: bool,
}

/// What still runs when the demo has ended.
pub struct Kept {
    work: PathBuf,
    /// Where the objects are.
    stored: String,
    pids: Vec<u32>,
}

impl Kept {
    /// How to talk to it, and how to end it.
    pub fn text(&self) -> String {
        let (home, data) = (self.work.join("home"), self.work.join("client"));
        let (home, data, work, stored) = (home.display(), data.display(), self.work.display(), &self.stored);
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        let exe = std::env::current_exe().map_or_else(|_| "nuthatch".into(), |exe| exe.display().to_string());
        [
            format!("Everything still runs, in {work}; the orchestrator that was killed is back. Try:"),
            format!("  {exe} cluster status --home {home}"),
            format!("  {exe} client list --home {home}"),
            format!("  {exe} snapshot list --data-dir {data}"),
            format!("  {exe} restore latest DEST --data-dir {data}"),
            format!("What was restored lies in {work}/restored, what is stored in {stored}."),
            format!("To end it:\n  kill {}; rm -rf {work}", pids.join(" ")),
        ]
        .join("\n")
    }

    /// The same for a script.
    pub fn json(&self) -> Value {
        json!({
            "work_dir": self.work,
            "home": self.work.join("home"),
            "data_dir": self.work.join("client"),
            "restored": self.work.join("restored"),
            "objects": self.stored,
            "pids": self.pids,
        })
    }
}

impl Stage {
    /// Makes the directory.
    pub fn open(args: &Demo) -> Result<Self, Trouble> {
        let elsewhere = StorageAccess::named(&args.storage)?;
        let (work, made) = match &args.work_dir {
            Some(path) => given(path)?,
            None => {
                let made = tempfile::Builder::new().prefix("nuthatch-demo-").tempdir();
                let made = made.map_err(|error| Trouble::file("work in", &std::env::temp_dir(), &error))?;
                (made.keep(), true)
            }
        };
        let work = fs::canonicalize(&work).map_err(|error| Trouble::file("find", &work, &error))?;
        if work.to_str().is_none() {
            return Err(Trouble::usage(format!(
                "the name of {} is not UTF-8: choose another with --work-dir",
                work.display()
            )));
        }
        let disk = DataDir::open(&work).map_err(|error| Trouble::file("work in", &work, &error))?;
        Ok(Self {
            work,
            made,
            disk,
            keep: args.keep,
            orchestrators: Vec::new(),
            storage: None,
            elsewhere,
            stored: false,
        })
    }

    /// A place in the demo's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Starts the orchestrators.
    pub async fn start_orchestrators(&mut self) -> Result<Vec<Candidate>, Trouble> {
        let mut candidates = Vec::new();
        for name in ORCHESTRATORS {
            let file = format!("orchestrator-{name}");
            let config = |listen: &str| {
                format!("data_dir = {}\nroles = [\"orchestrator\"]\nlisten = \"{listen}\"\n", quoted(&self.path(&file)))
            };
            let path = self.write(&format!("{file}.toml"), &config("127.0.0.1:0"))?;
            let (process, [listens, key]) = Process::start(name, &path, self.keep, ["listening on ", "key "]).await?;
            let key = key.parse().map_err(|error| Trouble::new("internal", format!("orchestrator {name}: {error}")))?;
            // Should it start again, it must be where the others look for it.
            self.write(&format!("{file}.toml"), &config(&listens))?;
            candidates.push(Candidate { name: name.into(), address: listens.clone(), key: Some(key) });
            self.orchestrators.push(Seat { process, address: address(&listens)?, key, lost: false });
        }
        Ok(candidates)
    }

    /// The S3 that is used instead of a storage of the demo's own, if one is.
    pub fn elsewhere(&self) -> Option<&Storage> {
        self.elsewhere.as_ref().map(|access| &access.storage)
    }

    /// From here on something is stored.
    pub fn stores(&mut self) {
        self.stored = true;
    }

    /// Starts the storage, if it is not elsewhere.
    pub async fn start_storage(&mut self) -> Result<StorageAccess, Trouble> {
        if let Some(elsewhere) = &self.elsewhere {
            return Ok(elsewhere.clone());
        }
        let credential = StorageCredential::new(random(20), random(40));
        let access = self.write("access-key", &credential.access_key)?;
        let secret = self.write("secret-key", &credential.secret_key)?;
        let config = |listen: &str| {
            format!(
                "data_dir = {}\nroles = [\"storage\"]\n[storage]\nlisten = \"{listen}\"\nbucket = \"{BUCKET}\"\naccess_key_file = {}\nsecret_key_file = {}\n",
                quoted(&self.path("storage")),
                quoted(&access),
                quoted(&secret),
            )
        };
        let path = self.write("storage.toml", &config("127.0.0.1:0"))?;
        let (process, [endpoint]) = Process::start("storage", &path, self.keep, ["serving "]).await?;
        // Should a person start it again, it must be where the cluster looks for it.
        self.write("storage.toml", &config(endpoint.trim_start_matches("http://")))?;
        self.storage = Some(process);
        Ok(StorageAccess { storage: storage(endpoint, BUCKET, "repository".into()), credential })
    }

    /// Kills the orchestrator with this key, as a power cut would. Returns its name
    /// and address; None if there is none, or it is gone already.
    pub fn kill_orchestrator(&mut self, key: &PublicKey) -> Result<Option<(String, SocketAddr)>, Trouble> {
        let Some(seat) = self.orchestrators.iter_mut().find(|seat| seat.key == *key && !seat.lost) else {
            return Ok(None);
        };
        seat.process.kill()?;
        seat.lost = true;
        Ok(Some((seat.process.name.clone(), seat.address)))
    }

    /// Ends everything and removes it. Or, with `keep`, starts again what was killed,
    /// and says how to talk to it and how to end it.
    pub async fn end(mut self, keep: bool) -> Result<Option<Kept>, Trouble> {
        if keep {
            return self.leave().await.map(Some);
        }
        for process in self.orchestrators.iter_mut().map(|seat| &mut seat.process).chain(&mut self.storage) {
            process.end().await;
        }
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| self.stored)
            && let Err(trouble) = elsewhere.clear().await
        {
            say(&format!("Note: {trouble}"));
        }
        let removed = remove(&self.work, self.made);
        removed.map_err(|error| {
            Trouble::file("remove", &self.work, &error).hint("Remove it by hand: nothing else uses it.")
        })?;
        Ok(None)
    }

    async fn leave(&mut self) -> Result<Kept, Trouble> {
        for seat in self.orchestrators.iter_mut().filter(|seat| seat.lost) {
            seat.process.end().await;
            seat.process.restart().await?;
        }
        let processes = self.orchestrators.iter().map(|seat| &seat.process).chain(&self.storage);
        let stored = match &self.elsewhere {
            Some(StorageAccess { storage, .. }) => {
                format!("{}/{}/{}", storage.endpoint, storage.bucket, storage.prefix)
            }
            None => self.path("storage/objects").display().to_string(),
        };
        Ok(Kept { work: self.work.clone(), stored, pids: processes.filter_map(Process::id).collect() })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Trouble> {
        let path = self.path(name);
        self.disk.replace(name, text.as_bytes()).map_err(|error| Trouble::file("write", &path, &error))?;
        Ok(path)
    }
}

/// A directory that the person chose: made, or empty.
fn given(path: &Path) -> Result<(PathBuf, bool), Trouble> {
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok((path.to_path_buf(), false)),
            Some(_) => {
                Err(Trouble::usage(format!("{} is not empty: the demo would mix its files with yours", path.display()))
                    .hint("Give --work-dir an empty directory, or a name that does not exist."))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path.to_path_buf(), true)),
        Err(error) => Err(Trouble::file("work in", path, &error)),
    }
    .and_then(|(path, made)| {
        fs::create_dir_all(&path).map_err(|error| Trouble::file("make", &path, &error))?;
        Ok((path, made))
    })
}

/// A path as TOML writes it: as JSON does.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

/// Removes what is in `path`, and `path` itself if `whole`. Directories that
/// were restored without the right to write in them get it back first.
fn remove(path: &Path, whole: bool) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700))?;
            remove(&entry.path(), true)?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    if whole { fs::remove_dir(path) } else { Ok(()) }
}
