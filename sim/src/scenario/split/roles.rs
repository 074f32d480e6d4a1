//! What each machine does.

use std::{net::Ipv4Addr, time::Duration};

use actors::{
    identity::Identity,
    net::{Endpoint, Pace},
};
use anyhow::{Context, bail, ensure};
use protocol::{
    failure::Failure,
    ids::{ClientId, ClusterId, DomainId, RepositoryId, TokenId},
    records::{
        Admin, Chunker, Cipher, Codec, Domain, Keyset, Payload, Record, RecordBody, Revocation, Subject, TokenTerms,
        Trust,
    },
    sign::Signer,
    time::UnixMillis,
    wire,
};

use super::Script;
use crate::scenario::{
    sometimes,
    stage::{
        MayRetry, ORCHESTRATORS, Player,
        founding::{PORT, agree, found},
    },
};

/// How long one orchestrator may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(4);
/// Clients that each side revokes; every third is revoked by both.
const REVOKED: u32 = 120;
/// Domains that both sides change, and how often each does.
const DOMAINS: u8 = 5;
const VERSIONS: u64 = 3;
/// How often a minority is given its keyset.
const ATTEMPTS: usize = 5;
/// Records in one call.
const BATCH: usize = 40;

/// How many records one side submits beside its keyset.
pub const RECORDS_PER_SIDE: usize = REVOKED as usize + DOMAINS as usize * VERSIONS as usize + 2;

/// Makes the cluster, and in the end compares what the orchestrators say.
pub async fn found_and_compare(me: Player<Script>) -> anyhow::Result<()> {
    let founded = found(&me.env).await?;
    agree(&me, &founded.operator).await.context("before the split")?;
    me.script().seeds = Some((founded.root_seed, founded.admin_seed));
    me.until(|script| script.healed).await;
    agree(&me, &founded.operator).await?;
    founded.operator.close().await;
    me.script().agreed = true;
    Ok(())
}

