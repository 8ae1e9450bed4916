"""The command that compares methods: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .app import Json, Threads, Track, app, read_pairs, read_value

if TYPE_CHECKING:
    from ..compare import Asked


@app.command(
    epilog="Example: `secateurs compare --model zoo:mlp-512-256 --data mnist:DIR --methods equilibrium,taylor "
    "--budgets macs=0.5,0.25 --seeds 3 --epochs 5 --jobs 2 --out runs/c`"
)
def compare(
    out: Annotated[Path, typer.Option(help="Folder of the comparison; one that lies there is added to.")],
    model: Annotated[Optional[str], typer.Option(help="As for prune.")] = None,  # noqa: UP045
    data: Annotated[Optional[str], typer.Option("--data", help="As for prune.")] = None,  # noqa: UP045
    methods: Annotated[
        list[str],
        typer.Option(help="Names with commas, or all. random, magnitude and the dense network always run beside them."),
    ] = [],  # noqa: B006
    budgets: Annotated[
        list[str], typer.Option(help="macs=0.5,0.25 is two budgets; macs=0.5+params=0.3 one of both; repeatable.")
    ] = [],  # noqa: B006
    seeds: Annotated[str, typer.Option(help="How many, from 0; or which, with commas.")] = "3",
    epochs: Annotated[int, typer.Option(min=1, help="All epochs of a run together, whatever the method.")] = 20,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    granularity: Annotated[str, typer.Option(help="channel, head, channel+head, block or weight.")] = "channel",
    grid: Annotated[
        list[str],
        typer.Option(
            help="Values of an option to choose from on validation, lr=1e-3,5e-3; repeatable: all combinations. "
            "By default two learning rates."
        ),
    ] = [],  # noqa: B006
    search: Annotated[
        bool,
        typer.Option("--search", help="Let Optuna choose method and options under each budget (extra `search`)."),
    ] = False,
    trials: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Of the search, for every budget; by default 40."),
    ] = None,
    tune: Annotated[bool, typer.Option("--tune/--no-tune", help="Choose from the grid, or run the defaults.")] = True,
    set_: Annotated[list[str], typer.Option("--set", help="Option of all methods, NAME=VALUE; repeatable.")] = [],  # noqa: B006
    against: Annotated[str, typer.Option(help="The method that paired differences are taken to.")] = "magnitude",
    scratch: Annotated[
        str,
        typer.Option(
            help="Methods whose networks are trained from scratch too, with commas; all, or none. By default the first."
        ),
    ] = "first",
    mixed_precision: Annotated[str, typer.Option(help="no, fp16 or bf16.")] = "no",
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side, each with its share of the cores.")] = 1,
    threads: Threads = None,
    ray: Annotated[
        str, typer.Option(help="Runs as Ray tasks: auto starts Ray here, HOST:PORT joins a cluster (extra `ray`).")
    ] = "",
    track: Track = [],  # noqa: B006
    retry: Annotated[bool, typer.Option("--retry", help="Make the runs again that failed.")] = False,
    markdown: Annotated[Optional[Path], typer.Option(help="Also write the tables into this Markdown file.")] = None,  # noqa: UP045
    json: Json = False,
) -> None:
    """Run methods at budgets over seeds, under equal conditions, and say which is better, or that none is."""
    from ..compare import origin

    if jobs > 1 and not ray:
        origin(jobs, threads)  # before anything is imported here
    from ..compare import How
    from ..compare import compare as run
    from ..recipes import read_names

    wanted = _asked(
        out, model, data, methods, budgets, seeds, grid if tune else None, set_, scratch, _trials(search, trials),
        epochs=epochs, batch_size=batch_size, granularity=granularity, against=against, mixed_precision=mixed_precision,
    )  # fmt: skip
    found = run(wanted, out, How(jobs, threads, retry, ray, track=read_names(track)))
    from ..report import write_comparison, write_comparison_markdown, write_reports

    write_reports([out / run.folder for run in found.runs], out)
    page = write_comparison(found, out)
    written = [page, *(write_comparison_markdown(found, markdown) if markdown is not None else [])]
    if json:
        print(found.model_dump_json(indent=2))
        return
    from .comparison import comparison

    comparison(found, written)


def _asked(
    out: Path,
    model: str | None,
    data: str | None,
    methods: list[str],
    budgets: list[str],
    seeds: str,
    grid: list[str] | None,
    set_: list[str],
    scratch: str,
    trials: int | None,
    **rest: Any,
) -> Asked:
    """What the command asks for; where it names no model, what its folder was asked for."""
    from ..compare import SEARCHED, Search, asked, product, read_budgets, read_methods, standing, usual_grid
    from ..errors import RunError

    before = standing(out)
    if model is None and data is None and before is not None:
        return before
    if model is None or data is None:
        raise RunError(f"{str(out)!r} holds no comparison to go on with; give --model, --data, --methods and --budgets")
    names = read_methods(methods) or (SEARCHED if trials is not None else ())
    if not names:
        raise RunError("--methods names none; write --methods equilibrium,magnitude,taylor or --methods all")
    options, axes = read_pairs(set_), _axes(grid or [])
    first = names if trials is not None else names[:1]  # of a search, whatever it chooses
    sources = {"first": first, "none": (), "all": names}.get(scratch) or read_methods(
        [scratch] if scratch != "none" else []
    )
    return asked(
        model=model,
        data=data,
        methods=names,
        budgets=read_budgets(budgets),
        seeds=_seeds(seeds),
        grid=({},)
        if grid is None or trials is not None
        else product(axes)
        if axes
        else usual_grid(model, data, options),
        search=None if trials is None else Search(trials=trials, values=axes),
        options=options,
        scratch=sources,
        **rest,
    )


def _trials(search: bool, trials: int | None) -> int | None:
    from ..errors import RunError

    if trials is not None and not search:
        raise RunError(f"--trials {trials} belongs to a search; add --search, or leave it out")
    return (trials or 40) if search else None


def _seeds(text: str) -> tuple[int, ...]:
    from ..errors import RunError

    try:
        given = tuple(int(part) for part in text.removesuffix(",").split(","))
    except ValueError:
        raise RunError(f"--seeds {text!r}: write how many, 3, or which, 0,1,2") from None
    if "," in text:
        return tuple(dict.fromkeys(given))
    if given[0] < 1:
        raise RunError(f"--seeds {text!r}: at least one is needed")
    return tuple(range(given[0]))


def _axes(texts: list[str]) -> dict[str, tuple[Any, ...]]:
    from ..errors import RunError

    axes: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise RunError(f"--grid {text!r}: write NAME=VALUE,VALUE")
        axes[name] = tuple(read_value(value) for value in values.split(","))
    return axes
