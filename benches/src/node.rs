//! One node of the program, as a process.
//!
//! Invariant: however this program ends, none of its nodes outlives it.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::trouble::Trouble;

/// Lines that a node may say before the one that is waited for.
const LINES_MAX: usize = 100;

/// A node that runs; it ends with this value.
pub struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    /// Starts a node of this name, with these roles in its configuration, and waits until
    /// it has said a line that starts with each of `words`. Returns what follows them.
    pub fn start<const N: usize>(
        program: &Path,
        work: &Path,
        name: &str,
        roles: &str,
        words: [&str; N],
    ) -> Result<(Self, [String; N]), Trouble> {
        let config = write(work, &format!("{name}.toml"), &format!("data_dir = {:?}\n{roles}", work.join(name)))?;
        let log = work.join(format!("{name}.log"));
        let failed = |error| Trouble::about("start the node of", &log, &error);
        let mut command = Command::new(program);
        command.args(["node", "run", "--with-parent", "--config"]).arg(config).env_remove("NUTHATCH_LOG");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).map_err(failed)?);
        let mut node = Self(command.spawn().map_err(|error| Trouble::about("run", program, &error))?);
        let said = node.0.stdout.take();
        let mut found: [Option<String>; N] = std::array::from_fn(|_| None);
        for line in said.into_iter().flat_map(|said| BufReader::new(said).lines()).take(LINES_MAX) {
            let line = line.map_err(failed)?;
            for (word, found) in words.iter().zip(&mut found) {
                if let Some(rest) = line.strip_prefix(word) {
                    *found = Some(rest.trim().to_owned());
                }
            }
            if found.iter().all(Option::is_some) {
                return Ok((node, found.map(Option::unwrap_or_default)));
            }
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        Err(Trouble(format!("the node {name} ended at once: {}", said.trim())))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

/// The release program that was built with this one.
pub fn beside() -> Result<PathBuf, Trouble> {
    let own = std::env::current_exe().map_err(|error| Trouble(format!("cannot find this program: {error}")))?;
    Ok(own.with_file_name("nuthatch"))
}

/// Writes a file in the work directory.
pub fn write(work: &Path, name: &str, text: &str) -> Result<PathBuf, Trouble> {
    let path = work.join(name);
    fs::write(&path, text).map_err(|error| Trouble::about("write", &path, &error))?;
    Ok(path)
}
