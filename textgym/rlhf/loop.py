"""The loop: rounds of steps, each of whose outputs is on the disk, whole, before the next step begins."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from textgym.folder_lock import locked_folder
from textgym.prompts import load_prompts
from textgym.reward_protocol import resolve_reward
from textgym.rewards.extras import MissingPackageError
from textgym.rewards.learned import RewardModel, load_reward_model
from textgym.training.run_folder import read_json_lines, write_json, write_json_lines
from textgym.training.sft import fine_tune

from .annotator_making import make_annotators
from .annotator_settings import (
    AnnotatorSettings,
    PeopleAnnotators,
    RewardAnnotators,
    SimulatedAnnotators,
    read_annotators,
)
from .annotators import Annotators, Pair, PreferenceRow, RatingRow, Text, preferences_of, subject_of
from .candidates import choose, choose_pairs, write_candidates, write_pairs
from .checking import check_annotators, check_training, check_warm_start
from .finetuning import evaluate_policy, fine_tune_policy
from .folder import LoopFolder, RoundFolder
from .learnable import UnlearnableFeedbackError, explain, without_twins
from .report import write_report
from .reward_learning import judge, judge_comparisons, known_before, learn, make_model
from .settings import LoopSettings
from .simulated_people import fit_people

# After a step that leaves one of these, there is something new to be seen.
REPORTED = ("judgement.json", "evaluation.json")


class Step(NamedTuple):
    """A step of the loop.

    Attributes:
        name: What it does, in words.
        output: What it leaves; where that is, the step is done.
        act: Does it.
        again: Whether it is done also where its output is, from which nothing has been learned yet.
    """

    name: str
    output: Path
    act: Callable[[], None]
    again: bool = False


class Loop:
    """Rounds of feedback, reward learning and fine-tuning.

    Args:
        settings: The settings.
        console: Where is printed what happens.
        command: What goes on with the loop, as it is typed.

    Raises:
        ValueError: If the folder holds something else, a file or name cannot be found, or a setting does not fit.
        OSError: If a file cannot be read.
    """

    def __init__(self, settings: LoopSettings, console: Console, command: str = "textgym rlhf CONFIG") -> None:
        self.settings = settings
        self.console = console
        self.command = command
        self.folder = LoopFolder(Path(settings.output))
        self._chosen: AnnotatorSettings = read_annotators(settings.annotators)
        make_model(settings.reward_model)
        load_prompts(settings.prompts)
        if isinstance(self._chosen, RewardAnnotators):
            resolve_reward(self._chosen.reward)
        self._before = known_before(settings.reward_model, self._share_of_raters())
        self._annotators: Annotators | None = None
        # Until a reward model has learned from it, people go on saying more, and may change what they have said; a
        # reward may be another one by then.
        self._asks_anew = isinstance(self._chosen, PeopleAnnotators | RewardAnnotators)
        self._has_asked = False
        if not self.folder.has_begun():
            check_warm_start(settings)
            check_annotators(self._chosen)
        if not self.folder.has_begun() or (not self.folder.has_trained() and self.folder.differs(settings)):
            check_training(settings, self.folder.round(1))
        self.folder.open(settings)

    def run(self) -> None:
        """Do all steps that have not been done.

        Raises:
            WaitingForPeople: If people have to rate first.
            AnnotatorsError: If a command that rates fails.
            TrainingStopped: If a signal asked to stop.
            UnlearnableFeedbackError: If a reward model cannot learn from the feedback; what to do is said.
            ValueError: If another process is at work in the folder.
        """
        refusal = f"{self.folder.path} is being worked on by another {self.command!r}; wait, or end it."
        with locked_folder(self.folder.path, refusal):
            self._run()

    def _run(self) -> None:
        try:
            self._do_steps()
        except UnlearnableFeedbackError:
            if self._asks_anew or self._has_asked:
                raise
            # What was said in an earlier call: a command may have been mended since.
            self._asks_anew = True
            self._do_steps()
        self.report()

    def _do_steps(self) -> None:
        for step in self.steps():
            if step.again or not step.output.exists():
                self.console.rule(step.name)
                step.output.parent.mkdir(parents=True, exist_ok=True)
                step.act()
                if step.output.name in REPORTED:
                    self.report()

    def report(self) -> None:
        """Write results and page anew."""
        write_report(self.folder, self.settings, self.annotators.describe())

    def steps(self) -> Iterator[Step]:
        """Yield all steps in order, those that are done as well."""
        folder = self.folder
        warm_start = self.settings.warm_start_options(self.settings.model)
        if warm_start is not None:
            yield Step("Warm start: learning the demonstrations", folder.warm_start, self._warm_start)
        if isinstance(self._chosen, SimulatedAnnotators):
            fit = partial(fit_people, self._chosen, folder.people, self.console)
            yield Step("Fitting the simulated people", folder.people, fit)
        for number in range(1, self.settings.rounds + 1):
            yield from self._round(folder.round(number))

    def _round(self, one: RoundFolder) -> Iterator[Step]:
        title = f"Round {one.number}"
        # Until a reward model has learned from them, answers may change, and the settings of that model, too.
        is_open = not one.reward_model.exists()
        asks_anew = is_open and self._asks_anew
        if self.settings.feedback.completions is not None:
            yield Step(f"{title}: writing completions", one.completions, partial(self._write, one))
            asking = f"{title}: asking {self.annotators.describe()}"
            yield Step(asking, one.feedback, partial(self._get_answers, self._ask, one), asks_anew)
        if self.settings.feedback.comparisons is not None:
            yield Step(f"{title}: writing pairs", one.pairs, partial(self._write_pairs, one))
            asking = f"{title}: asking {self.annotators.describe()} to compare"
            yield Step(asking, one.preferences, partial(self._get_answers, self._compare, one), asks_anew)
        # A reward model that has been trained has not learned from what was said since.
        if isinstance(self._chosen, PeopleAnnotators) and is_open:
            read = partial(self._read_chats, one, self.folder.store_of(self._chosen))
            yield Step(f"{title}: reading what was said in chats", one.chats, read, asks_anew)
        foresaw = partial(self._use_answers, self._judge, one)
        yield Step(f"{title}: what the present reward model foresaw", one.judgement, foresaw, is_open)
        train = partial(self._use_answers, self._learn, one)
        yield Step(f"{title}: training the reward model", one.reward_model, train)
        yield Step(f"{title}: fine-tuning", one.training, partial(self._fine_tune, one))
        yield Step(f"{title}: evaluating", one.evaluation, partial(self._evaluate, one))

    @property
    def annotators(self) -> Annotators:
        """Who rates; simulated people have to be fitted first."""
        if self._annotators is None:
            self._annotators = make_annotators(self._chosen, self.settings, self.folder, self.command)
        return self._annotators

    @property
    def first_model(self) -> str:
        """What the first round trains, and KL is measured against."""
        return self.settings.model if self.settings.warm_start is None else str(self.folder.warm_start)

    def feedback(self, up_to: int) -> list[RatingRow]:
        """Return the ratings of all rounds up to one."""
        return [row for number in range(1, up_to + 1) for row in _rows(self.folder.round(number).feedback)]

    def preferences(self, up_to: int) -> list[PreferenceRow]:
        """Return the preferences of all rounds up to one."""
        return [row for number in range(1, up_to + 1) for row in _rows(self.folder.round(number).preferences)]

    def _share_of_raters(self) -> float:
        return self._chosen.share if isinstance(self._chosen, SimulatedAnnotators) else 0.0

    def _warm_start(self) -> None:
        options = self.settings.warm_start_options(self.settings.model)
        if options is None:
            raise ValueError("There is no warm start.")
        # Learned elsewhere first: what a signal has cut short is no output.
        unfinished = self.folder.warm_start.with_suffix(".unfinished")
        fine_tune(options, unfinished, self.console)
        unfinished.rename(self.folder.warm_start)

    def _write(self, one: RoundFolder) -> None:
        collection, seed = self.settings.feedback, self._seed(one, "completions")
        n_asked = collection.completions or 0
        settings = self.settings.train_settings(model=self._model_before(one), seed=seed)
        model = self._reward_model_before(one) if collection.selection == "disagreement" else None
        candidates = write_candidates(settings, collection.n_written(n_asked, model is not None), seed)
        asked_before = {Text(row["prompt"], row["completion"]) for row in self.feedback(one.number - 1)}
        rows = choose(candidates, n_asked, asked_before=asked_before, model=model, seed=seed)
        self._say_if_fewer(sum(row["is_asked"] for row in rows), n_asked, "completions")
        write_json_lines(one.completions, rows)

    def _get_answers(self, ask: Callable[[RoundFolder], None], one: RoundFolder) -> None:
        ask(one)
        self._has_asked = True

    def _use_answers(self, use: Callable[[RoundFolder], None], one: RoundFolder) -> None:
        """Judge or learn; where that fails, the answers may still be others, and the loop says how."""
        try:
            use(one)
        except MissingPackageError:
            raise
        except ValueError as error:
            said = len(self.feedback(one.number)), len(self.preferences(one.number))
            store = self.folder.store_of(self._chosen) if isinstance(self._chosen, PeopleAnnotators) else ""
            raise UnlearnableFeedbackError(
                explain(error, one.number, said, self._chosen, store, self.command)
            ) from error

    def _ask(self, one: RoundFolder) -> None:
        asked = [Text(row["prompt"], row["completion"]) for row in read_json_lines(one.completions) if row["is_asked"]]
        write_json_lines(one.feedback, self.annotators.rate(asked, self._seed(one, "ratings")))

    def _write_pairs(self, one: RoundFolder) -> None:
        collection, seed = self.settings.feedback, self._seed(one, "pairs")
        n_asked = collection.comparisons or 0
        settings = self.settings.train_settings(model=self._model_before(one), seed=seed)
        model = self._reward_model_before(one)
        by_disagreement = model is not None and collection.selection == "disagreement"
        candidates = write_pairs(settings, collection.n_written(n_asked, by_disagreement), seed)
        before = [Pair.of(row) for number in range(1, one.number) for row in _rows(self.folder.round(number).pairs)]
        rows = choose_pairs(candidates, n_asked, asked_before=before, model=model, by_disagreement=by_disagreement)
        self._say_if_fewer(len(rows), n_asked, "comparisons")
        write_json_lines(one.pairs, rows)

    def _say_if_fewer(self, n_found: int, n_asked: int, what: str) -> None:
        if n_found < n_asked:
            self.console.print(
                f"{n_found} rather than {n_asked} {what} are asked about: no more of what was written is new, and can "
                "be told apart. For more, give more prompts or more feedback.candidates.",
                highlight=False, soft_wrap=True,
            )  # fmt: skip

    def _compare(self, one: RoundFolder) -> None:
        pairs = [Pair.of(row) for row in read_json_lines(one.pairs)]
        said = self.annotators.compare(pairs, self._seed(one, "preferences"))
        write_json_lines(one.comparisons, said)
        # Last, since with them the step is done.
        write_json_lines(one.preferences, preferences_of(said))

    def _read_chats(self, one: RoundFolder, place: str) -> None:
        from .chat_feedback import read_chats

        write_json_lines(one.chats, read_chats(place, as_pairs=self.settings.reward_model.learns_from_pairs))

    def _judge(self, one: RoundFolder) -> None:
        model = self._reward_model_before(one)
        judgement = judge(model, without_twins(_rows(one.feedback)), self.settings.reward_model.min_gap)
        if one.pairs.is_file():
            said, n_asked = _rows(one.comparisons), len(read_json_lines(one.pairs))
            judgement["comparisons"] = judge_comparisons(model, read_json_lines(one.preferences), said, n_asked)
        if one.chats.is_file():
            judgement["chats"] = Counter(row["said"] for row in read_json_lines(one.chats))
        write_json(one.judgement, judgement)

    def _learn(self, one: RoundFolder) -> None:
        first = self.folder.round(1)
        texts = [Text(row["prompt"], row["completion"]) for row in _rows(first.completions)]
        texts += [Text(row["prompt"], row[side]) for row in _rows(first.pairs) for side in Pair._fields[1:]]
        # Of what was said in chats the last round knows all: each is read from the beginning.
        asked = [*self.feedback(one.number), *self.preferences(one.number)]
        known = set(map(subject_of, asked))
        # What somebody was asked about goes before what they said of the same text in a chat.
        rows = without_twins([*asked, *(row for row in _rows(one.chats) if subject_of(row) not in known)])
        learn(self.settings.reward_model, self._before, rows, texts, self.console).save(one.reward_model)

    def _fine_tune(self, one: RoundFolder) -> None:
        settings = self.settings.train_settings(
            model=self._model_before(one),
            seed=self._seed(one, "training"),
            reward=str(one.reward_model),
            reference=None if one.number == 1 else self.first_model,
        )
        fine_tune_policy(settings, one, self.console)

    def _evaluate(self, one: RoundFolder) -> None:
        write_json(one.evaluation, evaluate_policy(one, self.annotators))

    def _model_before(self, one: RoundFolder) -> str:
        return self.first_model if one.number == 1 else str(self.folder.round(one.number - 1).run)

    def _reward_model_before(self, one: RoundFolder) -> RewardModel | None:
        """Return the reward model that has not learned from a round's feedback; None where there is none yet."""
        if one.number > 1:
            return load_reward_model(self.folder.round(one.number - 1).reward_model)
        if not len(self._before):
            return None
        return make_model(self.settings.reward_model).fit(self._before, console=self.console)

    def _seed(self, one: RoundFolder, purpose: str) -> int:
        return random.Random(f"{self.settings.seed} {one.number} {purpose}").randrange(2**31)


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that a loop of other settings does not have."""
    return read_json_lines(path) if path.is_file() else []