/// Submits records to the orchestrators of one side.
pub async fn decide(me: Player<Script>, number: usize) -> anyhow::Result<()> {
    // Every machine that is down boots when the faults are over, this one too.
    if me.script().done.contains(&number) {
        return Ok(());
    }
    let (seeds, sides) = me.told(|script| script.seeds.zip(script.sides.clone())).await;
    let (root, admin) = (Signer::from_seed(&seeds.0), Signer::from_seed(&seeds.1));
    let endpoint = Endpoint::bind(&me.env, &Identity::of_operator(seeds.1), (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
    let side = Side { me, endpoint, members: sides[number].clone(), cluster: ClusterId::of_root(&root.public()) };

    let keyset = side.keyset().await?;
    let mut records = Vec::new();
    side.add_revocations(&admin, side.members.len() as u32, &mut records);
    side.add_domains(&admin, &mut records);
    ensure!(records.len() == RECORDS_PER_SIDE, "{} records", records.len());
    for batch in records.chunks(BATCH) {
        let signed: Vec<_> = batch.iter().map(|record| record.signed().clone()).collect();
        side.ask(wire::Submit { records: signed.clone() }).await.context("submit")?;
        side.me.script().taken.extend(signed);
    }
    let keyset = side.sign(&root, 2, Payload::Keyset(side.another(keyset))).signed().clone();
    let submit = wire::Submit { records: vec![keyset.clone()] };
    if side.is_majority() {
        side.ask(submit).await.context("submitting a keyset")?;
        side.me.script().taken.push(keyset);
    } else {
        side.submit_in_vain(submit).await?;
    }
    side.endpoint.close().await;
    side.me.script().done.insert(number);
    Ok(())
}

/// One side of the split, as its admin sees it.
struct Side {
    me: Player<Script>,
    endpoint: Endpoint,
    members: Vec<u32>,
    cluster: ClusterId,
}

impl Side {
    fn is_majority(&self) -> bool {
        2 * self.members.len() > ORCHESTRATORS as usize
    }

    /// Calls one orchestrator of this side.
    async fn call<C: wire::Call>(&self, turn: usize, call: C) -> Result<C::Reply, Failure> {
        let address = format!("o{}:{PORT}", self.members[turn % self.members.len()]);
        let peer = self.endpoint.dial(&address, None, Pace::Busy, PATIENCE).await?;
        peer.call(call, PATIENCE).await
    }

    /// Calls one orchestrator of this side after the other until one answers.
    async fn ask<C: wire::Call>(&self, call: C) -> Result<C::Reply, Failure> {
        let mut turn = 0;
        loop {
            match self.call(turn, call.clone()).await {
                Err(failure) if failure.may_retry() => self.me.pause().await,
                done => return done,
            }
            turn += 1;
        }
    }

    /// A keyset is acknowledged when a majority has it: this side keeps it, and may not
    /// say so.
    async fn submit_in_vain(&self, submit: wire::Submit) -> anyhow::Result<()> {
        for turn in 0..ATTEMPTS {
            match self.call(turn, submit.clone()).await {
                Err(failure) if failure.may_retry() => {
                    sometimes("split: a minority keeps a keyset, and does not acknowledge it");
                    self.me.pause().await;
                }
                other => bail!("a minority answered to a new keyset: {other:?}"),
            }
        }
        Ok(())
    }

    async fn keyset(&self) -> anyhow::Result<Keyset> {
        let page = self.ask(wire::GetRecords { subjects: vec![Subject::Keyset], after: None }).await?;
        let signed = page.items.into_iter().next().context("there is a keyset")?;
        match Record::open(signed, &self.cluster)?.payload() {
            Payload::Keyset(keyset) => Ok(keyset.clone()),
            other => bail!("{other:?} is no keyset"),
        }
    }

    fn sign(&self, signer: &Signer, version: u64, payload: Payload) -> Record {
        Record::sign(signer, RecordBody { cluster: self.cluster, version, payload })
    }

    /// Another keyset than the other side's, of the same number.
    fn another(&self, mut keyset: Keyset) -> Keyset {
        let key = Signer::from_seed(&[self.members.len() as u8; 32]).public();
        keyset.admins.push(Admin { name: format!("an admin of side {}", self.members.len()), key });
        keyset
    }

    /// Revocations: some by both sides, for other reasons; and a token, which one side
    /// changes and the other revokes.
    fn add_revocations(&self, admin: &Signer, salt: u32, records: &mut Vec<Record>) {
        for number in 0..REVOKED {
            let salt = if number.is_multiple_of(3) { 0 } else { salt };
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_le_bytes());
            id[4..8].copy_from_slice(&salt.to_le_bytes());
            let reason = format!("side {}", self.members.len());
            let revocation = Revocation { id: ClientId(id), reason };
            records.push(self.sign(admin, 1, Payload::ClientRevocation(revocation)));
        }
        let terms = TokenTerms {
            token: TokenId([7; 32]),
            name: format!("side {}", self.members.len()),
            uses: 1,
            expires: UnixMillis(1),
            domain: DomainId([7; 16]),
            tags: Vec::new(),
            welcome: vec![salt as u8; 300],
        };
        records.push(self.sign(admin, u64::from(salt), Payload::Token(terms)));
        let revocation = Revocation { id: TokenId([7; 32]), reason: "either".into() };
        records.push(self.sign(admin, 1, Payload::TokenRevocation(revocation)));
    }

    /// Each version of each domain, in other words than the other side's.
    fn add_domains(&self, admin: &Signer, records: &mut Vec<Record>) {
        for (number, version) in (0..DOMAINS).flat_map(|number| (1..=VERSIONS).map(move |version| (number, version))) {
            let domain = Domain {
                id: DomainId([0xd0 + number; 16]),
                name: format!("domain {number} of side {}, {version}", self.members.len()),
                repository: RepositoryId([9; 16]),
                trust: Trust::Trusting,
                chunker: Chunker { min: 2, average: 4, max: 8 },
                codec: Codec::Raw,
                cipher: Cipher::ChaCha20Poly1305,
                generation: 0,
            };
            records.push(self.sign(admin, version, Payload::Domain(domain)));
        }
    }
}
