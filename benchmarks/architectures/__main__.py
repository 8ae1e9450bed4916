"""The command; see the package's own words above it."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import secateurs

from . import __doc__ as summary
from . import depth, table
from .models import FAMILIES, Case, listed
from .processes import OURS, run_all, versions

Row = dict[str, Any]
RIVALS = ("torch-pruning", "torch-kirigami")


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.architectures", description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=_names, help="only these, by name: a,b,c")
    parser.add_argument("--family", type=_names, help=f"only these: {','.join(FAMILIES)}")
    parser.add_argument("--rivals", action="store_true", help="the same with Torch-Pruning and torch-kirigami")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time, each on one thread")
    parser.add_argument("--limit", type=float, default=300, help="seconds for a model (default %(default)s)")
    parser.add_argument("--rival-limit", type=float, default=60, help="seconds for a rival's (default %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="ignore earlier results")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--why", metavar="MODEL", help="print every frozen axis of one model and why")
    parser.add_argument("--depth", action="store_true", help="trace GPT-2 of 12 to 96 layers instead")
    return parser.parse_args(arguments)


def _names(value: str) -> list[str]:
    return [name for name in value.split(",") if name]


def chosen(options: argparse.Namespace) -> dict[str, Case]:
    """The cases that were asked for.

    Raises:
        SystemExit: a name that is not on the list.
    """
    cases = listed()
    wanted = [options.why] if options.why else options.models or list(cases)
    for name in (*wanted, *(options.family or ())):
        if name not in cases and name not in FAMILIES:
            raise SystemExit(f"no model or family {name!r}; known: {', '.join((*FAMILIES, *cases))}")
    return {name: cases[name] for name in wanted if not options.family or cases[name].family in options.family}


def main(arguments: list[str]) -> None:
    options = parsed(arguments)
    if options.depth:
        return depth.main()
    cases = chosen(options)
    sides = [OURS, *[side for side in RIVALS if options.rivals and find_spec(side.replace("-", "_"))]]
    limits = {side: options.limit if side == OURS else options.rival_limit for side in sides}
    tasks = [(side, name) for side in sides for name in cases]
    found: dict[str, dict[str, Row]] = {side: {} for side in sides}
    if not options.why:
        print(table.line(table.COLUMNS), flush=True)
    for side, name, row in run_all(tasks, limits, options.jobs, options.fresh):
        found[side][name] = row
        if not options.why:
            print(table.text(name, row) if side == OURS else f"{side}: {name}: {table.beside(row)}", flush=True)
    ordered = {side: {name: rows[name] for name in cases} for side, rows in found.items()}
    if options.why:
        return print(table.why(options.why, ordered[OURS][options.why]))
    for side, rows in ordered.items():
        verdicts = ", ".join(f"{count} {name}" for name, count in table.counts(rows.values()).items())
        print(f"{side}: {verdicts}; {table.LEFT}: {table.median_left(rows.values()) or 'none'}")
    write(options, ordered, cases)
    return None


def write(options: argparse.Namespace, rows: dict[str, dict[str, Row]], cases: dict[str, Case]) -> None:
    """The record and the page, where they were asked for."""
    made = {
        "secateurs": secateurs.__version__,
        "source": {
            side: sorted({r["source"] for r in found.values() if "source" in r}) for side, found in rows.items()
        },
        "versions": versions(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": 1,
        "jobs": options.jobs,
        "seed": 0,
        "limits": {"secateurs": options.limit, "rivals": options.rival_limit},
    }
    if options.json:
        kept = {
            side: {name: {k: v for k, v in row.items() if k != "traceback"} for name, row in found.items()}
            for side, found in rows.items()
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"made": made, "rows": kept}, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        families = {name: case.family for name, case in cases.items()}
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(table.markdown(rows, families, about(made)), encoding="utf-8")


def about(made: dict[str, Any]) -> list[str]:
    """How the figures were made, and what the words mean."""
    libraries = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    command = "python -m benchmarks.architectures" + (" --rivals" if len(made["source"]) > 1 else "")
    return [
        f"Written by `{command} --markdown FILE` with secateurs {made['secateurs']} (source "
        f"{', '.join(made['source'][OURS])}), {libraries}, Python {made['python']}, {made['machine']}, one thread, "
        f"{made['jobs']} at a time, seed 0, {made['limits']['secateurs']:g} s a model "
        f"({made['limits']['rivals']:g} s for other libraries).",
        ABOUT,
    ]


ABOUT = """Random weights; nothing that initialisation left constant stays so, lest a wrong index go unseen. Half of
each family's groups, chosen by chance, are cut out. What is left must then compute what the masked network
computes (in float64 where the code allows, to 1e-5 of the largest output; at other batch sizes and sequence
lengths than the trace saw), train, and come back from its `state_dict`.

- **exact**: all of that holds. *Partly frozen*: some weight has no axis that can be cut; *no axis* is their share.
  *Miscounted*: the sizes that the structure predicts are not those of the networks. *Hardly visible*: the cut moves
  the output so little that the comparison says little.
- **inexact**: it differs from the masked network, but not once that one's norms and attention scales look at the
  kept width only.
- **wrong**: it computes something else. *Refused*: `shrink`, with its own check, does not give it out.
- **error**, **timeout**: with the stage; on a busy machine a time limit comes sooner. **nothing**: no axis could be
  cut. **unchecked**: what was kept is unknown.
- *trace s*, *+MB*: seconds and memory of the analysis. *left*: of parameters, and of multiply-accumulates.
- *saved*: without its own Python code, as `secateurs.save` with no factory does.
- *uses*: `deepcopy`, `torch.compile`, `torch.export`, `torch.jit.trace` and ONNX Runtime give the cut network's answer,
  of those that work with the dense one."""

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    main(sys.argv[1:])
