//! What worlds and machines are told when they are made.

use std::{net::IpAddr, ops::Range, time::Duration};

use crate::{
    env::files::User,
    history::recorder::Recorder,
    kernel::{
        Life,
        fault::{Node, Weather},
    },
};

/// What a world is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the bytes of the trace are kept, not only their hash.
    pub keep_trace: bool,
    /// What the links are like at first.
    pub weather: Weather,
    /// How long a sync of a disk takes, in microseconds.
    pub sync_us: Range<u64>,
    /// How long a request to the storage takes at first, in milliseconds.
    pub storage_ms: Range<u64>,
    /// How far wall clocks are off at first, at most, either way.
    pub clock_error: Duration,
    /// The least important events of nodes that go into the trace.
    pub log: tracing::level_filters::LevelFilter,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_trace: false,
            weather: Weather::default(),
            sync_us: 300..4_000,
            storage_ms: 4..40,
            clock_error: Duration::from_millis(300),
            log: tracing::level_filters::LevelFilter::INFO,
        }
    }
}

/// What a machine is like.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name: other nodes resolve it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// As whom its process acts on its files.
    pub user: User,
    /// After how long a process that failed is started again, if it is.
    pub restart_after: Option<Duration>,
}

impl Machine {
    /// A machine whose process is root, and is started again after a second if it fails.
    pub fn new(name: impl Into<String>, address: IpAddr) -> Self {
        let restart_after = Some(Duration::from_secs(1));
        Self { name: name.into(), address, user: User::ROOT, restart_after }
    }
}

/// What a process is told at its start, beside its environment.
#[derive(Debug, Clone)]
pub struct BootInfo {
    /// Which machine it runs on.
    pub node: Node,
    /// How often that was booted, from 1.
    pub life: u64,
    /// The machine's address.
    pub address: IpAddr,
    /// Writes lines of its own into the trace.
    pub tracer: Tracer,
    /// Writes down what it asks for, and what comes of it.
    pub recorder: Recorder,
}

/// Writes lines into the trace.
#[derive(Debug, Clone)]
pub struct Tracer(pub(super) Life);

impl Tracer {
    /// Adds a line, with the name of the node. A life that is over is silent.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        if !self.0.is_over() {
            self.0.note(what);
        }
    }
}

/// How a process ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// On which machine.
    pub node: Node,
    /// In which of its lives.
    pub life: u64,
    /// What went wrong, if something did.
    pub error: Option<String>,
}
