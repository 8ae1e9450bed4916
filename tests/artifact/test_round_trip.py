"""What is saved comes back: the same outputs to the last bit, dtypes, ties, layout, modes."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from secateurs.artifact import load, read_manifest, save
from secateurs.errors import ArtifactError, RunError
from secateurs.structure import shrink, trace
from secateurs.zoo import build_model

from .conftest import Attention, outputs, same


def disturb(model: nn.Module) -> nn.Module:
    """Give buffers and parameters values that no factory makes."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
            elif tensor.dtype == torch.int64:
                tensor.add_(7)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mlp-digits", (1, 8, 8)),
        ("lenet5", (1, 28, 28)),
        ("resnet20", (3, 16, 16)),
        ("vit-tiny", (3, 16, 16)),
    ],
)
def test_a_shrunk_zoo_model_comes_back_exactly(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    kwargs = {"classes": 10, "input_shape": shape, "seed": 3}
    x = torch.randn(2, *shape)
    model = build_model(f"zoo:{name}", **kwargs)
    structure = trace(model, x)
    keep = torch.rand(structure.atoms) < 0.6
    for family in structure.families:
        keep[family.atoms[: family.minimum]] = True
    small = shrink(model, structure, keep)
    disturb(small.model)
    save(
        small.model,
        tmp_path / "artifact",
        factory=f"zoo:{name}",
        factory_kwargs=kwargs,
        surgery=small.surgery,
        example_inputs=(x,),
        metadata={"note": "größe", "numbers": [1, 2.5, None]},
    )
    back = load(tmp_path / "artifact")
    assert type(back) is type(small.model) and not back.training
    assert same(outputs(back, x), outputs(small.model, x))
    state = small.model.state_dict()
    assert {k: (v.shape, v.dtype) for k, v in back.state_dict().items()} == {
        k: (v.shape, v.dtype) for k, v in state.items()
    }
    assert all(torch.equal(v, state[k]) for k, v in back.state_dict().items())
    assert repr(back) == repr(small.model)
    assert read_manifest(tmp_path / "artifact").metadata == {"note": "größe", "numbers": [1, 2.5, None]}


def test_a_shrunk_model_comes_back_without_its_factory(tmp_path: Path) -> None:
    x = torch.randn(4, 3, 16, 16)
    model = build_model("zoo:resnet20", input_shape=(3, 16, 16))
    structure = trace(model, x)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    for family in structure.families:
        keep[family.atoms[len(family.atoms) // 2 :]] = False
    small = disturb(shrink(model, structure, keep).model)
    save(small, tmp_path / "a", factory=None, example_inputs=x)
    back = load(tmp_path / "a")
    for size in (1, 4, 9):
        y = torch.randn(size, 3, 16, 16)
        assert same(outputs(back, y), outputs(small, y))
    assert all(torch.equal(v, small.state_dict()[k]) for k, v in back.state_dict().items())
    assert back.state_dict().keys() == small.state_dict().keys()
    assert [n for n, p in back.named_parameters() if p.requires_grad] == [n for n, _ in small.named_parameters()]


def test_a_program_keeps_keywords_nested_outputs_and_constants(tmp_path: Path) -> None:
    model = disturb(Attention())
    x, shift = torch.randn(2, 3, 8, 8), torch.randn(2, 1, 1)
    save(model, tmp_path / "a", factory=None, example_inputs={"x": x, "extra": {"shift": shift}})
    back = load(tmp_path / "a")
    for size in (1, 2, 5):
        x, shift = torch.randn(size, 3, 8, 8), torch.randn(size, 1, 1)
        found, wanted = back(x, extra={"shift": shift}), model(x, extra={"shift": shift})
        assert list(found) == ["logits", "parts"] and type(found["parts"]) is tuple
        assert found["logits"].requires_grad  # it can be trained on
        torch.testing.assert_close(found, wanted)
    assert "scale" not in back.state_dict() and "scale" in dict(back.named_buffers())


def test_a_program_refuses_shapes_it_was_not_exported_for(tmp_path: Path) -> None:
    class Mean(nn.Module):
        """Sizes become constants of the program: used on others it would answer wrongly and say nothing."""

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.sum((0, 2)) / int(x.shape[2]) + y.sum(0)

    model = Mean()
    save(model, tmp_path / "a", factory=None, example_inputs=(torch.randn(2, 3, 4), torch.randn(2, 3)))
    back = load(tmp_path / "a")
    x, y = torch.randn(5, 3, 4), torch.randn(5, 3)
    assert same(outputs(back, x, y), outputs(model, x, y))
    with pytest.raises(ValueError, match=r"input 'x' has shape \(5, 3, 6\).*takes \(s\d+, 3, 4\)"):
        back(torch.randn(5, 3, 6), y)
    with pytest.raises(ValueError, match="input 'y'"):
        back(x, y=torch.randn(5, 3, 1))


def test_a_program_of_many_operators(tmp_path: Path) -> None:
    class Everything(nn.Module):
        """Regions of autocast, numbers and None among the outputs, shape arithmetic, strings."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor, mask: torch.Tensor, scale: float = 1.0) -> tuple:
            y = x
            for _ in range(2):
                with torch.autocast("cpu", enabled=False):
                    y = self.second(self.first(y))
            count = x.shape[0]
            shuffled = y.view(count, 2, 2).transpose(1, 2).reshape(count, 4)
            return (
                (shuffled * scale).masked_fill(mask[:, None], float("-inf")),
                nn.functional.interpolate(y[:, None, None], scale_factor=2.0, mode="nearest"),
                torch.arange(count * 2, device=x.device).view(count, 2),
                torch.zeros(count, 2, dtype=torch.float16),
                torch.einsum("bi,ci->bc", y, y),
                {"count": x.shape[1], "nothing": None, "halves": list(y.chunk(2, 1))},
            )

    model = disturb(Everything())
    example = torch.randn(3, 4), torch.tensor([True, False, False])
    save(model, tmp_path / "a", factory=None, example_inputs=example)
    back = load(tmp_path / "a")
    for size in (1, 6):
        x, mask = torch.randn(size, 4), torch.rand(size) < 0.5
        found, wanted = back(x, mask), model(x, mask)
        assert found[-1]["count"] == 4 and found[-1]["nothing"] is None and type(found[-1]["halves"]) is list
        torch.testing.assert_close(found[:-1], wanted[:-1], rtol=0, atol=0)
        assert back(x, mask=mask)[0].equal(wanted[0])


def test_a_network_of_one_batch_size(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(1, 6).repeat(2, 1)

    x = torch.randn(1, 2, 3)
    save(Fixed(), tmp_path / "a", factory=None, example_inputs=x)
    back = load(tmp_path / "a")
    assert same(outputs(back, x), outputs(Fixed(), x))
    with pytest.raises(ValueError, match=r"takes \(1, 2, 3\)"):
        back(torch.randn(2, 2, 3))


def test_a_program_can_be_compiled_exported_and_saved_again(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(3 * 36, 4)).eval()
    x = torch.randn(2, 1, 8, 8)
    save(model, tmp_path / "a", factory=None, example_inputs=x)
    back = load(tmp_path / "a")
    save(back, tmp_path / "b", factory=None, example_inputs=x)
    again = load(tmp_path / "b")
    assert same(outputs(again, torch.cat([x, x])), outputs(model, torch.cat([x, x])))
    assert same(outputs(torch.compile(back, backend="eager"), x), outputs(model, x))


@pytest.mark.parametrize("name", ["code", "graph", "meta", "recompile", "block1-0", "user->item", "a b", "x:0/y"])
def test_a_program_keeps_the_names_that_a_network_gave(name: str, tmp_path: Path) -> None:
    model = disturb(nn.Sequential(nn.ModuleDict({name: nn.Linear(3, 4)})))
    model[0].forward = lambda x: model[0][name](x).relu()
    model.add_module(name, nn.Linear(4, 2))
    x = torch.randn(2, 3)
    save(model, tmp_path / "a", factory=None, example_inputs=x)
    back = load(tmp_path / "a")
    assert set(back.state_dict()) == set(model.state_dict())
    assert back.get_submodule(name).weight.shape == (2, 4)
    assert same(outputs(back, x), outputs(model, x))
    assert same(outputs(torch.compile(back, backend="eager"), x), outputs(model, x))


def test_a_program_is_copied_and_pickled_with_its_refusals(tmp_path: Path) -> None:
    model = disturb(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)))
    x = torch.randn(2, 3)
    save(model, tmp_path / "a", factory=None, example_inputs=x)
    back = load(tmp_path / "a")
    for other in (copy.deepcopy(back), pickle.loads(pickle.dumps(back))):
        with torch.no_grad():
            next(other.parameters()).add_(1)
        assert not same(outputs(other, x), outputs(back, x))
        other.load_state_dict(back.state_dict())
        assert same(outputs(other, x), outputs(model, x))
        with pytest.raises(ValueError, match="has shape"):
            other(torch.randn(2, 5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("route", ["factory", "program"])
def test_dtypes(dtype: torch.dtype, route: str, factory_file: Path, tmp_path: Path) -> None:
    spec = f"{factory_file}:build"
    model = disturb(build_model(spec, classes=4, input_shape=(1, 6, 6)).to(dtype))
    x = torch.randn(2, 1, 6, 6, dtype=dtype)
    save(
        model,
        tmp_path / "a",
        factory=spec if route == "factory" else None,
        factory_kwargs={"classes": 4, "input_shape": (1, 6, 6)},
        example_inputs=x,
    )
    back = load(tmp_path / "a")
    assert {p.dtype for p in back.parameters()} == {dtype}
    assert back.features[1].num_batches_tracked.dtype == torch.int64 if route == "factory" else True
    assert same(outputs(back, x), outputs(model, x))


def test_a_program_says_that_it_does_not_train_as_usual(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Dropout()), torch.randn(2, 4)
    back = load(save(model, tmp_path / "a", factory=None, example_inputs=x))
    back.eval()
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"program of evaluation mode.*dropout stays off.*save it with a factory"):
        assert back.train() is back and back.training


def test_a_cut_network_saved_without_its_surgery_is_told_of_it(factory_file: Path, tmp_path: Path) -> None:
    spec, x = f"{factory_file}:build", torch.randn(2, 1, 6, 6)
    model = build_model(spec, classes=4, input_shape=(1, 6, 6)).eval()
    structure = trace(model, x)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    keep[structure.families[0].atoms[0]] = False
    shrunk = shrink(model, structure, keep)
    given = {"factory": spec, "factory_kwargs": {"classes": 4, "input_shape": (1, 6, 6)}, "example_inputs": x}
    with pytest.raises(ArtifactError, match=r"builds the dense network; if this one was cut.*surgery=optimizer.harv"):
        save(shrunk.model, tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()
    save(shrunk.model, tmp_path / "a", **given, surgery=shrunk.surgery)


@pytest.mark.parametrize("name", ["tied", "untied", None])
def test_tied_weights_are_stored_once_and_come_back_tied(name: str | None, factory_file: Path, tmp_path: Path) -> None:
    # "untied": the tie was made after the factory, and must be made again.
    model = disturb(build_model(f"{factory_file}:tied"))
    x = torch.randn(2, 6)
    spec = f"{factory_file}:{name}" if name else None
    save(model, tmp_path / "a", factory=spec, example_inputs=x)
    assert sorted(load_file(tmp_path / "a" / "model.safetensors")) == ["0.bias", "0.weight", "2.bias"]
    back = load(tmp_path / "a")
    assert same(outputs(back, x), outputs(model, x))
    assert dict(back.named_parameters(remove_duplicate=False))["2.weight"] is dict(back.named_parameters())["0.weight"]
    assert len(list(back.parameters())) == 3


@pytest.mark.parametrize("route", ["factory", "program"])
def test_memory_order_is_kept(route: str, factory_file: Path, tmp_path: Path) -> None:
    spec = f"{factory_file}:build"
    model = disturb(build_model(spec, classes=4)).to(memory_format=torch.channels_last)
    model.head.weight = nn.Parameter(torch.randn(8, 4).t())
    x = torch.randn(2, 1, 6, 6)
    kwargs = {"classes": 4, "input_shape": (1, 6, 6)}
    save(
        model,
        tmp_path / "a",
        factory=spec if route == "factory" else None,
        factory_kwargs=kwargs,
        example_inputs=x,
    )
    parameters = dict(load(tmp_path / "a").named_parameters())
    for name, parameter in model.named_parameters():
        assert strides(parameters[name]) == strides(parameter), name
        assert torch.equal(parameters[name], parameter)


def strides(tensor: torch.Tensor) -> list[int]:
    """Of the axes that have one: the stride of an axis of length 1 means nothing."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape) if size > 1]


def test_views_of_one_storage_are_stored_apart(factory_file: Path, tmp_path: Path) -> None:
    model = build_model(f"{factory_file}:untied")
    whole = torch.randn(12, 6)
    model[0].weight, model[2].weight = nn.Parameter(whole[:6]), nn.Parameter(whole[6:])
    save(model, tmp_path / "a", factory=f"{factory_file}:untied", example_inputs=torch.randn(2, 6))
    back = load(tmp_path / "a")
    assert torch.equal(back[0].weight, whole[:6]) and torch.equal(back[2].weight, whole[6:])


def test_frozen_parameters_stay_frozen(factory_file: Path, tmp_path: Path) -> None:
    model = build_model(f"{factory_file}:build")
    model.head.weight.requires_grad_(False)
    for name, spec in (("a", f"{factory_file}:build"), ("b", None)):
        save(model, tmp_path / name, factory=spec, example_inputs=torch.randn(2, 1, 6, 6))
        found = {n: p.requires_grad for n, p in load(tmp_path / name).named_parameters()}
        assert found == {n: p.requires_grad for n, p in model.named_parameters()}


def test_saving_leaves_the_model_as_it_was(factory_file: Path, tmp_path: Path) -> None:
    model = build_model(f"{factory_file}:build").train()
    model.head.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    for name, spec in (("a", f"{factory_file}:build"), ("b", None)):
        save(model, tmp_path / name, factory=spec, example_inputs=torch.ones(2, 1, 6, 6))
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training and not model.head.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_the_folder_may_move_with_its_factory_and_the_input_signature_is_kept(
    factory_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    factory_file.rename(run / "factory.py")
    model = build_model(f"{run / 'factory.py'}:build")
    x = torch.randn(2, 1, 6, 6)
    save(model, run / "a", factory=f"{run / 'factory.py'}:build", example_inputs={"x": x})
    run.rename(tmp_path / "moved")
    assert same(outputs(load(tmp_path / "moved" / "a"), x), outputs(model.eval(), x))
    manifest = read_manifest(tmp_path / "moved" / "a")
    assert manifest.inputs.tree == {"args": [], "kwargs": {"x": {"tensor": 0}}}
    assert (manifest.inputs.shapes, manifest.inputs.dtypes) == ([[2, 1, 6, 6]], ["float32"])


def test_an_older_artifact_is_replaced_and_nothing_else_is_lost(factory_file: Path, tmp_path: Path) -> None:
    spec, x = f"{factory_file}:build", torch.randn(2, 1, 6, 6)
    first, second = disturb(build_model(spec)), disturb(build_model(spec, seed=9))
    folder = tmp_path / "a"
    for model in (first, second):
        save(model, folder, factory=spec, example_inputs=x)
    assert same(outputs(load(folder), x), outputs(second, x))
    # A failing save leaves the older one, and no litter.
    with pytest.raises(ArtifactError, match="does not fit"):
        save(nn.Linear(3, 2), folder, factory=spec, example_inputs=torch.randn(1, 3))
    assert same(outputs(load(folder), x), outputs(second, x))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtifactError, match=r"thesis\.tex.*would be lost"):
        save(second, folder, factory=spec, example_inputs=x)
    assert (folder / "thesis.tex").exists()


def test_places_that_cannot_be_written(factory_file: Path, tmp_path: Path) -> None:
    model, x = build_model(f"{factory_file}:build"), torch.randn(2, 1, 6, 6)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="is a file"):
        save(model, tmp_path / "file", factory=None, example_inputs=x)
    with pytest.raises(RunError, match="cannot write"):
        save(model, tmp_path / "file" / "a", factory=None, example_inputs=x)


def test_what_cannot_be_saved_is_said(factory_file: Path, tmp_path: Path) -> None:
    spec, x = f"{factory_file}:build", torch.randn(2, 1, 6, 6)
    model = build_model(spec)

    class Stateful(nn.Module):
        def get_extra_state(self) -> object:
            return {"a": object()}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(ArtifactError, match="get_extra_state"):
        save(nn.Sequential(Stateful()), tmp_path / "a", factory=spec, example_inputs=x)
    with pytest.raises(ArtifactError, match="passes only classes, input_shape, seed"):
        save(model, tmp_path / "a", factory=spec, factory_kwargs={"width": 3}, example_inputs=x)
    with pytest.raises(ArtifactError, match="JSON"):
        save(model, tmp_path / "a", factory=spec, example_inputs=x, metadata={"model": model})
    with pytest.raises(ArtifactError, match=r"no file .*absent\.py"):
        save(model, tmp_path / "a", factory="absent.py:build", example_inputs=x)

    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ArtifactError, match=r"torch\.export cannot read Branches.*factory"):
        save(Branches(), tmp_path / "a", factory=None, example_inputs=x)
    assert not (tmp_path / "a").exists()


def test_a_network_that_writes_into_its_buffers(tmp_path: Path) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls.add_(1)
            return x * self.calls

    model, x = Counts(), torch.ones(2, 3)
    save(model, tmp_path / "a", factory=None, example_inputs=x)
    assert model.calls == 0  # saving ran it, and left no trace
    back = load(tmp_path / "a")
    assert [float(back(x)[0, 0]) for _ in range(3)] == [1, 2, 3]


def test_a_factory_that_builds_another_network_is_found_when_saving(factory_file: Path, tmp_path: Path) -> None:
    # The weights fit and the function does not: an activation that the factory does not have.
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    with pytest.raises(ArtifactError, match="comes back differs"):
        save(model, tmp_path / "a", factory=f"{factory_file}:untied", example_inputs=torch.randn(2, 6))
    assert not (tmp_path / "a").exists()


def test_the_weights_load_with_plain_safetensors(factory_file: Path, tmp_path: Path) -> None:
    spec = f"{factory_file}:build"
    model = disturb(build_model(spec))
    save(model, tmp_path / "a", factory=spec, example_inputs=torch.randn(2, 1, 6, 6))
    build_model(spec).load_state_dict(load_file(tmp_path / "a" / "model.safetensors"), strict=True)
    assert json.loads((tmp_path / "a" / "artifact.json").read_text())["format"] == "secateurs-artifact"
