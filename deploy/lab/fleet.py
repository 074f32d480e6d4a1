"""The machines: a namespace, an address, a small disk and a clock each, and the processes on them.

Invariant: what a machine does goes through its own namespace; the lab itself has no way
around a fault but standard output and exit codes.
"""

import os
import signal
import subprocess
import threading
from pathlib import Path

BRIDGE = "lab0"
PORT = 7300
STORAGE_PORT = 9000
# An orchestrator needs little. The storage keeps all that a minute's backups leave, and
# nobody sweeps.
DISK_MIB = 128
STORAGE_MIB = 2048
FAKETIME = [Path(place) for place in ("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
                                      "/usr/lib/faketime/libfaketimeMT.so.1")]


def run(*command):
    """Runs a tool that must work."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


class Machine:
    """One machine. `number` is its place in 10.77.0.0/24."""

    def __init__(self, name, number, directory):
        self.name, self.address = name, f"10.77.0.{number}"
        self.cable = f"v{number}"
        self.directory = directory / name
        self.directory.mkdir()
        run("ip", "netns", "add", name)
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", self.cable, "master", BRIDGE, "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self.clock = directory / f"{name}.clock"
        self.clock.write_text("+0\n")
        self.preload = next((str(place) for place in FAKETIME if place.exists()), None)

    def inside(self, *command):
        """Runs a tool in the machine's namespace."""
        return run("ip", "netns", "exec", self.name, *command)

    def command(self, *command):
        """A command line that runs in the machine's namespace."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def environment(self):
        """Its clock, if this machine has what it takes to shift one."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("NUTHATCH")}
        if not self.preload:
            return clean
        return {**clean, "LD_PRELOAD": self.preload, "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class Node(Machine):
    """A machine with a resident process, on a small disk of its own."""

    def __init__(self, name, number, directory, program, config, words, disk_mib=DISK_MIB):
        super().__init__(name, number, directory)
        self.config, self.program, self.words = directory / f"{name}.toml", program, words
        self.log = directory / f"{name}.log"
        self.data = self.directory / "data"
        self.data.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={disk_mib}m", "tmpfs", self.data)
        self.config.write_text(f'data_dir = "{self.data}"\n{config(self.address)}')
        self.process, self.said = None, []
        self.lock = threading.Lock()
        self.start()

    def start(self):
        """Starts it. At its first start, waits for what it says."""
        with self.lock, open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(self.program, "node", "run", "--config", self.config),
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                            env=self.environment())
            if not self.said:
                self.said = [self.process.stdout.readline().decode().strip() for _ in self.words]
                if not all(said.startswith(word) for said, word in zip(self.said, self.words)):
                    raise RuntimeError(f"{self.name} did not start: {self.log.read_text()[-400:]}")

    def kill(self):
        """Kills it as a power cut would, and waits for its end."""
        with self.lock:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    def runs(self):
        """Whether its process is there."""
        return self.process.poll() is None

    def stop(self):
        """Makes it do nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """Ends `stop`."""
        if self.runs():
            self.process.send_signal(signal.SIGCONT)


class Fleet:
    """All machines: `orchestrators`, `storage`, `operator`, `clients`."""

    def __init__(self, directory, program, orchestrators, clients):
        self.directory, self.program = directory, program
        # Names of namespaces are mounts: here, they end with the lab.
        os.makedirs("/run/netns", exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "link", "set", BRIDGE, "up")
        self._certificates()
        (directory / "access-key").write_text("lab-access-key\n")
        (directory / "secret-key").write_text("lab-secret-key\n")
        (directory / "passphrase").write_text("of the lab alone\n")
        listen = lambda address: f'roles = ["orchestrator"]\nlisten = "{address}:{PORT}"\n'  # noqa: E731
        serve = lambda address: (  # noqa: E731
            f'roles = ["storage"]\n[storage]\nlisten = "{address}:{STORAGE_PORT}"\nbucket = "lab"\n'
            f'certificate_file = "{directory}/storage.pem"\ncertificate_key_file = "{directory}/storage.key"\n'
            f'access_key_file = "{directory}/access-key"\nsecret_key_file = "{directory}/secret-key"\n')
        self.orchestrators = [Node(f"o{number}", 10 + number, directory, program, listen, ["listening on ", "key "])
                              for number in range(1, orchestrators + 1)]
        self.storage = Node("storage", 2, directory, program, serve, ["serving "], STORAGE_MIB)
        self.operator = Machine("operator", 3, directory)
        self.clients = [Machine(f"c{number}", 100 + number, directory) for number in range(1, clients + 1)]
        self._visitors = 0

    def _certificates(self):
        """An authority of the lab's own, and the storage's certificate."""
        at = lambda name: self.directory / name  # noqa: E731
        curve = ["-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run("openssl", "req", "-x509", "-newkey", "ec", *curve, "-days", "7", "-subj", "/CN=lab", "-addext",
            "basicConstraints=critical,CA:TRUE", "-keyout", at("ca.key"), "-out", at("ca.pem"))
        run("openssl", "req", "-newkey", "ec", *curve, "-subj", "/CN=storage", "-keyout", at("storage.key"),
            "-out", at("storage.csr"))
        at("names").write_text("subjectAltName=IP:10.77.0.2\n")
        run("openssl", "x509", "-req", "-in", at("storage.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"),
            "-CAcreateserial", "-days", "7", "-extfile", at("names"), "-out", at("storage.pem"))

    def nodes(self):
        """Everything with a resident process."""
        return [*self.orchestrators, self.storage]

    def machines(self):
        """Everything with an address."""
        return [*self.nodes(), self.operator, *self.clients]

    def visitor(self):
        """One more machine that may want to join."""
        self._visitors += 1
        return Machine(f"j{self._visitors}", 120 + self._visitors % 130, self.directory)
