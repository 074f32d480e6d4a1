"""What goes wrong: a list drawn from the seed, struck one after the other, and mended in the end.

At most a minority of the orchestrators is disturbed for most of the time; now and then it is
more of them, or the storage, and then the others may only wait.
"""

import random
import shutil
import time

from fleet import run


class Chaos:
    """Strikes, and mends what it struck."""

    def __init__(self, fleet, history, seed):
        self.fleet, self.history, self.random = fleet, history, random.Random(f"chaos {seed}")
        self._mending = []
        self._loss = shutil.which("nft") is not None
        self._clock = all(machine.preload for machine in fleet.machines())
        if not self._loss:
            history.tell("no nft on this machine: no packets will be lost at random")
        if not self._clock:
            history.tell("no libfaketime on this machine: clocks will stay right")

    def strike_for(self, seconds):
        """Lets faults strike for so long; then mends everything."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._mend(time.monotonic())
            if len(self._mending) < 3:
                self._strike()
            time.sleep(self.random.uniform(0.3, 1.5))
        self._mend(float("inf"))
        for machine in self.fleet.machines():
            machine.clock.write_text("+0\n")
        self.history.tell("all faults are over")

    def _mend(self, now):
        due = [entry for entry in self._mending if entry[0] <= now]
        self._mending = [entry for entry in self._mending if entry[0] > now]
        for _, _, mend in due:
            mend()

    def _strike(self):
        kinds = [self._kill, self._kill, self._hang, self._unplug, self._cut_one_way, self._fill_disk, self._slow]
        kinds += [self._lose] * self._loss + [self._shift] * self._clock
        strike = self.random.choice(kinds)
        # The storage is one machine of several; the rest are orchestrators.
        node = self.random.choice(self.fleet.nodes())
        disturbed = {name for _, name, _ in self._mending}
        minority = (len(self.fleet.orchestrators) - 1) // 2
        if node.name in disturbed or (len(disturbed) >= minority and self.random.random() < 0.7):
            return
        strike(node, self.random.uniform(0.5, 7.0))

    def _until(self, node, seconds, what, mend):
        self.history.tell(f"{node.name}: {what} for {seconds:.1f} s")
        self._mending.append((time.monotonic() + seconds, node.name, mend))

    def _kill(self, node, seconds):
        node.kill()
        self._until(node, seconds, "killed", node.start)

    def _hang(self, node, seconds):
        node.stop()
        self._until(node, seconds, "hangs", node.go_on)

    def _unplug(self, node, seconds):
        self._cable(node, "down")
        self._until(node, seconds, "unplugged", lambda: self._cable(node, "up"))

    @staticmethod
    def _cable(node, state):
        run("ip", "link", "set", node.cable, state)

    def _cut_one_way(self, node, seconds):
        other = self.random.choice([other for other in self.fleet.machines() if other is not node])
        node.inside("ip", "route", "replace", "blackhole", f"{other.address}/32")
        self._until(node, seconds, f"cannot send to {other.name}",
                    lambda: node.inside("ip", "route", "del", "blackhole", f"{other.address}/32"))

    def _lose(self, node, seconds):
        percent = self.random.choice([2, 10, 30])
        node.inside("nft", "add table inet lab; add chain inet lab in { type filter hook input priority 0; }; "
                    f"add rule inet lab in numgen random mod 100 < {percent} drop")
        self._until(node, seconds, f"loses {percent}% of what it receives",
                    lambda: node.inside("nft", "delete table inet lab"))

    def _slow(self, node, seconds):
        rate = self.random.choice(["1mbit", "10mbit"])
        node.inside("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "32kb", "latency", "50ms")
        self._until(node, seconds, f"sends no more than {rate}",
                    lambda: node.inside("tc", "qdisc", "del", "dev", "eth0", "root"))

    def _fill_disk(self, node, seconds):
        filler = node.data / "filler"
        with open(filler, "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:
                pass
        self._until(node, seconds, "has no room on its disk", filler.unlink)

    def _shift(self, node, _):
        by = self.random.choice([-300, -20, 20, 300])
        node.clock.write_text(f"{by:+}\n")
        self.history.tell(f"{node.name}: its clock jumps by {by} s")
