"""Search for an algorithm's settings on a task: trials in a SQLite file, runs in folders, both to be gone on with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import TrialState
from sqlalchemy.exc import DatabaseError

from textgym.replacing import replacing_file
from textgym.training.algorithm_settings import AlgorithmSettings
from textgym.training.algorithms import ALGORITHMS
from textgym.training.run_folder import RunFolder
from textgym.training.settings_file import build_settings

from .display import count
from .grid import Grid, GridRun
from .pool import RunPool
from .search_space import default_settings, suggest
from .state import UnusableFolderError, excess_tokens, state_of

# A benchmark's seeds begin with 1, and what is published must not be tuned on the seeds that it is measured with.
FIRST_SEED = 101


@dataclass(frozen=True)
class Search:
    """A search for the best settings of one algorithm on one task.

    Args:
        task: Id of the task.
        algorithm: Name of the algorithm.
        folder: Where everything goes; a search that is there is gone on with.
        n_seeds: Runs of each trial, with seeds from 101 on; a trial's value is their mean score after training.
        total_tokens: Tokens of each run; None for the task's.

    Raises:
        ValueError: If task or algorithm are unknown.
    """

    task: str
    algorithm: str
    folder: Path
    n_seeds: int = 2
    total_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check the names before anything is written."""
        self._settings()

    def _settings(self) -> AlgorithmSettings:
        """Return the algorithm's settings on the task as they are without a search."""
        return build_settings({"task": {"name": self.task}, "algorithm": {"name": self.algorithm}}).algorithm

    @property
    def best_file(self) -> Path:
        """Settings of the best trial, in the form of a training run's YAML file."""
        return self.folder / "best.yaml"

    @property
    def name(self) -> str:
        """What its study is called; a folder has one."""
        return f"{self.task} {self.algorithm} {self.total_tokens or 'all'} tokens, {self.n_seeds} seeds"

    def open(self) -> optuna.Study:
        """Open the study, or make it; `propose` begins its trials.

        Raises:
            UnusableFolderError: If the folder holds another search, or its study.db is no study.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "study.db"
        storage = f"sqlite:///{file.resolve()}"
        try:
            others = [name for name in optuna.get_all_study_names(storage) if name != self.name]
        except DatabaseError as error:
            raise UnusableFolderError(
                f"{file} is no study of an earlier search ({error.orig}); delete it, or give another --output."
            ) from error
        if others:
            # The runs' folders, and the best settings, do not say which search they are of.
            raise UnusableFolderError(
                f"{self.folder} holds the search {' and '.join(map(repr, others))}, and this one is {self.name!r}; "
                "give it another --output."
            )
        study = optuna.create_study(
            storage=storage,
            study_name=self.name,
            direction="maximize",
            load_if_exists=True,
        )
        if not study.get_trials(deepcopy=False):
            # So that a search ends with nothing worse, by its own seeds, than no search.
            study.enqueue_trial(default_settings(self._settings()))
        return study

    def propose(self, study: optuna.Study) -> tuple[int, dict[str, Any]]:
        """Begin the next trial, and return its number and settings.

        They follow from the number and from what was measured: a search that was stopped proposes what it would have.
        """
        number = n_begun(study)
        # One sampler for all would draw its first numbers, and with them earlier settings, again at each call.
        study.sampler = optuna.samplers.TPESampler(seed=FIRST_SEED + number)
        return number, suggest(study.ask(), ALGORITHMS[self.algorithm])

    def runs(self, number: int, settings: dict[str, Any]) -> list[GridRun]:
        """Return the runs of a trial."""
        chosen = {"name": self.algorithm, "label": f"trial-{number}", **settings}
        seeds = range(FIRST_SEED, FIRST_SEED + self.n_seeds)
        return Grid([self.task], [chosen], seeds, self.total_tokens).runs(self.folder)

    def write_best(self, study: optuna.Study) -> None:
        """Write the best settings so far."""
        best: dict[str, Any] = {"task": {"name": self.task}}
        best["algorithm"] = {"name": self.algorithm, **study.best_params}
        if self.total_tokens is not None:
            best["total_tokens"] = self.total_tokens
        trials, seeds = count(n_done(study), "trial"), count(self.n_seeds, "seed")
        about = f"# The best of {trials}, with a score of {study.best_value:.3f} over {seeds}.\n"
        with replacing_file(self.best_file) as file:
            file.write_text(about + yaml.safe_dump(best, sort_keys=False), encoding="utf-8")


def n_done(study: optuna.Study) -> int:
    """Return how many trials have been measured."""
    return len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))


def n_begun(study: optuna.Study) -> int:
    """Return how many trials have settings, which is the number of the next one."""
    return sum(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))


def tune(
    search: Search,
    n_trials: int,
    jobs: int,
    threads: int,
    look: Callable[[RunPool], None],
    report: Callable[[int, dict[str, Any], float | None], None],
) -> optuna.Study:
    """Search until so many trials have been measured or have failed, those of earlier calls among them.

    Trials that were stopped in the middle come first, with the settings that they had.

    Args:
        search: What is searched for.
        n_trials: Number of trials, at least 1.
        jobs: Runs at a time.
        threads: Threads of each.
        look: Gets the pool of runs about three times a second.
        report: Gets number, settings and value of each trial that has ended; None for one whose runs failed.

    Returns:
        The study. `search.best_file` holds its best settings where there is one.

    Raises:
        KeyboardInterrupt: If it came; the same call goes on then.
        UnusableFolderError: If the folder holds another search, or a trial's folder a run that is none of this one.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = search.open()
    n_at_once = max(1, jobs // search.n_seeds)
    while True:
        batch = _next_trials(search, study, n_trials, n_at_once)
        if not batch:
            return study
        runs = {number: search.runs(number, settings) for number, settings in batch.items()}
        planned = [run for several in runs.values() for run in several]
        for run in planned:
            _check_budget(run)
        waiting = [run for run in planned if state_of(run) != "finished"]
        RunPool(waiting, jobs, threads).run(look)
        for number, settings in batch.items():
            value = _score(runs[number])
            study.tell(number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
            report(number, settings, value)
        if n_done(study):
            search.write_best(study)


def _next_trials(search: Search, study: optuna.Study, n_trials: int, n_at_once: int) -> dict[int, dict[str, Any]]:
    """Return settings by number: of trials that were not finished, or else of new ones."""
    trials = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    begun = {trial.number: dict(trial.params) for trial in trials}
    if not begun:
        begun = dict(search.propose(study) for _ in range(min(n_at_once, n_trials - n_begun(study))))
    return dict(list(begun.items())[:n_at_once])


def _check_budget(run: GridRun) -> None:
    tokens = excess_tokens(run)
    if tokens:
        raise UnusableFolderError(
            f"The run in {run.folder} was trained with {tokens:,} tokens, this search has {run.total_tokens:,}; "
            "give it another --output, or delete that folder."
        )


def _score(runs: Sequence[GridRun]) -> float | None:
    """Return the mean score after training; None where a run failed."""
    evaluations = [RunFolder(run.folder).read_evaluation() for run in runs]
    if not all("after" in evaluation for evaluation in evaluations):
        return None
    return sum(float(evaluation["after"]["score"]) for evaluation in evaluations) / len(runs)
