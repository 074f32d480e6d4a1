//! Worlds of a few machines, on the test's own thread: time, faults and fences.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use protocol::{
    ids::{RepositoryId, Sha256},
    records::{Storage, StorageCredential},
};
use sim::{
    env::store::{address, sha256},
    kernel::fault::{Fault, Moment, Node, Weather},
    world::{Machine, Options, World},
};

type Seen<T> = Arc<Mutex<Vec<T>>>;

#[expect(clippy::unwrap_used, reason = "a world that cannot be made fails every test here")]
fn world() -> World {
    let weather = Weather { loss_ppm: 0, duplicate_ppm: 0, straggle_ppm: 0, ..Weather::default() };
    let options =
        Options { keep_trace: true, weather, clock_error: Duration::ZERO, storage_ms: 100..101, ..Options::default() };
    World::new(1, options).unwrap()
}

fn machine(number: u8) -> Machine {
    Machine::new(format!("m{number}"), [10, 0, 0, number + 1].into())
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn hours_pass_at_once_and_clocks_are_as_wrong_as_they_were_made() {
    let mut world = world();
    let seen = Seen::default();
    let give = Arc::clone(&seen);
    let node = world.add_node(machine(0), move |env, _| {
        let give = Arc::clone(&give);
        async move {
            let started = (env.clock.now(), env.clock.monotonic());
            env.clock.sleep(secs(3 * 3600)).await;
            #[expect(clippy::disallowed_methods, reason = "the interposed clock is what is tested")]
            let wall = std::time::SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
            assert_eq!(wall, env.clock.now().0);
            give.lock().unwrap().push((env.clock.now().since(started.0), env.clock.monotonic() - started.1));
            Ok(())
        }
    });
    world.boot_all();
    // 10% too fast from the second hour on, and a jump of the wall clock.
    world.schedule(secs(3600), Fault::ClockDrift { node, ppm: 100_000 });
    world.schedule(secs(3600), Fault::ClockStep { node, by_ms: 60_000 });
    assert!(world.run_until(secs(86_400), |world| !world.exits().is_empty()));
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    let (wall_ms, monotonic) = seen.lock().unwrap()[0];
    assert_eq!(monotonic.as_secs(), 3 * 3600);
    assert_eq!(wall_ms / 1000, 3 * 3600 + 60);
    // Two hours on its clock are 6545.45 seconds.
    assert_eq!(world.now().as_secs(), 3600 + 6545);
}

#[test]
fn power_is_lost_at_the_very_moment_that_was_aimed_at() {
    for (moment, survives) in [(Moment::BeforeSync, false), (Moment::AfterSync, true)] {
        let mut world = world();
        let returned = Seen::default();
        let give = Arc::clone(&returned);
        let node = world.add_node(machine(0), move |env, info| {
            let give = Arc::clone(&give);
            async move {
                if info.life == 1 {
                    env.disk.replace("first", b"x")?;
                    give.lock().unwrap().push("first");
                    env.clock.sleep(secs(1)).await;
                    let second = env.disk.replace("second", b"x");
                    give.lock().unwrap().push(if second.is_ok() { "second" } else { "dead" });
                    assert!(env.disk.replace("third", b"x").is_err());
                }
                std::future::pending().await
            }
        });
        world.boot_all();
        world.schedule(Duration::from_millis(500), Fault::PowerLossAt { node, moment, count: 1, down_ms: 2000 });
        world.run_until(secs(2), |_| false);
        assert!(!world.is_up(node));
        world.run_until(secs(4), |_| false);
        assert!(world.is_up(node));
        assert_eq!(*returned.lock().unwrap(), ["first", "dead"]);
        let drive = world.disk(node).unwrap();
        assert_eq!(drive.small_file("second").is_some(), survives);
        assert_eq!(drive.small_file("third"), None);
        assert!(world.panics().is_empty(), "{:?}", world.panics());
    }
}

#[test]
fn a_cut_stops_one_direction_only() {
    let mut world = world();
    let arrived: Seen<(u8, u8)> = Seen::default();
    for number in 0..2_u8 {
        let give = Arc::clone(&arrived);
        world.add_node(machine(number), move |env, info| {
            let give = Arc::clone(&give);
            async move {
                let socket = env.net.bind(SocketAddr::new(info.address, 7))?;
                let peer = env.net.resolve(&format!("m{}:7", 1 - number)).await?[0];
                let contents = [number];
                let transmit = quinn::udp::Transmit {
                    destination: peer,
                    ecn: None,
                    contents: &contents,
                    segment_size: None,
                    src_ip: None,
                };
                for _ in 0..10 {
                    socket.try_send(&transmit)?;
                }
                let mut buffer = [0; 16];
                loop {
                    let receive = |context: &mut std::task::Context<'_>| {
                        let mut buffers = [std::io::IoSliceMut::new(&mut buffer)];
                        socket.poll_recv(context, &mut buffers, &mut [quinn::udp::RecvMeta::default()])
                    };
                    std::future::poll_fn(receive).await?;
                    give.lock().unwrap().push((buffer[0], number));
                }
            }
        });
    }
    world.schedule(Duration::ZERO, Fault::Cut { from: Node(0), to: Node(1) });
    world.boot_all();
    world.run_for(secs(1));
    // Node 0 sends before node 1 has a socket: only its answers could arrive anyway.
    assert_eq!(*arrived.lock().unwrap(), [(1, 0); 10]);
}

