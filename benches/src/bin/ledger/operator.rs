//! The operator of the cluster, who types commands.
//!
//! Invariant: however this program ends, none of the commands outlives it, and none is
//! waited for without an end.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use benches::{process, trouble::Trouble};
use serde_json::Value;

const PASSPHRASE: &str = "correct horse battery staple";
/// Between two looks at a command.
const LOOK: Duration = Duration::from_millis(10);
/// What a failed command said is shown up to here, in bytes.
const SAID_MAX: u64 = 2000;

/// Who commands.
pub struct Operator {
    program: PathBuf,
    work: PathBuf,
    passphrase: PathBuf,
}

/// A command that went well.
pub struct Done {
    /// What it said: one object.
    pub said: Value,
    /// How many bytes that was.
    pub said_bytes: usize,
    /// How long it took.
    pub took: Duration,
    /// Its most resident memory, in bytes, as far as was seen.
    pub peak: u64,
}

/// A command that runs; it ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Operator {
    /// Somebody whose keys will be in `work`.
    pub fn new(program: &Path, work: &Path) -> Result<Self, Trouble> {
        let passphrase = benches::node::write(work, "passphrase", PASSPHRASE)?;
        Ok(Self { program: program.to_owned(), work: work.to_owned(), passphrase })
    }

    /// The words that allow a command to use the root key.
    pub fn root(&self) -> [String; 2] {
        ["--passphrase-file".into(), self.passphrase.display().to_string()]
    }

    /// What the root key is sealed with.
    pub fn passphrase(&self) -> &str {
        PASSPHRASE
    }

    /// Where the keys are.
    pub fn home(&self) -> PathBuf {
        self.work.join("home")
    }

    /// Runs a command that has to go well in time.
    pub async fn run(&self, words: &[String], patience: Duration) -> Result<Done, Trouble> {
        let (done, went_well) = self.attempt(words, patience).await?;
        if !went_well {
            return Err(Trouble(format!("`nuthatch {}` failed: {}", words.join(" "), done.said)));
        }
        Ok(done)
    }

    /// Runs a command, and says whether it went well.
    pub async fn attempt(&self, words: &[String], patience: Duration) -> Result<(Done, bool), Trouble> {
        let shown = words.join(" ");
        let [said, trouble] = ["said", "trouble"].map(|name| self.work.join(name));
        let create = |path: &Path| File::create(path).map_err(|error| Trouble::about("write", path, &error));
        let mut command = Command::new(&self.program);
        command.args(words).arg("--json").arg("--home").arg(self.home()).env_remove("NUTHATCH_LOG");
        command.stdin(Stdio::null()).stdout(create(&said)?).stderr(create(&trouble)?);
        let began = Instant::now();
        let failed = |error| Trouble(format!("cannot run `nuthatch {shown}`: {error}"));
        let mut running = Running(command.spawn().map_err(failed)?);
        let mut peak = 0;
        let status = loop {
            if let Some(status) = running.0.try_wait().map_err(failed)? {
                break status;
            }
            peak = process::read(running.0.id()).map_or(peak, |reading| reading.peak.max(peak));
            if began.elapsed() > patience {
                return Err(Trouble(format!("`nuthatch {shown}` did not end within {} s", patience.as_secs())));
            }
            tokio::time::sleep(LOOK).await;
        };
        let took = began.elapsed();
        let text = fs::read_to_string(&said).map_err(|error| Trouble::about("read", &said, &error))?;
        let object = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let Some(object) = object else {
            return Err(Trouble(format!("`nuthatch {shown}` ended ({status}): {}", beginning(&trouble))));
        };
        Ok((Done { said: object, said_bytes: text.len(), took, peak }, status.success()))
    }
}

fn beginning(path: &Path) -> String {
    let mut text = String::new();
    // What cannot be read is not shown.
    let _ = File::open(path).and_then(|file| file.take(SAID_MAX).read_to_string(&mut text));
    text.trim().to_owned()
}
