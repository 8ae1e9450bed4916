"""Chains of lottery tickets: one seed's levels, and the controls that are trained from its masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ..partition import Players, players
from ..recipes import LevelsOptions, LevelsRun
from ..recipes.masks import erase
from ..recipes.tickets import shuffled
from ..selection import fit_budget, layer_counts, layerwise
from ..shapes import Mask
from ..spec import Budget, derive_seed
from ..training import Callback, Trainer, evaluate, evaluate_many
from ..zoo import Data, build_model, load_data
from .cells import Result

RATE, OUTPUT = 0.2, 0.5  # a layer's loss in a round, and the output layer's as a fraction of it
VALIDATION = 1 / 12  # 5,000 of MNIST's 60,000


class Watch(Callback):
    """Looks at the validation loss every ``every`` steps of each training, keeps the weights of the lowest, and at the
    training's end evaluates these and the last ones on one reading of the test set.

    Args:
        starts: the step at which each training begins, and the end of the last.
    Attributes:
        found: of each training: ``stop``, the step of the lowest validation loss, with ``early`` and ``end``, the test
            accuracies there and at the end.
    """

    def __init__(self, data: Data, every: int, starts: Sequence[int]) -> None:
        self.data, self.every, self.starts = data, every, list(starts)
        self.found: list[Result] = []
        self._forget()

    def _forget(self) -> None:
        self.best: tuple[float, int] = (float("inf"), 0)
        self.weights: dict[str, Tensor] = {}

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        start, stop = self.starts[len(self.found)], self.starts[len(self.found) + 1]
        done = trainer.step + 1 - start
        last = trainer.step + 1 == stop
        if done % self.every and not last:
            return
        seen = evaluate(trainer.model, self.data.validation, 1000).loss
        if seen < self.best[0]:
            self.best = (seen, done)
            self.weights = {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}
        if last:
            self._close(trainer.model)

    def _close(self, model: nn.Module) -> None:
        end = {k: v.detach().clone() for k, v in model.state_dict().items()}
        networks = {"early": _like(model, self.weights), "end": model}
        tested = evaluate_many(networks, self.data.test, 1000)
        model.load_state_dict(end)
        self.found.append({"stop": self.best[1], **{name: e.accuracy for name, e in tested.items()}})
        self._forget()


def _like(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    import copy

    other = copy.deepcopy(model)
    other.load_state_dict(weights)
    return other


class Chain(LevelsRun):
    """The run of the tickets, which remembers every level's mask, and the magnitudes of the dense network."""

    def __init__(self, found: Players, budget: Budget, options: LevelsOptions, total: int) -> None:
        super().__init__(found, budget, options, total)
        self.trail: list[Mask] = []
        self.magnitudes = self.scores

    def descend(self, trainer: Trainer) -> None:
        super().descend(trainer)
        if self.level == 1:
            self.magnitudes = self.scores
        self.trail.append(self.mask)

    def one_shot(self, level: int) -> Mask:
        """The mask that the dense network's magnitudes give at once, of as many weights as ``level``'s."""
        priority = layerwise(self.players, self.magnitudes, self.alpha, self._factors())
        return fit_budget(self.players, priority, self.wanted(level)).cpu()


class Held(Callback):
    """Keeps masked weights at zero."""

    def __init__(self, masks: dict[str, Tensor]) -> None:
        self.masks = masks

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        erase(trainer.model, self.masks)


def run_chain(
    *,
    data: str,
    model: str,
    steps: int,
    every: int,
    batch_size: int,
    lr: float,
    rounds: int,
    rewind: int,
    controls: Sequence[int],
    seed: int,
    limit: int | None = None,
) -> Result:
    """Rounds of training, layer-wise magnitude pruning and rewinding; then the controls.

    Args:
        steps: of every training. every: steps between looks at the validation loss.
        rewind: step of the first training that weights go back to.
        controls: rounds whose masks are trained with fresh weights, whose counts with a random and with a one-shot
            mask.
    Returns:
        ``ticket``: a :class:`Watch` row of the dense network and of every round, with ``kept``, the fraction of weights
        remaining; ``reinit``, ``random`` and ``one-shot``: the same of every control.
    """
    loaded = load_data(data, validation=VALIDATION, seed=seed, limit=limit)
    shape, classes = loaded.input_shape, loaded.classes
    net = build_model(model, classes=classes, input_shape=shape, seed=seed)
    found = players(net, loaded.example_inputs(2), "weight")
    factors = [1.0] * (len(found.layers) - 1) + [OUTPUT]
    kept = float(layer_counts(found, RATE, rounds, factors).sum())
    options = LevelsOptions(
        levels=rounds, allocation="layerwise", output_rate=OUTPUT, schedule="constant", rewind=rewind,
        optimizer="adam", lr=lr,
    )  # fmt: skip
    run = Chain(found, Budget(groups=kept), options, steps * (rounds + 1))
    watch = Watch(loaded, every, run.starts)
    common: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "every": every}
    _train(net, loaded, run.total, callbacks=[run, watch], optimizer=run.optimizer, lr=run.rate, **common)
    shares = [1.0, *(float(mask.sum()) / found.count for mask in run.trail)]
    out: Result = {"ticket": [{"kept": share, **row} for share, row in zip(shares, watch.found)]}

    def trained(name: str, mask_of: Callable[[int], Mask], weights: Callable[[], dict[str, Tensor]]) -> None:
        out[name] = []
        for level in controls:
            mask = mask_of(level)
            net.load_state_dict(weights())
            masks = found.entries(mask)
            erase(net, masks)
            alone = Watch(loaded, every, [0, steps])
            optimizer = options.make(net)
            _train(net, loaded, steps, callbacks=[Held(masks), alone], optimizer=optimizer, lr=None, **common)
            out[name].append({"kept": float(mask.sum()) / found.count, **alone.found[0]})

    def fresh() -> dict[str, Tensor]:
        return build_model(model, classes=classes, input_shape=shape, seed=derive_seed(seed, "reinit")).state_dict()

    def first() -> dict[str, Tensor]:
        return run.past[str(rewind)]

    trained("reinit", lambda level: run.trail[level - 1], fresh)
    trained("random", lambda level: shuffled(found, run.trail[level - 1], derive_seed(seed, "mask", level)), first)
    trained("one-shot", run.one_shot, first)
    return out


def _train(net: nn.Module, data: Data, steps: int, *, seed: int, batch_size: int, every: int, **settings: Any) -> None:
    epochs = -(-steps // max(1, len(data.train) // batch_size))
    trainer = Trainer(
        net, data, seed=seed, epochs=epochs, batch_size=batch_size, progress=False, evaluate_every=0, **settings
    )
    trainer.run(stop=steps)


__all__ = ["run_chain"]
