"""Controls as methods: the dense network, and the network that another run found, from scratch.

Both are runs like any other, cut before the first step: *dense* removes nobody, *scratch* removes whom another run
removed, after the weights have been drawn anew. What is measured, saved and resumed is then the same for all.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import torch

from ..errors import RunError
from ..shapes import Mask
from ..spec import derive_seed
from ..storage import load_tree
from ..structure import shrink
from ..training import Trainer
from .options import TrainOptions
from .pruning import Cut, Pruning
from .tickets import redrawn

CUT = "cut.safetensors"


class GivenRun(Pruning):
    """Who stays is given, whatever the data and the weights say."""

    def cut_at(self) -> float:
        return 0.0

    @abstractmethod
    def keep(self) -> Mask:
        """``(players,)``: who stays."""

    def decide(self, trainer: Trainer) -> Cut:
        p, keep, surgery = self.players, self.keep(), None
        if p.granularity == "weight":
            held = [x.data for x in p.gates.parameters]
            p.gates.scaled(held, keep.to(held[0]), out=held)
        elif not bool(keep.all()):
            atoms = p.atom_mask(keep)
            surgery = shrink(p.model, p.structure, atoms, example_inputs=p.example_inputs, inplace=True).surgery
        ones, zeros = torch.ones(self.count), torch.zeros(self.count)
        return Cut(surgery, keep, participation=ones, benefit=ones, cost=zeros)


class DenseRun(GivenRun):
    """The whole network, trained for as many steps as every other run. The budget is not looked at."""

    def keep(self) -> Mask:
        return torch.ones(self.count, dtype=torch.bool)


class ScratchOptions(TrainOptions):
    """Options of ``scratch``.

    Attributes:
        of: the run whose network is trained from scratch: its folder, or the name of a folder beside this run's own.
    """

    of: str = ""


class ScratchRun(GivenRun):
    """The network that another run found, of the same shape (or, for single weights, with the same mask), with fresh
    weights and all steps for their training."""

    options: ScratchOptions

    def cut_at(self) -> float:
        if not self.options.of:
            raise RunError("method 'scratch' needs of=, the run whose network is trained: --set of=runs/x")
        return super().cut_at()

    def keep(self) -> Mask:
        path = self._source() / CUT
        kept = load_tree(path).get("kept")
        if kept is None or len(kept) != self.count:
            found = "no list of who stayed" if kept is None else f"{len(kept):,} groups"
            raise RunError(
                f"of={self.options.of!r}: {str(path)!r} holds {found}, and this model has {self.count:,} groups; name "
                "a run of the same model and granularity"
            )
        return kept

    def _source(self) -> Path:
        asked = Path(self.options.of)
        beside = [] if self.folder is None else [self.folder.parent / asked]
        for folder in [*beside, asked]:
            if (folder / CUT).exists():
                return folder
        raise RunError(
            f"of={self.options.of!r}: no finished run lies there; give the folder of one, as `secateurs prune --out` "
            "made it"
        )

    def decide(self, trainer: Trainer) -> Cut:
        model = trainer.model
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        state = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(redrawn(state, names, derive_seed(trainer.seed, "scratch")))
        return super().decide(trainer)