fn storage() -> Storage {
    Storage {
        repository: RepositoryId([1; 16]),
        name: "s".into(),
        endpoint: "http://s:1".into(),
        region: "r".into(),
        bucket: "b".into(),
        prefix: String::new(),
        virtual_host: false,
        authorities: Vec::new(),
    }
}

#[test]
fn a_request_takes_effect_even_if_its_sender_dies() {
    let mut world = world();
    let credential = StorageCredential::new("k", "s");
    world.store().allow(&credential, true);
    let node = world.add_node(machine(0), move |env, info| {
        let credential = credential.clone();
        async move {
            let steward = env.storages.steward(&storage(), &credential)?;
            if info.life == 1 {
                steward.put_new("late", Bytes::from_static(b"body")).await?;
                anyhow::bail!("it should have died by now");
            }
            assert_eq!(steward.head("late").await?, 4);
            assert_eq!(steward.list("").await?, [("late".to_owned(), 4)]);
            assert!(steward.mint_put("x", 0, &Sha256([0; 32]), env.clock.now()).is_err());
            let ticket = steward.mint_put("x", 1, &sha256(b"x"), env.clock.now())?;
            let carrier = env.storages.carrier(&storage())?;
            carrier.put(&ticket, Bytes::from_static(b"x")).await?;
            assert!(carrier.put(&ticket, Bytes::from_static(b"y")).await.is_err());
            assert!(carrier.put(&ticket, Bytes::from_static(b"xx")).await.is_err());
            let read = carrier.get(&steward.mint_get("late", env.clock.now())?, Some(1..9)).await?;
            assert_eq!(read, "ody");
            steward.delete("late").await?;
            Ok(())
        }
    });
    world.boot_all();
    world.schedule(Duration::from_millis(20), Fault::PowerLoss(node));
    let late = address(&storage(), "late");
    world.run_until(Duration::from_millis(40), |_| false);
    assert_eq!(world.store().object(&late), None);
    world.run_until(secs(1), |_| false);
    assert_eq!(world.store().object(&late).unwrap(), "body");
    world.schedule(secs(1), Fault::Boot(node));
    assert!(world.run_until(secs(9), |world| !world.exits().is_empty()));
    assert!(world.panics().is_empty() && world.exits()[0].error.is_none(), "{:?}", world.exits());
    assert_eq!(world.store().objects().into_keys().collect::<Vec<_>>(), ["s:1/b/x"]);
}

#[test]
fn a_process_that_fails_is_started_again_and_panics_are_known() {
    let mut world = world();
    let node = world.add_node(machine(0), |_, info| async move {
        match info.life {
            1 => anyhow::bail!("not today"),
            2 => panic!("never"),
            _ => std::future::pending().await,
        }
    });
    world.boot_all();
    world.run_for(secs(10));
    assert_eq!(world.exits()[0].error.as_deref(), Some("not today"));
    assert!(world.panics().iter().any(|panic| panic.contains("never")), "{:?}", world.panics());
    assert!(world.is_up(node));
    assert_eq!(world.exits().len(), 2, "{:?}", world.exits());
}
