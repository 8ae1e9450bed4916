"""The index says what the folder holds, whatever happens to either, and nobody's expression changes it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import secateurs.compare.index as index_module
from secateurs.cli import main
from secateurs.cli.app import app
from secateurs.compare.columns import COLUMNS, NAMES
from secateurs.compare.index import INDEX_FILE, Index
from secateurs.errors import RunError
from secateurs.records import Fidelity, Measured, Record, TrainBlock, TrainSeconds


def record(method: str = "equilibrium", macs: float = 0.25, seed: int = 0, **more: Any) -> Record:
    given: dict[str, Any] = {
        "method": method,
        "model": "zoo:mlp-digits",
        "data": "digits",
        "budget": {"macs": macs},
        "dense": Measured(accuracy=0.98, params=2000, macs=1000, bytes=8000, latency_ms=0.2),
        "pruned": Measured(
            accuracy=0.9 + macs / 10 + seed / 1000,
            loss=0.1,
            params=500,
            macs=int(1000 * macs),
            bytes=2000,
            file_bytes=2100,
            latency_ms=0.05,
            class_accuracy=[0.9, None, 0.7],
            calibration_error=0.02,
            membership_auc=0.55,
        ),
        "fidelity": Fidelity(agreement=0.95, kl=0.03, flipped=3, gained=1, worst_drop=0.1),
        "groups_total": 40,
        "groups_kept": 10,
        "train": TrainBlock(seconds=TrainSeconds(dense_equivalent=3.0, game=0.5, recovery=1.5, reference=100.0)),
        "config": {"epochs": 5, "granularity": "channel", "options": {"lr": 0.01}},
        "config_hash": f"{method}-{macs:g}-{seed}",
        "seed": seed,
        "device": "cpu",
        "threads": 1,
        "created": f"2026-01-01T00:00:{seed:02d}+00:00",
    }
    return Record(**{**given, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An ordinary run, and a comparison of six."""
    root = tmp_path / "runs"
    record(macs=0.2, seed=7).write(root / "demo")
    for method in ("equilibrium", "taylor"):
        for seed in range(3):
            made = record(method, 0.5, seed)
            made.write(root / "c" / "runs" / made.config_hash)
    return root


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose records are read from now on."""
    seen: list[str] = []
    before = index_module.read_row

    def read_row(text: bytes, name: str) -> Any:
        seen.append(name)
        return before(text, name)

    monkeypatch.setattr(index_module, "read_row", read_row)
    return seen


def test_a_row_by_hand(folder: Path) -> None:
    with Index(folder) as index:
        (row,) = index.rows("folder = 'demo'")
    assert tuple(row) == NAMES
    assert row | {"accuracy": None} == {
        "hash": "equilibrium-0.2-7", "folder": "demo", "method": "equilibrium", "model": "zoo:mlp-digits",
        "data": "digits", "granularity": "channel", "budget": "macs=0.2", "seed": 7, "epochs": 5,
        "options": '{"lr":0.01}', "source": None, "accuracy": None, "loss": 0.1,
            "validation": None, "dense_accuracy": 0.98,
        "groups": 0.25, "params": 0.25, "macs": 0.2, "bytes": 0.25, "latency": 0.25,
        "groups_kept": 10, "groups_count": 40, "params_count": 500, "macs_count": 200, "bytes_count": 2000,
        "file_bytes": 2100, "latency_ms": 0.05, "worst_class": 0.7, "worst_drop": 0.1, "calibration_error": 0.02,
        "agreement": 0.95, "kl": 0.03, "membership_auc": 0.55, "peak_memory": None, "peak_device_memory": None,
        "seconds": 5.0, "joules": None, "created": "2026-01-01T00:00:07+00:00", "device": "cpu", "threads": 1,
    }  # fmt: skip
    assert row["accuracy"] == pytest.approx(0.927)


def test_filter_order_limit_and_columns(folder: Path) -> None:
    with Index(folder) as index:
        assert index.count() == 7 and index.count("method='equilibrium' and macs<0.3") == 1
        assert [r["folder"] for r in index.rows("method='equilibrium' and macs<0.3")] == ["demo"]
        rows = index.rows("macs = 0.5", "accuracy desc, method", 3, ("seed", "method"))
        assert rows == [
            {"seed": 2, "method": "equilibrium"},
            {"seed": 2, "method": "taylor"},
            {"seed": 1, "method": "equilibrium"},
        ]
        assert [r["seed"] for r in index.rows("method='taylor'")] == [0, 1, 2]  # oldest first
        assert index.rows(limit=0) == []
        assert index.count("json_extract(options, '$.lr') = 0.01") == 7
        assert index.count("accuracy > (select avg(accuracy) from runs)") > 0
        assert index.count("macs<0.3 -- and nothing else") == 1


def test_what_a_record_lacks_is_null(tmp_path: Path) -> None:
    bare = Record(method="dense", model="m", data="d", budget={"groups": 1.0}, pruned=Measured(loss=float("inf")))
    bare.write(tmp_path / "dense")
    record(pruned=Measured(loss=float("nan"), macs=2**70)).write(tmp_path / "nan")
    with Index(tmp_path) as index:
        dense, nan = index.rows("", "method")
    assert dense["accuracy"] is None and dense["macs"] is None and dense["epochs"] is None
    assert dense["groups"] is None and dense["budget"] == "groups=1" and dense["options"] == "{}"
    assert dense["loss"] == float("inf")
    assert nan["loss"] is None and nan["macs_count"] == float(2**70)


def test_only_what_changed_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Index(folder).close()
    seen = reads(monkeypatch)
    with Index(folder) as index:
        assert index.count() == 7 and not seen and not index.in_memory
        record("random", 0.1).write(folder / "more" / "deep" / "down")
        record(macs=0.3, seed=7).write(folder / "demo")
        assert index.count() == 7
        index.update()
        assert sorted(seen) == ["demo", "more/deep/down"]
        assert index.count() == 8 and index.rows("folder='demo'")[0]["macs"] == 0.3
        status = (folder / "demo" / "record.json").stat()
        os.utime(folder / "demo" / "record.json", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        index.update()
        assert seen[2:] == ["demo"] and index.count() == 8


def test_what_vanished_leaves(folder: Path) -> None:
    Index(folder).close()
    shutil.rmtree(folder / "c")
    (folder / "demo" / "record.json").rename(folder / "demo" / "old.json")
    with Index(folder) as index:
        assert index.rows() == [] and index.skipped == {}


DAMAGED = {
    "cut": (b'{"method": "eq', "not JSON"),
    "bytes": (b"\xff\xfe\x00", "not JSON"),
    "empty": (b"", "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "list": (b"[1, 2]", "no JSON object"),
    "other": (b'{"name": "x", "version": 3}', "it has no 'method'"),
    "newer": (record().model_dump_json().replace('"schema_version":1', '"schema_version":9').encode(), "version 9"),
    "text": (record().model_dump_json().replace('"seed":0', '"seed":"many"').encode(), "seed is no number"),
    "number": (record().model_dump_json().replace('"device":"cpu"', '"device":5').encode(), "device is no text"),
    "budget": (record().model_dump_json().replace('{"macs":0.25}', '{"macs":"lots"}').encode(), "budget"),
    "classes": (record().model_dump_json().replace("[0.9,null,0.7]", "7").encode(), "not a Secateurs record"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_skipped_with_its_reason(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, reason = DAMAGED[name]
    path = folder / "odd" / "record.json"
    path.parent.mkdir()
    path.write_bytes(text)
    with Index(folder) as index:
        assert index.count() == 7
        assert list(index.skipped) == ["odd/record.json"] and reason in index.skipped["odd/record.json"]
        seen = reads(monkeypatch)
        index.update()
        assert not seen and index.skipped
        record().write(path.parent)
        index.update()
        assert index.count() == 8 and not index.skipped


def test_a_record_that_becomes_damaged_loses_its_row(folder: Path) -> None:
    Index(folder).close()
    (folder / "demo" / "record.json").write_text("{")
    with Index(folder) as index:
        assert index.count() == 6 and list(index.skipped) == ["demo/record.json"]


def test_a_record_that_cannot_be_opened_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self.parent.name == "demo":
            raise PermissionError(13, "Permission denied")
        return before(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with Index(folder) as index:
            assert index.skipped == {"demo/record.json": "cannot be read: Permission denied"}
    with Index(folder) as index:
        assert index.count() == 7 and not index.skipped


def scribble(path: Path) -> None:
    with open(path, "r+b") as file:
        for place in range(4096, path.stat().st_size, 512):
            file.seek(place)
            file.write(b"\xa5" * 64)


def spoil(path: Path, how: str) -> None:
    if how == "text":
        path.write_text("this is no database, however long one makes it " * 50)
    elif how == "scribbled":
        scribble(path)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "older":
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE runs")
            db.execute("CREATE TABLE runs (folder TEXT, macs TEXT)")
            db.execute("PRAGMA user_version = 1")
        db.close()


@pytest.mark.parametrize("how", ["text", "scribbled", "cut", "empty", "older"])
def test_an_index_that_is_damaged_or_older_is_made_anew(how: str, folder: Path) -> None:
    with Index(folder) as index:
        before = index.rows()
    spoil(folder / INDEX_FILE, how)
    with Index(folder) as index:
        assert index.rows() == before and len(before) == 7 and not index.in_memory
    with Index(folder) as index:
        assert index.rows() == before and not index.in_memory


def test_an_index_that_is_damaged_while_open(folder: Path) -> None:
    with Index(folder) as index, Index(folder) as other:
        before = index.rows()
        other.close()
        index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        index._db.execute("PRAGMA shrink_memory")
        scribble(folder / INDEX_FILE)
        assert index.rows() == before


def test_the_index_can_be_deleted(folder: Path) -> None:
    Index(folder).close()
    (folder / INDEX_FILE).unlink()
    with Index(folder) as index:
        assert index.count() == 7 and (folder / INDEX_FILE).exists()


def test_where_nothing_can_be_written_the_index_is_in_memory(folder: Path) -> None:
    (folder / INDEX_FILE).mkdir()  # root may write into any folder, but not into this
    with Index(folder) as index:
        assert index.in_memory and index.count() == 7
        record("random").write(folder / "new")
        index.update()
        assert index.count() == 8


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(folder: Path) -> None:
    folder.chmod(0o555)
    try:
        with Index(folder) as index:
            assert index.in_memory and index.count() == 7
    finally:
        folder.chmod(0o755)


def test_another_programs_database_is_left_alone(folder: Path) -> None:
    with sqlite3.connect(folder / INDEX_FILE) as db:
        db.execute("CREATE TABLE runs (mine TEXT)")
        db.execute("INSERT INTO runs VALUES ('precious')")
    db.close()
    before = (folder / INDEX_FILE).read_bytes()
    with Index(folder) as index:
        assert index.in_memory and index.count() == 7
    assert (folder / INDEX_FILE).read_bytes() == before


def test_a_folder_without_runs_stays_as_it_is(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        assert index.rows() == [] and index.count() == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match="no folder"):
        Index(tmp_path / "nope")


def test_hidden_folders_and_links_are_not_entered(folder: Path, tmp_path: Path) -> None:
    record().write(folder / ".trash" / "x")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    with Index(folder) as index:
        assert index.count() == 7


def test_names_of_any_bytes(folder: Path) -> None:
    try:
        os.mkdir(os.fsencode(folder) + b"/odd-\xff")
    except OSError:
        pytest.skip("names are UTF-8 here")
    record("random").write(Path(os.fsdecode(os.fsencode(folder) + b"/odd-\xff")))
    record("random").write(folder / "it's [bold]“ü”")
    with Index(folder) as index:
        assert [r["folder"] for r in index.rows("method='random'")] == ["it's [bold]“ü”", "odd-\\xff"]


ATTEMPTS = (
    "1=1; drop table runs",
    "1=1); drop table runs; --",
    "1=1; delete from runs",
    "1); update runs set accuracy = 1 where (1",
    "exists(select 1 from files)",
    "exists(select 1 from sqlite_master)",
    "1=1) union select * from files where (1",
    "exists(select 1 from pragma_user_version)",
    "exists(with recursive r(i) as (select 1 union all select i+1 from r) select 1 from r where i > 1e12)",
    "load_extension('x.so')",
    "writefile('x', 'y')",
    "1 limit 1; attach 'x.sqlite' as x",
    "accuracy = 1, method = 'x'",
    "(",
    "'",
    ")",
    "?",
    ":name",
    "max(accuracy) > 0",
    "macs <",
    "1\x00",
    "\ud800",
)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_expression_reads_and_nothing_else(attempt: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    with Index(folder) as index:
        before, files = index.rows(), sorted(folder.parent.rglob("*"))
        with pytest.raises(RunError) as caught:
            index.rows(attempt)
        assert str(caught.value).startswith("where ") and repr(attempt) in str(caught.value)
        with pytest.raises(RunError, match="where"):
            index.count(attempt)
        if attempt != "max(accuracy) > 0" and attempt != "accuracy = 1, method = 'x'":  # one may sort by these
            with pytest.raises(RunError, match="order"):
                index.rows(order=attempt)
        assert index.rows() == before and sorted(folder.parent.rglob("*")) == files
        record("random").write(folder / "new")
        index.update()  # what reads only for a while can write again
        assert index.count() == len(before) + 1


def test_errors_are_in_plain_words(folder: Path) -> None:
    with Index(folder) as index:
        with pytest.raises(RunError, match=r"where 'mac<0.3': no column 'mac' .*did you mean 'macs'\?"):
            index.rows("mac<0.3")
        with pytest.raises(RunError, match=r"no column 'taylor' \(a text is written in quotes: 'taylor'\); known: acc"):
            index.rows("method=taylor")
        with pytest.raises(RunError, match=r"order 'acuracy desc': no column 'acuracy'.*'accuracy'"):
            index.rows(order="acuracy desc")
        with pytest.raises(RunError, match="no column 'sed'; did you mean 'seed'"):
            index.rows(columns=("sed",))
        with pytest.raises(RunError, match="cannot be understood near 'banana'"):
            index.rows("macs < 0.3 banana")
        with pytest.raises(
            RunError, match=r"it ends too early; write an SQL expression .* such as method='equilibrium'"
        ):
            index.rows("(macs < 0.3")
        with pytest.raises(RunError, match="nothing but the columns of runs can be read"):
            index.rows("exists(select 1 from files)")
        with pytest.raises(RunError, match="no such function: foo"):
            index.rows("foo(macs)")


PROCESS = """
import sys, random, time
sys.path.insert(0, {tests!r})
from test_index import record
from pathlib import Path
from secateurs.compare.index import Index
root, me = Path(sys.argv[1]), int(sys.argv[2])
(root.parent / f"ready{{me}}").touch()
while not (root.parent / "go").exists():
    time.sleep(0.001)
