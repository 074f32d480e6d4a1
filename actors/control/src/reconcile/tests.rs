use std::collections::BTreeSet;

use proptest::{collection::btree_set, prelude::*};
use protocol::{
    codec,
    ids::Hash,
    reconcile::{Content, Prefix, fingerprint_of_hashes, fingerprint_of_parts},
    wire::{Answer, Fetch, Reconcile, Reply, Request},
};

use super::*;

impl Hashed for Hash {
    fn hash(&self) -> &Hash {
        self
    }
}

type Set = BTreeSet<Hash>;

fn trie(set: &Set) -> Trie<Hash> {
    let mut trie = Trie::default();
    assert!(set.iter().all(|hash| trie.insert(*hash)));
    trie
}

fn numbered(numbers: std::ops::Range<u32>) -> Set {
    numbers.map(|number| Hash(*blake3::hash(&number.to_le_bytes()).as_bytes())).collect()
}

/// The fingerprint of a range as WIRE.md says it.
fn by_rule(set: &Set, range: Prefix) -> Hash {
    let held: Set = set.iter().copied().filter(|hash| range.holds(hash)).collect();
    if held.len() <= limits::RANGE_HASHES_MAX || range.digits() == Prefix::DIGITS_MAX {
        return fingerprint_of_hashes(&held);
    }
    let parts: Vec<Hash> = range.children().map(|part| by_rule(&held, part)).collect();
    fingerprint_of_parts(&parts)
}

/// What a reconciliation took.
#[derive(Debug, Default)]
struct Cost {
    calls: usize,
    bytes: usize,
    lacking: Set,
    surplus: Set,
}

/// Lets one reconcile with the other until the session ends, whatever that takes.
fn reconcile(own: &Trie<Hash>, peer: &Trie<Hash>, direction: Direction) -> Cost {
    let mut session = Session::new([Prefix::ALL], direction);
    let mut cost = Cost::default();
    while let Some(probes) = session.ask(own) {
        cost.bytes += codec::encode(&Request::from(Reconcile { probes: probes.clone() })).len();
        let parts = peer.answer(&probes).unwrap();
        cost.bytes += codec::encode::<Answer>(&Ok(Reply::Reconciled(parts.clone()))).len();
        let found = session.take(own, parts).unwrap();
        assert!(found.lacking.iter().all(|hash| cost.lacking.insert(*hash)), "told twice");
        assert!(found.surplus.iter().all(|hash| cost.surplus.insert(*hash)), "told twice");
        cost.calls += 1;
    }
    cost
}

/// The cost follows the difference and not the sets.
#[test]
fn ten_records_of_a_hundred_thousand_are_found_cheaply() {
    let own = trie(&numbered(0..99_995));
    let peer = trie(&numbered(5..100_000));
    let cost = reconcile(&own, &peer, Direction::Up);
    assert_eq!((cost.lacking, cost.surplus), (numbered(99_995..100_000), numbered(0..5)));
    assert!(cost.calls < 6, "{} calls", cost.calls);
    assert!(cost.bytes < 64 << 10, "{} bytes", cost.bytes);

    // The same difference in a set a tenth as large costs much the same.
    let small = reconcile(&trie(&numbered(0..9_995)), &trie(&numbered(5..10_000)), Direction::Down);
    assert!(cost.bytes < 3 * small.bytes, "{} and {} bytes", cost.bytes, small.bytes);
}

#[test]
fn equal_sets_are_told_apart_from_none_in_one_call() {
    let set = trie(&numbered(0..10_000));
    let cost = reconcile(&set, &set.clone(), Direction::Up);
    assert_eq!(cost.calls, 1);
    assert!(cost.bytes < 1 << 10, "{} bytes", cost.bytes);
    assert!(cost.lacking.is_empty() && cost.surplus.is_empty());
}

