//! Any sequence of commits, claims, publications and condemnations, by two replicas.
//! After each, every client's view must still lead to all that it ever committed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use protocol::{
    codec,
    commands::{Command, Decided, NewSegment, Outcome, Publication},
    failure::Code,
    ids::{ClientId, LeaseId, NodeId},
    names::ObjectName,
};

use crate::{Ledger, testing::*};

const CLIENTS: u8 = 3;

/// What may happen. Numbers count modulo what there is.
#[derive(Debug, Clone)]
enum Event {
    Commit { client: u8 },
    Claim { node: u8 },
    Publish { scope: Option<u8>, own: usize, covers: usize, mend: bool, segments: u8, spoil: Spoil },
    PublishAgain { publication: usize },
    Condemn { own: Option<usize>, published: Option<usize>, pack: Option<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Spoil {
    Nothing,
    OldClaim,
    ForeignName,
    CoverTwice,
    OtherScope,
    Unknown,
}

fn event() -> impl Strategy<Value = Event> {
    let spoil = prop_oneof![
        8 => Just(Spoil::Nothing),
        1 => Just(Spoil::OldClaim),
        1 => Just(Spoil::ForeignName),
        1 => Just(Spoil::CoverTwice),
        1 => Just(Spoil::OtherScope),
        1 => Just(Spoil::Unknown),
    ];
    let some = || proptest::option::weighted(0.4, 0..8usize);
    prop_oneof![
        6 => (0..CLIENTS).prop_map(|client| Event::Commit { client }),
        2 => (0..2u8).prop_map(|node| Event::Claim { node }),
        6 => (proptest::option::weighted(0.3, 0..CLIENTS), 0..4usize, 0..4usize, any::<bool>(), 0..3u8, spoil).prop_map(
            |(scope, own, covers, mend, segments, spoil)| Event::Publish { scope, own, covers, mend, segments, spoil }
        ),
        1 => (0..20usize).prop_map(|publication| Event::PublishAgain { publication }),
        1 => (some(), some(), proptest::option::weighted(0.5, 0..4u8))
            .prop_map(|(own, published, pack)| Event::Condemn { own, published, pack }),
    ]
}

/// A model of what the ledger keeps, and of what it does not: what is in each segment.
#[derive(Default)]
struct Model {
    salt: u8,
    claims: Vec<LeaseId>,
    /// All own segments that were ever committed.
    committed: BTreeSet<(ClientId, ObjectName)>,
    /// Those in which a verifier found nothing true.
    refuted: BTreeSet<(ClientId, ObjectName)>,
    /// Which own segments' rows are in each segment that was ever published.
    contents: BTreeMap<ObjectName, BTreeSet<(ClientId, ObjectName)>>,
    publications: Vec<Publication>,
    condemned: BTreeMap<ObjectName, u64>,
    /// Own segments whose rows are nowhere, until they are made up for.
    lost: BTreeSet<(ClientId, ObjectName)>,
    epoch: u64,
}

impl Model {
    fn command(&mut self, ledger: &mut Ledger, event: &Event) -> Option<Command> {
        self.salt = self.salt.wrapping_add(1);
        let reuse = ledger.reuse(&repository(1), &DOMAIN);
        Some(match event.clone() {
            Event::Commit { client: number } => {
                let lease = grant(ledger, number, 1);
                Command::Commit { client: client(number), commit: commit_of(&lease, true) }
            }
            Event::Claim { node } => {
                Command::Claim { node: NodeId([node; 16]), repository: repository(1), domain: DOMAIN }
            }
            Event::Publish { scope, own, covers, mend, segments, spoil } => {
                let reuse = reuse?;
                let scope = scope.map(client);
                let fits = |holder: &ClientId| scope.is_none_or(|scope| scope == *holder);
                let claim = *match spoil {
                    Spoil::OldClaim => self.claims.first()?,
                    _ => self.claims.last()?,
                };
                let name = |number| object(claim, self.salt.wrapping_mul(7).wrapping_add(number));
                let segment = |name| NewSegment { name, rows: 10, first: 0, last: 9 };
                let mut publication = Publication {
                    claim,
                    repository: repository(1),
                    domain: DOMAIN,
                    scope,
                    segments: (0..segments).map(name).map(segment).collect(),
                    covers_own: reuse.own().iter().filter(|(holder, _)| fits(holder)).take(own).copied().collect(),
                    covers: (reuse.published().iter().filter(|(_, old)| old.scope == scope).take(covers))
                        .map(|(name, _)| *name)
                        .collect(),
                    mends: reuse.lost().iter().filter(|(holder, _)| mend && fits(holder)).take(1).copied().collect(),
                };
                match spoil {
                    Spoil::Nothing | Spoil::OldClaim => {}
                    Spoil::ForeignName => {
                        publication.segments.push(segment(object(LeaseId { incarnation: 9, index: 9 }, 1)));
                    }
                    Spoil::CoverTwice => publication.segments.push(*publication.segments.first()?),
                    Spoil::OtherScope => {
                        let other = reuse.published().iter().find(|(_, old)| old.scope != scope)?;
                        publication.covers.push(*other.0);
                    }
                    Spoil::Unknown => publication.covers_own.push((client(0), object(claim, 255))),
                }
                Command::Publish { publication }
            }
            Event::PublishAgain { publication } => {
                let publication = self.publications.get(publication.checked_rem(self.publications.len())?)?.clone();
                Command::Publish { publication }
            }
            Event::Condemn { own, published, pack } => {
                let reuse = reuse?;
                let pick = |number: Option<usize>, names: Vec<ObjectName>| {
                    number.and_then(|number| names.get(number.checked_rem(names.len())?).copied())
                };
                let own = pick(own, reuse.own().iter().map(|(_, name)| *name).collect());
                let published = pick(published, reuse.published().keys().copied().collect());
                let pack = pack.map(|salt| object(LeaseId { incarnation: 1, index: 1 }, salt));
                let objects = own.into_iter().chain(published).chain(pack).collect();
                Command::Condemn { repository: repository(1), domain: DOMAIN, objects }
            }
        })
    }

    fn note(&mut self, before: &Ledger, command: &Command, outcome: &Outcome) {
        let reuse = before.reuse(&repository(1), &DOMAIN);
        match (command, outcome) {
            (Command::Commit { client, commit }, Ok(_)) => {
                self.committed.extend(commit.segments.iter().map(|segment| (*client, *segment)));
            }
            (Command::Claim { .. }, Ok(Decided::Claimed(claim))) => self.claims.push(*claim),
            (Command::Publish { publication }, Ok(Decided::Published)) => {
                assert_eq!(self.claims.last(), Some(&publication.claim), "an old claim published");
                let reuse = reuse.unwrap();
                let repeated = !publication.segments.is_empty()
                    && publication.segments.iter().all(|segment| reuse.published().contains_key(&segment.name));
                if repeated {
                    return;
                }
                let mut contents: BTreeSet<_> = publication.covers_own.iter().copied().collect();
                for name in &publication.covers {
                    assert_eq!(reuse.published()[name].scope, publication.scope);
                    contents.extend(self.contents[name].clone());
                }
                contents.extend(self.lost.iter().filter(|own| publication.mends.contains(&(own.0, own.1.lease))));
                self.lost.retain(|own| !publication.mends.contains(&(own.0, own.1.lease)));
                match publication.segments.first() {
                    // One of a run stands for all of it: what matters is that it can be found.
                    Some(first) => {
                        for segment in &publication.segments {
                            self.contents.entry(segment.name).or_default();
                        }
                        self.contents.insert(first.name, contents);
                    }
                    None => self.refuted.extend(contents),
                }
                self.publications.push(publication.clone());
            }
            (Command::Publish { publication }, Err(failure)) if self.claims.last() == Some(&publication.claim) => {
                assert_eq!(failure.code, Code::Invalid, "{failure}");
            }
            (Command::Publish { .. }, Err(failure)) => assert_eq!(failure.code, Code::Fenced, "{failure}"),
            (Command::Condemn { objects, .. }, Ok(Decided::Condemned(epoch))) => {
                let fresh: Vec<_> = objects.iter().filter(|name| !self.condemned.contains_key(name)).collect();
                self.epoch += u64::from(!fresh.is_empty());
                assert_eq!(*epoch, self.epoch);
                self.condemned.extend(fresh.into_iter().map(|name| (*name, *epoch)));
                let own = reuse.into_iter().flat_map(|reuse| reuse.own());
                self.lost.extend(own.filter(|(_, name)| objects.contains(name)).copied());
            }
            (command, outcome) => panic!("{command:?}: {outcome:?}"),
        }
    }

    fn check(&self, ledger: &Ledger) {
        let Some(reuse) = ledger.reuse(&repository(1), &DOMAIN) else { return };
        for number in 0..CLIENTS {
            let client = client(number);
            let view = ledger.survey(&client, &repository(1)).unwrap();
            let own: BTreeSet<_> = view.own.iter().map(|name| (client, *name)).collect();
            assert!(own.is_subset(&self.committed), "a view names what was never committed");
            assert!(view.own.is_sorted(), "own segments are named the oldest first");
            let mut found = own;
            for shared in &view.shared {
                let published = reuse.published()[&shared.name];
                assert_eq!(published.scope.is_some(), shared.private);
                assert!(published.scope.is_none_or(|scope| scope == client), "a view names another's private segment");
                found.extend(self.contents[&shared.name].iter().copied());
            }
            let named = view.own.iter().chain(view.shared.iter().map(|shared| &shared.name));
            assert!(named.clone().all(|name| !self.condemned.contains_key(name)), "a view names what is condemned");
            for own in self.committed.iter().filter(|(holder, _)| *holder == client) {
                let gone = self.lost.contains(own) || self.refuted.contains(own) || self.condemned.contains_key(&own.1);
                assert!(gone || found.contains(own), "{} cannot be found any more", own.1);
            }
            let condemned: BTreeMap<_, _> = view.condemned.iter().map(|object| (object.name, object.epoch)).collect();
            assert_eq!(condemned, self.condemned);
            assert_eq!(view.epoch, self.epoch);
        }
        let lost: BTreeSet<_> = self.lost.iter().map(|(holder, name)| (*holder, name.lease)).collect();
        assert_eq!(*reuse.lost(), lost);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn whatever_is_published_or_lost_nothing_else_is_forgotten(events in proptest::collection::vec(event(), 1..40)) {
        let mut ledger = enrolled_once();
        let mut model = Model::default();
        for event in events {
            // A commit needs a lease of its own, granted by the same entries.
            let Some(command) = model.command(&mut ledger, &event) else { continue };
            let mut replica: Ledger = codec::decode("ledger", &codec::encode(&ledger)).unwrap();
            let before = ledger.clone();
            let index = ledger.applied().unwrap() + 1;
            let outcomes = ledger.apply(index, &entry(1, vec![command.clone()]));
            prop_assert_eq!(&replica.apply(index, &entry(1, vec![command.clone()])), &outcomes);
            prop_assert_eq!(&replica, &ledger);
            model.note(&before, &command, &outcomes[0]);
            model.check(&ledger);
        }
    }
}

fn enrolled_once() -> Ledger {
    static START: std::sync::LazyLock<Ledger> = std::sync::LazyLock::new(|| enrolled(CLIENTS));
    START.clone()
}

#[test]
fn a_snapshot_knows_what_was_condemned_before_it() {
    let mut ledger = enrolled(1);
    let condemn = |ledger: &mut Ledger, salt| {
        let objects = vec![object(LeaseId { incarnation: 1, index: 1 }, salt)];
        apply(ledger, 1, Command::Condemn { repository: repository(1), domain: DOMAIN, objects })
    };
    assert_eq!(condemn(&mut ledger, 1), Ok(Decided::Condemned(1)));
    let lease = grant(&mut ledger, 0, 1);
    assert_eq!((lease.view.epoch, lease.view.condemned.len()), (1, 1));
    // It is condemned while the lease is open: the lease's snapshot may need it.
    assert_eq!(condemn(&mut ledger, 2), Ok(Decided::Condemned(2)));
    assert_eq!(condemn(&mut ledger, 2), Ok(Decided::Condemned(2)), "condemned is for ever, and once");
    let commit = commit_of(&lease, true);
    apply(&mut ledger, 1, Command::Commit { client: client(0), commit }).unwrap();
    let next = grant(&mut ledger, 0, 1);
    assert_eq!(next.parent.map(|parent| parent.epoch), Some(1));
    assert_eq!(next.view.condemned.iter().filter(|condemned| condemned.epoch > 1).count(), 1);
}
