"""What may be asked, and what a folder that was asked before still takes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secateurs.cli.app import app
from secateurs.compare.joining import joined, keep, renewed, standing, together, without
from secateurs.compare.request import Asked, Search, asked, product, read_budgets, read_methods
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
        ({"options": {"learning": 1}}, "no method of this comparison has an option 'learning'"),
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
    keep(first, tmp_path)
    more = asked(**{**BASE, "methods": ("snip",), "budgets": (Budget(macs=0.25),)}, seeds=(0, 1, 2, 3))
    both = joined(more, tmp_path)
    assert both.methods == ("taylor", "magnitude", "random", "snip")
    assert both.budgets == (Budget(macs=0.5), Budget(macs=0.25)) and both.seeds == (0, 1, 2, 3)
    with pytest.raises(RunError, match="--epochs 20, and this one has --epochs 5"):
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
    "--methods taylor --budgets macs=0.123456789,40M --grid lr=1e-3 --grid lr=1e-2",
    "--methods snip --budgets params=0.1 --against taylor --set lr=0.01 --set allocation=uniform",
    "--methods taylor --budgets params=0.1 --granularity weight --mixed-precision bf16 --epochs 3 --batch-size 64",
    "--budgets latency=0.02ms --search --trials 7 --grid cut=0.25,0.5",
    "--methods taylor --budgets macs=0.5 --search --no-tune",
    "--methods taylor,snip --budgets macs=0.5 --search --scratch taylor",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_of_a_comparison_asks_for_it(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import secateurs.compare
    from secateurs.compare.protocol import command

    heard: list[Asked] = []

    def hear(request: Asked, *_: Any, **__: Any) -> None:
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


MODEL = (
    "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.a, self.b = nn.Linear(64, 8), nn.Linear(8, 10)\n    def forward(self, x):\n"
    "        return self.b(self.a(x.flatten(1)).relu())\n\ndef build():\n    return Net()\n"
)


def test_a_file_that_was_changed_is_another_model(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(MODEL, encoding="utf-8")
    given = {**BASE, "model": f"{file}:build"}
    folder = tmp_path / "c"
    keep(asked(**given), folder)
    assert joined(asked(**given), folder) == standing(folder)
    file.write_text(MODEL.replace("64, 8", "64, 9").replace("(8", "(9"), encoding="utf-8")
    with pytest.raises(RunError, match=r"net\.py' has changed since .*another --out"):
        joined(asked(**given), folder)
    file.write_text(MODEL, encoding="utf-8")
    assert joined(asked(**given), folder) == standing(folder)


def test_what_is_not_named_is_as_it_was(tmp_path: Path) -> None:
    before = asked(**BASE, epochs=7, grid=({"lr": 0.1},), seeds=(0, 4), scratch=("taylor",), options={"clip": 1.0})
    more = renewed(before, {"methods": ("snip",), "seeds": (5,)}, Path("c"))
    assert more.methods == ("taylor", "magnitude", "random", "snip") and more.seeds == (0, 4, 5)
    assert more.model_copy(update={"methods": before.methods, "seeds": before.seeds}) == before
    with pytest.raises(RunError, match=r"--set clip=1.0, and this one has --set clip=2.0 --set lr=0.2"):
        renewed(before, {"options": {"clip": 2.0, "lr": 0.2}}, tmp_path)  # not: the grid varies lr
    with pytest.raises(RunError, match=r"--grid lr=0.1, and this one has --no-tune"):
        renewed(before, {"grid": ({},)}, tmp_path)
    with pytest.raises(RunError, match=r"no --set"):
        together(asked(**BASE, epochs=7, grid=({"lr": 0.1},)), before, tmp_path)


def test_mistakes_can_be_taken_out() -> None:
    budgets = (Budget(macs=0.5), Budget(macs=0.01), Budget(macs=0.5, params=0.3))
    before = asked(**{**BASE, "methods": ("taylor", "snip"), "budgets": budgets}, seeds=(0, 1), scratch=("snip",))
    after = without(before, ["snip,macs=0.01", "seed=1", "macs=0.5+params=0.3"])
    assert after.methods == ("taylor", "magnitude", "random") and after.scratch == ()
    assert after.budgets == (Budget(macs=0.5),) and after.seeds == (0,)
    for wrong, said in [
        ("fisher", "not among the methods of this comparison, taylor, snip"),
        ("macs=0.2", r"not among the budgets of this comparison, macs=0\.5, macs=0\.01, params=0\.3\+macs=0\.5"),
        ("seed=9", "not among the seeds"),
        ("seed=x", "write seed=3"),
        ("magnitude", "the others are held against it"),
        ("random", "the others are held against it"),
        ("colour=2", "unknown resource"),
    ]:
        with pytest.raises(SecateursError, match=said):
            without(before, [wrong])


def test_the_last_one_can_be_replaced_and_not_just_taken_out() -> None:
    before = without(asked(**BASE, seeds=(0,)), ["macs=0.5", "seed=0"])
    assert renewed(before, {"budgets": (Budget(macs=0.2),), "seeds": (3,)}, Path("c")).budgets == (Budget(macs=0.2),)
    with pytest.raises(BudgetError, match="at least one budget"):
        renewed(before, {"seeds": (3,)}, Path("c"))
    with pytest.raises(RunError, match="at least one seed"):
        renewed(before, {"budgets": (Budget(macs=0.2),)}, Path("c"))


def test_a_search_keeps_its_methods() -> None:
    before = asked(**{**BASE, "methods": ("taylor", "snip")}, search=Search(trials=3), scratch=("taylor", "snip"))
    assert renewed(before, {"methods": ("taylor",), "search": Search(trials=5)}, Path("c")).methods == before.methods
    with pytest.raises(
        RunError, match="--methods fisher: a search chooses from the same methods to its end, here taylor"
    ):
        renewed(before, {"methods": ("fisher",)}, Path("c"))


def test_a_search_keeps_the_seed_that_it_looks_at_and_scratch_can_go() -> None:
    before = asked(**BASE, search=Search(trials=3), seeds=(0, 1), scratch=("taylor",))
    assert without(before, ["seed=1", "scratch:taylor"]).scratch == ()
    with pytest.raises(RunError, match="looks at this seed to its end"):
        without(before, ["seed=0"])


def test_lists_are_values_of_a_grid_too() -> None:
    from secateurs.compare.protocol import command

    made = asked(**BASE, grid=({"recovery": ["batchnorm"]}, {"recovery": ["reweight"]}))
    assert """--grid 'recovery=["batchnorm"],["reweight"]'""" in command(made)


def test_whose_option_it_is_stays() -> None:
    before = asked(**{**BASE, "methods": ("taylor", "gradual")}, grid=({"power": 1.0}, {"power": 3.0}))
    with pytest.raises(RunError, match="--drop gradual: it alone has the option 'power'"):
        without(before, ["gradual"])


def test_options_go_to_those_who_have_them() -> None:
    made = asked(**BASE, options={"cut": 0.3}, grid=({"lr": 0.1}, {"lr": 0.1, "calibration": 3}))
    half = Budget(macs=0.5)
    assert made.config("taylor", half, 0, made.grid[1]).options == {"cut": 0.3, "lr": 0.1, "calibration": 3}
    assert made.config("dense", half, 0, made.grid[1]).options == {"lr": 0.1}
    assert made.points("dense", half) == ({"lr": 0.1},), "what makes no difference is one point"
    assert asked(**BASE, grid=({"recovery_lr": 0.1}, {"recovery_lr": 0.2})).points("dense", half) == ({},)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"options": {"cut": "high"}}, "option cut='high' of method 'taylor'"),
        ({"options": {"lr": 0.1}, "grid": ({"lr": 0.2}, {"lr": 0.3})}, "--set lr gives it to all, and --grid lr"),
        ({"scratch": ("snip",)}, "--scratch snip: it is none of the methods compared"),
        ({"granularity": "channels"}, "--granularity channels: .*'channel'"),
        ({"search": Search(values={"cut": (0.5, "high")})}, "option cut='high'"),
    ],
)
def test_what_no_run_could_take_is_said_before(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=said):
        asked(**{**BASE, **wrong})


def test_a_damaged_request_is_told_in_a_line(tmp_path: Path) -> None:
    keep(asked(**BASE), tmp_path)
    path = tmp_path / "comparison.json"
    whole = path.read_text(encoding="utf-8")
    for text, said in [(whole[:50], "Invalid JSON"), (whole.replace('"taylor"', '"tailor"'), "unknown method")]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(RunError, match=said) as caught:
            standing(tmp_path)
        assert "\n" not in str(caught.value) and "pydantic" not in str(caught.value)
