//! Any sequence of events, applied by two replicas, one of which is written and
//! read back between entries. After each entry every invariant is checked against
//! a record of what was answered so far.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use proptest::prelude::*;
use protocol::{
    codec,
    commands::{Command, CommitFacts, Decided, Enrollment, Entry, Lease, Outcome, SnapshotRecord},
    ids::{AttemptId, ClientId, LeaseId, RepositoryId},
    limits,
    names::ObjectName,
    records::Payload,
    sign::Signed,
};

use crate::{Ledger, ledger::read_redemption, testing::*};

const CLIENTS: u8 = 3;
const TOKENS: u8 = 2;
const JOINERS: u8 = 4;
const USES: [u32; 2] = [1, 2];
const EXPIRES: u64 = 60;

/// What may happen. Numbers that refer to something earlier count modulo what there is.
#[derive(Debug, Clone)]
enum Event {
    Admit { version: u8, without_second_admin: bool },
    Redeem { token: u8, terms: u8, joiner: u8 },
    Grant { client: u8, repository: u8, lineage: u8, attempt: u8, after: Option<usize> },
    Commit { client: Option<u8>, lease: usize, complete: bool, spoil: Spoil },
    CommitAgain { commit: usize },
    Close { client: Option<u8>, lease: usize },
}

#[derive(Debug, Clone, Copy)]
enum Spoil {
    Nothing,
    Sequence,
    Previous,
    ObjectLease,
    SegmentLease,
}

/// Any event; of eleven or so, `signed_weight` bring signatures.
fn event(signed_weight: u32) -> BoxedStrategy<Event> {
    let spoil = prop_oneof![
        6 => Just(Spoil::Nothing),
        1 => Just(Spoil::Sequence),
        1 => Just(Spoil::Previous),
        1 => Just(Spoil::ObjectLease),
        1 => Just(Spoil::SegmentLease),
    ];
    // Who acts under a lease: mostly its holder.
    let actor = || prop_oneof![4 => Just(None), 1 => (0..CLIENTS).prop_map(Some)];
    // Mostly a recent lease.
    let lease = || prop_oneof![3 => 0..3usize, 1 => 0..100usize];
    let signed = prop_oneof![
        1 => (1..5u8, any::<bool>())
            .prop_map(|(version, without_second_admin)| Event::Admit { version, without_second_admin }),
        3 => (0..TOKENS, 0..4u8, 0..JOINERS).prop_map(|(token, terms, joiner)| Event::Redeem { token, terms, joiner }),
    ];
    let unsigned = prop_oneof![
        5 => (0..CLIENTS, 0..2u8, 0..2u8, 0..24u8, proptest::option::weighted(0.3, lease())).prop_map(
            |(client, repository, lineage, attempt, after)| Event::Grant { client, repository, lineage, attempt, after }
        ),
        6 => (actor(), lease(), any::<bool>(), spoil)
            .prop_map(|(client, lease, complete, spoil)| Event::Commit { client, lease, complete, spoil }),
        1 => (0..100usize).prop_map(|commit| Event::CommitAgain { commit }),
        2 => (actor(), lease()).prop_map(|(client, lease)| Event::Close { client, lease }),
    ];
    // A weight of 0 would still be drawn while shrinking.
    match signed_weight {
        0 => unsigned.boxed(),
        weight => prop_oneof![weight => signed, 10 => unsigned].boxed(),
    }
}

fn entries(signed_weight: u32) -> impl Strategy<Value = Vec<(u64, Vec<Event>)>> {
    proptest::collection::vec((0..80u64, proptest::collection::vec(event(signed_weight), 1..5)), 1..25)
}

