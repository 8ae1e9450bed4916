"""The commands. Heavy modules are imported inside them, so that ``--help`` answers at once."""

from __future__ import annotations

import json as json_
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ..errors import RunInterrupted, SecateursError

app = typer.Typer(
    name="secateurs",
    help="Name a budget; training finds the network that fits it, and you get that network.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON, on standard output.")]
Model = Annotated[str, typer.Option(help="zoo:NAME, or file.py:factory returning an nn.Module.")]
DataSpec = Annotated[str, typer.Option("--data", help="digits, mnist:DIR, cifar10:DIR, or file.py:loaders.")]
# At least 1: at 0 torch raises an error of its own, which does not name the option.
Threads = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="CPU threads for training (default: torch's own)."),
]
Trust = Annotated[
    bool, typer.Option("--trust-changed-factory", help="Run the model's file.py although it has changed since the run.")
]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a finished run.")]
Track = Annotated[
    list[str],
    typer.Option(help="Trackers that hear of runs: tensorboard, mlflow, wandb, with commas (extra `track`)."),
]


def main() -> None:
    """Entry point: errors meant for the user are shown as one line, without a traceback."""
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    try:
        app(standalone_mode=True)
    except RunInterrupted as error:
        _say(f"[yellow]interrupted:[/yellow] {_plain(error)}")
        sys.exit(128 + signal.SIGINT)
    except SecateursError as error:
        _say(f"[red]error:[/red] {_plain(error)}")
        sys.exit(1)


def _plain(text: object) -> str:
    from rich.markup import escape

    return escape(str(text))


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


@app.command(
    epilog="Example: `secateurs prune --model zoo:mlp-512-256 --data mnist:DIR --budget groups=0.0482 --out runs/x`"
)
def prune(
    model: Model,
    data: DataSpec,
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    budget: Annotated[
        list[str],
        typer.Option(help="groups=, params=, macs=, bytes= (fraction ≤ 1 or amount) or latency=2.5ms; repeatable."),
    ],
    method: Annotated[str, typer.Option(help="See `secateurs methods`.")] = "equilibrium",
    epochs: Annotated[int, typer.Option(min=1, help="All epochs together: training, game and recovery.")] = 20,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    seed: int = 0,
    granularity: Annotated[str, typer.Option(help="channel, head, channel+head, block or weight.")] = "channel",
    reference: Annotated[
        str,
        typer.Option(help="Dense network to compare with: train (same steps), given (as the factory makes it), none."),
    ] = "train",
    mixed_precision: Annotated[str, typer.Option(help="no, fp16 or bf16.")] = "no",
    set_: Annotated[list[str], typer.Option("--set", help="Option of the method, NAME=VALUE; repeatable.")] = [],  # noqa: B006
    limit: Annotated[
        list[str],
        typer.Option(
            help="Limits of the layers that a pattern names: 'layer1.*:minimum=8,maximum_ratio=0.5,round_to=16'; "
            "repeatable."
        ),
    ] = [],  # noqa: B006
    ignore: Annotated[list[str], typer.Option(help="Module (or pattern) whose outputs stay whole; repeatable.")] = [],  # noqa: B006
    tie: Annotated[
        list[str], typer.Option(help="Layers that keep equally many groups, 'fc1,fc2' or a pattern; repeatable.")
    ] = [],  # noqa: B006
    recovery: Annotated[
        list[str],
        typer.Option(
            help="Repairs right after the cut, before training goes on: auto, or names that `secateurs recoveries` "
            "lists, in a row ('reweight,batchnorm'); repeatable."
        ),
    ] = [],  # noqa: B006
    threads: Threads = None,
    track: Track = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in --out.")] = False,
    json: Json = False,
) -> None:
    """Train, prune to a budget, shrink, save, measure and report."""
    from ..recipes import RunConfig, read_names
    from ..recipes import prune as run
    from ..records import RECORD_FILE
    from ..spec import Budget

    _set_threads(threads)
    config = _config(
        RunConfig,
        model=model,
        data=data,
        budget=Budget.parse(*budget),
        method=method,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        granularity=granularity,
        reference=reference,
        mixed_precision=mixed_precision,
        options=_options(set_, limit=limit, ignore=ignore, tie=tie, recovery=recovery),
    )
    finished = resume and (out / RECORD_FILE).exists()
    record = run(config, out, resume=resume, force=force, track=read_names(track))
    if not _main_process():
        return
    if finished:
        _say(_plain(f"{str(out)!r} was finished already: nothing was run; --force runs it again"))
    from ..report import write

    write(out)
    if json:
        print(record.model_dump_json(indent=2))
        return
    from .tables import summary

    summary(record, out)


