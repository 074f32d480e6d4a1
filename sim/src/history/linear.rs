//! Whether a history can be explained by operations that took effect one after the other,
//! each at some moment between when it was asked for and when it was answered.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects",
//! 1993), with Lowe's memory of what was tried ("Testing for linearizability", 2017).
//!
//! Invariant: what got no clear answer may have taken effect at any moment since it was
//! asked for, or never; so a history that is refused has no explanation at all.

use std::collections::BTreeSet;

/// States that are looked at before a history counts as too tangled to be judged.
const STATES_MAX: usize = 200_000;

/// One operation.
#[derive(Debug, Clone)]
pub struct Op<A> {
    /// When it was asked for, and answered.
    pub during: (u64, u64),
    /// Whether it may have had no effect: nobody knows what came of it.
    pub may_vanish: bool,
    /// What it was.
    pub act: A,
}

/// What came of the search.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none: of the operations, at most so many could be put in one.
    Not {
        /// The first that cannot follow the longest order that was found.
        stuck_at: usize,
    },
    /// Too many orders are possible to try them all.
    TooTangled,
}

/// Looks for an order. `apply` is the sequential object: the state after an operation, or
/// none if it cannot have been answered so in that state.
pub fn linearize<S, A>(ops: &[Op<A>], first: S, apply: impl Fn(&S, &A) -> Option<S>) -> Verdict
where
    S: Clone + Ord,
{
    let mut tried: BTreeSet<(Vec<bool>, S)> = BTreeSet::new();
    let mut waiting = vec![(vec![false; ops.len()], first)];
    let (mut best, mut stuck_at) = (0, 0);
    while let Some((taken, state)) = waiting.pop() {
        let open = || (0..ops.len()).filter(|number| !taken[*number]);
        let must = open().filter(|number| !ops[*number].may_vanish);
        if must.clone().next().is_none() {
            return Verdict::Linearizable;
        }
        // Only what was asked for before every open answer can be the next.
        let first_answer = must.clone().map(|number| ops[number].during.1).min().unwrap_or(u64::MAX);
        if ops.len() - open().count() >= best {
            best = ops.len() - open().count();
            stuck_at = must.min_by_key(|number| ops[*number].during.1).unwrap_or_default();
        }
        for number in open().filter(|number| ops[*number].during.0 <= first_answer) {
            let Some(after) = apply(&state, &ops[number].act) else { continue };
            let mut taken = taken.clone();
            taken[number] = true;
            let next = (taken, after);
            if tried.insert(next.clone()) {
                waiting.push(next);
            }
        }
        if tried.len() > STATES_MAX {
            return Verdict::TooTangled;
        }
    }
    Verdict::Not { stuck_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: writes, and reads of what was written.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Write(u8),
        Read(u8),
    }

    fn judge(ops: &[(u64, u64, Act)], vanishing: usize) -> Verdict {
        let op = |(number, (from, to, act)): (usize, &(u64, u64, Act))| Op {
            during: (*from, *to),
            may_vanish: number < vanishing,
            act: *act,
        };
        let ops: Vec<Op<Act>> = ops.iter().enumerate().map(op).collect();
        linearize(&ops, 0_u8, |state, act| match act {
            Act::Write(value) => Some(*value),
            Act::Read(value) => (value == state).then_some(*state),
        })
    }

    #[test]
    fn a_read_sees_the_write_before_it_and_either_side_of_one_at_the_same_time() {
        use Act::{Read, Write};
        assert_eq!(judge(&[(0, 5, Write(1)), (6, 7, Read(1))], 0), Verdict::Linearizable);
        assert_eq!(judge(&[(0, 5, Write(1)), (6, 7, Read(0))], 0), Verdict::Not { stuck_at: 1 });
        for seen in [0, 1] {
            assert_eq!(judge(&[(0, 5, Write(1)), (3, 7, Read(seen))], 0), Verdict::Linearizable);
        }
        // Once one has seen it, the next one does.
        let back = [(0, 9, Write(1)), (1, 2, Read(1)), (3, 4, Read(0))];
        assert_eq!(judge(&back, 0), Verdict::Not { stuck_at: 2 });
    }

    #[test]
    fn what_got_no_answer_may_have_been_at_any_time_or_never() {
        use Act::{Read, Write};
        for seen in [0, 1] {
            assert_eq!(judge(&[(0, u64::MAX, Write(1)), (50, 51, Read(seen))], 1), Verdict::Linearizable);
        }
        let twice = [(0, u64::MAX, Write(1)), (5, 6, Read(1)), (7, 8, Read(0))];
        assert_eq!(judge(&twice, 1), Verdict::Not { stuck_at: 2 });
    }
}
