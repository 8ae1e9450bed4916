"""A sweep killed again and again loses no finished record, and ends as if it had not been.

    python -m benchmarks.compare_kills --kills 20

A sweep on digits with two jobs gets SIGKILL, children included or not, at random moments of its course, and is asked
again each time. After every kill: each record that was finished is still there, byte by byte or completed by its
examination, and each checkpoint is at least at the step where it was. In the end the comparison must be that of a sweep
that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from secateurs.compare import summed_up
from secateurs.records import CLOCKS, Comparison
from secateurs.storage import load_tree


def command(folder: Path, epochs: int) -> list[str]:
    """The sweep."""
    words = [
        "-m",
        "secateurs",
        "compare",
        "--model",
        "zoo:mlp-digits",
        "--data",
        "digits",
        "--methods",
        "equilibrium,taylor",
    ]
    words += ["--budgets", "macs=0.5,0.2", "--seeds", "2", "--epochs", str(epochs), "--jobs", "2", "--threads", "1"]
    return [sys.executable, *words, "--out", str(folder)]


def finished(folder: Path) -> dict[str, dict[str, Any]]:
    """Records by run."""
    return {p.parent.name: json.loads(p.read_text(encoding="utf-8")) for p in folder.glob("runs/*/record.json")}


def steps(folder: Path) -> dict[str, int]:
    """Where the checkpoints stand."""
    return {p.parent.name: int(load_tree(p)["step"]) for p in folder.glob("runs/*/checkpoint.safetensors")}


def same(before: dict[str, Any], after: dict[str, Any] | None) -> bool:
    """Whether a record is still what it was; an examination may have filled in test figures."""
    if after is None:
        return False
    kept = ("config_hash", "validation", "groups_kept", "history", "targets")
    tested = before["pruned"]["accuracy"]
    return all(before[k] == after[k] for k in kept) and tested in (None, after["pruned"]["accuracy"])


def judged(found: Comparison) -> list[Any]:
    """What does not depend on clocks."""
    return [*(run.model_dump(exclude={*CLOCKS, "command"}) for run in found.runs), *(b.sentence for b in found.blocks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as place:
        folder, quiet = Path(place) / "killed", Path(place) / "quiet"
        output: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command(quiet, args.epochs), check=True, **output)
        lost = behind = kills = 0
        before, stood = finished(folder), steps(folder)
        while kills < args.kills:
            process = subprocess.Popen(command(folder, args.epochs), start_new_session=True, **output)
            time.sleep(rng.uniform(2.0, 8.0))
            if process.poll() is not None:
                break  # it finished: there is nothing left to kill
            kills += 1
            # Half of the time the whole group; else the parent alone, whose children must notice.
            (os.killpg if rng.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            now, stands = finished(folder), steps(folder)
            lost += sum(not same(record, now.get(key)) for key, record in before.items())
            behind += sum(stands[key] < step for key, step in stood.items() if key in stands)
            before, stood = now, stands
        subprocess.run(command(folder, args.epochs), check=True, **output)
        equal = judged(summed_up(folder)) == judged(summed_up(quiet))
        print(
            f"{kills} kills, {len(finished(folder))} runs: {lost} finished records lost, {behind} checkpoints fell back"
        )
        print(f"the comparison {'equals' if equal else 'DIFFERS FROM'} that of an undisturbed sweep")
        sys.exit(0 if equal and not lost and not behind else 1)


if __name__ == "__main__":
    main()
