//! What happens in the demo, in order.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use actors::{
    client::{self, BackupRequest, Client, Means, RestoreRequest},
    net::Pace,
};
use env::{Env, files::Kind, run_blocking};
use protocol::{failure::Code, records::Trust, token::Token};
use repo::{CancellationToken, Outcome, Progress, ReadData, RestoreOptions};

use super::{
    compare::{Pair, compare},
    loss::{Loss, Moment, WatchedStorages, lose},
    report::{Backup, Report},
    sample,
    stage::Stage,
};
use crate::cli::{
    Demo, NewCluster, NewStorage, NewToken, OperatorSession, Output, Shown, Trouble, client_env, line, watch,
};

const DOMAIN: &str = "demo";
const STEPS: u32 = 8;
/// Long enough for the longest demo.
const TOKEN_LASTS: Duration = Duration::from_secs(3600);

/// Plays it.
pub async fn play(args: &Demo, output: Output, stage: &mut Stage) -> Result<Report, Trouble> {
    let mut number = 0;
    let mut step = |text: &str| {
        number += 1;
        if !output.is_json() {
            line(&format!("[{number}/{STEPS}] {text}"));
        }
    };
    let own = args.dir.as_deref().map(|dir| source_directory(dir, stage)).transpose()?;

    // First, so that its files have settled when they are backed up: one that was
    // changed less than two seconds before is read again by the next backup.
    let real = client_env(&stage.path("client")).await?;
    let player = Player { env: real.env().clone(), output };
    let extra = sample::place(&stage.path(""), own.is_none());
    step(if own.is_none() { "making a sample tree" } else { "making a few files to change later, beside yours" });
    player.make(&extra, own.is_none()).await?;

    step(&match stage.elsewhere() {
        None => "starting three orchestrators and a storage, each a process of its own".into(),
        Some(storage) => {
            format!("starting three orchestrators, each a process of its own; the storage is {}", storage.endpoint)
        }
    });
    let token = set_up(stage).await?;
    let sources: Vec<PathBuf> = own.iter().cloned().chain([extra.clone()]).collect();

    step("enrolling a client with a token that is good once");
    client::enroll(&player.env, &token, "demo-client").await?;

    step("backing up; in the middle, killing the orchestrator that the client uses");
    let (client, first, loss) = player.first_backup(&sources, stage).await?;
    let mut client = client;
    let failover = loss.as_ref().and_then(|loss| client.link().report().failover_done?.checked_sub(loss.at));
    let went_on_with = client.link().report().connected.map(|orchestrator| orchestrator.name);

    step("changing a few files, and backing up again");
    let (files, changed) = (player.env.files.clone(), extra.clone());
    run_blocking(&*player.env.blocking, move || sample::change(&*files, &changed))
        .await
        .map_err(|error| Trouble::file("change", &extra, &error))?;
    let began = player.env.clock.now();
    let second = player.backup(&mut client, &sources, "after a change").await?;

    step("restoring everything, and comparing every byte and attribute");
    let target = stage.path("restored");
    let (restored, restore_took) = player.restore(&mut client, &target).await?;
    let pairs =
        sources.iter().map(|source| Pair { source: source.clone(), restored: below(&target, source) }).collect();
    let (files, problems) = (player.env.files.clone(), second.problems.clone());
    let comparison = run_blocking(&*player.env.blocking, move || compare(&*files, pairs, &problems, began)).await;

    step("verifying all that lies in the storage, byte for byte");
    let verified = player.verify(&mut client).await?;
    let bytes_via_orchestrators = client.link().report().bytes_sent;
    client.close().await?;
    real.close().await;

    step("trying the used token with a second key");
    let token_refusal = second_key(stage, &token).await?;

    let source = match &own {
        Some(dir) => format!("{}, and a few files of the demo beside it", dir.display()),
        None => "A sample tree".into(),
    };
    Ok(Report {
        source,
        first,
        second,
        loss,
        failover,
        went_on_with,
        restored,
        restore_took,
        comparison,
        token_refusal,
        verified,
        bytes_via_orchestrators,
    })
}

/// The directory that the person named, without links in its path.
fn source_directory(dir: &Path, stage: &Stage) -> Result<PathBuf, Trouble> {
    let source = std::fs::canonicalize(dir).map_err(|error| Trouble::file("back up", dir, &error))?;
    let work = stage.path("");
    if work.starts_with(&source) || source.starts_with(&work) {
        return Err(Trouble::usage(format!(
            "{} and the demo's own directory {} lie in each other",
            source.display(),
            work.display()
        ))
        .hint("Give the demo another place with --work-dir: it would back up its own storage."));
    }
    Ok(source)
}

/// Where a whole snapshot puts a path.
fn below(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").unwrap_or(source))
}

/// Cluster, storage, domain, token: what an operator does once.
async fn set_up(stage: &mut Stage) -> Result<Token, Trouble> {
    let candidates = stage.start_orchestrators().await?;
    let access = stage.start_storage().await?;
    let home = stage.path("home");
    // The root key of the demo's cluster protects nothing for longer than the demo.
    let new = NewCluster { name: "demo", candidates: &candidates, admin: "demo", passphrase: "demo" };
    new.make(&home).await?;
    let session = OperatorSession::open(&home).await?;
    let made = async {
        NewStorage { storage: access.storage, credential: access.credential, adopt: false }.add(&session).await?;
        stage.stores();
        session.create_domain(DOMAIN, "demo", Trust::Trusting).await?;
        let new = NewToken { domain: DOMAIN, uses: 1, lasts: TOKEN_LASTS, tags: &[], name: "demo" };
        Ok(new.make(&session).await?.0)
    }
    .await;
    session.close(made).await
}