@app.command(epilog="Example: `secateurs inspect --model zoo:resnet20 --data cifar10:DIR --why layer1.0`")
def inspect(
    model: Model,
    data: Annotated[
        str, typer.Option("--data", help="As for prune; or a shape such as 3x32x32, which needs no data.")
    ] = "",
    granularity: str = "channel",
    classes: Annotated[int, typer.Option(help="Classes, where --data is a shape.")] = 10,
    why: Annotated[
        list[str],
        typer.Option(
            help="A module, tensor or axis (conv1, 'conv1.weight[in]'): print only the operators that tie it to what "
            "is cut with it, or that fix it; repeatable."
        ),
    ] = [],  # noqa: B006
    html: Annotated[Optional[Path], typer.Option(help="Also draw the network into this file.")] = None,  # noqa: UP045
    json: Json = False,
) -> None:
    """Show the players, what each is tied to, and what cannot be pruned and why."""
    from ..recipes import inspect_model

    found = inspect_model(model, data, granularity, classes=classes, why=why, drawn=html is not None)
    if html is not None:
        from ..report import write_inspection

        write_inspection(found, html)
        found.pop("network", None)
    if json:
        print(json_.dumps(found, indent=2))
        return
    from .tables import inspection, reasons

    if why:
        reasons(found["why"])
    else:
        inspection(found)
    if html is not None:
        print(html)


@app.command(epilog="Example: `secateurs bench runs/demo --threads 1 --batch 1`")
def bench(
    run: RunFolder,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    batch: Annotated[int, typer.Option(min=1)] = 1,
    onnx: Annotated[bool, typer.Option("--onnx/--torch", help="Time in ONNX Runtime instead of PyTorch.")] = False,
    trust_changed_factory: Trust = False,
    json: Json = False,
) -> None:
    """Time the dense against the pruned network, interleaved; median, spread, threads and batch stated."""
    from ..recipes import bench_run

    found = bench_run(run, threads=threads, batch=batch, onnx=onnx, trust_changed_factory=trust_changed_factory)
    if json:
        print(json_.dumps(found, indent=2))
        return
    from .tables import benchmark

    benchmark(found)


@app.command(epilog="Example: `secateurs export runs/demo --onnx small.onnx`")
def export(
    run: RunFolder,
    onnx: Annotated[Path, typer.Option(help="Where the ONNX file goes.")],
    trust_changed_factory: Trust = False,
    json: Json = False,
) -> None:
    """Export the pruned network to ONNX, checked numerically in ONNX Runtime before it is put in place."""
    from ..recipes import export_run

    found = export_run(run, onnx, trust_changed_factory=trust_changed_factory)
    if json:
        print(json_.dumps(found, indent=2))
    else:
        print(
            f"{found['path']}: {found['bytes']:,} bytes, opset {found['opset']}, "
            f"largest difference from PyTorch {found['max_abs_difference']:.2e}"
        )


@app.command(epilog="Example: `secateurs report runs/demo`")
def report(run: RunFolder, json: Json = False) -> None:
    """Write report.html from the run's record."""
    from ..records import Record
    from ..report import write

    path = write(run)
    print(Record.read(run).model_dump_json(indent=2) if json else path)


