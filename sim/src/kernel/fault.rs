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
