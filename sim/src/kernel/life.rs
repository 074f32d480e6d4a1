//! The life of a process, from boot to crash.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Event, Kernel,
    fault::{Moment, Node},
    interpose, nanos,
    network::Inbox,
    rng::Stream,
};
use crate::scenario::sometimes;

/// One life of one machine, from boot to crash: how everything that its process
/// does reaches the kernel.
#[derive(Debug, Clone)]
pub struct Life {
    pub(super) kernel: Arc<Kernel>,
    pub(super) node: Node,
    pub(super) life: u64,
}

impl Life {
    /// The kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Whose life.
    pub fn node(&self) -> Node {
        self.node
    }

    /// Which of its lives, from 1.
    pub fn number(&self) -> u64 {
        self.life
    }

    /// A stream of this life.
    pub fn stream(&self, purpose: &str) -> Stream {
        self.kernel.stream(purpose, (u64::from(self.node.0) << 32) | self.life)
    }

    /// Whether this life has ended.
    pub fn is_over(&self) -> bool {
        self.kernel.machine(self.node, |machine| !machine.up || machine.life != self.life).unwrap_or(true)
    }

    /// Fails if this life has ended.
    pub fn check(&self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::other("this machine has lost its power")) } else { Ok(()) }
    }

    /// The machine's wall clock, in nanoseconds since 1970.
    pub fn wall_ns(&self) -> u64 {
        let now = self.kernel.now_ns();
        self.kernel.machine(self.node, |machine| machine.clocks.wall(now)).unwrap_or_default()
    }

    /// The machine's monotonic clock, in nanoseconds.
    pub fn monotonic_ns(&self) -> u64 {
        let now = self.kernel.now_ns();
        self.kernel.machine(self.node, |machine| machine.clocks.monotonic(now)).unwrap_or_default()
    }

    /// The node is busy for so long: its clocks move on, and nothing else happens in it.
    pub fn charge(&self, cost: Duration) {
        let mut state = self.kernel.state();
        if state.running == Some(self.node)
            && let Some(machine) = state.machines.get_mut(self.node.index())
        {
            machine.debt_ns += nanos(cost);
            state.set_clocks();
        }
    }

    /// Adds a line to the trace, with the name of the node.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.kernel.note(format_args!("{} {what}", self.node));
    }

    /// A moment at which faults can aim has come. Afterwards this life may be over.
    pub fn moment(&self, moment: Moment) {
        let struck = self.kernel.machine(self.node, |machine| {
            if !machine.up || machine.life != self.life {
                return false;
            }
            for (aim, count, _) in &mut machine.aimed {
                *count -= u32::from(*aim == moment);
            }
            let down = machine.aimed.iter().find(|(_, count, _)| *count == 0).map(|(_, _, down)| *down);
            machine.doomed = machine.doomed.or(down);
            down.is_some()
        });
        if struck == Some(true) {
            self.note(format_args!("loses power at {moment:?}"));
            sometimes(moment.path());
            self.kernel.fence(self.node);
            interpose::stop();
        }
    }

    /// Binds a socket.
    pub fn bind(&self, address: SocketAddr) -> io::Result<(SocketAddr, Arc<Inbox>)> {
        self.check()?;
        let inbox = Arc::new(Inbox::new(self.node, self.life));
        let mut state = self.kernel.state();
        let home = state.machines.get(self.node.index()).map(|machine| machine.address);
        let home = home.ok_or(io::ErrorKind::NotFound)?;
        let bound = state.network.bind(home, address, Arc::clone(&inbox))?;
        Ok((bound, inbox))
    }

    /// Frees an address.
    pub fn unbind(&self, address: SocketAddr) {
        self.kernel.network(|network| network.unbind(address, self.node, self.life));
    }

    /// Sends a datagram; like UDP, without a word about what becomes of it.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if self.is_over() {
            return;
        }
        let mut state = self.kernel.state();
        state.packets += 1;
        let digest = blake3::hash(bytes);
        let mark = u32::from_le_bytes([digest.as_bytes()[0], digest.as_bytes()[1], digest.as_bytes()[2], 0]);
        let fate = state.network.send(self.node, to, bytes.len());
        let size = bytes.len();
        state.note(format_args!("packet {from} > {to} {size} bytes {mark:06x} copies {}", fate.len()));
        let now = state.now();
        for travel in fate {
            state.queue.push(now + nanos(travel), Event::Packet { from, to, bytes: bytes.to_vec() });
        }
        drop(state);
        self.moment(Moment::AfterSend);
    }
}