@app.command(epilog="Example: `secateurs methods gradual`")
def methods(
    name: Annotated[Optional[str], typer.Argument(help="A method, whose options are listed.")] = None,  # noqa: UP045
    json: Json = False,
) -> None:
    """List the methods: what each is, where it comes from, what it costs and needs; or the options of one."""
    from ..recipes import METHODS, described, find_method

    rows = [
        {k: getattr(m, k) for k in ("name", "summary", "source", "cost", "needs")}
        | {"options": {o.name: {"default": o.default, "text": o.text} for o in described(m.options)}}
        for m in (METHODS.values() if name is None else [find_method(name)])
    ]
    if json:
        print(json_.dumps(rows, indent=2))
        return
    from .tables import method_table, option_table

    method_table(rows)
    if name is not None:
        option_table(rows[0]["options"])


@app.command(epilog="Example: `secateurs recoveries`")
def recoveries(json: Json = False) -> None:
    """List the repairs after a cut: what each is, where it comes from, what it costs."""
    from ..recovery import LADDER, RECOVERIES

    rows = [{k: getattr(r, k) for k in ("name", "summary", "source", "cost")} for r in RECOVERIES.values()]
    if json:
        print(json_.dumps(rows, indent=2))
        return
    from .tables import recovery_table

    recovery_table(rows, [rung.name for rung in LADDER if not rung.goes_on])


@app.command(epilog="Example: `secateurs reproduce game --data mnist:DIR --quick`")
def reproduce(
    what: Annotated[str, typer.Argument(help="game, lottery, concave, magnitude, snip or statmech.")],
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--data", help="As for prune; concave takes two, with a comma; magnitude and statmech need none."),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="Where the pages go (default docs/reproductions).")] = None,  # noqa: UP045
    quick: Annotated[
        bool, typer.Option("--quick", help="Check the code, within minutes; the figures mean nothing.")
    ] = False,
    seeds: Annotated[Optional[int], typer.Option(min=1, help="Number of seeds (default 5; 1 when quick).")] = None,  # noqa: UP045
    printed_seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds for the paper's own configurations (default: as --seeds).")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Experiments side by side, one thread each.")] = 1,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Run a paper's experiments and put the figures beside the printed ones, each with a verdict (none if --quick)."""
    from ..reproduce import reproduce as run

    _set_threads(threads)
    result = run(what, data, quick=quick, seeds=seeds, printed_seeds=printed_seeds, jobs=jobs, progress=not json)
    from ..report import write_reproduction

    paths = write_reproduction(result, out or Path("docs/reproductions"))
    if json:
        print(json_.dumps(result, indent=2))
    else:
        from .tables import reproduction

        reproduction(result, paths)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _main_process() -> bool:
    import os

    return int(os.environ.get("RANK", "0")) == 0


def _options(pairs: list[str], **several: list[str]) -> dict[str, Any]:
    """Options from NAME=VALUE pairs, with those that have a flag of their own."""
    from ..errors import RunError

    out = read_pairs(pairs)
    for name, values in several.items():
        if values and name in out:
            raise RunError(f"--{name} and --set {name}= say the same thing; use --{name} for all")
        if values:
            out[name] = values
    return out


def read_pairs(pairs: list[str]) -> dict[str, Any]:
    """Options from NAME=VALUE pairs."""
    from ..errors import RunError

    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RunError(f"--set {pair!r}: write NAME=VALUE")
        out[name] = read_value(value)
    return out


def read_value(text: str) -> Any:
    """A number, a truth value, a list, or the text itself."""
    try:
        return json_.loads(text)
    except ValueError:
        return text


def _config(kind: Any, **given: Any) -> Any:
    """A configuration, with pydantic's complaint put in the user's words."""
    from pydantic import ValidationError

    from ..errors import RunError

    try:
        return kind(**given)
    except ValidationError as error:
        detail = error.errors()[0]
        name = str(detail["loc"][0])
        raise RunError(f"--{name.replace('_', '-')} {given.get(name)!r}: {detail['msg']}") from error
