"""Other pruning libraries on the same models, asked for the same and judged by the same oracle.

Each is used as its own documentation says: Torch-Pruning's ``BasePruner`` at ratio 0.5 on every layer but the
last, with the heads it wants named and the attributes it wants corrected; torch-kirigami's ``Pruner`` with half of
each axis that it declares, and whatever it refuses left whole.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

import secateurs

from .addresses import Addressed, restored
from .judge import BLIND, Judged, call, compare, outputs, randomise, tensors, trains, widened
from .memory import Memory
from .models import TRACED_BATCH, Case
from .normalised import KeptWidth

Row = dict[str, Any]
Prune = Callable[[nn.Module, Any], nn.Module]


def measurers() -> dict[str, Callable[[Case, Callable[[Row], None]], None]]:
    """side → what measures one model, as :func:`.ours.measure` does."""
    return {name: functools.partial(measure, prune=prune) for name, prune in RIVALS.items()}


def measure(case: Case, say: Callable[[Row], None], prune: Prune) -> None:
    row: Row = {"stage": "build"}

    def report(stage: str, **values: Any) -> None:
        row.update(values, stage=stage)
        say(row)

    torch.manual_seed(0)
    dense = case.build()
    example = case.inputs(TRACED_BATCH, None)
    randomise(dense, case.inputs(8, None))
    report("prune", params=secateurs.count_params(dense), macs=secateurs.count_macs(dense, example))
    addressed, example = _addressed(dense, example)
    memory, start = Memory(), time.perf_counter()
    pruned = prune(addressed.model, example)
    seconds, grown = time.perf_counter() - start, memory.grown()
    report("run", trace_s=seconds, trace_mb=grown, params_left=secateurs.count_params(pruned))
    if row["params_left"] == row["params"]:
        report("done", status="nothing to prune")
        return
    try:
        masked, cut = restored(dense, addressed, pruned)
    except LookupError as error:
        report("done", status="unchecked", why=str(error))
        return
    try:
        outputs(cut, case.inputs(TRACED_BATCH, None))
    except Exception as error:
        raise Judged(f"{type(error).__name__}: {error}") from error
    report("compare", macs_left=secateurs.count_macs(cut, case.inputs(TRACED_BATCH, None)))
    verdict = compare(case, dense, masked, cut)
    report("train", gap=verdict.gap, dtype=verdict.dtype, where=verdict.where, effect=verdict.effect)
    if not verdict.same:
        report("done", status="inexact" if _only_statistics(case, dense, masked, cut) else "wrong")
        return
    row["blind"] = verdict.effect < BLIND
    try:
        trains(case, cut)
    except Exception as error:
        trains(case, dense)
        raise Judged(f"the cut network does not train: {type(error).__name__}: {error}") from error
    report("done", status="exact")


def _addressed(dense: nn.Module, example: Any) -> tuple[Addressed, Any]:
    """A network of addresses that runs, with inputs of its type."""
    try:
        outputs(widened(dense), widened(example))
    except Exception:  # code that writes float32 down
        return Addressed.of(dense, torch.float32), example
    return Addressed.of(dense, torch.float64), widened(example)


def _only_statistics(case: Case, dense: nn.Module, masked: nn.Module, cut: nn.Module) -> bool:
    """Does the difference vanish once the masked network's layer norms see the kept width only?"""
    return compare(case, dense, _Under(masked), cut).same


