//! Redeeming tokens: how a stranger becomes a client.
//!
//! Invariant: no token is redeemed by more keys than its uses (I4). The first
//! keys win, and the same keys always get the same answer.

use std::sync::Arc;

use probe::Plant;
use protocol::{
    codec,
    commands::{ClientKeys, Enrollment, Redemption},
    failure::Failure,
    ids::{ClientId, Hash, PublicKey, TokenId},
    limits,
    records::{Payload, Record, TokenTerms},
    sign::{self, Signed},
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};

use super::{Client, Ledger, refused};

/// What became of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenUse {
    /// The newest terms that any redemption brought.
    terms: TermsRank,
    /// Who redeemed it, in order.
    pub redeemed: Vec<ClientId>,
    /// How many of them have opened the welcome.
    pub welcomed: u32,
    pub refused: Option<Refusals>,
}

/// Redemptions of one spent token by surplus keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// How many attempts were refused.
    pub count: u64,
    /// When the last was, by decided time.
    pub last_at: UnixMillis,
    /// The TLS key of the last.
    pub last_key: PublicKey,
    /// What the last called itself.
    pub last_name: String,
}

/// Which of two terms of one token wins: ordered as converging records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct TermsRank {
    version: u64,
    author: PublicKey,
    hash: Hash,
}

impl TermsRank {
    fn of(record: &Record) -> Self {
        Self { version: record.version(), author: *record.author(), hash: *record.hash() }
    }
}

/// Reads a redemption: its form, that the token's own key signed it, and the
/// new client's name. Whether the token is good for anything is not asked here.
pub fn read_redemption(signed: &Signed) -> Result<Redemption, Failure> {
    const WHAT: &str = "redemption";
    signed.verify(WHAT, sign::REDEMPTION).map_err(refused)?;
    let redemption: Redemption = codec::decode(WHAT, &signed.body).map_err(refused)?;
    if redemption.token.0 != signed.author.0 {
        return Err(Failure::denied("the redemption is not signed with the key of its token"));
    }
    if redemption.name.is_empty() || redemption.name.len() > limits::LABEL_BYTES_MAX {
        return Err(Failure::invalid(format!(
            "a client's name has 1 to {} bytes, and this one has {}: choose another",
            limits::LABEL_BYTES_MAX,
            redemption.name.len()
        )));
    }
    if redemption.name.chars().any(char::is_control) {
        return Err(Failure::invalid("a client's name must not contain control characters: choose another"));
    }
    Ok(redemption)
}

impl Ledger {
    /// Enrolls the keys that redeem a token.
    pub(super) fn redeem(&mut self, terms: &Signed, redemption: &Signed) -> Result<Enrollment, Failure> {
        let redemption = read_redemption(redemption)?;
        if redemption.cluster != self.cluster {
            return Err(Failure::denied("the redemption was signed for another cluster"));
        }
        let client = ClientId::of_key(&redemption.keys.tls);
        // Before the terms: whoever redeemed may ask again after the token has ended.
        if let Some(enrollment) = self.enrollment(&client).filter(|_| !probe::planted(Plant::RedeemedTwice)) {
            probe::sometimes("a token is redeemed again by the same keys");
            return same_answer(enrollment, &redemption.token, &redemption.keys);
        }
        if self.has_role(&redemption.keys.tls) {
            return Err(Failure::denied("this key belongs to an orchestrator or an admin: a client needs its own"));
        }
        let terms = self.read_terms(terms, &redemption.token)?;
        let (decided, name) = (self.decided, redemption.token.short());
        if terms.expires <= decided {
            return Err(Failure::denied(format!("token {name} has expired: ask the operator for a new one")));
        }
        let Some(token) = self.tokens.get_mut(&redemption.token) else {
            return Err(Failure::internal(format!("token {name} has terms that were not kept: this is a defect")));
        };
        if token.redeemed.len() >= terms.uses as usize && !probe::planted(Plant::UsesCountedHere) {
            probe::sometimes("a token is shown by more keys than it has uses");
            token.refuse(decided, &redemption);
            return Err(Failure::denied(format!(
                "token {name} is spent: it was good for {} and other keys came first; ask the operator for a new one",
                if terms.uses == 1 { "one client".into() } else { format!("{} clients", terms.uses) }
            )));
        }
        token.redeemed.push(client);
        let enrollment = Enrollment {
            client,
            keys: redemption.keys,
            name: redemption.name,
            token: redemption.token,
            domain: terms.domain,
            tags: terms.tags,
            at: decided,
        };
        let joined = Client { enrollment: enrollment.clone(), welcomed: false, chains: Default::default() };
        self.clients.insert(client, Arc::new(joined));
        Ok(enrollment)
    }