/// Signed once: signing costs more than everything else here.
struct Pool {
    start: Ledger,
    keysets: BTreeMap<(u8, bool), Signed>,
    terms: BTreeMap<(u8, u8), Signed>,
    redemptions: BTreeMap<(u8, u8), Signed>,
}

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let keyset = |version: u8, fewer: bool| {
        let admins = if fewer { &ADMINS[..1] } else { &ADMINS[..] };
        let keyset = keyset_of(admins, &ORCHESTRATORS);
        record(ROOT, u64::from(version), Payload::Keyset(keyset)).signed().clone()
    };
    // Terms: 0 and 1 by one admin, the newer already over sooner; 2 by the other; 3 by nobody.
    let terms_of = |token: u8, which: u8| {
        let uses = USES[usize::from(token)];
        match which {
            0 => terms_record(ADMINS[0], 1, terms(token, uses, EXPIRES)),
            1 => terms_record(ADMINS[0], 2, terms(token, uses, EXPIRES / 2)),
            2 => terms_record(ADMINS[1], 1, terms(token, uses, EXPIRES)),
            _ => terms_record(ORCHESTRATORS[0], 9, terms(token, 100, u64::MAX)),
        }
    };
    // Joiners 0 and 1 share a TLS key; joiner 2 is new; joiner 3 is enrolled already.
    let joiner = |number: u8| match number {
        0 => keys(10),
        1 => protocol::commands::ClientKeys { commit: keys(11).commit, ..keys(10) },
        2 => keys(12),
        _ => keys(0),
    };
    Pool {
        start: enrolled(CLIENTS),
        keysets: (1..5)
            .flat_map(|version| [(version, false), (version, true)])
            .map(|(version, fewer)| ((version, fewer), keyset(version, fewer)))
            .collect(),
        terms: (0..TOKENS)
            .flat_map(|token| (0..4).map(move |which| (token, which)))
            .map(|(token, which)| ((token, which), terms_of(token, which)))
            .collect(),
        redemptions: (0..TOKENS)
            .flat_map(|token| (0..JOINERS).map(move |number| (token, number)))
            .map(|(token, number)| ((token, number), redemption(token, joiner(number), &format!("joiner {number}"))))
            .collect(),
    }
});

/// What was asked and answered so far.
#[derive(Default)]
struct History {
    enrollments: BTreeMap<ClientId, Enrollment>,
    leases: Vec<(ClientId, Lease)>,
    /// Leases that were seen to have ended.
    ended: BTreeSet<LeaseId>,
    /// What was granted for which attempt.
    attempts: Vec<(ClientId, RepositoryId, AttemptId, LeaseId)>,
    commits: Vec<(ClientId, CommitFacts)>,
    snapshots: BTreeMap<ClientId, Vec<SnapshotRecord>>,
    decided: protocol::time::UnixMillis,
}

impl History {
    fn new(start: &Ledger) -> Self {
        let enrollments = start.enrollments().map(|enrollment| (enrollment.client, enrollment.clone())).collect();
        Self { enrollments, ..Self::default() }
    }

    fn lease(&self, back: usize) -> Option<&(ClientId, Lease)> {
        let back = back.checked_rem(self.leases.len())?;
        self.leases.get(self.leases.len() - 1 - back)
    }

    /// The command of an event; `None` if it refers to something and there is none yet.
    fn command(&self, event: &Event) -> Option<Command> {
        Some(match *event {
            Event::Admit { version, without_second_admin } => {
                Command::Admit { keyset: POOL.keysets[&(version, without_second_admin)].clone() }
            }
            Event::Redeem { token, terms, joiner } => Command::Redeem {
                terms: POOL.terms[&(token, terms)].clone(),
                redemption: POOL.redemptions[&(token, joiner)].clone(),
            },
            Event::Grant { client: number, repository: place, lineage: of, attempt, after } => Command::Grant {
                client: client(number),
                repository: repository(place),
                lineage: lineage(of),
                attempt: AttemptId([attempt; 16]),
                after: after.and_then(|back| self.lease(back)).map(|(_, lease)| lease.id),
            },
            Event::Commit { client: other, lease, complete, spoil } => {
                let (holder, lease) = self.lease(lease)?;
                let mut commit = commit_of(lease, complete);
                let foreign = LeaseId { incarnation: INCARNATION, index: lease.id.index ^ 1 };
                match spoil {
                    Spoil::Nothing => {}
                    Spoil::Sequence => commit.sequence ^= 1,
                    Spoil::Previous => commit.previous = Some(protocol::ids::SnapshotId([0; 32])),
                    Spoil::ObjectLease => commit.object.lease = foreign,
                    Spoil::SegmentLease => commit.segments[0].lease = foreign,
                }
                Command::Commit { client: other.map_or(*holder, client), commit }
            }
            Event::CommitAgain { commit } => {
                let (client, commit) = self.commits.get(commit.checked_rem(self.commits.len())?)?.clone();
                Command::Commit { client, commit }
            }
            Event::Close { client: other, lease } => {
                let (holder, lease) = self.lease(lease)?;
                Command::Close { client: other.map_or(*holder, client), lease: lease.id }
            }
        })
    }

