"""A loop's folder: what lies where, each step's output whole or not there."""

from dataclasses import replace
from pathlib import Path

from textgym.feedback.places import without_password
from textgym.replacing import replacing_file
from textgym.training.settings_file import write_settings

from .annotator_settings import PeopleAnnotators
from .settings import LoopSettings


class RoundFolder:
    """The files of one round, in the order in which they are made.

    Args:
        path: The folder.
        number: The round's, from 1.

    Attributes:
        completions: What was written, with the ensemble's disagreement, and which of it goes to the annotators.
        feedback: Their ratings, which `textgym reward-model train --data` reads, too.
        pairs: Two completions of a prompt each, that the annotators compare, with what the reward model so far foresaw.
        comparisons: What each of them said of each pair, ties and two bad ones as well; older rounds have none.
        preferences: Which of them they prefer, as `feedback` for the reward model.
        chats: What people have said so far of answers in chats, as ratings and preferences.
        judgement: How far they agree, and how well the reward model so far foresees what they said.
        reward_model: The reward model that has learned from this feedback, too.
        run: The run's folder of `textgym train`.
        training: Written when that has ended.
        evaluation: Score, true score and KL of what was trained.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self.number = number
        self.completions = path / "completions.jsonl"
        self.feedback = path / "feedback.jsonl"
        self.pairs = path / "pairs.jsonl"
        self.comparisons = path / "comparisons.jsonl"
        self.preferences = path / "preferences.jsonl"
        self.chats = path / "chats.jsonl"
        self.judgement = path / "judgement.json"
        self.reward_model = path / "reward_model"
        self.run = path / "run"
        self.training = path / "training.json"
        self.evaluation = path / "evaluation.json"


class LoopFolder:
    """The files of a loop.

    Args:
        path: The folder.

    Attributes:
        config: The settings.
        warm_start: The model that demonstrations were learned by.
        people: The simulated people, a reward model.
        store: The feedback store of people.
        results: The figures of all rounds.
        report: The page.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.warm_start = path / "warm_start"
        self.people = path / "people"
        self.store = path / "feedback.db"
        self.results = path / "results.json"
        self.report = path / "report.html"

    def round(self, number: int) -> RoundFolder:
        """Return the folder of a round, from 1."""
        return RoundFolder(self.path / f"round-{number}", number)

    def store_of(self, people: PeopleAnnotators) -> str:
        """Return where the feedback store of people is: their own, or the one in this folder."""
        return people.store or str(self.store)

    def policy(self, settings: LoopSettings) -> str:
        """Return the language model as it is now: the last that was trained, else the one to begin with."""
        n_trained = 0
        while self.round(n_trained + 1).training.is_file():
            n_trained += 1
        if n_trained:
            return str(self.round(n_trained).run)
        return settings.model if settings.warm_start is None else str(self.warm_start)

    def has_begun(self) -> bool:
        """Whether a step has left something, from which on the settings stay as they are."""
        first = self.round(1)
        return any(path.exists() for path in (self.warm_start, self.people, first.completions, first.pairs))

    def has_trained(self) -> bool:
        """Whether a training has begun, from which on its settings stay as they are."""
        first = self.round(1)
        return first.run.exists() or first.training.exists()

    def differs(self, settings: LoopSettings) -> bool:
        """Whether other settings were written down when the loop was called last."""
        from .settings import read_loop_settings

        # Where there are none, `open` says that it is no loop's folder.
        return self.config.is_file() and read_loop_settings(self.config) != without_passwords(settings)

    def open(self, settings: LoopSettings) -> None:
        """Make the folder and write the settings, or check that they are those it was begun with.

        Once the first step is done, what may be changed are the rounds, how many people to wait for, the password of
        the store, and the command that annotators are asked by; until a reward model has been trained, which one that
        is to be, whether it chooses what is asked, and the annotators' reward; and until a policy is being trained, how
        that is done, and on which prompts it is evaluated.

        Raises:
            ValueError: If it holds something else than a loop of these settings.
        """
        # The password of a database stays where its owner has put it; in the folder it would be read by others.
        text = write_settings(without_passwords(settings))
        if self.config.is_file():
            if self.has_begun():
                self._check(settings)
        elif self.path.is_file() or (self.path.is_dir() and self._holds_something()):
            raise ValueError(f"The output {self.path} is not empty, and no loop's folder; name another one.")
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing_file(self.config) as file:
            file.write_text(text, encoding="utf-8")

    def _holds_something(self) -> bool:
        # A call that was killed at once may have left the beginning of its settings.
        return any(one.name != f"{self.config.name}.partial" for one in self.path.iterdir())

    def _check(self, settings: LoopSettings) -> None:
        from .settings import read_loop_settings

        has_learned = self.round(1).reward_model.exists()
        both = read_loop_settings(self.config), settings
        before, now = (_fixed(one, has_learned, self.has_trained()) for one in both)
        changed = [name for name in before if before[name] != now[name]]
        if changed:
            raise ValueError(
                f"The loop in {self.path} was begun with other settings ({', '.join(changed)}: see {self.config}); "
                "name another output, or give those. Only rounds, annotators.people.enough and "
                "annotators.command.command may be changed; until a reward model has been trained reward_model, "
                "feedback.selection and annotators.reward (its noise and number, too); and until there is "
                f"{self.round(1).run} training and eval_prompts."
            )


def without_passwords(settings: LoopSettings) -> LoopSettings:
    """Return the settings with a store's URL that has no password."""
    people = settings.annotators.get("people")
    if not people or not people.get("store"):
        return settings
    return replace(settings, annotators={"people": {**people, "store": without_password(people["store"])}})


def _fixed(settings: LoopSettings, has_learned: bool, has_trained: bool) -> dict[str, object]:
    """Return the settings that stay as they are, before or after a reward model has learned, or a policy."""
    settings = without_passwords(settings)
    fixed = {name: value for name, value in vars(settings).items() if name not in ("rounds", "output")}
    ((kind, given),) = settings.annotators.items()
    changeable = {"people": "enough", "command": "command"}.get(kind)
    fixed["annotators"] = {kind: {name: value for name, value in (given or {}).items() if name != changeable}}
    if not has_trained:
        del fixed["training"], fixed["eval_prompts"]
    if not has_learned:
        if kind == "reward":
            fixed["annotators"] = {kind: {}}
        del fixed["reward_model"]
        fixed["feedback"] = {name: value for name, value in vars(settings.feedback).items() if name != "selection"}
    return fixed