/// Tries the token with other keys. Returns what it was told, if it was refused.
async fn second_key(stage: &Stage, token: &Token) -> Result<Option<String>, Trouble> {
    let real = client_env(&stage.path("second-client")).await?;
    let joined = client::enroll(real.env(), token, "second-client").await;
    real.close().await;
    match joined {
        Ok(_) => Ok(None),
        Err(failure) if matches!(failure.code, Code::Denied | Code::Invalid) => Ok(Some(failure.message)),
        Err(failure) => Err(failure.into()),
    }
}

struct Player {
    env: Env,
    output: Output,
}

impl Player {
    async fn make(&self, root: &Path, alone: bool) -> Result<(), Trouble> {
        let (files, place) = (self.env.files.clone(), root.to_path_buf());
        let size = if alone { sample::WHOLE } else { sample::SMALL };
        let made = run_blocking(&*self.env.blocking, move || sample::make(&*files, &place, size)).await;
        made.map_err(|error| Trouble::file("make", root, &error))
    }

    /// The first backup, with the loss in the middle.
    async fn first_backup(
        &self,
        sources: &[PathBuf],
        stage: &mut Stage,
    ) -> Result<(Client, Backup, Option<Loss>), Trouble> {
        let (files, counted) = (self.env.files.clone(), sources.to_vec());
        let bytes =
            run_blocking(&*self.env.blocking, move || counted.iter().map(|source| bytes_below(&*files, source)).sum())
                .await;
        let progress = Arc::new(Progress::default());
        let (moment, asked) = Moment::new(bytes);
        let mut env = self.env.clone();
        env.storages = Arc::new(WatchedStorages { inner: env.storages, moment: moment.clone() });
        let mut client = Client::open(&env, Pace::Busy)?;
        let link = client.link().clone();
        let started = env.clock.monotonic();
        let shown = Shown { verb: "backing up", moved: "stored", bytes_total: None };
        let mut loss = None;
        let outcome = {
            let job = client.backup(request(sources, "first"), progress.clone(), CancellationToken::new());
            let mut backup = pin!(watch(self.output, env.clock.clone(), shown, &progress, Box::pin(job)));
            let mut losing = pin!(lose(asked, &moment, &link, stage, &*env.clock));
            loop {
                tokio::select! {
                    done = &mut backup => break done?,
                    lost = &mut losing, if loss.is_none() => loss = Some(lost?),
                }
            }
        };
        let took = env.clock.monotonic() - started;
        let Outcome { stats, problems, .. } = outcome;
        Ok((client, Backup { stats, problems, took }, loss.flatten()))
    }

    async fn backup(&self, client: &mut Client, sources: &[PathBuf], description: &str) -> Result<Backup, Trouble> {
        let (clock, progress) = (self.env.clock.clone(), Arc::new(Progress::default()));
        let started = clock.monotonic();
        let shown = Shown { verb: "backing up", moved: "stored", bytes_total: None };
        let job = client.backup(request(sources, description), progress.clone(), CancellationToken::new());
        let Outcome { stats, problems, .. } =
            watch(self.output, clock.clone(), shown, &progress, Box::pin(job)).await?;
        Ok(Backup { stats, problems, took: clock.monotonic() - started })
    }

    async fn restore(&self, client: &mut Client, target: &Path) -> Result<(repo::RestoreOutcome, Duration), Trouble> {
        let snapshots = client.snapshots().await?;
        let snapshot = snapshots
            .last()
            .cloned()
            .ok_or_else(|| Trouble::new("internal", "the snapshots that were just made are not there"))?;
        let (clock, progress) = (self.env.clock.clone(), Arc::new(Progress::default()));
        let request = RestoreRequest {
            snapshot,
            path: None,
            target: target.into(),
            options: RestoreOptions::default(),
            means: Means::default(),
        };
        let started = clock.monotonic();
        let shown = Shown { verb: "restoring", moved: "fetched", bytes_total: None };
        let job = client.restore(request, progress.clone(), CancellationToken::new());
        let restored = watch(self.output, clock.clone(), shown, &progress, Box::pin(job)).await?;
        Ok((restored, clock.monotonic() - started))
    }

    async fn verify(&self, client: &mut Client) -> Result<repo::VerifyReport, Trouble> {
        let snapshots = client.snapshots().await?;
        let (clock, progress) = (self.env.clock.clone(), Arc::new(Progress::default()));
        let shown = Shown { verb: "verifying", moved: "fetched", bytes_total: None };
        let job =
            client.verify(&snapshots, ReadData::All, Means::default(), progress.clone(), CancellationToken::new());
        Ok(watch(self.output, clock, shown, &progress, Box::pin(job)).await?)
    }
}

fn request(sources: &[PathBuf], description: &str) -> BackupRequest {
    BackupRequest {
        sources: sources.to_vec(),
        rules: repo::Rules::default(),
        stream: None,
        host: "demo-client".into(),
        description: description.into(),
        tags: Vec::new(),
        means: Means::default(),
        stamina: client::Stamina::default(),
    }
}

/// Length of all files below a path. What cannot be looked at counts for nothing:
/// this only says where the middle of the backup is.
fn bytes_below(files: &dyn env::Files, root: &Path) -> u64 {
    let mut stack = vec![root.to_path_buf()];
    let mut bytes = 0;
    while let Some(path) = stack.pop() {
        match files.metadata(&path) {
            Ok(found) if found.kind == Kind::Directory => {
                stack.extend(files.read_dir(&path).unwrap_or_default().iter().map(|name| path.join(name)));
            }
            Ok(found) if found.kind == Kind::File => bytes += found.len,
            _ => {}
        }
    }
    bytes
}
