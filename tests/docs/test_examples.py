"""What the pages say is run: their Python as it stands, their commands against the command line itself."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from secateurs import Record
from secateurs.cli.app import app
from secateurs.recipes import METHODS, RunConfig, described, prune
from secateurs.report import picture, write
from secateurs.spec import Budget
from secateurs.zoo import MODELS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# These are run, the others only parsed.
QUICK = ("inspect", "bench", "export", "report", "methods", "recoveries", "runs")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> list[list[str]]:
    """Every shell line of a page, split as a shell would; comments dropped."""
    lines = [line for body in blocks(page, "sh") for line in body.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def of_secateurs(words: list[str]) -> list[str] | None:
    """The arguments, if the line calls secateurs, also through a launcher."""
    if words[0] == "secateurs":
        return words[1:]
    return words[words.index("-m") + 2 :] if "-m" in words and "secateurs" in words else None


CALLS = [(page, args) for page in PAGES for words in commands(page) if (args := of_secateurs(words))]
PYTHON = [page for page in PAGES if blocks(page, "python")]


def shown(value: Any) -> str:
    return value.name if isinstance(value, Path) else " ".join(value)[:60]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run, for the pages that look at one."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    config = RunConfig(model="zoo:mlp-digits", data="digits", budget=Budget(macs=0.3), epochs=3)
    prune(config, out, progress=False)
    write(out)
    return out


@pytest.fixture
def place(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own that holds ``runs/demo`` and ``examples``."""
    shutil.copytree(demo, tmp_path / "runs" / "demo")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PYTHON, ids=shown)
def test_python_runs_as_it_stands(page: Path, place: Path) -> None:
    source = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": f"page_{page.stem}"}
    for body in blocks(page, "python"):
        above = source[: source.index(body)].count("\n")  # so that a traceback shows the page's own line
        exec(compile("\n" * above + body, str(page), "exec"), names)


@pytest.mark.parametrize(("page", "args"), CALLS, ids=shown)
def test_commands_parse(page: Path, args: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    assert args[0] in group.commands, f"{page.name} shows a command that does not exist: {args[0]}"
    context = group.commands[args[0]].make_context(args[0], list(args[1:]))
    given = context.params
    if args[0] == "prune":
        Budget.parse(*given["budget"])
        options = METHODS[given["method"]].options
        for pair in given["set_"]:
            assert pair.partition("=")[0] in options.model_fields
    if given.get("model", "").startswith("zoo:"):
        assert given["model"].removeprefix("zoo:") in MODELS


RUN = sorted({tuple(args) for _, args in CALLS if args[0] in QUICK and "cifar10:DIR" not in args})


@pytest.mark.parametrize("args", RUN, ids=shown)
def test_quick_commands_run(args: tuple[str, ...], place: Path) -> None:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    if "--json" in args:
        assert json.loads(result.stdout)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for words in commands(page):
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), f"{page.name}: make {words[1]}"


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if target and "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_model_and_option_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert f"## {name}\n" in page
        for parameter in command.params:
            for option in parameter.opts:
                known = option in page or option in ("--help", "--json") or not option.startswith("--")
                assert known, f"docs/cli.md does not mention {name} {option}"
    for name in MODELS:
        assert f"`{name}`" in page


def _tool(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_tables_of_methods_are_those_of_the_registries() -> None:
    tool = _tool("methods")
    for path in tool.PAGES:
        assert tool.page(path) == path.read_text(encoding="utf-8"), "run `python docs/methods.py`"


def test_every_option_of_every_method_says_what_it_is() -> None:
    for method in METHODS.values():
        for option in described(method.options):
            assert option.text, f"{method.options.__name__} does not say what {option.name} is"


def test_the_readme_shows_the_record_of_the_demo() -> None:
    tool = _tool("demo")
    record = Record.read(tool.RECORD)
    text = tool.README.read_text(encoding="utf-8")
    start, stop = tool.between(text)
    remedy = "run `make demo picture`"
    assert text[start:stop] == tool.printed(record), remedy
    assert tool.PICTURE.read_text(encoding="utf-8") == picture(record), remedy
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    demo = re.search(r"^demo:.*\n\t(.*)$", makefile, re.MULTILINE)
    assert demo is not None
    words = shlex.split(demo[1])
    args = dict(zip(words, words[1:]))
    assert record.config["budget"]["macs"] == float(args["--budget"].partition("=")[2])
    assert record.config["epochs"] == int(args["--epochs"])
    options = [w.partition("=") for w, before in zip(words[1:], words) if before == "--set"]
    assert record.config["options"] == {name: json.loads(value) for name, _, value in options}


def test_the_demo_keeps_its_promise() -> None:
    """At least 4 times fewer MACs at no more than a point lost, on the run that the README shows."""
    record = Record.read(ROOT / "docs" / "demo-record.json")
    dense, pruned = record.dense, record.pruned
    assert dense.macs and pruned.macs and dense.accuracy and pruned.accuracy
    assert dense.macs >= 4 * pruned.macs
    assert pruned.accuracy >= dense.accuracy - 0.01
