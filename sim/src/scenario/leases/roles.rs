//! What the operator, the thief and the clients do.

use std::time::Duration;

use actors::client::enroll;
use anyhow::{Context, bail, ensure};
use protocol::{
    commands::Lease,
    failure::{Code, Failure},
    format::commit::{CommitBody, CommitObject},
    ids::{AttemptId, LineageId, SnapshotId},
    names::{ObjectName, Place},
    records::{Payload, Subject, Trust},
    token::Token,
    wire,
};

use super::{
    CLIENTS, STEPS, Script,
    hand::Hand,
    model::{Held, Model, invariant_refused, invariant_stays_ended, says_ended},
};
use crate::{
    history::{Outcome, What},
    scenario::stage::{ORCHESTRATORS, Player, founding::found, person},
};

/// After each answer: power that is lost right after it finds the client without a call.
const BREATH: Duration = Duration::from_millis(5);

/// The operator: two domains, a token for each, and two tokens that nobody can use.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    // Every machine that is down boots when the faults are over, this one too.
    if me.script().void.is_some() {
        return Ok(());
    }
    let founded = found(&me.env).await?;
    let (operator, home) = (&founded.operator, &founded.domain);
    let token = founded.token(&me, "home", 2).await?;
    let void: Token = founded.token(&me, "void", 1).await?.parse()?;
    let spare: Token = founded.token(&me, "spare", 9).await?.parse()?;
    operator.revoke_token(void.id(), "it was lost").await.context("token revoke")?;
    me.info.recorder.note(What::Void { token: void.id().to_string(), outcome: Outcome::Done });
    // Signed again after that, as by another admin who has not heard of it.
    let terms = operator.records(vec![Subject::Token(void.id())]).await?;
    let terms = terms.iter().map(|record| record.payload().clone()).collect::<Vec<Payload>>();
    operator.submit(terms).await.context("token terms")?;

    let storage = operator.records(vec![Subject::Storage(home.repository)]).await?;
    let storage = storage.into_iter().find_map(|record| match record.payload() {
        Payload::Storage(storage) => Some(storage.clone()),
        _ => None,
    });
    let storage = storage.context("a storage")?;
    let secrets = operator.make_secrets();
    let other = operator.add_domain("other", &storage, Trust::Strangers, &secrets).await.context("domain create")?;
    let others_token = founded.token_for(&me, &other, &secrets, "other", 1).await?;
    {
        let mut script = me.script();
        script.tokens = [("home", token), ("other", others_token)].into();
        script.void = Some(void.to_text());
        script.spare = Some(spare.id());
        script.storage = Some(storage);
        script.index_keys = [(home.id, founded.secrets.index_key), (other.id, secrets.index_key)].into();
    }
    operator.close().await;
    Ok(())
}

/// Somebody who has found the token that was revoked.
pub async fn steal(me: Player<Script>) -> anyhow::Result<()> {
    if me.script().done.contains(&me.info.node) {
        return Ok(());
    }
    let void: Token = me.told(|script| script.void.clone()).await.parse()?;
    me.until(|script| script.steps > 0).await;
    let asked = me.persist(|| enroll(&me.env, &void, "thief"));
    match person::recorded_join(&me, "thief", &void, asked).await {
        Err(Failure { code: Code::Denied, .. }) => _ = me.script().done.insert(me.info.node),
        other => bail!("I4: a token that was revoked was answered with {other:?}"),
    }
    Ok(())
}

/// A client of a domain.
pub async fn work(me: Player<Script>, domain: &'static str) -> anyhow::Result<()> {
    if me.script().done.contains(&me.info.node) {
        return Ok(());
    }
    let token = me.told(|script| script.tokens.get(domain).cloned()).await;
    let (_, enrollment) = person::join(&me, &token, domain).await?;
    me.script().clients.push((enrollment.client, enrollment.domain));
    me.until(|script| script.clients.len() == CLIENTS.len()).await;
    let hand = Hand::open(&me.env).await?;
    let mut client = Client { me, hand, model: Model::default() };
    let mut blackouts = 0;
    for _ in 0..STEPS {
        let seen = client.me.script().blackouts;
        match std::mem::replace(&mut blackouts, seen) < seen {
            // Whoever leads now may not know yet what it has answered before.
            true => {
                client.hand.hang_up();
                client.list().await?;
            }
            false => client.step().await?,
        }
        client.me.script().steps += 1;
        client.hand.env.clock.sleep(BREATH).await;
    }
    client.finish().await
}

