//! How a stranger becomes a client: tokens, and the release values that open what
//! they carry.

use control::{Standing, ledger};
use probe::Plant;
use protocol::{
    commands::{Command, Decided, Enrollment},
    failure::Failure,
    ids::TokenId,
    records::{Subject, TokenTerms},
    wire,
};

use super::{Caller, Desk, unexpected};

impl Desk {
    pub(super) async fn redeem(&self, caller: &Caller<'_>, call: wire::Redeem) -> Result<Enrollment, Failure> {
        let redemption = ledger::read_redemption(&call.redemption)?;
        if redemption.exporter != caller.incoming.exporter(wire::REDEMPTION_EXPORTER)? {
            return Err(Failure::denied("the redemption was made for another connection"));
        }
        if redemption.keys.tls != caller.incoming.caller {
            return Err(Failure::denied("the redemption names another TLS key than the connection shows"));
        }
        let subject = Subject::Token(redemption.token);
        let known = || self.records.set().read().winner(&subject).map(|record| record.signed().clone());
        let terms = match known() {
            Some(terms) => terms,
            None => {
                let all_answered = self.fetch(&subject).await;
                known().ok_or_else(|| match all_answered {
                    true => Failure::not_found("this cluster does not know the token"),
                    // It was taken by one orchestrator, and may not have come further.
                    false => Failure::retry(
                        "no orchestrator that answers knows the token, and one that does not answer may: try again \
                         once all of them run",
                    ),
                })?
            }
        };
        if self.records.set().read().token_revoked(&redemption.token) {
            return Err(Failure::denied("the token was revoked: ask the operator for a new one"));
        }
        if probe::planted(Plant::UsesCountedHere) {
            let (records, ledger) = (self.records.set().read(), self.log.ledger().read());
            let is_spent = records.token(&redemption.token).is_some_and(|terms| ledger.uses_left(terms) == 0);
            if is_spent && ledger.client_by_key(&redemption.keys.tls).is_none() {
                return Err(Failure::denied("the token is spent, as far as this orchestrator has counted"));
            }
        }
        // The terms' author must be an admin of the keyset that the log has admitted.
        self.admit_newest().await?;
        match self.log.propose(Command::Redeem { terms, redemption: call.redemption }).await? {
            Decided::Redeemed(enrollment) => Ok(enrollment),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn release(&self, caller: &Caller<'_>, token: TokenId) -> Result<wire::ReleaseValue, Failure> {
        let client = caller.client()?;
        if !self.log.ledger().read().has_redeemed(&client, &token) && !probe::planted(Plant::ReleaseToStranger) {
            return Err(Failure::denied("this client did not redeem that token"));
        }
        let terms = self.records.set().read().token(&token).cloned();
        let terms = terms.ok_or_else(|| Failure::retry("the token's terms have not reached this orchestrator yet"))?;
        match self.vault.get(&token)? {
            Some(value) => Ok(wire::ReleaseValue { value, terms }),
            None if terms.expires < self.env.clock.now() => Err(Failure::denied(
                "the token expired before this machine had fetched what it was for: ask the operator for a new one and enroll with that",
            )),
            None => {
                Err(Failure::retry("this orchestrator does not hold the token's release value, but another one may"))
            }
        }
    }

    pub(super) async fn acknowledge(&self, caller: &Caller<'_>, token: TokenId) -> Result<(), Failure> {
        let client = caller.client()?;
        match self.log.propose(Command::Acknowledge { client, token }).await? {
            Decided::Acknowledged => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Keeps a release value here and, from an admin, at a majority: any majority then
    /// has one that can give it out.
    pub(super) async fn put_release(&self, caller: &Caller<'_>, call: wire::PutRelease) -> Result<(), Failure> {
        if !matches!(caller.standing, Standing::Admin(_)) {
            // Handed over by one that may not have heard yet that nobody needs it.
            return if self.is_over(&call.token) { Ok(()) } else { self.vault.put(call).await };
        }
        self.vault.put(call.clone()).await?;
        let (roster, kept) = (self.peers.others().len() + 1, self.tell_others(call).await.len() + 1);
        if kept > roster / 2 {
            return Ok(());
        }
        Err(Failure::retry(format!(
            "only {kept} of {roster} orchestrators could keep the token's release value: try again once a majority runs"
        )))
    }

    /// Erases release values that nobody needs any more.
    pub async fn sweep_vault(&self) -> Result<(), Failure> {
        self.vault.sweep(self.env.clock.now(), |token| self.is_over(token)).await
    }

    /// Whether nobody needs a token's release value any more.
    pub(super) fn is_over(&self, token: &TokenId) -> bool {
        let (records, ledger) = (self.records.set().read(), self.log.ledger().read());
        let all_welcomed = |terms: &TokenTerms| ledger.welcomed(token) >= terms.uses;
        if probe::planted(Plant::ReleaseKept) {
            return false;
        }
        records.token_revoked(token) || records.token(token).is_some_and(all_welcomed)
    }
}
