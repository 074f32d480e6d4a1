use env::Disk;
use redb::StorageBackend;

use super::{database::SECTOR_BYTES, *};
use crate::kernel::{Kernel, clock::Clocks, fault::Node, fault::Weather};

struct Machine {
    kernel: Arc<Kernel>,
    node: Node,
    drive: Arc<Drive>,
}

impl Machine {
    fn new() -> Self {
        let kernel = Kernel::new(1, Weather::default(), false);
        let node = kernel.add_machine("m", "10.0.0.1".parse().unwrap(), Clocks::new(0));
        let drive = Arc::new(Drive::new(0..1, Stream::new(1, "disk", 0)));
        Self { kernel, node, drive }
    }

    fn boot(&self) -> SimDisk {
        SimDisk::new(self.kernel.boot(self.node).unwrap(), Arc::clone(&self.drive))
    }

    fn lose_power(&self, number: u64) {
        self.kernel.fence(self.node);
        self.drive.lose_power(&mut Stream::new(1, "loss", number));
    }

    fn kill(&self) {
        self.kernel.fence(self.node);
        self.drive.release();
    }
}

fn content(backend: &dyn StorageBackend) -> Vec<u8> {
    let mut bytes = vec![0; backend.len().unwrap() as usize];
    backend.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_loss_of_power_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..200 {
        let machine = Machine::new();
        let backend = machine.boot().file("db").unwrap();
        backend.write(0, &[1; 2048]).unwrap();
        backend.sync_data().unwrap();
        backend.write(0, &[2; 1024]).unwrap();
        backend.write(2048, &[3; 512]).unwrap();
        machine.lose_power(number);
        assert!(backend.sync_data().is_err(), "a dead process synced");
        let left = content(&*machine.boot().file("db").unwrap());
        assert!(left[1024..2048] == [1; 1024], "something synced was lost");
        for sector in left.chunks(SECTOR_BYTES) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector was torn");
        }
        seen.insert(left);
    }
    let kept: usize = seen.iter().filter(|left| left.len() == 2560 && left[..1024] == [2; 1024]).count();
    let lost: usize = seen.iter().filter(|left| left.len() == 2048 && left[..1024] == [1; 1024]).count();
    assert!(kept == 1 && lost == 1 && seen.len() > 4, "only {} outcomes", seen.len());
}

#[test]
fn a_killed_process_leaves_what_it_wrote_and_no_lock() {
    let machine = Machine::new();
    let disk = machine.boot();
    let backend = disk.file("db").unwrap();
    let _lock = disk.lock("lock").unwrap();
    assert_eq!(disk.file("db").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(disk.lock("lock").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    backend.write(0, b"unsynced").unwrap();
    machine.kill();
    let again = machine.boot();
    let second = again.file("db").unwrap();
    assert_eq!(content(&*second), b"unsynced");
    again.lock("lock").unwrap();
    // The dead life's handles release nothing of the living one.
    drop(backend);
    assert_eq!(again.file("db").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    second.close().unwrap();
    again.file("db").unwrap();
}

#[test]
fn small_files_are_replaced_whole_and_durably() {
    let machine = Machine::new();
    let disk = machine.boot();
    assert_eq!(disk.read("f").unwrap_err().kind(), io::ErrorKind::NotFound);
    disk.replace("f", b"one").unwrap();
    disk.replace("f", b"two").unwrap();
    disk.replace("gone", b"x").unwrap();
    disk.remove("gone").unwrap();
    disk.remove("gone").unwrap();
    machine.lose_power(0);
    assert!(disk.replace("f", b"three").is_err());
    assert_eq!(machine.boot().read("f").unwrap(), b"two");
    assert_eq!(machine.drive.names(), ["f"]);
}

#[test]
fn a_full_disk_refuses_writes_and_a_lying_one_loses_them() {
    let machine = Machine::new();
    let disk = machine.boot();
    let backend = disk.file("db").unwrap();
    machine.kernel.machine(machine.node, |machine| machine.disk_full = true);
    assert_eq!(backend.write(0, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.replace("f", b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    machine.kernel.machine(machine.node, |machine| machine.disk_full = false);
    machine.drive.lie();
    backend.write(0, b"x").unwrap();
    backend.sync_data().unwrap();
    assert_eq!(content(&machine.drive.durable_copy("db").unwrap()), b"");
}