/// A new orchestrator, from either side: a few bytes for each hash beside the hash.
#[test]
fn everything_is_found_from_nothing() {
    let (all, none) = (numbered(0..20_000), Trie::default());
    let fetched = reconcile(&none, &trie(&all), Direction::Up);
    assert_eq!((&fetched.lacking, fetched.surplus.len()), (&all, 0));
    assert!(fetched.bytes < all.len() * (Hash::LEN + 16), "{} bytes", fetched.bytes);
    assert!(fetched.calls < 12, "{} calls", fetched.calls);
    let pushed = reconcile(&trie(&all), &none, Direction::Down);
    assert_eq!((pushed.lacking.len(), &pushed.surplus), (0, &all));
    assert!(pushed.bytes < 4 << 10, "{} bytes", pushed.bytes);
}

/// What goes over the wire fits its frames, however the sets differ.
#[test]
fn a_full_call_fits_a_frame() {
    let ranges = || Prefix::ALL.children().flat_map(Prefix::children).flat_map(Prefix::children);
    let probes: Vec<Probe> =
        ranges().map(|range| Probe { range, fingerprint: Hash([7; 32]) }).take(limits::PROBES_MAX).collect();
    assert_eq!(probes.len(), limits::PROBES_MAX);
    for count in [100_000, 300_000] {
        let parts = trie(&numbered(0..count)).answer(&probes).unwrap();
        assert_eq!(parts.len(), probes.len());
        assert!(codec::encode(&parts).len() < limits::FRAME_BYTES_MAX / 2);
    }
    assert!(codec::encode(&Reconcile { probes: probes.clone() }).len() < limits::FRAME_BYTES_MAX / 2);
    let hashes = vec![Hash([0xff; 32]); limits::RECORDS_PER_FRAME_MAX];
    assert!(codec::encode(&Fetch { hashes }).len() < limits::FRAME_BYTES_MAX / 2);
    let one_more = [probes.as_slice(), &probes[..1]].concat();
    assert!(trie(&Set::new()).answer(&one_more).is_err());
}

/// Two that find each other wanting at the same time walk towards each other.
#[test]
fn the_direction_says_what_is_found_first() {
    let (own, peer) = (Trie::<Hash>::default(), trie(&numbered(0..50_000)));
    let first = |direction| {
        let mut session = Session::new(Prefix::ALL.children(), direction);
        loop {
            let probes = session.ask(&own).unwrap();
            let found = session.take(&own, peer.answer(&probes).unwrap()).unwrap();
            if !found.lacking.is_empty() {
                return found.lacking;
            }
        }
    };
    let (lowest, highest) = (first(Direction::Up), first(Direction::Down));
    assert!(lowest.iter().all(|hash| hash.0[0] < 0x80));
    assert!(highest.iter().all(|hash| hash.0[0] >= 0x80));
}

/// A peer whose answers never agree does not keep a session for ever.
#[test]
fn a_session_with_a_liar_ends() {
    let own = Trie::<Hash>::default();
    let mut session = Session::new(Prefix::ALL.children(), Direction::Up);
    let mut calls = 0;
    while let Some(probes) = session.ask(&own) {
        assert!(probes.len() <= limits::PROBES_MAX);
        let lie = |probe: Probe| {
            let content = match probe.range.digits() < Prefix::DIGITS_MAX {
                true => Content::Parts(vec![Hash([calls as u8; 32]); 16]),
                false => Content::Hashes(vec![]),
            };
            Part { range: probe.range, content }
        };
        session.take(&own, probes.into_iter().map(lie).collect()).unwrap();
        calls += 1;
    }
    assert_eq!(calls, limits::RECONCILE_CALLS_MAX);
}

