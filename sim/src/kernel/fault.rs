//! What can go wrong, as data.
//!
//! Invariant: every fault of a run is on an explicit list, with its time, and
//! draws nothing by itself but from a stream of its own. A list with entries
//! removed is again a valid run: that is what shrinking does.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::rng::Stream;

/// A simulated machine, by the order in which it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node(pub u32);

impl Node {
    /// Its place in the list of machines.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// One thing that goes wrong, or right again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Packets from one node to another vanish; the other direction is not touched.
    Cut {
        /// Who sends.
        from: Node,
        /// Who does not receive.
        to: Node,
    },
    /// Ends `Cut`.
    Heal {
        /// Who sends.
        from: Node,
        /// Who receives again.
        to: Node,
    },
    /// What all links are like from now on.
    Weather(Weather),
    /// The process dies. What it wrote stays, synced or not.
    Kill(Node),
    /// The machine loses power: of what was not synced, any part may be lost.
    PowerLoss(Node),
    /// The machine loses power at the `count`th such moment from now, and boots `down_ms` later.
    PowerLossAt {
        /// Which machine.
        node: Node,
        /// At what kind of moment.
        moment: Moment,
        /// At the how-manieth, from 1.
        count: u32,
        /// How long it stays down, in milliseconds.
        down_ms: u64,
    },
    /// The machine starts; nothing happens if it runs.
    Boot(Node),
    /// The process does nothing for a while (a stopped process, a swapping machine).
    Pause {
        /// Which machine.
        node: Node,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// The wall clock jumps by this many milliseconds.
    ClockStep {
        /// Which machine.
        node: Node,
        /// Forward, or back.
        by_ms: i64,
    },
    /// Both clocks run this much too fast, in millionths; negative: too slow.
    ClockDrift {
        /// Which machine.
        node: Node,
        /// Above -1,000,000.
        ppm: i32,
    },
    /// Writes to the node's data directory fail for lack of room.
    DiskFull(Node),
    /// Ends `DiskFull`.
    DiskFree(Node),
    /// Syncs of the node's data directory make nothing durable from now on, and
    /// say that they did. No software survives that: it is for testing checkers.
    DiskLies(Node),
    /// The data directory is empty from now on. Only for a machine that is down.
    DiskWipe(Node),
    /// Nobody reaches the object storage: requests wait until they time out.
    StorageDown,
    /// Ends `StorageDown`.
    StorageUp,
    /// One node does not reach the object storage.
    StorageCut(Node),
    /// Ends `StorageCut`.
    StorageHeal(Node),
    /// The storage gives a wrong or no answer to the next requests of a kind.
    StorageLapse {
        /// To requests of this node; none: of any.
        node: Option<Node>,
        /// To requests of this kind; none: of any.
        method: Option<Method>,
        /// What it does.
        lapse: Lapse,
        /// To how many requests.
        times: u32,
    },
    /// The faults stop: what was cut, full or down is right again, what was aimed or
    /// switched on is off, and every machine that is down boots. Clocks stay as wrong
    /// as they are, and disks lie on.
    Calm,
    /// Requests to the storage take this long, in milliseconds, from now on: `from..to`.
    StorageLatency {
        /// At least.
        from_ms: u64,
        /// Less than.
        to_ms: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { from, to } => write!(f, "packets from {from} to {to} vanish"),
            Self::Heal { from, to } => write!(f, "packets from {from} to {to} pass again"),
            Self::Weather(weather) => write!(f, "the weather changes: {weather:?}"),
            Self::Kill(node) => write!(f, "{node} is killed"),
            Self::PowerLoss(node) => write!(f, "{node} loses its power"),
            Self::PowerLossAt { node, moment, count, down_ms } => {
                write!(f, "{node} will lose its power for {down_ms} ms at moment {count} of kind {moment:?}")
            }
            Self::Boot(node) => write!(f, "{node} is switched on"),
            Self::Pause { node, for_ms } => write!(f, "{node} does nothing for {for_ms} ms"),
            Self::ClockStep { node, by_ms } => write!(f, "the clock of {node} jumps by {by_ms} ms"),
            Self::ClockDrift { node, ppm: 0 } => write!(f, "the clocks of {node} run as they should"),
            Self::ClockDrift { node, ppm } => write!(f, "the clocks of {node} run {ppm} millionths too fast"),
            Self::DiskFull(node) => write!(f, "the disk of {node} is full"),
            Self::DiskFree(node) => write!(f, "the disk of {node} has room again"),
            Self::DiskLies(node) => write!(f, "the disk of {node} syncs nothing from now on"),
            Self::DiskWipe(node) => write!(f, "the disk of {node} is wiped"),
            Self::StorageDown => write!(f, "the storage is down"),
            Self::StorageUp => write!(f, "the storage is up again"),
            Self::StorageCut(node) => write!(f, "{node} does not reach the storage"),
            Self::StorageHeal(node) => write!(f, "{node} reaches the storage again"),
            Self::StorageLapse { node, method, lapse, times } => {
                let method = method.map_or("requests".to_owned(), |method| format!("{method:?}"));
                let whose = node.map_or("anyone".to_owned(), |node| node.to_string());
                write!(f, "the storage answers the next {times} {method} of {whose} with {lapse:?}")
            }
            Self::Calm => write!(f, "all faults stop"),
            Self::StorageLatency { from_ms, to_ms } => write!(f, "the storage takes {from_ms} to {to_ms} ms"),
        }
    }
}

