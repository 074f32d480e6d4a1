use proptest::prelude::*;

use super::*;

fn node(number: u64) -> NodeId {
    NodeId([number as u8; 16])
}

fn roster(numbers: &[u64]) -> BTreeMap<u64, NodeId> {
    numbers.iter().map(|number| (*number, node(*number))).collect()
}

fn nodes(numbers: &[u64]) -> BTreeSet<NodeId> {
    numbers.iter().map(|number| node(*number)).collect()
}

fn set(numbers: &[u64]) -> BTreeSet<u64> {
    numbers.iter().copied().collect()
}

fn voters(voting: &[u64]) -> Voters {
    Voters { configs: vec![set(voting)], members: roster(voting), caught_up: set(voting) }
}

/// What openraft makes of a step: a change of voters goes through both sets.
fn take(now: &mut Voters, step: Step) {
    match step {
        Step::Learn(voter, node) => _ = now.members.insert(voter, node),
        Step::Vote(target) => {
            let last = now.configs.last().unwrap().clone();
            let gone: Vec<u64> = now.configs.iter().flatten().filter(|v| !target.contains(v)).copied().collect();
            if last == target || now.configs.len() > 1 && now.configs.contains(&target) {
                now.configs = vec![target];
                gone.iter().for_each(|voter| _ = now.members.remove(voter));
            } else {
                now.configs = vec![last, target];
            }
        }
        Step::Forget(over) => over.iter().for_each(|voter| _ = now.members.remove(voter)),
    }
}

#[test]
fn a_newcomer_learns_first_and_votes_when_it_has_caught_up() {
    let (four, all) = (roster(&[1, 2, 3, 4]), nodes(&[1, 2, 3, 4]));
    let mut now = voters(&[1, 2, 3]);
    assert_eq!(next_step(&now, &four, &all), Some(Step::Learn(4, node(4))));
    now.members = four.clone();
    assert_eq!(next_step(&now, &four, &all), None);
    now.caught_up.insert(4);
    assert_eq!(next_step(&now, &four, &nodes(&[1, 2, 3])), None, "it is gone again");
    assert_eq!(next_step(&now, &four, &all), Some(Step::Vote(set(&[1, 2, 3, 4]))));
    // Interrupted between the two sets: the change is brought to its end.
    now.configs.push(set(&[1, 2, 3, 4]));
    assert_eq!(next_step(&now, &four, &all), Some(Step::Vote(set(&[1, 2, 3, 4]))));
}

#[test]
fn who_is_lost_is_replaced_in_one_step() {
    let wanted = roster(&[1, 2, 4]);
    let mut now = voters(&[1, 2, 3]);
    now.members.insert(4, node(4));
    assert_eq!(next_step(&now, &wanted, &nodes(&[1, 2, 4])), None, "4 has not caught up");
    now.caught_up.insert(4);
    assert_eq!(next_step(&now, &wanted, &nodes(&[1, 2, 4])), Some(Step::Vote(set(&[1, 2, 4]))));
    // Nobody waits for a newcomer that does not come.
    now.caught_up.remove(&4);
    assert_eq!(next_step(&now, &wanted, &nodes(&[1, 2])), Some(Step::Vote(set(&[1, 2]))));
}

#[test]
fn learners_that_the_roster_does_not_name_are_forgotten() {
    let mut now = voters(&[1, 2, 3]);
    now.members.insert(9, node(9));
    let wanted = roster(&[1, 2, 3]);
    assert_eq!(next_step(&now, &wanted, &nodes(&[1, 2, 3])), Some(Step::Forget(set(&[9]))));
    assert_eq!(next_step(&voters(&[1, 2, 3]), &wanted, &nodes(&[1])), None);
}

#[test]
fn nobody_leaves_if_the_rest_could_not_decide_it() {
    let three = nodes(&[1, 2, 3]);
    let leave = |who: u64, voters: &BTreeSet<NodeId>, answering: &[u64]| {
        let staying = voters.iter().copied().filter(|one| *one != node(who)).collect();
        may_leave(&nodes(&[who]), voters, &staying, &nodes(answering))
    };
    assert!(leave(3, &three, &[1, 2, 3]));
    assert!(leave(3, &three, &[1, 2]), "a dead one can be removed");
    assert!(!leave(3, &three, &[1, 3]), "not a living one while another is dead");
    assert!(!leave(2, &nodes(&[1, 2]), &[1, 2]), "two cannot become one");
    assert!(leave(4, &nodes(&[1, 2, 3, 4]), &[1, 2, 3]));
    assert!(!leave(4, &nodes(&[1, 2, 3, 4]), &[1, 2]));
    assert!(leave(5, &nodes(&[1, 2, 3, 4, 5]), &[1, 2, 3]));
}

proptest! {
    /// Whoever is alive, every step keeps a majority of what it goes to alive, and once
    /// all of the roster answer and have caught up, it is reached within a few steps.
    #[test]
    fn every_step_is_safe_and_the_roster_is_reached(
        before in prop::collection::btree_set(0_u64..8, 1..6),
        wanted in prop::collection::btree_set(0_u64..8, 1..6),
        awake in prop::collection::vec(prop::collection::btree_set(0_u64..8, 0..8), 0..8),
    ) {
        let wanted: Vec<u64> = wanted.into_iter().collect();
        let mut now = voters(&before.iter().copied().collect::<Vec<_>>());
        let goal = roster(&wanted);
        for alive in awake {
            let alive: Vec<u64> = alive.into_iter().collect();
            now.caught_up = now.members.keys().filter(|voter| alive.contains(voter)).copied().collect();
            let Some(step) = next_step(&now, &goal, &nodes(&alive)) else { continue };
            if let Step::Vote(target) = &step {
                prop_assert!(target.iter().filter(|voter| alive.contains(voter)).count() > target.len() / 2);
                let newcomers = target.iter().filter(|voter| !now.configs.last().unwrap().contains(voter));
                prop_assert!(newcomers.into_iter().all(|voter| now.caught_up.contains(voter)));
            }
            take(&mut now, step);
        }
        for _ in 0..20 {
            now.caught_up = now.members.keys().copied().collect();
            match next_step(&now, &goal, &nodes(&wanted)) {
                Some(step) => take(&mut now, step),
                None => break,
            }
        }
        prop_assert_eq!(&now.configs, &vec![set(&wanted)]);
        prop_assert_eq!(now.members, goal);
    }
}
