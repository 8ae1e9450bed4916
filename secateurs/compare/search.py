"""Which method with which options, chosen by Optuna (Akiba et al. 2019) on validation data, under each budget.

A trial is a run like any other, named by its configuration, which does not read the test set. The studies lie in the
comparison's folder: whatever was tried stays tried, and trials that were being run when a search was stopped go on.
What Optuna proposes next depends on the seed and on the trials before alone, so a search of one job at a time that was
stopped ends as one that was not.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..errors import RunError, require
from ..records import Tried
from ..spec import Budget, derive_seed
from ..storage import write_json
from .carry import LOCKS, Place, ended, locked
from .pool import Pool, drive
from .progress import Progress
from .request import Asked, Found
from .schedule import Job, Outcome
from .space import Axis, shared, space

STUDIES, TRIED = "search.sqlite", "search.json"
_ASKED = "asked"  # where a trial keeps what was made of it


def search(asked: Asked, place: Place, pool: Pool, *, progress: bool = True) -> tuple[Found, ...]:
    """Carry on until every budget has its trials, and say what did best.

    Raises:
        MissingExtraError: Optuna is not installed.
        RunError: no trial at a budget could be carried out.
        RunInterrupted: a signal; the same command continues.
    """
    assert asked.search is not None
    axes = space(asked)
    with locked(place.folder / LOCKS / "search"):
        storage = _storage(place.folder)
        studies = [Study(asked, budget, axes, storage) for budget in asked.budgets]
        with Progress(sum(study.left for study in studies), shown=progress, what="trials") as bar:
            _run(studies, place, pool, bar)
        _keep(studies, place)  # also what was told just before a search was killed
        return tuple(study.found() for study in studies)


def _storage(folder: Path) -> Any:
    optuna = require("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns that methods have options of their own
    return optuna.storages.RDBStorage(f"sqlite:///{(folder / STUDIES).resolve()}")


def _run(studies: list[Study], place: Place, pool: Pool, bar: Progress) -> None:
    known = ended(place)
    waiting: dict[str, list[tuple[Study, int]]] = {}  # two trials may come to the same run
    coming = (proposal for study in studies for proposal in study.proposals())

    def following(running: Collection[str]) -> Job | None:
        for study, number, job in coming:
            bar.started(job)
            if job.key in known:
                _tell(studies, [(study, number)], job, known[job.key], place, bar)
                continue
            waiting.setdefault(job.key, []).append((study, number))
            if job.key not in running:
                return job
        return None

    def told(job: Job, outcome: Outcome) -> None:
        known[job.key] = outcome
        _tell(studies, waiting.pop(job.key), job, outcome, place, bar)

    drive(pool, following, told)


def _tell(
    studies: list[Study], trials: list[tuple[Study, int]], job: Job, outcome: Outcome, place: Place, bar: Progress
) -> None:
    for study, number in trials:
        study.tell(number, outcome)
        bar.ended(job, outcome)
    _keep(studies, place)


def _keep(studies: list[Study], place: Place) -> None:
    write_json(place.folder / TRIED, [row.model_dump(mode="json") for study in studies for row in study.tried()])


class Study:
    """One budget's trials.

    Args:
        axes: for every method its options' values. storage: Optuna's.
    """

    def __init__(self, asked: Asked, budget: Budget, axes: dict[str, dict[str, Axis]], storage: Any) -> None:
        self._optuna = require("optuna", "search")
        self._asked, self._budget, self._axes = asked, budget, axes
        self._open: dict[int, Any] = {}
        self._study = self._optuna.create_study(
            storage=storage, study_name=str(budget), direction="maximize", load_if_exists=True
        )
        for method in axes:  # what nobody tuned comes first
            usual = {_name(method, option): axis.first for option, axis in axes[method].items()}
            self._study.enqueue_trial({"method": method, **usual}, skip_if_exists=True)

    def _trials(self, *states: str) -> list[Any]:
        wanted = tuple(self._optuna.trial.TrialState[name] for name in states)
        return self._study.get_trials(deepcopy=False, states=wanted)

    @property
    def left(self) -> int:
        """Trials to be carried out, with those that were interrupted."""
        assert self._asked.search is not None
        return max(0, self._asked.search.trials - len(self._trials("COMPLETE", "FAIL")))

    def proposals(self) -> Iterator[tuple[Study, int, Job]]:
        """Trials to carry out: what an earlier search left unfinished, then new ones, each made when asked for."""
        assert self._asked.search is not None
        for left in self._trials("RUNNING"):
            # What was suggested before is suggested again, and the rest as it would have been; only the identifier is
            # not public.
            self._study.sampler = self._sampler(left.number)
            yield self._proposed(self._optuna.trial.Trial(self._study, left._trial_id))
        while (asked := len(self._trials("COMPLETE", "FAIL", "RUNNING"))) < self._asked.search.trials:
            self._study.sampler = self._sampler(asked)
            yield self._proposed(self._study.ask())

    def _proposed(self, trial: Any) -> tuple[Study, int, Job]:
        self._open[trial.number] = trial
        return self, trial.number, self._job(trial)

    def _sampler(self, asked: int) -> Any:
        # Drawn anew for every trial: a sampler that lives on has a state that no file keeps.
        seed = derive_seed(self._asked.seeds[0], "search", str(self._budget), asked) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            return self._optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def _job(self, trial: Any) -> Job:
        try:
            method = trial.suggest_categorical("method", list(self._axes))
            axes = self._axes[method].items()
            options = {option: axis.suggest(trial, _name(method, option)) for option, axis in axes}
        except ValueError as error:  # Optuna's, of a study that another release began
            raise RunError(
                f"{STUDIES} was begun with other choices than this release has ({error}); use another --out"
            ) from None
        config = self._asked.config(method, self._budget, self._asked.seeds[0], options)
        trial.set_user_attr(_ASKED, {"method": method, "options": options, "hash": config.hash})
        return Job(config, config.hash, method, str(self._budget), False)

    def tell(self, number: int, outcome: Outcome) -> None:
        """How a trial ended."""
        trial = self._open.pop(number)
        if outcome.error or outcome.validation is None:
            trial.set_user_attr("error", outcome.error or "nothing was measured on validation data")
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, outcome.validation)

    def tried(self) -> list[Tried]:
        """All trials that ended, the best first; of equals, the earlier."""
        rows = [
            Tried(budget=str(self._budget), number=trial.number, validation=trial.value, **_made(trial))
            for trial in self._trials("COMPLETE", "FAIL")
        ]
        rows.sort(key=lambda row: (-1.0 if row.validation is None else row.validation, -row.number), reverse=True)
        for row in rows[:1]:
            row.chosen = row.validation is not None
        return rows

    def found(self) -> Found:
        """The best.

        Raises:
            RunError: no trial could be carried out.
        """
        rows = self.tried()
        if not rows or rows[0].validation is None:
            why = rows[0].error if rows else "there was none"
            raise RunError(f"no trial of the search at {self._budget} could be carried out; the first said: {why}")
        return Found(method=rows[0].method, budget=self._budget, options=rows[0].options)


def _name(method: str, option: str) -> str:
    """What Optuna calls an option: of equal name only where it means the same."""
    return option if shared(option) else f"{method}.{option}"


def _made(trial: Any) -> dict[str, Any]:
    return {**trial.user_attrs[_ASKED], "error": trial.user_attrs.get("error", "")}


def tried(folder: Path) -> list[Tried]:
    """What the searches in a comparison's folder have tried so far."""
    path = folder / TRIED
    try:
        return [Tried(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError, TypeError):  # a search writes it anew from its studies
        return []