#[test]
fn answers_to_something_else_are_refused() {
    let own = trie(&numbered(0..1000));
    let peer = trie(&numbered(500..1500));
    // More than are asked for at once, so that the session has something left to ask.
    let ranges: Vec<Prefix> = Prefix::ALL.children().flat_map(Prefix::children).flat_map(Prefix::children).collect();
    let hashes = |hashes: Vec<Hash>| Content::Hashes(hashes);
    let (low, high) = (Hash([0; 32]), Hash([0xff; 32]));
    let part = |place: usize, content| Part { range: ranges[place], content };
    let mut close = low;
    let many = (0..=limits::RANGE_HASHES_MAX as u8).map(|number| {
        close.0[31] = number;
        close
    });
    let lies = [
        vec![Part { range: Prefix::ALL, content: hashes(vec![]) }],
        vec![part(3, hashes(vec![])), part(3, hashes(vec![]))],
        vec![part(3, hashes(vec![])), part(2, hashes(vec![]))],
        vec![part(0, hashes(vec![high]))],
        vec![part(0, hashes(vec![low, low]))],
        vec![part(0, hashes(many.collect()))],
        vec![part(0, Content::Parts(vec![low; 15]))],
        vec![part(0, Content::Parts(vec![]))],
    ];
    for lie in lies {
        let mut session = Session::new(ranges.clone(), Direction::Up);
        let probes = session.ask(&own).unwrap();
        assert!(probes.iter().map(|probe| &probe.range).eq(&ranges[..probes.len()]));
        let honest = peer.answer(&probes).unwrap();
        assert!(session.take(&own, lie.clone()).is_err(), "{lie:?}");
        assert!(session.ask(&own).is_none(), "the session goes on after {lie:?}");
        assert!(session.take(&own, honest).is_err(), "an answer without a question was taken");
    }
}

/// Nobody finds such hashes; a trie holds them all the same.
#[test]
fn hashes_that_share_all_digits_are_one_list() {
    let hashes: Set = (0..80).map(|number| Hash([&[3; 31][..], &[number]].concat().try_into().unwrap())).collect();
    let mut all = trie(&hashes);
    let range =
        (0..Prefix::DIGITS_MAX).fold(Prefix::ALL, |range, place| range.child([0, 3][usize::from(place) % 2]).unwrap());
    assert_eq!(all.fingerprint(range), fingerprint_of_hashes(&hashes));
    assert_eq!(all.content(range), Content::Hashes(hashes.iter().copied().collect()));
    assert_eq!(all.fingerprint(Prefix::ALL), by_rule(&hashes, Prefix::ALL));
    assert!(hashes.iter().all(|hash| all.get(hash).is_some() && all.remove(hash).is_some()) && all.is_empty());
}

/// Hashes that lie close together, so that small sets have tries as deep as they get.
fn some_hashes() -> impl Strategy<Value = Set> {
    let hash = (0u8..3, any::<bool>(), 0u8..80).prop_map(|(first, deep, last)| {
        let mut hash = [first.wrapping_mul(0x55); 32];
        hash[if deep { 7 } else { 1 }] = last;
        Hash(hash)
    });
    btree_set(hash, 0..160)
}

fn some_range() -> impl Strategy<Value = Prefix> {
    proptest::collection::vec(prop_oneof![Just(0usize), Just(5), Just(10), 0usize..16], 0..17)
        .prop_map(|digits| digits.into_iter().fold(Prefix::ALL, |range, digit| range.child(digit).unwrap_or(range)))
}

fn any_range() -> impl Strategy<Value = Prefix> {
    let sent = (any::<u8>(), any::<u64>());
    let any = sent.prop_map(|sent| codec::decode::<Prefix>("range", &codec::encode(&sent)).unwrap());
    prop_oneof![4 => some_range(), 1 => any]
}

