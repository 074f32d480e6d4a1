//! How a stranger becomes a client: tokens, and the release values that open what
//! they carry.

use control::{Standing, ledger};
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
                self.fetch(&subject).await;
                known().ok_or_else(|| {
                    Failure::not_found(
                        "this cluster does not know the token: it is wrong, or was made while this orchestrator was cut off",
                    )
                })?
            }
        };
        if self.records.set().read().token_revoked(&redemption.token) {
            return Err(Failure::denied("the token was revoked: ask the operator for a new one"));
        }
        // The terms' author must be an admin of the keyset that the log has admitted.
        self.admit_newest().await?;
        match self.log.propose(Command::Redeem { terms, redemption: call.redemption }).await? {
            Decided::Redeemed(enrollment) => Ok(enrollment),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the log admit the newest keyset known here, if it has not.
    pub async fn admit_newest(&self) -> Result<(), Failure> {
        let keyset = {
            let admitted = self.log.ledger().read().keyset().map(|(number, _)| number);
            let records = self.records.set().read();
            let newest = records.keyset_record().filter(|record| Some(record.version()) > admitted);
            newest.map(|record| record.signed().clone())
        };
        match keyset {
            Some(keyset) => self.log.propose(Command::Admit { keyset }).await.map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn release(&self, caller: &Caller<'_>, token: TokenId) -> Result<wire::ReleaseValue, Failure> {
        let client = caller.client()?;
        if !self.log.ledger().read().redeemed(&token).contains(&client) {
            return Err(Failure::denied("this client did not redeem that token"));
        }
        let terms = self.records.set().read().token(&token).cloned();
        let terms = terms.ok_or_else(|| Failure::retry("the token's terms have not reached this orchestrator yet"))?;
        match self.vault.get(&token)? {
            Some(value) => Ok(wire::ReleaseValue { value, terms }),
            None => Err(Failure::retry(
                "this orchestrator does not hold the token's release value; another may, unless the token has expired",
            )),
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
        self.vault.put(call.clone()).await?;
        if !matches!(caller.standing, Standing::Admin(_)) {
            return Ok(());
        }
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
        let is_done = |token: &TokenId| {
            let (records, ledger) = (self.records.set().read(), self.log.ledger().read());
            let all_welcomed = |terms: &TokenTerms| ledger.welcomed(token) >= terms.uses;
            records.token_revoked(token) || records.token(token).is_some_and(all_welcomed)
        };
        self.vault.sweep(self.env.clock.now(), is_done).await
    }
}
