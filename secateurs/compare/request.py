"""What a comparison is asked for, kept in its folder, so that the same command continues it and a larger one adds.

Some of it can grow: methods, budgets, seeds, controls. The rest is what makes the runs comparable, and stays.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from ..errors import BudgetError, RunError, SecateursError
from ..recipes import METHODS, RunConfig, TrainOptions, find_method, read_options
from ..spec import Budget, Frozen
from ..storage import write_json

ASKED_FILE = "comparison.json"
NO_METHODS = ("dense", "scratch")  # controls of every comparison, which nobody names
GROWING = ("methods", "budgets", "seeds", "scratch")
WHOLE = Budget(groups=1.0)  # the dense network's


class Search(Frozen):
    """Methods and their options are chosen on validation data, under each budget by itself.

    Attributes:
        trials: runs for every budget. values: options that take one of some values; the rest is usual.
    """

    trials: int = Field(default=40, ge=1)
    values: dict[str, tuple[Any, ...]] = Field(default_factory=dict)


class Found(Frozen):
    """What a search chose at a budget."""

    method: str
    budget: Budget
    options: dict[str, Any]


class Asked(Frozen):
    """A grid of runs.

    Attributes:
        methods: names; ``random`` and ``against`` are among them whether named or not. In a search: what it chooses
            from; what it has chosen is then compared.
        seeds: of data order, weights and validation split. grid: options that are tried for every method alike.
        options: given to all methods. against: the method that differences are taken to.
        scratch: methods whose networks are trained from scratch too.
        search: how the rest is chosen. found: what it chose, as soon as it is known.
    """

    model: str
    data: str
    methods: tuple[str, ...]
    budgets: tuple[Budget, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=1)
    granularity: str = "channel"
    validation: float = Field(default=0.0833, gt=0, lt=1)
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    grid: tuple[dict[str, Any], ...] = ({},)
    options: dict[str, Any] = Field(default_factory=dict)
    against: str = "magnitude"
    scratch: tuple[str, ...] = ()
    search: Search | None = None
    found: tuple[Found, ...] = ()

    @field_validator("methods", "scratch")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            if name in NO_METHODS:
                raise RunError(f"method {name!r} is a control of every comparison; leave it out of --methods")
            find_method(name)
        return tuple(dict.fromkeys(given))

    def contenders(self, budget: Budget) -> tuple[str, ...]:
        """Methods that are compared at a budget."""
        if self.search is None:
            return self.methods
        chosen = (found.method for found in self.found if found.budget == budget)
        return tuple(dict.fromkeys((*chosen, self.against, "random")))

    def sources(self, budget: Budget) -> tuple[str, ...]:
        """Methods whose networks at a budget are trained from scratch too."""
        if self.search is None:
            return self.scratch
        return tuple(f.method for f in self.found if f.budget == budget and f.method in self.scratch)

    def points(self, method: str, budget: Budget) -> tuple[dict[str, Any], ...]:
        """Options that a method chooses from at a budget. Beside what a search has found, the others may train as that
        does, or as is usual; the dense network as any of those that were found."""
        if self.search is None:
            return self.grid
        here = [f for f in self.found if budget in (f.budget, WHOLE)]
        own = [f.options for f in here if f.method == method]
        if own:
            return (own[0],)
        shared = ({k: v for k, v in f.options.items() if k in TrainOptions.model_fields} for f in here)
        points = [*self.grid, *shared]
        return tuple(point for i, point in enumerate(points) if point not in points[:i])

    def config(self, method: str, budget: Budget, seed: int, point: Mapping[str, Any]) -> RunConfig:
        """One run of the grid."""
        return RunConfig(
            model=self.model,
            data=self.data,
            budget=budget,
            method=method,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            granularity=self.granularity,
            validation=self.validation,
            reference="none",
            mixed_precision=self.mixed_precision,
            options={**self.options, **point},
        )

    def require(self) -> None:
        """Check what can be checked before anything runs.

        Raises:
            RunError: an option that no method takes, or whose value none takes.
        """
        for point in self.grid:
            given = {**self.options, **point}
            errors = []
            for name in self.methods:
                try:
                    read_options(METHODS[name].options, name, given)
                except SecateursError as error:
                    errors.append(error)
            if errors and len(errors) == len(self.methods):
                raise errors[0]

    def write(self, folder: Path) -> None:
        """Keep it in the comparison's folder."""
        write_json(folder / ASKED_FILE, self.model_dump(mode="json"))