    /// Notes an answer, and checks what it must be given the answers before it.
    fn note(&mut self, command: &Command, outcome: &Outcome) {
        match (command, outcome) {
            (Command::Redeem { redemption, .. }, Ok(Decided::Redeemed(enrollment))) => {
                assert_eq!(read_redemption(redemption).unwrap().keys, enrollment.keys, "these keys did not win");
                let first = self.enrollments.entry(enrollment.client).or_insert_with(|| enrollment.clone());
                assert_eq!(first, enrollment, "the same keys got another answer");
            }
            (Command::Grant { client, repository, attempt, .. }, Ok(Decided::Granted(lease)))
                if self.granted_for(client, repository, attempt).is_some() =>
            {
                assert_eq!(self.granted_for(client, repository, attempt), Some(lease.id), "one attempt, two leases");
                assert!(!self.ended.contains(&lease.id), "a lease that had ended was granted again");
            }
            (Command::Grant { client, repository, lineage, attempt, after }, Err(failure)) => {
                let known = self.granted_for(client, repository, attempt);
                let over = known.is_some_and(|lease| {
                    let granted = self.leases.iter().find(|(_, granted)| granted.id == lease);
                    self.ended.contains(&lease) || granted.is_some_and(|(_, granted)| granted.lineage != *lineage)
                });
                let last = self.leases_in(client, repository).last().map(|lease| lease.id);
                let between = known.is_none() && after.is_some_and(|after| last.is_some_and(|last| last > after));
                assert!(over || between, "a lease was refused: {failure}");
            }
            (Command::Grant { client, repository, attempt, after, .. }, Ok(Decided::Granted(lease))) => {
                let last = self.leases_in(client, repository).last().map(|lease| lease.id);
                assert!(after.is_none_or(|after| last.is_none_or(|last| last <= after)), "someone came between");
                assert_eq!(lease.view.left, self.left_in(client, repository));
                self.attempts.push((*client, *repository, *attempt, lease.id));
                invariant_a_view_names_the_own_segments(&self.commits_in(client, repository), lease);
                // It closes the one before.
                let closed: Vec<_> = self.leases_in(client, repository).map(|lease| lease.id).collect();
                self.ended.extend(closed);
                self.leases.push((*client, lease.clone()));
            }
            (Command::Commit { client, commit }, Ok(Decided::Committed(id))) => {
                assert_eq!(id.0, commit.object.hash.0);
                if !self.commits.contains(&(*client, commit.clone())) {
                    assert!(self.ended.insert(commit.lease), "a lease that had ended made a snapshot");
                    self.commits.push((*client, commit.clone()));
                }
            }
            (Command::Commit { client, commit }, Err(failure)) => {
                assert!(!self.commits.contains(&(*client, commit.clone())), "a decided commit was refused: {failure}");
            }
            (Command::Close { lease, .. }, Ok(Decided::Closed)) => {
                self.ended.insert(*lease);
            }
            _ => {}
        }
    }

