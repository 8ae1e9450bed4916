"""The command that compares methods: parse, call, print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .app import Json, Threads, Track, app, read_pairs, read_value

if TYPE_CHECKING:
    from ..compare import Asked
    from ..records import Comparison


@app.command(
    epilog="Example: `secateurs compare --model zoo:mlp-512-256 --data mnist:DIR --methods equilibrium,taylor "
    "--budgets macs=0.5,0.25 --seeds 3 --epochs 5 --jobs 2 --out runs/c`"
)
def compare(
    out: Annotated[Path, typer.Option(help="Folder of the comparison; one that lies there goes on, and is added to.")],
    model: Annotated[Optional[str], typer.Option(help="As for prune.")] = None,  # noqa: UP045
    data: Annotated[Optional[str], typer.Option("--data", help="As for prune.")] = None,  # noqa: UP045
    methods: Annotated[
        list[str],
        typer.Option(
            help="Names with commas, or all. random, the method of --against and the dense network always run beside "
            "them."
        ),
    ] = [],  # noqa: B006
    budgets: Annotated[
        list[str], typer.Option(help="macs=0.5,0.25 is two budgets; macs=0.5+params=0.3 one of both; repeatable.")
    ] = [],  # noqa: B006
    seeds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="How many, from 0; or which, with commas. By default 3."),
    ] = None,
    epochs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="All epochs of a run together, whatever the method; by default 20."),
    ] = None,
    batch_size: Annotated[Optional[int], typer.Option(min=1, help="By default 128.")] = None,  # noqa: UP045
    granularity: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="channel, head, channel+head, block or weight; by default channel."),
    ] = None,
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
    no_tune: Annotated[
        bool, typer.Option("--no-tune", help="Run the defaults instead of choosing from a grid.")
    ] = False,
    set_: Annotated[
        list[str],
        typer.Option("--set", help="Option of all methods that have it, NAME=VALUE; repeatable."),
    ] = [],  # noqa: B006
    against: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The method that paired differences are taken to; by default magnitude."),
    ] = None,
    scratch: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Methods whose networks are trained from scratch too, with commas; all, or none. By default the first."
        ),
    ] = None,
    mixed_precision: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="no, fp16 or bf16; by default no."),
    ] = None,
    drop: Annotated[
        list[str],
        typer.Option(help="Take out what the folder was asked for before: snip, macs=0.01, seed=3; repeatable."),
    ] = [],  # noqa: B006
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side, each with its share of the cores.")] = 1,
    threads: Threads = None,
    ray: Annotated[
        str, typer.Option(help="Runs as Ray tasks: auto starts Ray here, HOST:PORT joins a cluster (extra `ray`).")
    ] = "",
    track: Track = [],  # noqa: B006
    retry: Annotated[bool, typer.Option("--retry", help="Make the runs again that failed.")] = False,
    markdown: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Also write the tables into this Markdown file, FILE.md."),
    ] = None,
    json: Json = False,
) -> None:
    """Run methods at budgets over seeds, under equal conditions, and say which is better, or that none is."""
    from ..compare import origin

    if jobs > 1 and not ray:
        origin(jobs, threads)  # before anything is imported here
    from ..compare import How
    from ..compare import compare as run
    from ..recipes import read_names

    _writable(markdown)
    named = {"model": model, "data": data, "methods": methods, "budgets": budgets, "seeds": seeds, "epochs": epochs}
    named |= {"batch_size": batch_size, "granularity": granularity, "options": set_, "against": against}
    named |= {"scratch": scratch, "mixed_precision": mixed_precision}
    wanted = _asked(out, drop, named, grid=grid, no_tune=no_tune, search=search, trials=trials)
    before = _recorded(out)
    found = run(wanted, out, How(jobs, threads, retry, ray, track=read_names(track)), drop=drop)
    from ..report import write_comparison, write_comparison_markdown, write_reports

    write_reports([out / run.folder for run in found.runs], out)
    page = write_comparison(found, out)
    written = [page, *(write_comparison_markdown(found, markdown) if markdown is not None else [])]
    if json:
        print(found.model_dump_json(indent=2))
    else:
        from .comparison import comparison

        comparison(found, written, made=_recorded(out) - before, before=before)
    _require_runs(found)


def _asked(out: Path, drop: list[str], named: dict[str, Any], **tuned: Any) -> Asked:
    """What the command asks for: of a folder that was asked before, that and what is named now.

    Args:
        named: parts of the request as they were given; None or empty where they were not. tuned: see :func:`_tuned`.
    """
    from ..compare import SEARCHED, asked, read_budgets, read_methods, renewed, standing, usual_grid, without
    from ..errors import RunError

    before = standing(out)
    before = without(before, drop) if before is not None else None
    parsers: dict[str, Callable[[Any], Any]] = {
        "methods": read_methods,
        "budgets": read_budgets,
        "seeds": _seeds,
        "options": read_pairs,
    }
    given = {name: parsers.get(name, _as_it_is)(value) for name, value in named.items() if value not in (None, [])}
    given |= _tuned(before, **tuned)
    if before is None:
        if not {"model", "data"} <= set(given):
            raise RunError(
                f"{str(out)!r} holds no comparison to go on with; give --model, --data, --methods and --budgets"
            )
        given = {"methods": SEARCHED if "search" in given else (), "budgets": (), "scratch": "first", **given}
    if "scratch" in given:
        given["scratch"] = _scratch(given["scratch"], given, before)
    if before is not None:
        return renewed(before, given, out)
    if not given["methods"]:
        raise RunError("--methods names none; write --methods equilibrium,magnitude,taylor or --methods all")
    made = asked(**given)
    if "grid" in given:
        return made
    return made.model_copy(update={"grid": usual_grid(made.model, made.data, made.options)})


def _as_it_is(value: Any) -> Any:
    return value


def _tuned(before: Asked | None, grid: list[str], no_tune: bool, search: bool, trials: int | None) -> dict[str, Any]:
    """How options are chosen, as far as the command says."""
    from ..compare import Search, product
    from ..errors import RunError

    earlier = before.search if before is not None else None
    searching, axes = search or earlier is not None, _axes(grid)
    if trials is not None and not searching:
        raise RunError(f"--trials {trials} belongs to a search; add --search, or leave it out")
    if searching:
        usual = earlier or Search()
        out: dict[str, Any] = {"search": Search(trials=trials or usual.trials, values=axes or usual.values)}
        return out | ({"grid": ({},)} if no_tune else {})
    if axes and no_tune:
        raise RunError(f"--grid {grid[0]} chooses among values, and --no-tune does not choose; leave one of them out")
    return {"grid": product(axes)} if axes or no_tune else {}


def _scratch(text: str, given: dict[str, Any], before: Asked | None) -> tuple[str, ...]:
    """Methods whose networks are trained from scratch too; of a search ``first`` is whatever it chooses."""
    from ..compare import read_methods
    from ..errors import RunError

    if text == "none" and before is not None and before.scratch:
        there = f"scratch:{before.scratch[0]}"
        raise RunError(f"--scratch none: this comparison has {there}; --drop {there} takes it out")
    names = tuple(given.get("methods") or (before.methods if before is not None else ()))
    meant = {"all": names, "first": names if "search" in given else names[:1], "none": ()}
    return meant[text] if text in meant else read_methods([text])


def _recorded(out: Path) -> int:
    """Runs that have a record."""
    return sum(1 for _ in out.glob("runs/*/record.json"))


def _writable(markdown: Path | None) -> None:
    """Said before anything runs."""
    from ..errors import RunError

    if markdown is not None and (markdown.suffix != ".md" or markdown.is_dir()):
        raise RunError(
            f"--markdown {str(markdown)!r}: name a file that ends in .md; its picture lies beside it as .svg"
        )


def _require_runs(found: Comparison) -> None:
    """Where no method could be run, the command has failed, whatever it wrote."""
    from ..errors import RunError

    empty = [b.budget for b in found.blocks if not any(row.runs for row in b.rows if row.role == "method")]
    if empty and found.failures:
        out = f", and --drop {empty[0].replace(',', '+')} takes a budget out" if len(found.blocks) > len(empty) else ""
        raise RunError(
            f"no method has a finished run at {', '.join(empty)}; what failed is listed above with its error. --retry "
            f"makes those runs again{out}"
        )


def _seeds(text: str) -> tuple[int, ...]:
    from ..errors import RunError

    try:
        given = tuple(int(part) for part in text.removesuffix(",").split(","))
    except ValueError:
        raise RunError(f"--seeds {text!r}: write how many, 3, or which, 0,1,2") from None
    if any(not 0 <= seed < 2**32 for seed in given):
        raise RunError(f"--seeds {text!r}: a seed is a whole number from 0 to {2**32 - 1}")
    if "," in text:
        return tuple(dict.fromkeys(given))
    if given[0] < 1:
        raise RunError(f"--seeds {text!r}: at least one is needed")
    return tuple(range(given[0]))


def _axes(texts: list[str]) -> dict[str, tuple[Any, ...]]:
    from ..compare import distinct
    from ..errors import RunError

    axes: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise RunError(f"--grid {text!r}: write NAME=VALUE,VALUE")
        axes[name] = distinct((*axes.get(name, ()), *(read_value(value) for value in values.split(","))))
    return axes
