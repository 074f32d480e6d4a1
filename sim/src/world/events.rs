//! What happens in a world: packets, timers, faults; lives that begin and end.
//!
//! Invariant: a node's code runs only in `run_node` and `drop_runtime`, with its
//! machine's clocks and the entropy of its life.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use tokio::runtime::Builder;

use super::{BootInfo, Exit, Tracer, World};
use crate::{
    env::{assemble, disk::Drive, store::Rule},
    history::{What, recorder::Recorder},
    kernel::{
        Event,
        fault::{Fault, Node},
        interpose, nanos, panics,
    },
};

impl World {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { node, ticket } => {
                let slot = self.slots.get(node.index()).filter(|slot| slot.ticket == ticket);
                match slot.map(|slot| slot.running.is_some()) {
                    Some(true) => self.run_node(node),
                    // It failed, and nothing has struck the machine since.
                    Some(false) => self.boot(node),
                    None => {}
                }
            }
            Event::Packet { from, to, bytes } => {
                if let Some(node) = self.kernel.deliver(from, to, bytes) {
                    self.run_node(node);
                }
            }
            Event::Act(act) => {
                if let Some(node) = act() {
                    self.run_node(node);
                }
            }
            Event::Fault(fault, number) => self.fault(fault, number),
        }
    }

    fn fault(&mut self, fault: Fault, number: Option<usize>) {
        match number {
            Some(number) => self.kernel.note(format_args!("fault {number}: {fault}")),
            None => self.kernel.note(format_args!("fault of the play: {fault}")),
        }
        let kernel = Arc::clone(&self.kernel);
        let now = kernel.now_ns();
        match fault {
            Fault::Cut { from, to } => kernel.network(|network| network.cut(from, to)),
            Fault::Heal { from, to } => kernel.network(|network| network.heal(from, to)),
            Fault::Weather(weather) => kernel.network(|network| network.set_weather(weather)),
            Fault::Kill(node) => {
                if self.end_life(node)
                    && let Some(slot) = self.slots.get(node.index())
                {
                    slot.belongings.disk.release();
                }
            }
            Fault::PowerLoss(node) => self.lose_power(node),
            Fault::PowerLossAt { node, moment, count, down_ms } => {
                kernel.aim(node, moment, count, Duration::from_millis(down_ms));
            }
            Fault::Boot(node) => self.boot(node),
            Fault::Pause { node, for_ms } => {
                let until = now + nanos(Duration::from_millis(for_ms));
                kernel.machine(node, |machine| machine.busy_until_ns = machine.busy_until_ns.max(until));
            }
            Fault::ClockStep { node, by_ms } => {
                kernel.machine(node, |machine| machine.clocks.step(by_ms.saturating_mul(1_000_000)));
            }
            Fault::ClockDrift { node, ppm } => {
                kernel.machine(node, |machine| machine.clocks.set_drift(now, ppm));
                // Its timers were computed with the old speed.
                self.run_node(node);
            }
            Fault::DiskFull(node) => drop(kernel.machine(node, |machine| machine.disk_full = true)),
            Fault::DiskFree(node) => drop(kernel.machine(node, |machine| machine.disk_full = false)),
            Fault::DiskLies(node) => drop(self.disk(node).map(Drive::lie)),
            Fault::DiskWipe(node) => {
                if !self.is_up(node)
                    && let Some(slot) = self.slots.get(node.index())
                {
                    slot.belongings.disk.wipe();
                }
            }
            Fault::StorageDown => self.store.set_down(true),
            Fault::StorageUp => self.store.set_down(false),
            Fault::StorageCut(node) => self.store.set_cut(node, true),
            Fault::StorageHeal(node) => self.store.set_cut(node, false),
            Fault::StorageLapse { node, method, lapse, times } => {
                self.store.misbehave(Rule { node, method, lapse, times });
            }
            Fault::Calm => {
                kernel.calm();
                self.store.calm();
                self.boot_all();
                Recorder::new(&kernel, &self.history).note(What::Calm);
            }
            Fault::StorageLatency { from_ms, to_ms } => self.store.set_latency(from_ms..to_ms),
        }
    }

    fn boot(&mut self, node: Node) {
        let Some(life) = self.kernel.boot(node) else { return };
        self.kernel.note(format_args!("{node} boots into life {}", life.number()));
        let Some(slot) = self.slots.get_mut(node.index()) else { return };
        // The runtime is made by the node: it reads the node's clock and entropy.
        self.kernel.set_running(Some(node));
        slot.entropy = Some(life.stream("entropy"));
        let outer = interpose::swap_entropy(slot.entropy.take());
        let runtime = Builder::new_current_thread().enable_all().build();
        slot.entropy = interpose::swap_entropy(outer);
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                self.kernel.fence(node);
                self.exits.push(Exit { node, life: life.number(), error: Some(error.to_string()) });
                return;
            }
        };
        let (kernel, boot) = (Arc::clone(&self.kernel), Arc::clone(&slot.boot));
        let env = assemble(&life, &slot.belongings, &self.store);
        let address = kernel.machine(node, |machine| machine.address);
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let recorder = Recorder::new(&kernel, &self.history);
        let info = BootInfo { node, life: life.number(), address, tracer: Tracer(life.clone()), recorder };
        let process = runtime.spawn(async move { boot(env, info).await });
        runtime.spawn(async move {
            let ended = match process.await {
                Ok(ended) => ended.map_err(|error| format!("{error:#}")),
                Err(_) => Err("it panicked".to_owned()),
            };
            kernel.machine(node, |machine| machine.exit = Some(ended));
            interpose::stop();
        });
        slot.running = Some((runtime, life));
        self.run_node(node);
    }

    /// Lets a node work until it can only wait.
    fn run_node(&mut self, node: Node) {
        let kernel = Arc::clone(&self.kernel);
        let Some(slot) = self.slots.get_mut(node.index()) else { return };
        let Some((runtime, life)) = &slot.running else { return };
        let busy = kernel.machine(node, |machine| machine.busy_until_ns).unwrap_or_default();
        slot.ticket += 1;
        if busy > kernel.now_ns() {
            return kernel.schedule(busy, Event::Wake { node, ticket: slot.ticket });
        }
        let life = life.number();
        kernel.set_running(Some(node));
        let outer = interpose::swap_entropy(slot.entropy.take());
        let next = interpose::run_until_idle(runtime);
        slot.entropy = interpose::swap_entropy(outer);
        self.drain_panics(node);
        let ticket = self.slots.get(node.index()).map_or(0, |slot| slot.ticket);
        let (exit, doomed) =
            kernel.machine(node, |machine| (machine.exit.take(), machine.doomed.take())).unwrap_or_default();
        if let Some(down) = doomed {
            self.lose_power(node);
            kernel.schedule_in(down, Event::Fault(Fault::Boot(node), None));
        } else if let Some(ended) = exit {
            self.end_process(node, life, ended.err());
        } else if let Some(due) = kernel.settle(node, next) {
            kernel.schedule(due, Event::Wake { node, ticket });
        }
        kernel.set_running(None);
    }

    /// A process ended by itself: its destructors still reach the world.
    fn end_process(&mut self, node: Node, life: u64, error: Option<String>) {
        self.kernel.note(format_args!("{node} ended: {}", error.as_deref().unwrap_or("well")));
        self.drop_runtime(node);
        self.kernel.fence(node);
        let Some(slot) = self.slots.get(node.index()) else { return };
        slot.belongings.disk.release();
        if let (Some(_), Some(after)) = (&error, slot.restart_after) {
            self.kernel.schedule_in(after, Event::Wake { node, ticket: slot.ticket });
        }
        self.exits.push(Exit { node, life, error });
    }

    fn lose_power(&mut self, node: Node) {
        if !self.end_life(node) {
            return;
        }
        let life = self.kernel.machine(node, |machine| machine.life).unwrap_or_default();
        let mut stream = self.kernel.stream("power loss", (u64::from(node.0) << 32) | life);
        if let Some(slot) = self.slots.get(node.index()) {
            slot.belongings.disk.lose_power(&mut stream);
        }
    }

    /// Ends a life in the middle of whatever it was doing. Returns whether there was one.
    pub(super) fn end_life(&mut self, node: Node) -> bool {
        self.kernel.fence(node);
        self.drop_runtime(node)
    }

    fn drop_runtime(&mut self, node: Node) -> bool {
        let Some(slot) = self.slots.get_mut(node.index()) else { return false };
        slot.ticket += 1;
        let Some((runtime, _)) = slot.running.take() else { return false };
        self.kernel.set_running(Some(node));
        let outer = interpose::swap_entropy(slot.entropy.take());
        drop(runtime);
        interpose::swap_entropy(outer);
        self.kernel.set_running(None);
        self.drain_panics(node);
        true
    }

    fn drain_panics(&mut self, node: Node) {
        for panic in panics::drain() {
            self.kernel.note(format_args!("{node} panic: {panic}"));
            self.panics.push(format!("{node}: {panic}"));
        }
    }
}
