//! Which orchestrators can be reached, for a person who waits.

use protocol::failure::Failure;

/// Each address that was tried, and what came of it.
pub struct Reach(pub Vec<(String, Result<(), Failure>)>);

impl Reach {
    fn reached(&self) -> usize {
        self.0.iter().filter(|(_, reached)| reached.is_ok()).count()
    }

    fn has_majority(&self) -> bool {
        self.reached() > self.0.len() / 2
    }

    /// What a call waits for that was last answered so.
    pub fn waits_for(&self, last: &Failure) -> String {
        let (reached, all) = (self.reached(), self.0.len());
        match reached {
            0 => format!("none of {all} orchestrators can be reached yet"),
            _ if !self.has_majority() => {
                format!("no majority of the orchestrators answers yet: {reached} of {all} can be reached")
            }
            _ => format!("the orchestrators cannot answer yet: {last}"),
        }
    }

    /// Why a call came to nothing, naming each orchestrator that could not be reached.
    pub fn explain(&self, last: Failure) -> Failure {
        let all = self.0.len();
        if self.has_majority() || all == 0 {
            return last;
        }
        let each = self.0.iter().map(|(address, reached)| match reached {
            Ok(()) => format!("{address} answers"),
            // Most of them name the address already.
            Err(failure) if failure.message.contains(address) => failure.message.clone(),
            Err(failure) => format!("{address}: {failure}"),
        });
        let each: Vec<String> = each.collect();
        let found = match self.reached() {
            0 if all == 1 => "the orchestrator cannot be reached".to_owned(),
            0 => format!("none of {all} orchestrators can be reached"),
            reached => format!(
                "only {reached} of {all} orchestrators can be reached, and nothing is decided without a majority"
            ),
        };
        Failure::new(last.code, format!("{found}: {}", each.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(reached: usize) -> Reach {
        let one = |number: usize| {
            let address = format!("o{number}:7300");
            let refused = Failure::retry(format!("cannot reach {address}: no answer"));
            (address, if number < reached { Ok(()) } else { Err(refused) })
        };
        Reach((0..3).map(one).collect())
    }

    #[test]
    fn a_person_hears_how_many_answer_and_in_the_end_which() {
        let last = Failure::retry("the log is restarting");
        assert!(reach(0).waits_for(&last).contains("none of 3"));
        assert!(reach(1).waits_for(&last).contains("1 of 3 can be reached"));
        assert!(reach(2).waits_for(&last).contains("the log is restarting"));
        let said = reach(1).explain(last.clone()).message;
        for word in ["only 1 of 3", "o0:7300 answers", "cannot reach o1:7300: no answer", "o2:7300"] {
            assert!(said.contains(word), "{word:?}: {said}");
        }
        assert_eq!(reach(3).explain(last.clone()), last);
    }
}
