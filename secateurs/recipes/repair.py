"""What a run does to its network right after the cut: repairs that were asked for by name, or a ladder of them.

The ladder ends at the first repair with which validation has recovered: it is no more than ``tolerance`` below the best
accuracy that the run had before its cut. The training that is left is the ladder's last rung. It is left out where
nothing is left to recover; otherwise it goes on from the best network, and the better of the two is kept.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import RunError
from ..records import RungRow
from ..recovery import AUTO, LADDER, Removal, carry_out
from ..structure.copying import duplicate
from ..training import Trainer, decided, evaluate
from ..zoo import Data
from .calibration import training_batches
from .options import TrainOptions

EVALUATED = 512  # examples at once, at least


class Repair:
    """The repairs of one run.

    Attributes:
        asked: whether there are any. rows: what each gave, for the record. recovered: whether validation has.
        best: weights of the ladder's best network, for as long as training may still do worse.
    """

    def __init__(self, options: TrainOptions) -> None:
        self.names, self.count, self.tolerance = options.recovery, options.recovery_batches, options.tolerance
        self.rows: list[RungRow] = []
        self.recovered = False
        self.best: dict[str, Tensor] = {}
        self._began = 0.0

    @property
    def asked(self) -> bool:
        return bool(self.names)

    @property
    def auto(self) -> bool:
        return self.names == (AUTO,)

    def require(self, data: Data) -> None:
        """Raises: RunError where the ladder has no validation data to go by."""
        if self.auto and not len(data.validation):
            raise RunError(
                f"recovery 'auto' goes by validation accuracy, and data {data.name!r} hold out no example; name the "
                "recoveries, or give some validation data"
            )

    def remember(self, model: nn.Module) -> nn.Module | None:
        """A copy of the network just before the cut, if it will be needed."""
        return duplicate(model).eval() if self.asked else None

    def carry_out(self, trainer: Trainer, removal: Removal, earlier: float | None) -> None:
        """Repair the trainer's model in place. The main process does it, and all take its weights.

        Args:
            earlier: the best validation accuracy of an epoch before the cut, if there was one.
        """

        def judge(model: nn.Module) -> float:
            with trainer.timed("evaluation"):
                return evaluate(model, trainer.data.validation, max(trainer.batch_size, EVALUATED)).accuracy

        def work() -> tuple[dict[str, Tensor], list[RungRow], bool]:
            held = [("before", judge(removal.before))]
            if earlier is not None and earlier > held[0][1]:
                held.append(("earlier", earlier))
            target = max(value for _, value in held) - self.tolerance
            free = [rung for rung in LADDER if not rung.goes_on]
            model, tried = carry_out(
                self.names,
                trainer.model,
                removal,
                training_batches(trainer, self.count, "recovery"),
                judge,
                target,
                free,
            )
            rows = [RungRow(name=name, accuracy=value) for name, value in held]
            rows += [RungRow(name=t.name, accuracy=t.value, seconds=t.seconds, kept=t.kept) for t in tried]
            weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
            return weights, rows, max(t.value for t in tried if t.kept) >= target

        with trainer.timed("recovery"):
            weights, self.rows, self.recovered = decided(work, trainer.accelerator)
            trainer.model.load_state_dict(weights)
        self.best = {name: value.clone() for name, value in weights.items()} if self.auto else {}
        self._began = trainer.seconds.get(trainer.phase, 0.0)

    @property
    def accuracy(self) -> float:
        """Validation accuracy of the network that was kept."""
        return next(row.accuracy for row in reversed(self.rows) if row.kept)

    def conclude(self, trainer: Trainer, name: str, accuracy: float) -> None:
        """After the last step: note what training gave, and go back to the ladder's best network if that is better."""
        better = not self.best or accuracy >= self.accuracy
        seconds = trainer.seconds.get(trainer.phase, 0.0) - self._began
        self.rows.append(RungRow(name=name, accuracy=accuracy, seconds=seconds, kept=better))
        if not better:
            trainer.model.load_state_dict(self.best)
        self.best = {}

    def state_dict(self) -> dict[str, Any]:
        rows = [row.model_dump_json() for row in self.rows]
        return {"rows": rows, "recovered": self.recovered, "best": self.best, "began": self._began}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = [RungRow.model_validate_json(row) for row in state["rows"]]
        self.recovered, self.best, self._began = state["recovered"], dict(state["best"]), state["began"]