/// One client, and what it has to see.
pub(super) struct Client {
    pub(super) me: Player<Script>,
    pub(super) hand: Hand,
    model: Model,
}

impl Client {
    async fn step(&mut self) -> anyhow::Result<()> {
        let Some(held) = self.model.open.clone() else { return self.grant().await };
        match self.hand.below(16) {
            0 => self.grant().await,
            1 => self.repeat_grant(held).await,
            2 => self.repeat_old_grant().await,
            3 => self.come_back(held).await,
            4 | 5 => self.list().await,
            6 => self.use_ended().await,
            7 => self.reach_for_others(&held.lease).await,
            8 => self.close_and_commit(held.lease).await,
            9 => self.supersede_and_commit(held.lease).await,
            10 => self.report(&held.lease).await,
            11 => self.lie(&held.lease).await,
            12 => self.mint(&held.lease).await,
            _ => self.commit(held.lease).await,
        }
    }

    /// A new lease, which ends the one before.
    async fn grant(&mut self) -> anyhow::Result<()> {
        let grant = self.wish(None);
        match self.ask_grant(&grant).await {
            Ok(lease) => self.model.granted(lease, grant),
            // It was granted and ended by a clock that is hours ahead, before the answer came.
            Err(failure) if says_ended(&failure) => {
                self.model.end();
                Ok(())
            }
            Err(failure) => bail!("grant: {failure}"),
        }
    }

    fn wish(&self, after: Option<&Lease>) -> wire::Grant {
        wire::Grant {
            repository: self.hand.storage.repository,
            lineage: LineageId([7; 16]),
            attempt: AttemptId(self.hand.env.rng.array()),
            after: after.map(|lease| lease.id),
        }
    }

    /// The same call again, at another orchestrator: the same answer.
    async fn repeat_grant(&mut self, held: Held) -> anyhow::Result<()> {
        match self.ask_grant(&held.grant).await {
            Ok(again) => {
                let (first, again) = (held.lease.id, again.id);
                ensure!(first == again, "I14: a repeated call for lease {first} was granted {again}");
                Ok(())
            }
            Err(failure) => self.ended_by_time(failure).await,
        }
    }

    /// A call for a lease that has ended, very late: it brings nothing, and ends nothing.
    async fn repeat_old_grant(&mut self) -> anyhow::Result<()> {
        let Some(old) = self.any_ended() else { return self.list().await };
        let answer = self.ask_grant(&old.grant).await;
        invariant_stays_ended(&old.lease.id, &answer)
    }

    /// A process whose lease was taken over asks for the next one.
    async fn come_back(&mut self, held: Held) -> anyhow::Result<()> {
        let Some(old) = self.model.ended.iter().find(|old| old.lease.id < held.lease.id) else {
            return self.list().await;
        };
        let wish = self.wish(Some(&old.lease));
        let what = format!("I14: a backup after lease {}, while {} is open", old.lease.id, held.lease.id);
        invariant_refused(&what, self.ask_grant(&wish).await)
    }

    /// I3: whichever orchestrator is asked.
    async fn list(&mut self) -> anyhow::Result<()> {
        let from_ms = self.me.info.recorder.now_ms();
        let listed = self.hand.ask(wire::ListSnapshots { client: None, after: None }).await?;
        let listed: Vec<SnapshotId> = listed.items.iter().map(|snapshot| snapshot.id).collect();
        self.record_list(from_ms, &listed);
        self.model.invariant_snapshots_are_those_acknowledged(&listed)
    }