class _Under(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with KeptWidth():
            return self.model(*args, **kwargs)


# -- Torch-Pruning -------------------------------------------------------------------------------------------
def torch_pruning(model: nn.Module, example: Any) -> nn.Module:
    import torch_pruning as tp

    heads = dict(_heads(model))
    pruner = tp.pruner.BasePruner(
        model,
        example,
        importance=tp.importance.RandomImportance(),
        pruning_ratio=0.5,
        ignored_layers=_last_layers(model, example),
        num_heads={layer: count for owner in heads.values() for layer, count in owner.items()},
        out_channel_groups={m: m.num_heads for m in model.modules() if isinstance(m, nn.MultiheadAttention)},
        prune_num_heads=True,
        prune_head_dims=False,
        head_pruning_ratio=0.5,
        output_transform=lambda out: [t for t in tensors(out) if t.grad_fn is not None],
    )
    pruner.step()
    for owner, layers in heads.items():
        _correct(owner, layers, pruner.num_heads)
    return model


QUERIES = ("qkv", "query", "q_proj", "q_lin", "q", "c_attn")
KEYS = ("key", "k_proj", "k_lin", "k", "value", "v_proj", "v_lin", "v")
COUNTS = ("num_heads", "num_attention_heads", "n_heads")


def _heads(model: nn.Module) -> Iterator[tuple[nn.Module, dict[nn.Module, int]]]:
    """Attention modules and how many heads their projections hold; Torch-Pruning wants them named."""
    config = getattr(model, "config", None)
    for module in model.modules():
        counts = [value for owner in (module, config) for n in COUNTS if isinstance(value := getattr(owner, n, 0), int)]
        count = next((value for value in counts if value), 0)
        few = next(
            (v for o in (module, config) if isinstance(v := getattr(o, "num_key_value_heads", 0), int) and v), count
        )
        layers = {getattr(module, n): count for n in QUERIES if isinstance(getattr(module, n, None), nn.Linear)}
        if layers and count:
            layers |= {getattr(module, n): few for n in KEYS if isinstance(getattr(module, n, None), nn.Linear)}
            yield module, layers


def _correct(owner: nn.Module, layers: dict[nn.Module, int], left: dict[nn.Module, int]) -> None:
    """Write down the new numbers of heads, as the library's examples for timm and transformers do."""
    query = next(iter(layers))
    count = left[query]
    assert isinstance(query, nn.Linear)
    width = query.out_features // (3 if len(layers) == 1 else 1)
    each = width // max(count, 1)  # it may take a layer's only head
    values = {**dict.fromkeys(COUNTS, count), "head_dim": each, "attention_head_size": each}
    values |= {"all_head_size": width, "attn_dim": width, "inner_dim": width}
    if len(layers) > 1:
        few = left[list(layers)[1]]
        values |= {"num_key_value_heads": few, "num_key_value_groups": count // max(few, 1)}
    for name, value in values.items():
        if isinstance(getattr(owner, name, None), int):
            setattr(owner, name, value)


def _last_layers(model: nn.Module, example: Any) -> list[nn.Module]:
    """Linear and convolution layers whose output is the model's, which a user names to be left alone."""
    made: list[tuple[nn.Module, int, torch.Tensor]] = []
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)

    def hook(module: nn.Module, _: Any, out: Any) -> None:
        if isinstance(out, torch.Tensor):
            made.append((module, out.data_ptr(), out))  # held, so that no address is used twice

    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        found = {t.data_ptr() for t in tensors(call(model.eval(), example))}
    for handle in handles:
        handle.remove()
    last = [module for module, address, _ in made if address in found]
    return last or [module for module, _, _ in made[-1:]]


# -- torch-kirigami ------------------------------------------------------------------------------------------
def torch_kirigami(model: nn.Module, example: Any) -> nn.Module:
    """Its manual route: half of each axis that its operators declare, accepted where its analysis resolves.

    The automatic one proves every channel by itself first, which takes minutes on most of these models.
    """
    from torch_kirigami import DependencyGraph
    from torch_kirigami.pruning import PlanningError, Pruner

    for module in model.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            vars(module)["inplace"] = False  # as its errors ask for
    args, kwargs = ((), example) if isinstance(example, dict) else ((example,), {})
    graph = DependencyGraph.build(model.eval(), args=args, kwargs=kwargs)
    pruner = Pruner(model, graph=graph)
    specs = [graph.operator_spec(operation) for operation in graph.operations()]
    domains = {domain.axis: domain.block_size for spec in specs if spec for domain in spec.candidates}
    chosen: list[Any] = []
    for axis, block in domains.items():
        impact = graph.propagate(remove=chosen, constraints=pruner.constraints)
        width = axis.tensor.shape[axis.dim]
        if 2 * len(impact.selection(axis.tensor).fully_selected_indices(axis.dim)) >= width:
            continue  # another layer's request has taken its half along
        request = [*chosen, axis.select(_one_of_two(width, block))]
        if graph.propagate(remove=request, constraints=pruner.constraints).status == "resolved":
            chosen = request
    if not chosen:
        return model
    try:
        plan = pruner.plan_remove(chosen)
    except PlanningError:
        chosen = _planned(pruner, chosen)
        if not chosen:
            raise
        plan = pruner.plan_remove(chosen)
    return pruner.apply(plan)[0]


def _planned(pruner: Any, requests: list[Any]) -> list[Any]:
    """Those of the requests that it can plan together, the earlier ones first."""
    from torch_kirigami.pruning import PlanningError

    planned: list[Any] = []
    for request in requests:
        with contextlib.suppress(PlanningError):
            pruner.plan_remove([*planned, request])
            planned.append(request)
    return planned


def _one_of_two(width: int, block: int) -> list[int]:
    """A random one of every two neighbouring blocks: half, and balanced over any groups of even size."""
    coins = torch.randint(0, 2, (width // block // 2,)).tolist()
    starts = [(2 * pair + coin) * block for pair, coin in enumerate(coins)]
    return [start + offset for start in starts for offset in range(block)]


RIVALS: dict[str, Prune] = {"torch-pruning": torch_pruning, "torch-kirigami": torch_kirigami}
