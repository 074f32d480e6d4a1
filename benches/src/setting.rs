//! How a cluster is measured: the options that all such programs have, the directory in
//! which everything works, and the end.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    process::ExitCode,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{node::beside, trouble::Trouble};

/// Options of each program that measures a cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct Setting {
    /// The program of this project. Default: the one that was built with this one.
    #[arg(long, value_name = "FILE")]
    nuthatch: Option<PathBuf>,
    /// Where the cluster's data lies meanwhile. Default: a new temporary directory.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Leave the data there.
    #[arg(long)]
    keep: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was found.
pub trait Report {
    /// For people.
    fn text(&self) -> impl Display;
    /// For programs: one object.
    fn json(&self) -> impl Display;
}

impl Setting {
    /// Measures, and prints the report or why there is none. `measure` is given the program
    /// and the directory for everything that works; it ends when this process is told to.
    pub fn run<R: Report>(
        &self,
        name: &str,
        measure: impl AsyncFnOnce(&Path, &Path) -> Result<R, Trouble>,
    ) -> ExitCode {
        match self.measured(name, measure) {
            Ok(report) if self.json => println!("{}", report.json()),
            Ok(report) => println!("{}", report.text()),
            Err(Trouble(text)) => {
                eprintln!("{name}: {text}");
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    }

    fn measured<R>(
        &self,
        name: &str,
        measure: impl AsyncFnOnce(&Path, &Path) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let nuthatch = self.nuthatch.clone().map_or_else(beside, Ok)?;
        let parent = self.work_dir.clone().unwrap_or_else(std::env::temp_dir);
        // Made before, and so removed after, everything that works in it.
        let mut work = std::fs::create_dir_all(&parent)
            .and_then(|()| tempfile::Builder::new().prefix(&format!("nuthatch-{name}-")).tempdir_in(&parent))
            .map_err(|error| Trouble::about("work in", &parent, &error))?;
        work.disable_cleanup(self.keep);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Trouble(format!("cannot start threads: {error}")))?;
        runtime.block_on(async {
            let listen = |kind| signal(kind).map_err(|error| Trouble(format!("cannot listen for signals: {error}")));
            let (mut interrupted, mut told) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
            tokio::select! {
                measured = measure(&nuthatch, work.path()) => measured,
                _ = interrupted.recv() => Err(Trouble("interrupted: everything is ended and removed".into())),
                _ = told.recv() => Err(Trouble("told to stop: everything is ended and removed".into())),
            }
        })
    }
}