    /// I9: no ticket under a lease that has ended, of an orchestrator that has heard of its end.
    async fn use_ended(&mut self) -> anyhow::Result<()> {
        let Some(old) = self.any_ended() else { return self.list().await };
        let number = self.hand.below(ORCHESTRATORS);
        let synced = self.hand.ask_one(number, wire::ListSnapshots { client: None, after: None }).await;
        if synced.is_err() {
            return Ok(());
        }
        let place = Place::Pack(old.lease.domain);
        let key = self.hand.name(&old.lease, place, b"late");
        let objects = vec![wire::PutRequest { key, len: 4 }];
        let mint = wire::MintPuts { lease: old.lease.id, repository: old.lease.repository, objects };
        invariant_refused("I9: a ticket under a lease that has ended", self.hand.ask_one(number, mint).await)
    }

    /// I5 and I10: what belongs to others.
    async fn reach_for_others(&mut self, lease: &Lease) -> anyhow::Result<()> {
        let (domain, client) = {
            let (script, mine) = (self.me.script(), &self.hand.enrollment);
            let domain = script.index_keys.keys().copied().find(|domain| *domain != mine.domain);
            let client = script.clients.iter().map(|(client, _)| *client).find(|client| *client != mine.client);
            (domain.context("another domain")?, client.context("another client")?)
        };
        let name = ObjectName { lease: lease.id, ..self.hand.name(lease, Place::Pack(domain), b"theirs").name };
        for place in [Place::Pack(domain), Place::Index(domain), Place::Snapshot(client), Place::Refs(client)] {
            let key = place.object(name);
            let get = wire::MintGets { repository: lease.repository, objects: vec![key] };
            invariant_refused(&format!("I10: a ticket to read {key}"), self.hand.ask(get).await)?;
            let objects = vec![wire::PutRequest { key, len: 6 }];
            let put = wire::MintPuts { lease: lease.id, repository: lease.repository, objects };
            invariant_refused(&format!("I10: a ticket to write {key}"), self.hand.ask(put).await)?;
        }
        let list = wire::ListSnapshots { client: Some(client), after: None };
        invariant_refused("I10: a list of another's snapshots", self.hand.ask(list).await)?;
        let token = self.me.script().spare.context("a token that is to spare")?;
        let number = self.hand.below(ORCHESTRATORS);
        let release = self.hand.ask_one(number, wire::Release { token }).await.map(drop);
        invariant_refused("I5: the release value of another token", release)
    }

    /// A commit that is on its way while its lease is given back comes too late.
    async fn close_and_commit(&mut self, lease: Lease) -> anyhow::Result<()> {
        let Some(call) = self.store_commit(&lease, |_| {}).await? else { return Ok(()) };
        self.ask_close(&lease).await.context("close")?;
        self.model.end();
        invariant_refused("I9: a commit under a lease that was closed", self.ask_commit(call).await)
    }

    /// The same, while another backup takes its place.
    async fn supersede_and_commit(&mut self, lease: Lease) -> anyhow::Result<()> {
        let Some(call) = self.store_commit(&lease, |_| {}).await? else { return Ok(()) };
        self.grant().await?;
        invariant_refused("I9: a commit under a lease that was taken over", self.ask_commit(call).await)
    }

    /// I12: a pack that was never stored is found missing, and condemned.
    async fn report(&mut self, lease: &Lease) -> anyhow::Result<()> {
        let salt: [u8; 8] = self.hand.env.rng.array();
        let key = self.hand.name(lease, Place::Pack(lease.domain), &salt);
        let report = wire::Report { repository: lease.repository, objects: vec![key] };
        let bad = self.hand.ask(report).await.context("report")?;
        self.model.condemned.extend(bad.iter().map(|key| key.name));
        Ok(())
    }