    fn leases_in<'a>(
        &'a self,
        client: &'a ClientId,
        repository: &'a RepositoryId,
    ) -> impl Iterator<Item = &'a Lease> + 'a {
        let of = move |(holder, lease): &&(ClientId, Lease)| holder == client && lease.repository == *repository;
        self.leases.iter().filter(of).map(|(_, lease)| lease)
    }

    /// What was granted for an attempt that must be remembered.
    fn granted_for(&self, client: &ClientId, repository: &RepositoryId, attempt: &AttemptId) -> Option<LeaseId> {
        let of = self.attempts.iter().rev().filter(|(by, place, ..)| by == client && place == repository);
        of.take(limits::ATTEMPTS_KEPT_MAX).find(|(_, _, known, _)| known == attempt).map(|(.., lease)| *lease)
    }

    /// The leases without a commit since the last commit; the open one is about to be closed.
    fn left_in(&self, client: &ClientId, repository: &RepositoryId) -> Vec<LeaseId> {
        let committed = self.commits_in(client, repository).last().map(|commit| commit.lease);
        let all = self.leases_in(client, repository).map(|lease| lease.id);
        all.filter(|lease| committed.is_none_or(|committed| *lease > committed)).collect()
    }

    fn commits_in(&self, client: &ClientId, repository: &RepositoryId) -> Vec<&CommitFacts> {
        let leases: BTreeSet<_> = self.leases_in(client, repository).map(|lease| lease.id).collect();
        self.commits.iter().map(|(_, commit)| commit).filter(|commit| leases.contains(&commit.lease)).collect()
    }

    fn check(&mut self, ledger: &Ledger) {
        invariant_tokens_have_no_more_clients_than_uses(ledger);
        invariant_enrollments_stay(self, ledger);
        invariant_one_open_lease_per_client_and_repository(ledger);
        invariant_a_lease_ends_once(self, ledger);
        invariant_snapshots_stay(self, ledger);
        invariant_chains_have_no_gaps(ledger);
        invariant_decided_time_never_falls(self, ledger);
    }
}

fn invariant_tokens_have_no_more_clients_than_uses(ledger: &Ledger) {
    for (number, uses) in (0..TOKENS).zip(USES) {
        let redeemed = ledger.redeemed(&token(number));
        let keys: BTreeSet<_> = redeemed.iter().map(|id| ledger.enrollment(id).unwrap().keys).collect();
        assert_eq!(keys.len(), redeemed.len());
        assert!(redeemed.len() <= uses as usize, "token {number} has {} clients", redeemed.len());
    }
}

fn invariant_enrollments_stay(history: &History, ledger: &Ledger) {
    let enrolled: BTreeMap<_, _> = ledger.enrollments().map(|e| (e.client, e.clone())).collect();
    assert_eq!(enrolled, history.enrollments);
    assert!(enrolled.values().all(|e| ledger.redeemed(&e.token).contains(&e.client)));
}

fn invariant_one_open_lease_per_client_and_repository(ledger: &Ledger) {
    let mut seen = BTreeSet::new();
    for lease in ledger.open_leases() {
        assert!(seen.insert((lease.client, lease.repository)), "two leases of one client in one repository");
        assert_eq!(ledger.lease(&lease.client, &lease.repository), Some(lease));
        assert_eq!(ledger.open_lease(&lease.id), Some(lease));
    }
    let by_client: usize = ledger.enrollments().map(|e| ledger.leases(&e.client).count()).sum();
    assert_eq!(by_client, seen.len(), "the two ways to find a lease disagree");
}

fn invariant_a_lease_ends_once(history: &History, ledger: &Ledger) {
    let ids: BTreeSet<_> = history.leases.iter().map(|(_, lease)| lease.id).collect();
    assert_eq!(ids.len(), history.leases.len(), "two leases have one id");
    for (client, lease) in &history.leases {
        assert_eq!(ledger.open_lease(&lease.id).is_none(), history.ended.contains(&lease.id), "{}", lease.id);
        let snapshots = ledger.snapshots(client).iter().filter(|s| s.commit.lease == lease.id).count();
        assert!(snapshots <= 1, "a lease ended in two snapshots");
    }
}

