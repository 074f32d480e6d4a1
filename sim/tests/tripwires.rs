//! What would make a run differ from its seed ends the process instead.
//!
//! A tripwire aborts, so each of these tests starts itself again and watches.

use std::{os::unix::process::ExitStatusExt, process::Command, thread, time::Duration};

use sim::world::{Machine, Options, World};

/// Says that this is the process that is to be aborted.
const INSIDE: &str = "SIM_TEST_INSIDE";
/// The signal of `abort`.
const SIGABRT: i32 = 6;

#[expect(clippy::unwrap_used, reason = "without a world or a process every test here fails")]
fn trips(test: &str, says: &str, work: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        let mut world = World::new(1, Options::default()).unwrap();
        world.add_node(Machine::new("m", [10, 0, 0, 1].into()), move |_, _| async move {
            work();
            Ok(())
        });
        world.boot_all();
        world.run_for(Duration::from_secs(1));
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args([test, "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains(says), "{said}");
}

#[test]
fn a_thread() {
    trips("a_thread", "a thread was born inside the simulation", || {
        thread::scope(|scope| drop(scope.spawn(|| ())));
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "sleeping is what is tested")]
fn a_sleeping_thread() {
    trips("a_sleeping_thread", "a thread was put to sleep", || thread::sleep(Duration::from_millis(1)));
}

#[test]
fn the_blocking_pool() {
    trips("the_blocking_pool", "a thread was born inside the simulation", || {
        let handle = tokio::runtime::Handle::current();
        drop(handle.spawn_blocking(|| ()));
    });
}