    /// I6: what is no commit, or another one than is claimed, is not decided, and the lease
    /// is open as before.
    async fn lie(&mut self, lease: &Lease) -> anyhow::Result<()> {
        match self.hand.below(3) {
            0 => {
                let body = self.body(lease);
                let bytes = CommitObject::seal(&body, &self.hand.profile.commit_signer());
                let key = self.hand.name(lease, Place::Snapshot(body.client), &bytes);
                let call = wire::Commit { repository: lease.repository, commit: body.facts(key.name) };
                let number = self.hand.below(ORCHESTRATORS);
                let answer = self.hand.ask_one(number, call).await;
                invariant_refused("I6: a commit whose object was never stored", answer)?;
            }
            1 => {
                let Some(mut call) = self.store_commit(lease, |_| {}).await? else { return Ok(()) };
                call.commit.complete = !call.commit.complete;
                invariant_refused("I6: a commit of which more is claimed than it says", self.hand.ask(call).await)?;
            }
            _ => {
                let skip = |body: &mut CommitBody| body.previous = Some(SnapshotId([3; 32]));
                let Some(call) = self.store_commit(lease, skip).await? else { return Ok(()) };
                invariant_refused("I3: a commit that follows no snapshot of its client", self.hand.ask(call).await)?;
            }
        }
        self.mint(lease).await
    }

    /// A ticket under the open lease.
    async fn mint(&mut self, lease: &Lease) -> anyhow::Result<()> {
        let key = self.hand.name(lease, Place::Pack(lease.domain), b"mine");
        let objects = vec![wire::PutRequest { key, len: 4 }];
        let mint = wire::MintPuts { lease: lease.id, repository: lease.repository, objects };
        match self.hand.ask(mint).await {
            Ok(tickets) => {
                ensure!(tickets.len() == 1, "{} tickets", tickets.len());
                Ok(())
            }
            Err(failure) => self.ended_by_time(failure).await,
        }
    }

    /// A snapshot, with a segment that lies about its packs now and then.
    async fn commit(&mut self, lease: Lease) -> anyhow::Result<()> {
        let segments = match self.hand.below(2) {
            0 => self.store_segment(&lease).await?,
            _ => Some(Vec::new()),
        };
        let Some(segments) = segments else { return Ok(()) };
        let Some(call) = self.store_commit(&lease, |body| body.segments = segments).await? else { return Ok(()) };
        let id = SnapshotId(call.commit.object.hash.0);
        match self.ask_commit(call).await {
            Ok(decided) => {
                ensure!(decided == id, "commit {id} was decided as {decided}");
                self.me.script().commits += 1;
                self.model.snapshots.push(id);
                self.model.end();
                Ok(())
            }
            Err(failure) => self.ended_by_time(failure).await,
        }
    }

    /// Somebody says that the open lease has ended: that is so if its time was over and it
    /// was closed, and then everyone says so.
    pub(super) async fn ended_by_time(&mut self, failure: Failure) -> anyhow::Result<()> {
        ensure!(says_ended(&failure), "under an open lease: {failure}");
        let Some(held) = self.model.open.clone() else { return Ok(()) };
        let again = self.ask_grant(&held.grant).await;
        let lease = held.lease.id;
        ensure!(again.is_err(), "I14: lease {lease} is open, and yet somebody said: {failure}");
        self.model.end();
        Ok(())
    }

    fn any_ended(&self) -> Option<Held> {
        let count = self.model.ended.len() as u32;
        (count > 0).then(|| self.model.ended[self.hand.below(count) as usize].clone())
    }

    /// Waits until nothing that it committed waits to be published.
    async fn finish(&mut self) -> anyhow::Result<()> {
        self.list().await?;
        let survey = wire::Survey { repository: self.hand.storage.repository };
        let view = loop {
            let view = self.hand.ask(survey.clone()).await.context("survey")?;
            if view.own.is_empty() {
                break view;
            }
            self.me.pause().await;
        };
        let domain = self.hand.enrollment.domain;
        let mut script = self.me.script();
        script.published.extend(view.shared.iter().map(|segment| (domain, segment.name)));
        script.done.insert(self.me.info.node);
        Ok(())
    }
}
