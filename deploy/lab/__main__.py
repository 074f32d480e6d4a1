"""A lab: a whole cluster in network namespaces of its own, under chaos, on one machine.

    sudo python3 deploy/lab [--seconds 120] [--seed 7] [--bin target/release/nuthatch]

Three orchestrators, a storage, an operator and some clients run as real processes, each
in a namespace with an address of its own. While clients join, back up and restore, a list
of faults drawn from the seed strikes: kill -9, SIGSTOP, cut cables, one-way cuts, lost
packets, slow links, full disks, shifted clocks. What everybody asked for and was told is
written as a history, and `sim history` judges it.

Exit code 0: no promise was broken. 1: one was, or the lab failed. 75: this machine has no
namespaces, so nothing was tried. Everything lives in namespaces that end with the lab.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from chaos import Chaos  # noqa: E402
from fleet import Fleet  # noqa: E402
from history import History  # noqa: E402
from work import Work  # noqa: E402

INSIDE = "NUTHATCH_LAB_INSIDE"
NOT_HERE = 75


def arguments():
    words, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(prog="deploy/lab", description=words, epilog=rest,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="how long faults strike (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="which faults; by default a new one, which is printed")
    parser.add_argument("--orchestrators", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--clients", type=int, default=3, metavar="N", help="default: %(default)s")
    checkout = HERE.parent.parent
    target = checkout / os.environ.get("CARGO_TARGET_DIR", "target")  # an absolute one stands for itself
    parser.add_argument("--bin", type=Path, default=target / "release/nuthatch", help="the program under test")
    parser.add_argument("--sim", type=Path, default=target / "debug/sim", help="the judge")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the history and all logs there")
    return parser.parse_args()


def in_namespaces():
    """Runs this again inside namespaces that die with it, with a directory to work in."""
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    missing = [tool for tool in ("ip", "unshare", "mount", "openssl") if not shutil.which(tool)]
    if missing or subprocess.run(unshare + ["true"], capture_output=True).returncode != 0:
        why = f"{missing[0]} is not installed" if missing else "it takes root, and a kernel that lets it"
        print(f"lab: skipped, this machine gives no namespaces: {why}")
        return NOT_HERE
    with tempfile.TemporaryDirectory(prefix="nuthatch-lab-") as scratch:
        command = unshare + [sys.executable, str(HERE), *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, INSIDE: scratch}).returncode


def lab(options, directory):
    """One run. Whether all promises were kept."""
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"lab: seed {seed}, {options.seconds} s of faults", flush=True)
    history = History(directory / "history.jsonl")
    try:
        fleet = Fleet(directory, options.bin.resolve(), options.orchestrators, options.clients)
        work = Work(fleet, history, seed)
        work.found()
        work.start()
        Chaos(fleet, history, seed).strike_for(options.seconds)
        work.finish()
        history.close()
        well = subprocess.run([options.sim.resolve(), "history", history.path]).returncode == 0
    finally:
        if options.keep:
            shutil.copytree(directory, options.keep, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("objects", "filler", "tree", "back", "cache"))
    print(history.summary())
    if not well:
        print(f"  again: deploy/lab --seed {seed} --seconds {options.seconds} --keep DIR")
    return well


def main():
    options = arguments()
    for program in (options.bin, options.sim):
        if not program.exists():
            sys.exit(f"lab: there is no {program}: build it first (cargo build --release; cargo build -p sim)")
    inside = os.environ.get(INSIDE)
    sys.exit(in_namespaces() if inside is None else 0 if lab(options, Path(inside)) else 1)


if __name__ == "__main__":
    main()