fn invariant_snapshots_stay(history: &mut History, ledger: &Ledger) {
    let decided = history.commits.len();
    let kept: usize = ledger.enrollments().map(|e| ledger.snapshots_count(&e.client)).sum();
    assert_eq!(kept, decided, "an acknowledged commit is no snapshot, or a snapshot was never acknowledged");
    for enrollment in ledger.enrollments() {
        let now: Vec<_> = ledger.snapshots(&enrollment.client).into_iter().cloned().collect();
        let before = history.snapshots.entry(enrollment.client).or_default();
        assert!(before.iter().all(|snapshot| now.contains(snapshot)), "a snapshot disappeared");
        *before = now;
    }
}

fn invariant_chains_have_no_gaps(ledger: &Ledger) {
    for enrollment in ledger.enrollments() {
        let mut chains: BTreeMap<RepositoryId, Vec<&SnapshotRecord>> = BTreeMap::new();
        for snapshot in ledger.snapshots(&enrollment.client) {
            chains.entry(snapshot.repository).or_default().push(snapshot);
        }
        for chain in chains.values() {
            let mut previous = None;
            for (snapshot, sequence) in chain.iter().zip(1..) {
                assert_eq!((snapshot.commit.sequence, snapshot.commit.previous), (sequence, previous));
                previous = Some(snapshot.id);
            }
        }
    }
}

fn invariant_decided_time_never_falls(history: &mut History, ledger: &Ledger) {
    assert!(ledger.decided() >= history.decided);
    history.decided = ledger.decided();
}

fn invariant_a_view_names_the_own_segments(commits: &[&CommitFacts], lease: &Lease) {
    let own: Vec<ObjectName> = commits.iter().flat_map(|commit| commit.segments.iter().copied()).collect();
    assert_eq!(lease.view.own, own);
    assert_eq!(lease.sequence, commits.len() as u64 + 1);
    assert_eq!(lease.previous.map(|id| id.0), commits.last().map(|commit| commit.object.hash.0));
    // It builds on the newest of its lineage, or on the newest of all if that is new.
    let newest_of = |lineage| commits.iter().rev().find(|commit| commit.lineage == lineage);
    let base = newest_of(lease.lineage).or(commits.last());
    assert_eq!(lease.parent.map(|parent| parent.object), base.map(|commit| commit.object));
    let partial = base.filter(|base| !base.complete);
    let complete = partial
        .and_then(|partial| commits.iter().rev().find(|commit| commit.complete && commit.lineage == partial.lineage));
    assert_eq!(lease.parent_complete.map(|parent| parent.object), complete.map(|commit| commit.object));
}

/// Two replicas live through the entries.
fn run(entries: Vec<(u64, Vec<Event>)>) {
    let mut ledger = POOL.start.clone();
    let mut replica = POOL.start.clone();
    let mut history = History::new(&POOL.start);
    let mut index = ledger.applied().unwrap();
    for (at, events) in entries {
        let commands: Vec<_> = events.iter().filter_map(|event| history.command(event)).collect();
        let entry = Entry { at: protocol::time::UnixMillis(at), commands };
        // Indices may skip: membership changes take places in the log too.
        index += 1 + at % 3;
        let outcomes = ledger.apply(index, &entry);
        assert_eq!(outcomes.len(), entry.commands.len());
        for (command, outcome) in entry.commands.iter().zip(&outcomes) {
            history.note(command, outcome);
        }
        history.check(&ledger);
        replica = codec::decode("ledger", &codec::encode(&replica)).unwrap();
        assert_eq!(replica.apply(index, &entry), outcomes);
        assert_eq!(replica, ledger);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn invariants_hold_after_any_leases(entries in entries(0)) {
        run(entries);
    }
}

proptest! {
    // Fewer: unoptimized signatures take most of the time.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn invariants_hold_after_any_entries(entries in entries(4)) {
        run(entries);
    }
}
