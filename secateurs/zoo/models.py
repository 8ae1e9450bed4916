"""Models by name: ``zoo:resnet20``, or the user's own ``file.py:factory``, built the same way every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import nn

from ..errors import DataError, ModelError, suggest, unknown
from .conv import LeNet5, conv_small, vgg16_bn
from .files import call, is_file, load_attribute
from .mlp import mlp
from .resnet import resnet20
from .vit import vit_tiny

Factory = Callable[..., nn.Module]

MODELS: Mapping[str, Factory] = MappingProxyType(
    {
        "mlp-512-256": partial(mlp, (512, 256)),
        "mlp-500-300": partial(mlp, (500, 300)),
        "lenet-300-100": partial(mlp, (300, 100)),
        "lenet-300-100-glorot": partial(mlp, (300, 100), glorot="normal"),
        "mlp-500-500-sigmoid": partial(mlp, (500, 500), activation="sigmoid", glorot="uniform"),
        "mlp-1000x3-sigmoid": partial(mlp, (1000, 1000, 1000), activation="sigmoid", glorot="uniform"),
        "mlp-digits": partial(mlp, (256, 128)),
        "lenet5": LeNet5,
        "conv-small": conv_small,
        "resnet20": resnet20,
        "vgg16-bn": vgg16_bn,
        "vit-tiny": vit_tiny,
    }
)
"""Name → ``factory(classes=, input_shape=)``."""

# Smallest image side for the networks that take images; the others take any input.
_SMALLEST = {"lenet5": 16, "conv-small": 4, "resnet20": 4, "vgg16-bn": 32, "vit-tiny": 4}


def build_model(spec: str, *, classes: int = 10, input_shape: Sequence[int] = (1, 28, 28), seed: int = 0) -> nn.Module:
    """Build a network from its name; equal arguments give equal weights.

    torch's global random state is left as it was found.

    Args:
        spec: ``"zoo:NAME"`` with a name of :data:`MODELS`, or ``"file.py:factory"``. A factory is called with
            ``classes=`` and ``input_shape=`` where it has parameters of these names, else without.
        classes: outputs.
        input_shape: of one example, without the batch axis.
        seed: of the initial weights.
    Raises:
        UnknownNameError: no such network in the zoo.
        ModelError: the file or factory cannot be used, or the network does not take this input.
    """
    shape = tuple(int(n) for n in input_shape)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if spec.startswith("zoo:"):
            return _from_zoo(spec.removeprefix("zoo:"), classes, shape)
        if not is_file(spec):
            names = [f"zoo:{name}" for name in MODELS]
            hint = f"did you mean 'zoo:{spec}'?" if spec in MODELS else suggest(spec, names)
            raise ModelError(f"model {spec!r}: write zoo:NAME or file.py:factory; {hint}")
        factory = load_attribute(spec, ModelError, example="build")
        try:
            model = call(factory, classes=classes, input_shape=shape)
        except Exception as error:
            raise ModelError(f"{spec!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{spec!r} returned a {type(model).__name__}; it must return a torch.nn.Module")
    return model


def _from_zoo(name: str, classes: int, shape: tuple[int, ...]) -> nn.Module:
    if name not in MODELS:
        raise unknown("model", f"zoo:{name}", [f"zoo:{known}" for known in MODELS])
    smallest = _SMALLEST.get(name)
    if smallest and (len(shape) != 3 or min(shape[1:]) < smallest):
        raise ModelError(
            f"zoo:{name} takes images (channels, height, width) of at least {smallest}×{smallest}, and the "
            f"data's examples have shape {shape}; use another network, such as zoo:mlp-512-256, or other data"
        )
    if name == "vit-tiny" and any(side % (4 if min(shape[1:]) >= 16 else 2) for side in shape[1:]):
        raise ModelError(f"zoo:vit-tiny cuts images into patches, which do not tile examples of shape {shape}")
    return MODELS[name](classes=classes, input_shape=shape)


def check_fit(model: nn.Module, inputs: tuple[torch.Tensor, ...], classes: int, *, lowest: int = 0) -> None:
    """Run ``model`` once on example inputs, in eval mode, so that a misfit shows before training.

    Args:
        model: left as it was.
        inputs: example inputs, batch axis first.
        classes: expected width of the output.
        lowest: label of the data; labels that start at 1 are told of where the model does not fit.
    Raises:
        DataError: the model refuses the inputs, or answers with another shape than (batch, classes).
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            output = model(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise DataError(f"the model does not take a batch of shape {shapes}: {error}") from error
    finally:
        for module, mode in modes:
            module.training = mode
    logits = getattr(output, "logits", output)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (inputs[0].shape[0], classes):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        above = f" (labels start at {lowest}: no example has label 0; subtract {lowest} from them)" if lowest else ""
        raise DataError(
            f"the data have {classes} classes{above}, so the model must answer with shape "
            f"({inputs[0].shape[0]}, {classes}); it answered with {got}"
        )
