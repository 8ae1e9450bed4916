"""What a comparison is asked for, as a value: from it follows every run that is to be made."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from ..artifact.factory import file_of
from ..errors import BudgetError, RunError, SecateursError, suggest
from ..partition import GRANULARITIES
from ..recipes import METHODS, RunConfig, TrainOptions, find_method, known_to, read_options
from ..spec import Budget, Frozen
from ..storage import sha256
from ..zoo.files import is_file

NO_METHODS = ("dense", "scratch")  # controls of every comparison, which nobody names
T = TypeVar("T")
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
        options: given to all methods that have them. against: the method that differences are taken to.
        scratch: methods whose networks are trained from scratch too.
        files: what the user's own files held, model and data: their SHA-256 by name.
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
    files: dict[str, str] = Field(default_factory=dict)
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
        """Options that a method chooses from at a budget, of those that it has. Beside what a search has found, the
        others may train as that does, or as is usual; the dense network as any of those that were found."""
        here = [f for f in self.found if budget in (f.budget, WHOLE)] if self.search is not None else []
        own = [f.options for f in here if f.method == method]
        if own:
            return (own[0],)
        shared = (known_to(TrainOptions, f.options) for f in here)
        points = [known_to(METHODS[method].options, point) for point in (*self.grid, *shared)]
        if method == "dense":  # it recovers from nothing; points that differ in this alone are one run
            points = [{name: value for name, value in point.items() if name != "recovery_lr"} for point in points]
        return distinct(points)

    def config(self, method: str, budget: Budget, seed: int, point: Mapping[str, Any]) -> RunConfig:
        """One run of the grid. Options that the method does not have are left out."""
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
            options=known_to(METHODS[method].options, {**self.options, **point}),
        )

    def require(self) -> None:
        """Check what can be checked before anything is loaded.

        Raises:
            RunError: an unknown granularity; an option that no method has, that is given and varied, or whose value a
                method refuses; a network from scratch of a method that is not compared.
        """
        for part in self.granularity.split("+"):
            if part not in GRANULARITIES:
                raise RunError(f"--granularity {self.granularity}: {suggest(part, GRANULARITIES)}")
        varied = {name for point in self._points() for name in point}
        for name in varied & set(self.options):
            raise RunError(f"--set {name} gives it to all, and --grid {name} varies it; leave one of them out")
        for name in self.strange():
            raise RunError(f"no method of this comparison has an option {name!r}; {suggest(name, self._had())}")
        for method, point in itertools.product(self.methods, self._points()):
            kind = METHODS[method].options
            read_options(kind, method, known_to(kind, {**self.options, **point}))
        for name in self.scratch:
            if name not in self.methods:
                raise RunError(f"--scratch {name}: it is none of the methods compared, {', '.join(self.methods)}")

    def strange(self) -> list[str]:
        """Options that are given or varied, and that no method has."""
        given = {*self.options, *(name for point in self._points() for name in point)}
        return sorted(given - self._had())

    def _had(self) -> set[str]:
        """Options of all methods."""
        return {name for method in self.methods for name in METHODS[method].options.model_fields}

    def _points(self) -> Iterator[Mapping[str, Any]]:
        """Every point of the grid, and every value that a search is told to choose from."""
        yield from self.grid
        if self.search is not None:
            yield from ({name: value} for name, values in self.search.values.items() for value in values)


def asked(**given: Any) -> Asked:
    """An :class:`Asked` with the controls that always run, and with what the user's files hold now.

    Raises:
        RunError: what pydantic complains of, in the user's words; see also :meth:`Asked.require`.
    """
    methods = given.get("methods", ())
    against = given.get("against", "magnitude")
    files = _contents(given.get("model"), given.get("data"))
    try:
        made = Asked(**{**given, "methods": (*methods, against, "random"), "files": files})
    except ValidationError as error:
        detail = error.errors()[0]
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, SecateursError):
            raise cause from None
        name = str(detail["loc"][0])
        raise RunError(f"--{name.replace('_', '-')} {given.get(name)!r}: {detail['msg']}") from None
    if not made.budgets:
        raise BudgetError("a comparison needs at least one budget, such as --budgets macs=0.5,0.25")
    if not made.seeds:
        raise RunError("a comparison needs at least one seed, such as --seeds 3")
    made.require()
    return made


def _contents(*specs: Any) -> dict[str, str]:
    """Of those that name a Python file."""
    paths = [file_of(spec) for spec in specs if isinstance(spec, str) and is_file(spec)]
    return {str(path): sha256(path) for path in paths if path is not None and path.is_file()}


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
            out.append(Budget.parse(*(part if named else f"{resource}={part}").split("+")))
    return distinct(out)


def read_methods(texts: Iterable[str]) -> tuple[str, ...]:
    """Names with commas between them; ``all`` is every method there is, controls of tickets included."""
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    everyone = [m for m in METHODS if m not in NO_METHODS]
    return tuple(dict.fromkeys(itertools.chain.from_iterable(everyone if n == "all" else [n] for n in names)))


def distinct(values: Sequence[T]) -> tuple[T, ...]:
    """Each once, in their order; also of what cannot be hashed."""
    return tuple(value for i, value in enumerate(values) if value not in values[:i])


def product(axes: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
    """The grid of all combinations of options' values."""
    return tuple(dict(zip(axes, values)) for values in itertools.product(*axes.values()))
