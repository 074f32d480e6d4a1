use proptest::prelude::*;

use super::*;

fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("127.0.0.1:{number}")).collect()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn the_one_that_works_is_kept() {
    let mut candidates = Candidates::new(&addresses(3), 0);
    assert_eq!(candidates.next(secs(0)), Next::Try("127.0.0.1:0"));
    candidates.failed("127.0.0.1:0", secs(0), 0);
    assert_eq!(candidates.next(secs(0)), Next::Try("127.0.0.1:1"));
    candidates.worked("127.0.0.1:1");
    assert_eq!(candidates.next(secs(1000)), Next::Try("127.0.0.1:1"));
}

#[test]
fn when_it_fails_the_others_are_tried_at_once_whatever_they_did() {
    let mut candidates = Candidates::new(&addresses(3), 0);
    for second in 0..20 {
        candidates.failed("127.0.0.1:0", secs(second), 0);
    }
    candidates.worked("127.0.0.1:1");
    candidates.failed("127.0.0.1:1", secs(20), 0);
    assert_eq!(candidates.next(secs(20)), Next::Try("127.0.0.1:2"), "untried before what failed");
    candidates.failed("127.0.0.1:2", secs(20), 0);
    assert_eq!(candidates.next(secs(20)), Next::Try("127.0.0.1:0"), "its backoff was forgiven");
}

#[test]
fn backoff_grows_to_a_bound_and_jitter_shortens_it_by_half_at_most() {
    let wait = |failures, jitter| {
        let mut candidates = Candidates::new(&addresses(1), 0);
        (0..failures).for_each(|_| candidates.failed("127.0.0.1:0", secs(5), jitter));
        match candidates.next(secs(5)) {
            Next::WaitUntil(time) => (time - secs(5)).as_millis() as u64,
            other => panic!("{other:?}"),
        }
    };
    let (least, most) = (limits::FAILOVER_BACKOFF_MIN_MS, limits::FAILOVER_BACKOFF_MAX_MS);
    assert_eq!([wait(1, 0), wait(2, 0), wait(3, 0)], [least, 2 * least, 4 * least]);
    assert_eq!((wait(40, 0), wait(400, 0)), (most, most));
    assert_eq!(wait(400, most / 2), most / 2);
    assert!((0..100).all(|jitter| (most / 2..=most).contains(&wait(50, jitter * 997))));
}

#[test]
fn clients_start_with_different_orchestrators() {
    let first = |spread| match Candidates::new(&addresses(3), spread).next(secs(0)) {
        Next::Try(address) => address.to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!([first(0), first(1), first(2), first(u64::MAX)].map(|a| a[10..].to_owned()), ["0", "1", "2", "0"]);
    assert_eq!(Candidates::new(&[], 7).next(secs(0)), Next::Nobody);
}

#[test]
fn a_new_roster_keeps_what_is_known() {
    let mut candidates = Candidates::new(&addresses(2), 0);
    candidates.failed("127.0.0.1:0", secs(0), 0);
    candidates.worked("127.0.0.1:1");
    candidates.replace(&addresses(3));
    assert_eq!(candidates.next(secs(0)), Next::Try("127.0.0.1:1"));
    candidates.replace(&["127.0.0.1:0".into(), "127.0.0.1:9".into(), "127.0.0.1:9".into()]);
    assert_eq!(candidates.next(secs(0)), Next::Try("127.0.0.1:9"), "the one that worked is gone");
    assert_eq!(candidates.addresses().collect::<Vec<_>>(), ["127.0.0.1:0", "127.0.0.1:9"]);
    candidates.replace(&addresses(limits::ROSTER_MAX + 5));
    assert_eq!(candidates.addresses().count(), limits::ROSTER_MAX);
}

#[derive(Debug, Clone)]
enum Event {
    /// The candidate of this number (modulo) answers.
    Worked(usize),
    /// It fails.
    Failed(usize, u64),
    /// Time passes, in milliseconds.
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => any::<usize>().prop_map(Event::Worked),
        5 => (any::<usize>(), any::<u64>()).prop_map(|(number, jitter)| Event::Failed(number, jitter)),
        2 => (0..20_000u64).prop_map(Event::Pass),
    ]
}

fn invariant_a_wait_is_bounded_and_in_the_future(candidates: &Candidates, now: Duration) {
    if let Next::WaitUntil(time) = candidates.next(now) {
        assert!(time > now && time <= now + Duration::from_millis(limits::FAILOVER_BACKOFF_MAX_MS));
        assert!(matches!(candidates.next(time), Next::Try(_)), "nobody is ready when it says so");
    }
}

fn invariant_nobody_waits_for_the_untried(candidates: &Candidates, tried: &[bool], now: Duration) {
    if tried.contains(&false) {
        assert!(matches!(candidates.next(now), Next::Try(_)));
    }
}

/// From the death of the one that worked, with one other alive.
fn invariant_the_living_one_is_found_in_one_round(mut candidates: Candidates, addresses: &[String], now: Duration) {
    let Some(working) = candidates.working.clone() else { return };
    candidates.failed(&working, now, 0);
    for alive in addresses.iter().filter(|address| **address != working) {
        let mut candidates = candidates.clone();
        let mut now = now;
        let mut attempts = 0;
        loop {
            match candidates.next(now) {
                Next::Try(address) if address == alive => break,
                Next::Try(address) => {
                    let address = address.to_owned();
                    attempts += 1;
                    assert!(attempts < addresses.len() && address != working, "somebody was tried twice");
                    now += Duration::from_millis(1500);
                    candidates.failed(&address, now, 0);
                }
                other => panic!("{other:?}, while one that may be alive was not tried"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_any_events(
        count in 1..6usize, spread: u64, events in proptest::collection::vec(event(), 0..60),
    ) {
        let addresses = addresses(count);
        let mut candidates = Candidates::new(&addresses, spread);
        let mut tried = vec![false; count];
        let mut now = secs(1);
        for event in events {
            match event {
                Event::Worked(number) => {
                    tried[number % count] = true;
                    candidates.worked(&addresses[number % count]);
                }
                Event::Failed(number, jitter) => {
                    tried[number % count] = true;
                    candidates.failed(&addresses[number % count], now, jitter);
                }
                Event::Pass(millis) => now += Duration::from_millis(millis),
            }
            invariant_a_wait_is_bounded_and_in_the_future(&candidates, now);
            invariant_nobody_waits_for_the_untried(&candidates, &tried, now);
            invariant_the_living_one_is_found_in_one_round(candidates.clone(), &addresses, now);
        }
    }
}
