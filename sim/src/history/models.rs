//! What is promised to be linearizable, and the simplest object that behaves so: a token
//! with its uses, a client's leases and snapshots, the roster.
//!
//! Invariant: a model knows nothing of time but the order, and lets a lease end of itself
//! at any moment: whatever is refused is allowed here, and judged elsewhere.

use std::collections::BTreeSet;

use super::{
    Event, Outcome, What, is_refused_as_revoked,
    linear::{Op, Verdict, linearize},
};

/// What may have happened, as an operation; none if it was refused.
fn op<A>(event: &Event, outcome: Outcome, act: A) -> Option<Op<A>> {
    let during = (event.from_ms, event.to_ms);
    match outcome {
        Outcome::Done => Some(Op { during, may_vanish: false, act }),
        // It may happen later than it was given up.
        Outcome::Unclear => Some(Op { during: (event.from_ms, u64::MAX), may_vanish: true, act }),
        Outcome::Refused => None,
    }
}

fn judge<S, A>(
    what: &str,
    ops: &[Op<A>],
    first: S,
    apply: impl Fn(&S, &A) -> Option<S>,
    tell: impl Fn(&A) -> String,
    found: &mut Vec<String>,
) where
    S: Clone + Ord,
{
    match linearize(ops, first, apply) {
        Verdict::Linearizable => {}
        Verdict::Not { stuck_at } => {
            let told = ops
                .get(stuck_at)
                .map_or_else(String::new, |op| format!("{} from {} to {} ms", tell(&op.act), op.during.0, op.during.1));
            found.push(format!("{what} is not linearizable: nothing explains {told}"));
        }
        Verdict::TooTangled => found.push(format!("{what}: too tangled to be judged")),
    }
}

/// I4: a token's uses are taken one after the other, each by one machine, until none is
/// left; who is refused came when none was left, or the token was void.
pub fn invariant_tokens_are_linearizable(history: &[Event], found: &mut Vec<String>) {
    #[derive(Debug)]
    enum Act<'h> {
        Join(&'h str),
        Refuse(&'h str),
        Void,
    }
    for event in history {
        let What::Token { token, uses, .. } = &event.what else { continue };
        let ops: Vec<Op<Act<'_>>> = history
            .iter()
            .filter(|event| !is_refused_as_revoked(history, event))
            .filter_map(|event| match &event.what {
                What::Join { machine, token: with, outcome: Outcome::Refused, .. } if with == token => {
                    op(event, Outcome::Done, Act::Refuse(machine))
                }
                What::Join { machine, token: with, outcome, .. } if with == token => {
                    op(event, *outcome, Act::Join(machine))
                }
                What::Void { token: which, outcome } if which == token => op(event, *outcome, Act::Void),
                _ => None,
            })
            .collect();
        let apply = |(joined, void): &(BTreeSet<String>, bool), act: &Act<'_>| {
            let spent = *void || joined.len() >= *uses as usize;
            match act {
                Act::Join(machine) if joined.contains(*machine) => Some((joined.clone(), *void)),
                Act::Join(_) if spent => None,
                Act::Join(machine) => {
                    let joined = joined.iter().cloned().chain([(*machine).to_owned()]).collect();
                    Some((joined, *void))
                }
                Act::Refuse(machine) => (spent && !joined.contains(*machine)).then(|| (joined.clone(), *void)),
                Act::Void => Some((joined.clone(), true)),
            }
        };
        let what = format!("I4: the history of token {token}");
        judge(&what, &ops, (BTreeSet::new(), false), apply, |act| format!("{act:?}"), found);
    }
}

/// A client's lease and snapshots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Chain {
    open: Option<String>,
    /// All leases that have been granted.
    granted: BTreeSet<String>,
    snapshots: Vec<String>,
}

/// I3, I9: a client has one lease at a time, which goes on from its newest snapshot and
/// makes one at most; and whoever lists the snapshots lists just those.
pub fn invariant_leases_are_linearizable(history: &[Event], found: &mut Vec<String>) {
    let who = |event: &Event| match &event.what {
        What::Grant { client, .. } | What::Commit { client, .. } | What::Listed { client, .. } => Some(client.clone()),
        _ => None,
    };
    for client in history.iter().filter_map(who).collect::<BTreeSet<String>>() {
        let ops: Vec<Op<&What>> = history
            .iter()
            .filter_map(|event| match &event.what {
                // A grant of which nothing is known only ends the lease before, which it may anyway.
                What::Grant { client: whose, outcome: Outcome::Done, .. } if *whose == client => {
                    op(event, Outcome::Done, &event.what)
                }
                What::Commit { client: whose, outcome, .. } | What::Close { client: whose, outcome, .. }
                    if *whose == client =>
                {
                    op(event, *outcome, &event.what)
                }
                What::Listed { client: whose, .. } if *whose == client => op(event, Outcome::Done, &event.what),
                _ => None,
            })
            .collect();
        let what = format!("I3: the history of the leases of {client}");
        judge(&what, &ops, Chain::default(), |chain, what| chain.after(what), |act| format!("{act:?}"), found);
    }
}

impl Chain {
    fn after(&self, what: &What) -> Option<Self> {
        match what {
            // The same attempt again.
            What::Grant { lease, .. } if *lease == self.open => Some(self.clone()),
            What::Grant { lease: Some(lease), after, number, .. } => {
                let follows = after.as_ref() == self.snapshots.last() && *number == self.snapshots.len() as u64 + 1;
                let mut granted = self.granted.clone();
                let new = granted.insert(lease.clone());
                let open = Some(lease.clone());
                (new && follows).then(|| Self { open, granted, snapshots: self.snapshots.clone() })
            }
            What::Close { lease, .. } => {
                let open = self.open.clone().filter(|open| open != lease);
                Some(Self { open, ..self.clone() })
            }
            // The same commit again.
            What::Commit { snapshot, .. } if self.snapshots.contains(snapshot) => Some(self.clone()),
            What::Commit { lease, snapshot, .. } => (self.open.as_ref() == Some(lease)).then(|| {
                let snapshots = self.snapshots.iter().chain([snapshot]).cloned().collect();
                Self { open: None, granted: self.granted.clone(), snapshots }
            }),
            What::Listed { snapshots, .. } => (*snapshots == self.snapshots).then(|| self.clone()),
            _ => None,
        }
    }
}

/// The roster changes by keysets of growing numbers, and whoever asks the orchestrators
/// gets the newest.
pub fn invariant_rosters_are_linearizable(history: &[Event], found: &mut Vec<String>) {
    let ops: Vec<Op<&What>> = history
        .iter()
        .filter_map(|event| match &event.what {
            What::Roster { outcome, .. } => op(event, *outcome, &event.what),
            What::RosterSeen { .. } => op(event, Outcome::Done, &event.what),
            _ => None,
        })
        .collect();
    let apply = |(number, members): &(u64, Vec<String>), what: &&What| match what {
        // Of a change that was interrupted nobody knows the number: it is the next at least.
        What::Roster { number: 0, members, .. } => Some((number + 1, members.clone())),
        // The same change again may be the same keyset.
        What::Roster { number: next, members: to, .. } => {
            (next > number || (next == number && to == members)).then(|| (*next, to.clone()))
        }
        What::RosterSeen { number: seen, members: listed } => {
            let fits = seen >= number && (listed == members || members.is_empty());
            fits.then(|| (*seen, listed.clone()))
        }
        _ => None,
    };
    judge("I3: the history of the roster", &ops, (0, Vec::new()), apply, |act| format!("{act:?}"), found);
}
