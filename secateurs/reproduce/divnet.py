"""DIVNET's networks and a cut of their first layer (Mariet & Sra 2016), as the statmech paper's Figure 3 compares them.

One cut, no retraining. Least squares sees data X only through the Gram matrix G = XᵀX, and so do the kernels. G is
summed once over all training examples; as many rows as it has, a square root of it, then stand for them all wherever a
layer is reweighted.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor, nn

from ..maths.kernels import Gram
from ..partition import Players, players
from ..recovery import Removal, Reweight
from ..structure import Surgery, shrink
from ..training import Trainer, evaluate
from ..zoo import Data, TensorSplit, build_model, load_data
from ..zoo.data import moments
from ..zoo.mlp import ACTIVATIONS, MLP
from ..zoo.splits import Batch
from .cells import Result

# Mean and standard deviation that the authors' code normalises pixels by, as shares of 255.
PIXELS = {"mnist": (0.1307, 0.3081), "cifar10": (0.5, 0.5)}
PASS = 2000  # examples at a time, where nothing is learnt


@lru_cache(maxsize=1)
def whole(spec: str, limit: int | None) -> Data:
    """A data set that is trained on all of its training examples: nothing is selected, so nothing is held out. Pixels
    are normalised as in the authors' code, other data by their moments."""
    found = load_data(spec, limit=limit, augment="none")
    train, validation, test = (s for s in (found.train, found.validation, found.test) if isinstance(s, TensorSplit))
    x, y = torch.cat([train.x, validation.x]), torch.cat([train.y, validation.y])
    mean, std = moments(x)
    if fixed := PIXELS.get(spec.partition(":")[0]):
        mean, std = (torch.full_like(mean, 255 * share) for share in fixed)
    both = [TensorSplit(*of, mean=mean, std=std) for of in ((x, y), (test.x, test.y))]
    return Data(found.name, found.classes, found.input_shape, found.hash, both[0], both[0], both[1])


@dataclass(frozen=True)
class Training:
    """Adam until the training error, looked at after every epoch, is below ``error``."""

    model: str
    batch_size: int
    error: float
    lr: float = 1e-3
    epochs: int = 50  # at most

    def __call__(self, data: Data, seed: int) -> tuple[MLP, Result]:
        """A network, with the ``epochs`` that it took and its accuracies ``train`` and ``dense``, on test data."""
        net = build_model(self.model, classes=data.classes, input_shape=data.input_shape, seed=seed)
        assert isinstance(net, MLP)
        trainer = Trainer(
            net, data, seed=seed, epochs=self.epochs, batch_size=self.batch_size, evaluate_every=0, progress=False,
            optimizer=torch.optim.Adam(net.parameters(), self.lr),
        )  # fmt: skip
        accuracy = 0.0
        while 1 - accuracy >= self.error and trainer.step < trainer.total_steps:
            trainer.run(stop=trainer.step + trainer.steps_per_epoch)
            accuracy = evaluate(net, data.train, PASS).accuracy
        net.eval()
        return net, {"epochs": trainer.epoch, "train": accuracy, "dense": evaluate(net, data.test, PASS).accuracy}


class Sums:
    """The Gram matrix of what streamed by, ``(width, width)`` in float64."""

    def __init__(self, width: int) -> None:
        self._gram = Gram(width)
        self.add = self._gram.add

    @property
    def gram(self) -> Tensor:
        return self._gram.matrix

    @cached_property
    def rows(self) -> list[Batch]:
        """A with AᵀA = G, which stands for all rows that G was summed over, as a batch; labels are not looked at."""
        values, vectors = torch.linalg.eigh(self.gram)
        root = values.clamp_min(0).sqrt()[:, None] * vectors.mT
        return [(root, torch.zeros(len(root)))]


@lru_cache(maxsize=1)
def input_sums(spec: str, limit: int | None) -> Sums:
    """Of all training inputs: the same for all networks."""
    data = whole(spec, limit)
    sums = Sums(data.example_inputs(1)[0].numel())
    for x, _ in data.train.batches(PASS, epoch=None):
        sums.add(x.flatten(1))
    return sums