for i in range(15):
    record("random", 0.1 + i / 100, me).write(root / f"p{{me}}" / f"{{i}}")
    with Index(root) as index:
        assert not index.in_memory
        mine = index.count(f"folder like 'p{{me}}/%'")
        assert mine == i + 1, (me, mine, i)
    if i % 5 == 4:
        (root / f"p{{me}}" / f"{{i}}" / "record.json").touch()
"""


@pytest.mark.parametrize("start", ["absent", "damaged"])
def test_processes_share_it(start: str, folder: Path) -> None:
    if start == "damaged":
        (folder / INDEX_FILE).write_text("no database at all, " * 100)
    script = PROCESS.format(tests=str(Path(__file__).parent))
    argv = [sys.executable, "-c", script, str(folder)]
    workers = [subprocess.Popen([*argv, str(i)], stderr=subprocess.PIPE, text=True) for i in range(3)]
    while len(list(folder.parent.glob("ready*"))) < len(workers) and all(w.poll() is None for w in workers):
        time.sleep(0.01)
    (folder.parent / "go").touch()  # all at once
    for worker in workers:
        _, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err
    with Index(folder) as index:
        assert index.count() == 7 + 45 and not index.in_memory


def test_a_look_that_is_overtaken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that another process finds and notes down meanwhile is not taken for one that vanished."""
    Index(folder).close()
    scan, between = index_module._scan, [True]

    def overtaken(place: Path) -> Any:
        found = list(scan(place))
        if between and between.pop():
            record("random").write(folder / "new")
            Index(folder).close()
        return iter(found)

    record(macs=0.3, seed=7).write(folder / "demo")
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "_scan", overtaken)
        with Index(folder) as index:
            assert index.count() == 8 and index.count("folder='demo' and macs=0.3") == 1
    with Index(folder) as index:
        assert index.count() == 8


