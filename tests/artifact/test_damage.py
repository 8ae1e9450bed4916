"""Damaged, foreign, newer and forged artifacts: a clear error, and nothing of theirs has run."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from secateurs.artifact import load, read_manifest, save
from secateurs.artifact.rebuild import rebuild
from secateurs.artifact.tensors import entry_of
from secateurs.errors import ArtifactError
from secateurs.zoo import build_model

from .conftest import FACTORY, Attention, outputs, same

X = torch.randn(2, 3, 8, 8)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(Attention().eval(), tmp_path_factory.mktemp("p") / "a", factory=None, example_inputs=X)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kwargs = {"classes": 3, "input_shape": (3, 8, 8)}
    model = build_model("zoo:conv-small", **kwargs)
    folder = tmp_path_factory.mktemp("z") / "a"
    return save(model, folder, factory="zoo:conv-small", factory_kwargs=kwargs, example_inputs=X)


def sealed(
    folder: Path, change: Callable[[dict[str, Any]], None], program: Callable[[Any], None] | None = None
) -> None:
    """Change an artifact as a forger would, with checksums that match."""
    if program is not None:
        path = folder / "program.json"
        content = json.loads(path.read_text())
        program(content)
        path.write_text(json.dumps(content))
    manifest = json.loads((folder / "artifact.json").read_text())
    for name, entry in manifest["files"].items():
        data = (folder / name).read_bytes()
        entry.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    del manifest["digest"]
    change(manifest)
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    manifest["digest"] = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / "artifact.json").write_text(json.dumps(manifest))


def nothing(_: Any) -> None:
    pass


@pytest.mark.parametrize("which", ["program", "zoo"])
@pytest.mark.parametrize("name", ["artifact.json", "model.safetensors", "program.json"])
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_any_damage_is_an_artifact_error_or_harmless(
    which: str, name: str, data: st.DataObject, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    original: Path = request.getfixturevalue(which)
    if not (original / name).exists():
        return
    wanted = outputs(load(original), X)
    folder = tmp_path / "a"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    content = bytearray((folder / name).read_bytes())
    if data.draw(st.booleans(), label="truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / name).write_bytes(content)
    try:
        back = load(folder)
    except ArtifactError as error:
        assert str(folder) in str(error)
    else:
        assert same(outputs(back, X), wanted)


@pytest.mark.parametrize("name", ["artifact.json", "model.safetensors", "program.json"])
def test_a_missing_file_is_named(name: str, program: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(program, tmp_path / "a"))
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
        load(folder)


def test_one_changed_number_in_the_manifest_is_damage(zoo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo, tmp_path / "a"))
    path = folder / "artifact.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ArtifactError, match="checksum does not match"):
        load(folder)
    path.write_text(json.dumps(json.loads((zoo / "artifact.json").read_text())))  # spacing is not damage
    load(folder)


def test_places_that_hold_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"has no artifact\.json"):
        load(tmp_path / "empty")
    (tmp_path / "empty" / "artifact.json").write_text('{"format": "other", "weights": [1]}')
    with pytest.raises(ArtifactError, match="not a Secateurs artifact"):
        load(tmp_path / "empty")
    for text in ("[" * 100_000, "[1]", "", "\x00", '{"format": '):
        (tmp_path / "empty" / "artifact.json").write_text(text)
        with pytest.raises(ArtifactError):
            load(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError):
        load(tmp_path / "file")


def test_an_interrupted_replacement_is_pointed_out(program: Path, tmp_path: Path) -> None:
    shutil.copytree(program, tmp_path / ".a.x1.old")
    with pytest.raises(ArtifactError, match=r"older version was kept at .*\.a\.x1\.old"):
        load(tmp_path / "a")


def test_a_newer_format_asks_for_an_upgrade(program: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(program, tmp_path / "a"))
    sealed(folder, lambda m: m.update(version=2, novelty=True))
    with pytest.raises(ArtifactError, match=r"format version 2.*upgrade"):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(route="pickle"),
        lambda m: m.update(surprise=1),
        lambda m: m["tensors"].pop("head.bias"),
        lambda m: m["tensors"]["head.bias"].update(shape=[6]),
        lambda m: m["tensors"]["head.bias"].update(dtype="float64"),
        lambda m: m["tensors"]["conv.weight"].update(order=[0, 0, 1, 2]),
        lambda m: m["files"].update({"../../etc/passwd": {"sha256": "0" * 64, "bytes": 1}}),
        lambda m: m.update(tied={"a": "nowhere"}),
        lambda m: m.update(tied={"__class__.x": "head.bias"}),
        lambda m: m.update(route="factory", files={"model.safetensors": m["files"]["model.safetensors"]}),
    ],
)
def test_an_edited_manifest_with_matching_checksums(change: Any, program: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(program, tmp_path / "a"))
    sealed(folder, change)
    with pytest.raises(ArtifactError, match=str(folder)):
        load(folder)


def _first_call(program: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in program["nodes"] if "op" in row)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: _first_call(p).update(op="aten.from_file.default", args=["MARK", True, 10]),
        lambda p: _first_call(p).update(op="aten.save.default", args=[1, "MARK"]),
        lambda p: _first_call(p).update(op="os.system.default", args=["touch MARK"]),
        lambda p: _first_call(p).update(op="torch.os.system", args=["touch MARK"]),
        lambda p: _first_call(p).update(op="py.__import__", args=["os"]),
        lambda p: _first_call(p).update(op="aten.__class__.default"),
        lambda p: _first_call(p).update(op=["aten"]),
        lambda p: _first_call(p).update(kwargs={"a=open('MARK','w')": 1}),
        lambda p: _first_call(p).update(args=[{"node": 10_000}]),
        lambda p: _first_call(p).update(args=[{"node": -1}]),
        lambda p: _first_call(p).update(args=[{"eval": "open('MARK', 'w')"}]),
        lambda p: _first_call(p).update(args=[{"dtype": "__class__"}]),
        lambda p: p["inputs"][0].__setitem__(0, "x=open('MARK','w')"),
        lambda p: p["inputs"][0].__setitem__(0, "self"),
        lambda p: p["inputs"][0].__setitem__(1, {"exec": 1}),
        lambda p: p["inputs"][0][1].update(shape=["MARK"]),
        lambda p: p["nodes"][0].update(tensor="conv.weight.__class__"),
        lambda p: p.update(nodes=3),
        lambda p: p.update(output={"node": 9999}),
        lambda p: p.pop("output"),
    ],
)
def test_a_forged_program_runs_nothing(
    change: Any, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(program, tmp_path / "a"))
    monkeypatch.chdir(tmp_path)
    sealed(folder, nothing, change)
    with pytest.raises(ArtifactError, match=str(folder)):
        load(folder)
    assert not (tmp_path / "MARK").exists()


def test_the_files_are_json_and_raw_tensors_and_nothing_else(program: Path, zoo: Path) -> None:
    for folder in (program, zoo):
        for path in folder.iterdir():
            content = path.read_bytes()
            if path.suffix == ".json":
                json.loads(content)
                continue
            assert path.name == "model.safetensors"
            # Eight bytes of length, a JSON header, and exactly the bytes of the tensors that it lists.
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])
            header.pop("__metadata__")
            ends = sorted(tuple(entry["data_offsets"]) for entry in header.values())
            assert ends[0][0] == 0 and ends[-1][1] == len(content) - 8 - length
            assert all(one[1] == two[0] for one, two in itertools.pairwise(ends))


def test_loading_never_reaches_the_unpickler(program: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    for folder in (program, zoo):
        load(folder)


MARKING = FACTORY + "\nfrom pathlib import Path\nPath(__file__).with_name('MARK').touch()\n"


@pytest.fixture
def from_file(tmp_path: Path) -> tuple[Path, Path]:
    """An artifact whose factory leaves a mark when it runs; the mark is wiped."""
    path = tmp_path / "code" / "marking.py"
    path.parent.mkdir()
    path.write_text(MARKING + f"# {tmp_path}\n")
    model = build_model(f"{path}:build", classes=4)
    folder = save(
        model,
        tmp_path / "a",
        factory=f"{path}:build",
        factory_kwargs={"classes": 4},
        example_inputs=torch.randn(2, 1, 6, 6),
    )
    (path.parent / "MARK").unlink()
    return folder, path


def test_a_changed_factory_is_not_run_unless_trusted(from_file: tuple[Path, Path]) -> None:
    folder, path = from_file
    path.write_text(path.read_text() + "# a newer remark\n")
    with pytest.raises(ArtifactError, match=r"has changed since.*trust_changed_factory=True"):
        load(folder)
    assert not (path.parent / "MARK").exists()
    assert isinstance(load(folder, trust_changed_factory=True), nn.Module)
    assert (path.parent / "MARK").exists()


@pytest.mark.parametrize("name", ["artifact.json", "model.safetensors"])
def test_a_damaged_artifact_does_not_run_its_factory(name: str, from_file: tuple[Path, Path]) -> None:
    folder, path = from_file
    path.write_text(path.read_text() + "# so that it is not imported already\n")
    sealed(folder, lambda m: m["factory"].update(file_sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 4
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError):
        load(folder)
    assert not (path.parent / "MARK").exists()


def test_a_vanished_factory_is_named_with_the_remedy(from_file: tuple[Path, Path], tmp_path: Path) -> None:
    folder, path = from_file
    elsewhere = path.rename(tmp_path / "moved.py")
    with pytest.raises(ArtifactError, match=r"marking\.py.*is gone.*factory='file\.py:factory'"):
        load(folder)
    assert load(folder, factory=f"{elsewhere}:build").head.out_features == 4


def test_a_program_inside_the_artifact_or_in_a_library_is_not_run(from_file: tuple[Path, Path]) -> None:
    folder, path = from_file
    inside = folder / "marking.py"
    inside.write_text(path.read_text())
    sealed(folder, lambda m: m["factory"].update(spec="gone.py:build", relative="marking.py"))
    with pytest.raises(ArtifactError, match="brings its own program"):
        load(folder)
    assert not (folder / "MARK").exists()
    library = Path(json.__file__)
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    sealed(folder, lambda m: m["factory"].update(spec=f"{library}:loads", file_sha256=digest))
    with pytest.raises(ArtifactError, match="installed library"):
        load(folder)


def test_factories_that_do_not_fit(from_file: tuple[Path, Path]) -> None:
    folder, path = from_file
    with pytest.raises(ArtifactError, match=r"does not fit the saved one: it has no 'features"):
        load(folder, factory=f"{path}:other")
    with pytest.raises(ArtifactError, match="out of order"):
        load(folder, factory=f"{path}:broken")
    with pytest.raises(ArtifactError, match="no 'absent'"):
        load(folder, factory=f"{path}:absent")
    with pytest.raises(ArtifactError, match=r"'head\.bias' has shape \(7,\) and the saved one \(4,\)"):
        sealed(folder, lambda m: m["factory"]["kwargs"].update(classes=7))
        load(folder)


def test_a_zoo_name_that_no_longer_exists(zoo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo, tmp_path / "a"))
    sealed(folder, lambda m: m["factory"].update(spec="zoo:conv-smal"))
    with pytest.raises(ArtifactError, match="did you mean 'zoo:conv-small'"):
        load(folder)


@pytest.mark.parametrize(
    "name", ['a")(__import__("os").abort())#', "a\\", "a'b", "a\nb", "a{b}", "a..b", "a.__class__", ""]
)
def test_a_tensor_whose_name_would_end_a_string_is_refused(name: str) -> None:
    program = {"inputs": [], "nodes": [{"tensor": name}], "output": {"node": 0}}
    entry = entry_of(torch.ones(2), "buffer", True)
    with pytest.raises(ArtifactError, match="not a usable name"):
        rebuild(program, {name: torch.ones(2)}, {name: entry}, {}, torch.device("cpu"))


@pytest.mark.parametrize(
    "surgery",
    [
        {"kept": {"nowhere": {"0": [1]}}, "shapes": {"nowhere": [3]}},
        {"attributes": {"nowhere": {"a": 1}}},
        {"attributes": {"": {"__class__": "x"}}},
        {"swapped": {"": "os.system"}},
        {"code": "x"},
    ],
)
def test_a_forged_surgery(surgery: dict[str, Any], zoo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo, tmp_path / "a"))
    sealed(folder, lambda m: m.update(surgery=surgery))
    with pytest.raises(ArtifactError, match=str(folder)):
        load(folder)


def test_the_manifest_alone_can_be_read(zoo: Path) -> None:
    manifest = read_manifest(zoo)
    assert manifest.route == "factory" and manifest.factory is not None
    assert manifest.factory.spec == "zoo:conv-small"
    assert set(manifest.versions) == {"secateurs", "torch"}
