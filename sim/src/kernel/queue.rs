//! What is going to happen.
//!
//! Invariant: events leave in order of time, and those of one moment in the
//! order in which they were scheduled. Time never goes back.

use std::{collections::BTreeMap, net::SocketAddr};

use super::fault::{Fault, Node};

/// Something that happens at a moment of its own.
pub enum Event {
    /// A node has work, or a timer that is due, or starts again after it failed;
    /// `ticket` tells a stale one.
    Wake {
        /// Which node.
        node: Node,
        /// The run of the node after which this was scheduled.
        ticket: u64,
    },
    /// A datagram arrives.
    Packet {
        /// Who sent it.
        from: SocketAddr,
        /// Where it goes.
        to: SocketAddr,
        /// What it says.
        bytes: Vec<u8>,
    },
    /// A fault strikes; its place in the plan, if it comes from there.
    Fault(Fault, Option<usize>),
    /// Something outside the nodes acts, and perhaps gives one of them work.
    Act(Box<dyn FnOnce() -> Option<Node> + Send>),
}

/// The queue, and with it the time.
#[derive(Default)]
pub struct Queue {
    now_ns: u64,
    scheduled: u64,
    events: BTreeMap<(u64, u64), Event>,
}

impl Queue {
    /// Nanoseconds since the start of the run.
    pub fn now(&self) -> u64 {
        self.now_ns
    }

    /// Schedules an event; one in the past happens now.
    pub fn push(&mut self, at_ns: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((at_ns.max(self.now_ns), self.scheduled), event);
    }

    /// The next event, unless it is later than `until_ns`. Time moves to it, or to `until_ns`.
    pub fn pop(&mut self, until_ns: u64) -> Option<Event> {
        match self.events.first_entry() {
            Some(entry) if entry.key().0 <= until_ns => {
                self.now_ns = entry.key().0;
                Some(entry.remove())
            }
            _ => {
                self.now_ns = self.now_ns.max(until_ns);
                None
            }
        }
    }

    /// Whether nothing will happen any more.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({} events at {} ns)", self.events.len(), self.now_ns)
    }
}
