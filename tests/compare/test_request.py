"""What may be asked, and what a folder that was asked before still takes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secateurs.cli.app import app
from secateurs.compare.request import Asked, asked, product, read_budgets, read_methods, standing, together
from secateurs.compare.sweep import joined
from secateurs.errors import BudgetError, RunError, SecateursError, UnknownNameError
from secateurs.recipes import METHODS
from secateurs.spec import Budget

BASE: dict[str, Any] = {
    "model": "zoo:mlp-digits",
    "data": "digits",
    "methods": ("taylor",),
    "budgets": (Budget(macs=0.5),),
}


def test_budgets_as_written() -> None:
    assert read_budgets(["macs=0.5,0.25,10k", "params=0.1"]) == (
        Budget(macs=0.5),
        Budget(macs=0.25),
        Budget(macs=10_000),
        Budget(params=0.1),
    )
    assert read_budgets(["macs=0.5+params=0.3,macs=0.2"]) == (Budget(macs=0.5, params=0.3), Budget(macs=0.2))
    assert read_budgets(["macs=0.5,0.50"]) == (Budget(macs=0.5),)
    with pytest.raises(BudgetError, match=r"'0\.5' names no resource"):
        read_budgets(["0.5,0.25"])
    with pytest.raises(BudgetError, match="did you mean 'macs'"):
        read_budgets(["mac=0.5"])


def test_methods_as_written() -> None:
    assert read_methods(["taylor,snip", "taylor"]) == ("taylor", "snip")
    everything = read_methods(["all"])
    assert set(everything) == set(METHODS) - {"dense", "scratch"}


def test_controls_always_run() -> None:
    assert asked(**BASE).methods == ("taylor", "magnitude", "random")
    assert asked(**{**BASE, "methods": ("random", "taylor")}, against="taylor").methods == ("random", "taylor")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"methods": ("tailor",)}, "did you mean 'taylor'"),
        ({"methods": ("dense",)}, "a control of every comparison"),
        ({"budgets": ()}, "at least one budget"),
        ({"epochs": 0}, "--epochs 0"),
        ({"options": {"learning": 1}}, "no option 'learning'"),
        ({"grid": ({"lr": -1},)}, "lr=-1"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SecateursError, match=said):
        asked(**{**BASE, **wrong})


def test_an_option_that_some_methods_take_is_taken() -> None:
    assert asked(**BASE, options={"calibration": 2}).options == {"calibration": 2}


def test_a_folder_remembers_and_grows(tmp_path: Path) -> None:
    first = asked(**BASE)
    assert joined(first, tmp_path) == first and standing(tmp_path) is None
    first.write(tmp_path)
    more = asked(**{**BASE, "methods": ("snip",), "budgets": (Budget(macs=0.25),)}, seeds=(0, 1, 2, 3))
    both = joined(more, tmp_path)
    assert both.methods == ("taylor", "magnitude", "random", "snip")
    assert both.budgets == (Budget(macs=0.5), Budget(macs=0.25)) and both.seeds == (0, 1, 2, 3)
    with pytest.raises(RunError, match="--epochs 20, and this one has 5"):
        together(first, asked(**BASE, epochs=5), tmp_path)


def test_folders_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match=r"no comparison\.json"):
        joined(asked(**BASE), tmp_path)
    (tmp_path / "comparison.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="does not describe a comparison"):
        joined(asked(**BASE), tmp_path)
    with pytest.raises(RunError, match="is a file"):
        joined(asked(**BASE), tmp_path / "notes.txt")


def test_unknown_names_in_all_places() -> None:
    with pytest.raises(UnknownNameError):
        asked(**BASE, against="magnitud")
    with pytest.raises(UnknownNameError):
        asked(**BASE, scratch=("taylr",))


def test_the_grid_is_a_product() -> None:
    assert product({"lr": [1, 2], "clip": [3]}) == ({"lr": 1, "clip": 3}, {"lr": 2, "clip": 3})


COMMANDS = [
    "--methods taylor --budgets macs=0.5,0.25",
    "--methods taylor,snip --budgets macs=0.5+params=0.3 --no-tune --seeds 1,4",
    "--methods magnitude --budgets macs=40k --scratch none --against magnitude --seeds 3,",
    "--methods fisher,taylor --budgets macs=0.5 --grid lr=1e-3,1e-2 --grid cut=0.25,0.5 --scratch all",
    "--methods snip --budgets params=0.1 --against taylor --set lr=0.01 --set allocation=uniform",
    "--methods taylor --budgets params=0.1 --granularity weight --mixed-precision bf16 --epochs 3 --batch-size 64",
    "--budgets latency=0.02ms --search --trials 7 --grid cut=0.25,0.5",
    "--methods taylor,snip --budgets macs=0.5 --search --scratch taylor",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_of_a_comparison_asks_for_it(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import secateurs.compare
    from secateurs.compare.protocol import command

    heard: list[Asked] = []

    def hear(request: Asked, *_: Any) -> None:
        heard.append(request)
        raise RunError("heard")

    monkeypatch.setattr(secateurs.compare, "compare", hear, raising=False)
    start = ["compare", "--model", "zoo:mlp-digits", "--data", "digits", "--out", str(tmp_path / "c")]
    CliRunner().invoke(app, [*start, *words.split()])
    said = shlex.split(command(heard[0]))
    assert said[0] == "secateurs" and said[-2:] == ["--out", "DIR"]
    CliRunner().invoke(app, [*said[1:-1], str(tmp_path / "c")])
    assert heard[1] == heard[0]


def test_what_the_command_line_cannot_say_has_no_command() -> None:
    from secateurs.compare.protocol import command

    assert command(asked(**BASE, grid=({"lr": 0.1, "cut": 0.5}, {"lr": 0.2, "cut": 0.3}))) == ""