/// A moment in the life of a node that faults can aim at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// A sync of a database or replacement of a small file is about to take effect.
    BeforeSync,
    /// It has just taken effect.
    AfterSync,
    /// A packet has just left.
    AfterSend,
    /// A request to the object storage has just left.
    AfterStorageRequest,
}

impl Moment {
    /// How the report calls it if power is lost then.
    pub const fn path(self) -> &'static str {
        match self {
            Self::BeforeSync => "power is lost between a write and its sync",
            Self::AfterSync => "power is lost between a sync and what follows it",
            Self::AfterSend => "power is lost after a packet has left",
            Self::AfterStorageRequest => "power is lost after a request to the storage has left",
        }
    }
}

/// Kinds of requests to the object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Method {
    /// Stores an object.
    Put,
    /// Reads an object.
    Get,
    /// Asks for an object's length.
    Head,
    /// Lists names.
    List,
    /// Deletes an object.
    Delete,
}

/// How the object storage misbehaves towards one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lapse {
    /// 403, without effect.
    Forbidden,
    /// 404, without effect.
    NotFound,
    /// 412, without effect.
    Exists,
    /// 500, without effect.
    Internal,
    /// 503, without effect.
    Busy,
    /// 507, without effect.
    Full,
    /// 500, although the request took effect.
    InternalAfter,
    /// No answer, and no effect.
    LostRequest,
    /// No answer, although the request took effect.
    LostAnswer,
    /// The body arrives cut short: that of a PUT at the storage, that of a GET at the client.
    Truncated,
    /// One bit of the body of a GET is wrong, and nothing says so.
    Corrupt,
}

/// What the links between nodes are like. Times in microseconds, one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weather {
    /// How long a packet travels at least.
    pub delay_us: u64,
    /// How much longer, at most. Packets overtake each other within it.
    pub jitter_us: u64,
    /// How many in a million packets vanish.
    pub loss_ppm: u32,
    /// How many in a million arrive twice.
    pub duplicate_ppm: u32,
    /// How many in a million are late by up to `straggle_us`.
    pub straggle_ppm: u32,
    /// See `straggle_ppm`.
    pub straggle_us: u64,
}

impl Default for Weather {
    /// A company's network on a good day.
    fn default() -> Self {
        Self {
            delay_us: 200,
            jitter_us: 800,
            loss_ppm: 500,
            duplicate_ppm: 200,
            straggle_ppm: 500,
            straggle_us: 40_000,
        }
    }
}

impl Weather {
    /// Weather as bad as draws make it: a coin says for each kind of trouble whether it
    /// is there, and a number how strong it is.
    pub fn drawn(stream: &mut Stream) -> Self {
        let usual = Self::default();
        let mut worse = |usual, most| if stream.chance(400_000) { usual + stream.below(most) } else { usual };
        Self {
            delay_us: worse(usual.delay_us, 25_000),
            jitter_us: worse(usual.jitter_us, 30_000),
            loss_ppm: worse(usual.loss_ppm.into(), 25_000) as u32,
            duplicate_ppm: worse(usual.duplicate_ppm.into(), 10_000) as u32,
            straggle_ppm: worse(usual.straggle_ppm.into(), 10_000) as u32,
            straggle_us: worse(usual.straggle_us, 200_000),
        }
    }
}

/// A fault and when it strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Since the start of the run.
    pub at: Duration,
    /// What happens.
    pub fault: Fault,
}

/// The list of a run's faults, being written.
#[derive(Debug, Default)]
pub struct Plan(Vec<Planned>);

impl Plan {
    /// Adds one fault.
    pub fn at(&mut self, at: Duration, fault: Fault) -> &mut Self {
        self.0.push(Planned { at, fault });
        self
    }

    /// Cuts two nodes off from each other, both ways, for a while; nothing if they are one.
    pub fn partition(&mut self, at: Duration, one: Node, other: Node, lasts: Duration) -> &mut Self {
        for (from, to) in [(one, other), (other, one)].into_iter().filter(|(from, to)| from != to) {
            self.at(at, Fault::Cut { from, to }).at(at + lasts, Fault::Heal { from, to });
        }
        self
    }

    /// Cuts one node off from `others`, both ways, for a while.
    pub fn isolate(&mut self, at: Duration, node: Node, others: &[Node], lasts: Duration) -> &mut Self {
        for other in others.iter().filter(|other| **other != node) {
            self.partition(at, node, *other, lasts);
        }
        self
    }

    /// Takes the power from a machine for a while.
    pub fn outage(&mut self, at: Duration, node: Node, lasts: Duration) -> &mut Self {
        self.at(at, Fault::PowerLoss(node)).at(at + lasts, Fault::Boot(node))
    }

    /// A moment between `from` and `to`, in whole milliseconds.
    pub fn moment(stream: &mut Stream, from: Duration, to: Duration) -> Duration {
        let range = from.as_millis() as u64..to.as_millis() as u64;
        Duration::from_millis(stream.within(&range))
    }

    /// The list, in order of time; faults of one moment in the order they were added.
    pub fn finish(mut self) -> Vec<Planned> {
        self.0.sort_by_key(|planned| planned.at);
        self.0
    }
}