def run(*args: str) -> str:
    result = CliRunner().invoke(app, ["runs", *args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_command_prints_json(folder: Path) -> None:
    rows = json.loads(run(str(folder), "--json", "--where", "method='taylor'", "--order", "seed desc"))
    assert [row["seed"] for row in rows] == [2, 1, 0] and tuple(rows[0]) == NAMES
    assert rows[0]["options"] == {"lr": 0.01}
    assert json.loads(run(str(folder), "--json", "--where", "seed=99")) == []


def test_command_prints_csv(folder: Path) -> None:
    text = run(
        str(folder), "--csv", "--where", "method='taylor'", "--columns", "seed, options,accuracy", "--limit", "2"
    )
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["seed", "options", "accuracy"] and rows[1][:2] == ["0", '{"lr":0.01}'] and len(rows) == 3
    assert run(str(folder), "--csv").splitlines()[0] == ",".join(NAMES)


def test_command_prints_a_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "odd").mkdir()
    (folder / "odd" / "record.json").write_text("{")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(folder.parent)
    text = run("--where", "macs=0.5", "--order", "accuracy desc", "--limit", "4")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100 and lines[0].split(", ")[:2] == ["zoo:mlp-digits", "digits"]
    assert all(name in lines[2] for name in ("method", "budget", "accuracy", "macs", "latency", "folder"))
    assert sum("c/runs/" in line for line in lines) == 4
    assert "6 of 7 runs in runs; the first 4 are shown" in text
    assert "skipped odd/record.json: not JSON" in text
    record("random", data="mnist:DIR").write(folder / "mnist")
    record("random", pruned=Measured()).write(folder / "untested")
    text = run(str(folder), "--where", "method='random'")
    assert "data" in text.splitlines()[2] and "mnist:DIR" in text and "–" in text
    assert "loss" not in text and "loss" in run(str(folder), "--columns", "hash,loss")


def test_command_without_runs_and_with_wrong_words(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    assert run(str(tmp_path / "none")).startswith("0 runs in")
    monkeypatch.setattr(sys, "argv", ["secateurs", "runs", str(folder), "--where", "mac<1"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1 and "did you mean 'macs'" in capfd.readouterr().err
    for wrong in (["--csv", "--json"], ["--columns", "nothing"]):
        with pytest.raises(RunError):
            run(str(folder), *wrong)


def test_skipped_files_do_not_mix_with_data(folder: Path) -> None:
    for i in range(12):
        (folder / f"odd{i:02d}").mkdir()
        (folder / f"odd{i:02d}" / "record.json").write_text("{")
    result = CliRunner().invoke(app, ["runs", str(folder), "--json"])
    assert len(json.loads(result.stdout)) == 7
    assert "skipped odd00/record.json" in result.stderr and "skipped 2 more" in result.stderr


def test_columns_are_all_described() -> None:
    text = run("--list-columns")
    assert all(f" {name} " in text for name in NAMES)
    assert [c["column"] for c in json.loads(run("--list-columns", "--json"))] == list(NAMES)
    assert len(set(NAMES)) == len(NAMES) and all(column.text for column in COLUMNS)


def test_scratch_runs_name_their_source_and_trials_are_counted(tmp_path: Path) -> None:
    """Of a network from scratch the configuration holds the hash of the run that found it."""
    found = record("taylor", seed=1)
    found.write(tmp_path / "a")
    other = record(
        "scratch", seed=2, config={"epochs": 5, "granularity": "channel", "options": {"of": found.config_hash}}
    )
    other.pruned.accuracy = None
    other.write(tmp_path / "b")
    result = CliRunner().invoke(app, ["runs", str(tmp_path)])
    assert "scratch:taylor" in result.stdout and "1 of them trials" in result.stdout
    whole = CliRunner().invoke(app, ["runs", str(tmp_path), "--columns", "all", "--where", "source is not null"])
    assert found.config_hash in whole.stdout and "calibration_error" in whole.stdout
    with pytest.raises(RunError, match="is no folder"):
        Index(tmp_path / "a" / "record.json")