fn any_content() -> impl Strategy<Value = Content> {
    let hashes = || proptest::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..40);
    let sorted = some_hashes().prop_map(|set| set.into_iter().take(20).collect::<Vec<_>>());
    prop_oneof![
        hashes().prop_map(Content::Hashes),
        sorted.prop_map(Content::Hashes),
        hashes().prop_map(Content::Parts),
        Just(Content::Parts(vec![Hash([0; 32]); 16])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_trie_is_what_is_in_it(a in some_hashes(), b in some_hashes(), range in some_range()) {
        let mut set = trie(&a);
        for hash in &b {
            prop_assert_eq!(set.insert(*hash), !a.contains(hash));
            prop_assert!(!set.insert(*hash));
        }
        let both: Set = a.union(&b).copied().collect();
        prop_assert_eq!(set.len(), both.len());
        prop_assert_eq!(set.range(Prefix::ALL).copied().collect::<Vec<_>>(), both.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(set.fingerprint(range), by_rule(&both, range));
        prop_assert_eq!(set.fingerprint(Prefix::ALL), by_rule(&both, Prefix::ALL));
        prop_assert!(both.iter().all(|hash| set.get(hash) == Some(hash)));
        for hash in &b {
            prop_assert_eq!(set.remove(hash), Some(*hash));
            prop_assert_eq!(set.remove(hash), None);
            prop_assert_eq!(set.get(hash), None);
        }
        let left: Set = a.difference(&b).copied().collect();
        prop_assert_eq!(set.len(), left.len());
        prop_assert_eq!(set.is_empty(), left.is_empty());
        prop_assert_eq!(set.fingerprint(range), by_rule(&left, range));
        prop_assert_eq!(set.fingerprint(Prefix::ALL), by_rule(&left, Prefix::ALL));
        prop_assert_eq!(set.range(range).copied().collect::<Vec<_>>(),
            left.iter().copied().filter(|hash| range.holds(hash)).collect::<Vec<_>>());
    }

    #[test]
    fn a_session_finds_the_difference(a in some_hashes(), b in some_hashes(), up in any::<bool>()) {
        let direction = if up { Direction::Up } else { Direction::Down };
        let cost = reconcile(&trie(&a), &trie(&b), direction);
        prop_assert_eq!(cost.lacking, b.difference(&a).copied().collect::<Set>());
        prop_assert_eq!(cost.surplus, a.difference(&b).copied().collect::<Set>());
    }

    /// Both sets may change while a session is under way.
    #[test]
    fn a_session_survives_changes(a in some_hashes(), b in some_hashes(), late in some_hashes()) {
        let (mut own, mut peer) = (trie(&a), trie(&b));
        let mut session = Session::new([Prefix::ALL], Direction::Up);
        let mut late = late.into_iter();
        while let Some(probes) = session.ask(&own) {
            let answer = peer.answer(&probes).unwrap();
            late.next().map(|hash| own.insert(hash));
            late.next().map(|hash| peer.remove(&hash));
            let found = session.take(&own, answer).unwrap();
            prop_assert!(found.lacking.iter().all(|hash| own.get(hash).is_none()));
            prop_assert!(found.surplus.iter().all(|hash| own.get(hash).is_some()));
        }
    }

    /// Whatever a peer sends: no panic, no more than was asked for.
    #[test]
    fn hostile_messages_are_harmless(
        set in some_hashes(),
        probes in proptest::collection::vec((any_range(), any::<[u8; 32]>()), 0..40),
        answers in proptest::collection::vec(
            proptest::collection::vec((any_range(), any_content(), any::<bool>()), 0..20), 1..5),
    ) {
        let set = trie(&set);
        let probes: Vec<Probe> =
            probes.into_iter().map(|(range, hash)| Probe { range, fingerprint: Hash(hash) }).collect();
        match set.answer(&probes) {
            Ok(parts) => prop_assert!(parts.len() <= probes.len() && codec::encode(&parts).len() <= 1100 * probes.len() + 1),
            Err(_) => prop_assert!(probes.iter().any(|probe| !probe.range.is_valid())),
        }
        let mut session = Session::new(Prefix::ALL.children(), Direction::Down);
        for answer in answers {
            let Some(asked) = session.ask(&set) else { break };
            // Half of what it says is about something that was asked for.
            let mut ranges = asked.iter().map(|probe| probe.range);
            let answer = answer.into_iter().map(|(range, content, fits)| {
                Part { range: if fits { ranges.next().unwrap_or(range) } else { range }, content }
            });
            if session.take(&set, answer.collect()).is_err() {
                prop_assert!(session.ask(&set).is_none());
            }
        }
    }
}