    /// Notes that a client has opened the welcome of the token that it redeemed.
    /// Noting it again changes nothing.
    pub(super) fn acknowledge(&mut self, client: &ClientId, token: &TokenId) -> Result<(), Failure> {
        let not_redeemed = || Failure::denied(format!("this client did not redeem token {}", token.short()));
        let holder = self.clients.get_mut(client).map(Arc::make_mut).ok_or_else(not_redeemed)?;
        if holder.enrollment.token != *token {
            return Err(not_redeemed());
        }
        if !std::mem::replace(&mut holder.welcomed, true)
            && let Some(used) = self.tokens.get_mut(token)
        {
            used.welcomed += 1;
        }
        Ok(())
    }

    /// The terms of a token, if an admin of the keyset in force says so and the
    /// log has seen no newer ones. They are remembered even if the redemption is
    /// refused later, so that an old copy cannot bring a longer life back.
    fn read_terms(&mut self, signed: &Signed, token: &TokenId) -> Result<TokenTerms, Failure> {
        let record = Record::open(signed.clone(), &self.cluster).map_err(refused)?;
        let Payload::Token(terms) = record.payload() else {
            return Err(Failure::invalid("this record is not a token's terms"));
        };
        if !self.is_admin(record.author()) {
            return Err(Failure::denied(format!(
                "the terms of token {} are not signed by an admin of this cluster: have one sign them again",
                token.short()
            )));
        }
        if terms.token != *token {
            return Err(Failure::invalid("these are the terms of another token"));
        }
        if !(1..=limits::TOKEN_USES_MAX).contains(&terms.uses) {
            return Err(Failure::invalid(format!(
                "a token has 1 to {} uses, and this one has {}",
                limits::TOKEN_USES_MAX,
                terms.uses
            )));
        }
        let rank = TermsRank::of(&record);
        match self.tokens.get_mut(token) {
            None => {
                self.tokens.insert(*token, TokenUse { terms: rank, redeemed: Vec::new(), welcomed: 0, refused: None });
            }
            // Terms of someone who is no admin any more hold nobody up.
            Some(known)
                if known.terms > rank && self.keyset.as_ref().is_some_and(|k| k.is_admin(&known.terms.author)) =>
            {
                return Err(Failure::retry(format!(
                    "token {} has newer terms than this orchestrator knows: try another one",
                    token.short()
                )));
            }
            Some(known) => known.terms = rank,
        }
        Ok(terms.clone())
    }
}

impl TokenUse {
    fn refuse(&mut self, at: UnixMillis, redemption: &Redemption) {
        self.refused = Some(Refusals {
            count: self.refused.as_ref().map_or(0, |refusals| refusals.count).saturating_add(1),
            last_at: at,
            last_key: redemption.keys.tls,
            last_name: redemption.name.clone(),
        });
    }
}

/// What a key that is enrolled hears when it redeems again.
fn same_answer(enrollment: &Enrollment, token: &TokenId, keys: &ClientKeys) -> Result<Enrollment, Failure> {
    let name = &enrollment.name;
    if enrollment.keys != *keys {
        return Err(Failure::denied(format!(
            "this TLS key is enrolled as {name:?} with other keys: enroll with keys that are all new"
        )));
    }
    if enrollment.token != *token {
        return Err(Failure::denied(format!(
            "these keys are enrolled already, as {name:?} by token {}: to enroll again, make new keys",
            enrollment.token.short()
        )));
    }
    Ok(enrollment.clone())
}