def asked(**given: Any) -> Asked:
    """An :class:`Asked` with the controls that always run.

    Raises:
        RunError: what pydantic complains of, in the user's words.
    """
    methods = given.get("methods", ())
    against = given.get("against", "magnitude")
    try:
        made = Asked(**{**given, "methods": (*methods, against, "random")})
    except ValidationError as error:
        detail = error.errors()[0]
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, SecateursError):
            raise cause from None
        name = str(detail["loc"][0])
        raise RunError(f"--{name.replace('_', '-')} {given.get(name)!r}: {detail['msg']}") from None
    if not made.budgets:
        raise BudgetError("a comparison needs at least one budget, such as --budgets macs=0.5,0.25")
    made.require()
    return made


def standing(folder: Path) -> Asked | None:
    """What the comparison in a folder was asked for; None where there is none.

    Raises:
        RunError: the file there is not one of ours.
    """
    path = folder / ASKED_FILE
    if not path.exists():
        return None
    try:
        return Asked.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, SecateursError) as error:
        raise RunError(f"{str(path)!r} does not describe a comparison: {error}") from None


def together(before: Asked, now: Asked, folder: Path) -> Asked:
    """Both, in the order in which they were asked for.

    Raises:
        RunError: they differ in what must be the same for all runs.
    """
    growing = GROWING if now.search is None else GROWING[1:]  # a search chooses from the same methods to its end
    for name in Asked.model_fields:
        there, here = _fixed(before, name), _fixed(now, name)
        if name not in growing and there != here:
            raise RunError(
                f"{str(folder)!r} holds a comparison with --{name.replace('_', '-')} {_shown(there)}, and this one has "
                f"{_shown(here)}: their runs cannot be compared. Give the same, or another --out"
            )
    grown: dict[str, Any] = {"found": before.found}
    if before.search is not None and now.search is not None:
        grown["search"] = max(before.search, now.search, key=lambda search: search.trials)
    for name in growing:
        both = (*getattr(before, name), *getattr(now, name))
        grown[name] = tuple(x for i, x in enumerate(both) if x not in both[:i])
    return now.model_copy(update=grown)


def _fixed(asked: Asked, name: str) -> Any:
    """What two requests for one folder must have in common; of a search, not its length or what came of it."""
    if name == "found":
        return None
    value = getattr(asked, name)
    return value.values if isinstance(value, Search) else value


def _shown(value: Any) -> str:
    if value is None:
        return "left out"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def read_budgets(texts: Sequence[str]) -> tuple[Budget, ...]:
    """``macs=0.5,0.25`` is two budgets, ``macs=0.5+params=0.3`` one that names two resources.

    Raises:
        BudgetError: a text that is not of that form.
    """
    out: list[Budget] = []
    for text in texts:
        resource = ""
        for part in text.split(","):
            named = "=" in part
            resource = part.partition("=")[0] if named else resource
            if not named and not resource:
                raise BudgetError(f"budgets {text!r}: {part!r} names no resource; write macs=0.5,0.25")
            budget = Budget.parse(*(part if named else f"{resource}={part}").split("+"))
            if budget not in out:
                out.append(budget)
    return tuple(out)


def read_methods(texts: Iterable[str]) -> tuple[str, ...]:
    """Names with commas between them; ``all`` is every method there is, controls of tickets included."""
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    everyone = [m for m in METHODS if m not in NO_METHODS]
    return tuple(dict.fromkeys(itertools.chain.from_iterable(everyone if n == "all" else [n] for n in names)))


def product(axes: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
    """The grid of all combinations of options' values."""
    return tuple(dict(zip(axes, values)) for values in itertools.product(*axes.values()))
