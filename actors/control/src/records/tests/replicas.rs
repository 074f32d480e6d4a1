//! Replicas that reconcile over a network that loses, repeats and reorders.
//!
//! What must hold (I2): once they have exchanged everything, their bytes are the same,
//! and the same as if one of them had been given all records.

use std::collections::BTreeMap;

use protocol::reconcile::{Part, Probe};

use super::*;
use crate::reconcile::{Direction, Session};

const REPLICAS: usize = 3;

/// What is on its way between two replicas.
#[derive(Clone)]
enum Packet {
    Ask { from: usize, to: usize, probes: Vec<Probe> },
    Told { from: usize, to: usize, parts: Vec<Part> },
    Want { from: usize, to: usize, hashes: Vec<Hash> },
    Records { to: usize, records: Vec<Record> },
}

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    /// Someone submits a record of the pool to a replica.
    Submit(usize, usize),
    /// A replica begins to reconcile with another, whatever it was doing with it.
    Begin(usize, usize),
    /// One of the packets under way arrives,
    Arrive(usize),
    /// or arrives and is still under way,
    Repeat(usize),
    /// or is lost.
    Lose(usize),
}

struct Network {
    replicas: Vec<RecordSet>,
    /// By who asks, and whom.
    sessions: BTreeMap<(usize, usize), Session>,
    packets: Vec<Packet>,
    submitted: Vec<Record>,
}

impl Network {
    fn new() -> Self {
        Self { replicas: vec![set(); REPLICAS], sessions: BTreeMap::new(), packets: Vec::new(), submitted: Vec::new() }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Submit(replica, record) => {
                let record = POOL[record].clone();
                self.submitted.push(record.clone());
                self.replicas[replica].insert(record);
            }
            Event::Begin(from, to) if from != to => self.begin(from, to),
            Event::Begin(..) => {}
            Event::Arrive(number) | Event::Repeat(number) | Event::Lose(number) if !self.packets.is_empty() => {
                let place = number % self.packets.len();
                let packet = match event {
                    Event::Repeat(_) => self.packets[place].clone(),
                    _ => self.packets.remove(place),
                };
                if !matches!(event, Event::Lose(_)) {
                    self.arrive(packet);
                }
            }
            Event::Arrive(_) | Event::Repeat(_) | Event::Lose(_) => {}
        }
    }

    fn begin(&mut self, from: usize, to: usize) {
        let direction = if from < to { Direction::Up } else { Direction::Down };
        self.sessions.insert((from, to), Session::new(Prefix::ALL.children(), direction));
        self.ask(from, to);
    }

    fn ask(&mut self, from: usize, to: usize) {
        let Some(session) = self.sessions.get_mut(&(from, to)) else { return };
        match session.ask(self.replicas[from].by_hash()) {
            Some(probes) => self.packets.push(Packet::Ask { from, to, probes }),
            None => _ = self.sessions.remove(&(from, to)),
        }
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Ask { from, to, probes } => {
                let parts = self.replicas[to].by_hash().answer(&probes).unwrap();
                self.packets.push(Packet::Told { from, to, parts });
            }
            Packet::Told { from, to, parts } => {
                let Some(session) = self.sessions.get_mut(&(from, to)) else { return };
                // It may be the answer to an earlier question.
                let Ok(found) = session.take(self.replicas[from].by_hash(), parts) else {
                    self.sessions.remove(&(from, to));
                    return;
                };
                let records = self.replicas[from].fetch(&found.surplus).cloned().collect();
                self.packets.push(Packet::Records { to, records });
                self.packets.push(Packet::Want { from, to, hashes: found.lacking });
                self.ask(from, to);
            }
            Packet::Want { from, to, hashes } => {
                let records = self.replicas[to].fetch(&hashes).cloned().collect();
                self.packets.push(Packet::Records { to: from, records });
            }
            Packet::Records { to, records } => records.into_iter().for_each(|record| {
                self.replicas[to].insert(record);
            }),
        }
    }

    /// One session of one with another, in which nothing goes wrong.
    fn reconcile(&mut self, from: usize, to: usize) {
        self.packets.clear();
        self.begin(from, to);
        while !self.packets.is_empty() {
            let packet = self.packets.remove(0);
            self.arrive(packet);
        }
    }
}

fn some_events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..REPLICAS, 0..POOL.len()).prop_map(|(replica, record)| Event::Submit(replica, record)),
        2 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Event::Begin(from, to)),
        8 => any::<usize>().prop_map(Event::Arrive),
        2 => any::<usize>().prop_map(Event::Repeat),
        2 => any::<usize>().prop_map(Event::Lose),
    ];
    proptest::collection::vec(event, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_converge_whatever_the_network_does(events in some_events()) {
        let mut network = Network::new();
        events.into_iter().for_each(|event| network.happen(event));
        // Along a chain and back is enough: each session brings both sides to the same.
        for to in (1..REPLICAS).chain((1..REPLICAS - 1).rev()) {
            network.reconcile(to - 1, to);
            same(&network.replicas[to - 1], &network.replicas[to]);
        }
        let all = set_of(&network.submitted);
        for replica in &network.replicas {
            same(replica, &all);
            for record in &network.submitted {
                let subject = record.subject();
                prop_assert_eq!(replica.winner(&subject), winner_by_rule(&network.submitted, &subject));
            }
        }
    }
}
