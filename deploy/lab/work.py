"""What people do meanwhile: machines join, back up, restore; one is revoked.

Every request and its answer go into the history. Exit codes and `--json` say what came of
it: a command that failed for want of an answer is unclear, never refused.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import threading
import time

DONE, REFUSED, UNCLEAR = "done", "refused", "unclear"
PATIENCE = "20s"
# A command that takes longer than this hangs.
HANGS_SECONDS = 180
USES = 2


class Work:
    """Starts with `found`, goes on between `start` and `finish`."""

    def __init__(self, fleet, history, seed):
        self.fleet, self.history, self.seed = fleet, history, seed
        self._over = threading.Event()
        self._threads, self._failures = [], []
        self._joined, self._revoked = {}, set()

    def _ask(self, machine, *words, stdin=None, kill_after=None):
        """Runs a command on a machine. Its answer, and when it was asked."""
        began = self.history.now_ms()
        command = machine.command(self.fleet.program, *words, "--json")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=machine.environment(), text=True)
        try:
            out, err = process.communicate(stdin, timeout=kill_after or HANGS_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            if not kill_after:
                raise RuntimeError(f"{machine.name}: {' '.join(map(str, words))} hangs") from None
            return began, {"ok": False, "code": "killed", "message": "killed"}
        lines = out.strip().splitlines()
        try:
            answer = json.loads(lines[-1])
        except (IndexError, ValueError):
            raise RuntimeError(f"{machine.name}: {' '.join(map(str, words))} said no JSON: {out} {err}") from None
        if process.returncode not in (0, 1, 3) or "panicked" in err:
            raise RuntimeError(f"{machine.name}: {' '.join(map(str, words))} ended with {process.returncode}: {err}")
        return began, answer

    def _operate(self, *words):
        return self._ask(self.fleet.operator, *words, "--home", self.fleet.directory / "home")

    def _must(self, *words):
        _, answer = self._operate(*words)
        if not answer["ok"]:
            raise RuntimeError(f"{words}: {answer['message']}")
        return answer

    def found(self):
        """Makes the cluster, a storage and a domain."""
        at = self.fleet.directory
        named = [part for node in self.fleet.orchestrators for part in
                 ("--orchestrator", f"{node.name}={node.said[0].split()[-1]}#{node.said[1].split()[-1]}")]
        self._must("cluster", "init", "--name", "lab", *named, "--passphrase-file", at / "passphrase")
        self._must("storage", "add", "main", "--endpoint", self.fleet.storage.said[0].split()[-1], "--bucket", "lab",
                   "--prefix", "fleet", "--ca-file", at / "ca.pem",
                   "--access-key-file", at / "access-key", "--secret-key-file", at / "secret-key")
        self._must("domain", "create", "all", "--storage", "main")
        token = self._token(f"first {len(self.fleet.clients)}", len(self.fleet.clients))
        for machine in self.fleet.clients:
            if self._join(machine, token) != DONE:
                raise RuntimeError(f"{machine.name} cannot join a cluster that is well")

    def start(self):
        """Lets everybody work until `finish`."""
        for number, machine in enumerate(self.fleet.clients):
            self._go(self._back_up_again_and_again, machine, random.Random(f"client {number} {self.seed}"))
        self._go(self._let_join, random.Random(f"joins {self.seed}"))

    def _go(self, work, *arguments):
        def whole():
            try:
                work(*arguments)
            except Exception as failure:  # noqa: BLE001: whatever it is, the lab has failed
                self._failures.append(failure)
                self.history.tell(f"FAILED: {failure}")

        thread = threading.Thread(target=whole, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _token(self, name, uses):
        began, made = self._operate("token", "create", "--domain", "all", "--name", name, "--uses", str(uses))
        self.history.add("token", began, token=name, uses=uses, outcome=DONE if made["ok"] else UNCLEAR)
        return (name, made["token"]) if made["ok"] else None

    def _join(self, machine, token):
        name, text = token
        began, answer = self._ask(machine, "enroll", "--name", machine.name, "--data-dir", machine.directory / "client",
                                  stdin=text)
        outcome = DONE if answer["ok"] else REFUSED if answer["code"] == "denied" else UNCLEAR
        self.history.add("join", began, machine=machine.name, token=name, outcome=outcome, client=answer.get("client"))
        if outcome == DONE:
            self._joined[machine.name] = (machine, answer["client"])
        return outcome

    def _let_join(self, dice):
        """One token after the other, each tried by one machine too many; whoever joins last is revoked."""
        count = 0
        while not self._over.wait(dice.uniform(0.5, 3.0)):
            count += 1
            token = self._token(f"token {count}", USES)
            if not token or count > 30:
                continue
            visitors = [self.fleet.visitor() for _ in range(USES + 1)]
            races = [threading.Thread(target=self._join_somehow, args=(machine, token)) for machine in visitors]
            for race in races:
                race.start()
            for race in races:
                race.join()
            guest = next((machine for machine in visitors if machine.name in self._joined), None)
            if guest and dice.random() < 0.5:
                self._revoke(guest)

    def _join_somehow(self, machine, token):
        try:
            while self._join(machine, token) == UNCLEAR and not self._over.is_set():
                pass
        except Exception as failure:  # noqa: BLE001
            self._failures.append(failure)
            self.history.tell(f"FAILED: {failure}")

    def _revoke(self, machine):
        _, client = self._joined[machine.name]
        began, answer = self._operate("client", "revoke", client, "--yes")
        self.history.add("revoke", began, client=client, outcome=DONE if answer["ok"] else UNCLEAR)
        self._revoked.add(client)
        if answer["ok"]:
            time.sleep(2.5)
            self._back_up(machine, random.Random(client), None)

    def _back_up_again_and_again(self, machine, dice):
        made = []
        while not self._over.wait(dice.uniform(0.0, 1.0)):
            snapshot = self._back_up(machine, dice, dice.uniform(0.1, 4.0) if dice.random() < 0.25 else None)
            if snapshot:
                made.append(snapshot)
            if made and dice.random() < 0.3:
                self._restore(machine, dice.choice(made))

    def _back_up(self, machine, dice, kill_after):
        tree = machine.directory / "tree"
        edit(tree, dice)
        _, client = self._joined[machine.name]
        digest = digest_of(tree)
        began, answer = self._ask(machine, "snapshot", "create", tree, "--data-dir", machine.directory / "client",
                                  "--retry-for", PATIENCE, kill_after=kill_after)
        outcome = DONE if answer["ok"] else REFUSED if answer["code"] == "denied" else UNCLEAR
        if outcome == REFUSED:
            self.history.tell(f"{machine.name} may not back up: {answer['message']}")
        self.history.add("backup", began, client=client, outcome=outcome, snapshot=answer.get("snapshot"), digest=digest)
        return answer.get("snapshot")

    def _restore(self, machine, snapshot):
        target = machine.directory / "back"
        shutil.rmtree(target, ignore_errors=True)
        began, answer = self._ask(machine, "restore", snapshot, target, "--data-dir", machine.directory / "client")
        tree = machine.directory / "tree"
        digest = digest_of(target / tree.relative_to("/")) if answer["ok"] else ""
        self.history.add("restore", began, client=self._joined[machine.name][1], snapshot=snapshot,
                         outcome=DONE if answer["ok"] else UNCLEAR, digest=digest)

    def finish(self):
        """Everybody finishes; then everything must work, and a last look is taken."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._wait_until_well()
        self.history.add("calm")
        for machine in self.fleet.clients:
            snapshot = self._back_up(machine, random.Random(machine.name), None)
            if snapshot:
                self._restore(machine, snapshot)
        listed = self._must("client", "list")["clients"]
        self.history.add("clients", clients=[client["client"] for client in listed])
        for machine in self.fleet.clients:
            _, answer = self._ask(machine, "snapshot", "list", "--data-dir", machine.directory / "client")
            complete = [snapshot["id"] for snapshot in answer["snapshots"] if snapshot["complete"]]
            self.history.add("snapshots", client=self._joined[machine.name][1], snapshots=complete)
        for node in self._agreed():
            self.history.add("replica", node=node["name"], records=node["records_digest"], applied=node["applied"])
        if self._failures:
            raise SystemExit(f"lab: {len(self._failures)} failures, the first: {self._failures[0]}")

    def _wait_until_well(self):
        """Orchestrators find each other within seconds once nothing is wrong."""
        for _ in range(60):
            _, status = self._operate("cluster", "status")
            nodes = status.get("orchestrators", [])
            if nodes and all(node.get("reachable") for node in nodes) and any(node.get("leader") for node in nodes):
                return
            time.sleep(0.5)
        raise SystemExit(f"lab: the cluster does not become whole again: {json.dumps(status)}")

    def _agreed(self):
        """What the orchestrators hold, once they had time to even it out."""
        for _ in range(40):
            nodes = self._must("cluster", "status")["orchestrators"]
            if len({(node.get("records_digest"), node.get("applied")) for node in nodes}) == 1:
                break
            time.sleep(0.5)
        return nodes


def edit(tree, dice):
    """Adds, changes and removes a few files."""
    tree.mkdir(exist_ok=True)
    for _ in range(dice.randrange(1, 12)):
        path = tree / f"d{dice.randrange(4)}" / f"f{dice.randrange(40)}"
        path.parent.mkdir(exist_ok=True)
        if path.exists() and dice.random() < 0.3:
            path.unlink()
        elif path.exists() and dice.random() < 0.5:
            with open(path, "ab") as file:
                file.write(dice.randbytes(dice.randrange(1, 5000)))
        else:
            path.write_bytes(dice.randbytes(dice.choice([0, 10, 3_000, 200_000, 500_000])))


def digest_of(tree):
    """One hash over all names, modes and bytes."""
    total = hashlib.sha256()
    for directory, below, names in os.walk(tree):
        below.sort()
        for name in sorted(names):
            path = os.path.join(directory, name)
            total.update(f"{os.path.relpath(path, tree)}\0{os.stat(path).st_mode:o}\0".encode())
            with open(path, "rb") as file:
                total.update(hashlib.sha256(file.read()).digest())
    return total.hexdigest()