REWEIGHTED = ", reweighted"


class FirstLayer:
    """The first layer of a trained network, which is what is cut; every cut is of a copy.

    Args:
        net: of the zoo's MLPs: ``fc1`` feeds ``fc2``.
    Attributes:
        found: its players. inputs, activations: over all training examples, of what the layer is given and what its
            nodes return. examples: how many. weight: ``(nodes, features)``.
    """

    def __init__(self, net: MLP, data: Data, inputs: Sums) -> None:
        self.net, self.inputs, self.examples = net, inputs, len(data.train)
        self.found: Players = players(net, data.example_inputs(2))
        first, activate = linear(net, "fc1"), ACTIVATIONS[net.activation]
        self.weight = first.weight.detach()
        self.activations = Sums(first.out_features)
        for x, _ in data.train.batches(PASS, epoch=None):
            self.activations.add(activate(first(x.flatten(1))))

    @property
    def projections(self) -> Tensor:
        """Gram matrix of the nodes' inner products with the input, without a bias."""
        weight = self.weight.double()
        return weight @ self.inputs.gram @ weight.mT

    def without_nodes(self, keep: Tensor) -> dict[str, nn.Module]:
        """The smaller network, as it is cut and with the next layer reweighted. ``keep``: booleans ``(nodes,)``."""
        everyone = torch.ones(self.found.count, dtype=torch.bool)
        everyone[self.found.layers[0].start : self.found.layers[0].stop] = keep
        small = shrink(self.net, self.found.structure, self.found.atom_mask(everyone)).model
        # The layer alone, behind one that passes on what is kept: that stands for the nodes.
        places, passed = keep.nonzero().flatten().tolist(), torch.eye(len(keep), dtype=torch.float64)
        before, after = (alone(linear(net, "fc2"), p) for net, p in ((self.net, passed), (small, passed[keep])))
        removal = Removal(before, Surgery(kept={"front.weight": {0: places}, "layer.weight": {1: places}}))
        fixed = Reweight()(after, removal, self.activations.rows)
        return {"": small, REWEIGHTED: with_weight(small, "fc2", fixed)}

    def with_idle_nodes(self, keep: Tensor) -> nn.Module:
        """As the authors' code cuts: weights into a node are zero, its bias stays, and with it an output of σ(b)."""
        net = copy.deepcopy(self.net)
        with torch.no_grad():
            linear(net, "fc1").weight.mul_(keep[:, None])
        return net

    def without_edges(self, keep: Tensor) -> dict[str, nn.Module]:
        """The network with single weights of the layer at zero, and with the rest of them reweighted.
        ``keep``: booleans ``(nodes, features)``."""
        net = copy.deepcopy(self.net)
        with torch.no_grad():
            linear(net, "fc1").weight.mul_(keep)
        before, after = (alone(linear(n, "fc1")) for n in (self.net, net))
        fixed = Reweight()(after, Removal(before, masks={"layer.weight": keep}), self.inputs.rows)
        return {"": net, REWEIGHTED: with_weight(net, "fc1", fixed)}


def linear(net: nn.Module, name: str) -> nn.Linear:
    """A layer of a zoo MLP."""
    layer = net.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def alone(layer: nn.Linear, passed: Tensor | None = None) -> nn.Sequential:
    """A layer as a network of its own, in float64, where said behind one whose weight is ``passed``."""
    parts: dict[str, nn.Module] = {}
    if passed is not None:
        parts["front"] = front = nn.Linear(passed.shape[1], passed.shape[0], bias=False, dtype=torch.float64)
        front.weight.data = passed
    return nn.Sequential(OrderedDict(parts, layer=copy.deepcopy(layer).double()))


def with_weight(net: nn.Module, name: str, fixed: nn.Module) -> nn.Module:
    """A copy of the network with a layer's weight from elsewhere."""
    net = copy.deepcopy(net)
    linear(net, name).weight.data.copy_(linear(fixed, "layer").weight)
    return net
