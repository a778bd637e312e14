"""Rounds of comparisons: which pairs are asked, what of each rater's answers is kept, and what the page shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.agents.tiny import exactly
from tests.cli.conftest import REWARDS, run_command
from tests.rlhf.conftest import SETTINGS, write_config
from tests.rlhf.test_annotators import say_all
from tests.rlhf.test_comparisons import CONTRASTIVE
from tests.rlhf.test_settings import read
from textgym.feedback.agreement import PREFERENCES, krippendorff_alpha
from textgym.feedback.judgements import Choice, ComparisonAnswer, compare
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Preference
from textgym.rewards.learned import EnsembleRewardModel, RidgeRewardModel, load_reward_model
from textgym.rlhf.annotator_settings import PeopleAnnotators
from textgym.rlhf.annotators import Pair, WaitingForPeople, preferences_of
from textgym.rlhf.candidates import choose_pairs
from textgym.rlhf.figures import draw_rounds
from textgym.rlhf.folder import LoopFolder
from textgym.rlhf.people import PeopleRaters
from textgym.rlhf.report import write_report
from textgym.rlhf.reward_learning import judge_comparisons
from textgym.rlhf.settings import read_loop_settings
from textgym.training.run_folder import read_json, read_json_lines, write_json

N_PAIRS, N_RATERS = 6, 3
NOISY = {"reward": {"reward": "my_rewards:few_letters", "per_item": N_RATERS, "noise": 0.3}}


@pytest.fixture(scope="module")
def compared_loop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with loop.yaml and a finished loop of comparisons alone, by three raters who err. Not to be changed."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "my_rewards.py").write_text(REWARDS, encoding="utf-8")
    write_config(
        folder, tiny_model, **CONTRASTIVE, feedback={"completions": None, "comparisons": N_PAIRS}, annotators=NOISY,
        prompts=["The <b>sea</b>", "A lake", "Hills"],
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    return folder


class ByLength(RidgeRewardModel):
    """Scores a text by its length, so many times."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None = None
    ) -> list[float]:
        """Return length times a factor."""
        return [self.times * len(completion) for completion in completions]


class Lengths(EnsembleRewardModel):
    """Two that disagree on long texts, and on a pair as far as the one text is longer than the other."""

    def __init__(self) -> None:
        super().__init__([ByLength(1.0), ByLength(3.0)])

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None = None
    ) -> list[float]:
        """Return twice the length."""
        return [2.0 * len(completion) for completion in completions]


CANDIDATES = [
    Pair("p", "abcdefgh", "ijklmnop"),  # two long texts, on each of which the members are far apart
    Pair("p", "a", "abc"),
    Pair("p", "a", " "),
    Pair("p", "abcde", "b"),
    Pair("p", "same", " same"),
    Pair("p", "abc", "a"),  # the second one again, turned round
    Pair("p", "ab\0cdefghij", "a"),
    Pair("p", "abcdefghi", "b"),
]


def test_pairs_are_asked_on_whose_difference_in_score_the_members_disagree_most() -> None:
    """A difference in length of d is 1·d to one and 3·d to the other: a standard deviation of d."""
    asked_before = [Pair("p", "b", "abcdefghi")]
    rows = choose_pairs(CANDIDATES, 2, asked_before=asked_before, model=Lengths(), by_disagreement=True)
    assert rows == [
        {"prompt": "p", "completion_a": "abcde", "completion_b": "b", "disagreement": 4.0, "score_a": 10.0,
         "score_b": 2.0},
        {"prompt": "p", "completion_a": "a", "completion_b": "abc", "disagreement": 2.0, "score_a": 2.0,
         "score_b": 6.0},
    ]  # fmt: skip


def test_without_disagreement_the_first_are_asked_with_what_a_model_foresees_where_there_is_one() -> None:
    first = choose_pairs(CANDIDATES, 2, asked_before=[], model=None, by_disagreement=False)
    assert first == [pair._asdict() for pair in CANDIDATES[:2]]
    foreseen = choose_pairs(CANDIDATES, 2, asked_before=[], model=Lengths(), by_disagreement=False)
    assert [(row["score_a"], row["score_b"]) for row in foreseen] == [(16.0, 16.0), (2.0, 6.0)]
    assert "disagreement" not in foreseen[0]
    assert len(choose_pairs(CANDIDATES, 9, asked_before=[], model=None, by_disagreement=False)) == 4
    with pytest.raises(
        ValueError,
        match=exactly(
            "Of 2 pairs of completions none is new and of two different texts; give more prompts, or a larger "
            "training.task.max_new_tokens."
        ),
    ):
        choose_pairs(CANDIDATES[2:5:2], 1, asked_before=[], model=None, by_disagreement=False)


def test_a_loop_asks_about_the_pairs_that_its_ensemble_disagrees_on(compared_loop: Path) -> None:
    first, second = (read_json_lines(compared_loop / f"loop/round-{number}/pairs.jsonl") for number in (1, 2))
    assert len(first) == len(second) == N_PAIRS
    assert "disagreement" not in first[0]
    assert "score_a" not in first[0]
    model = load_reward_model(compared_loop / "loop/round-1/reward_model")
    assert isinstance(model, EnsembleRewardModel)
    prompts = [row["prompt"] for row in second]
    sides = ([row[side] for row in second] for side in ("completion_a", "completion_b"))
    scores = np.array([[member.score(prompts, side) for member in model.members] for side in sides])
    disagreement = (scores[0] - scores[1]).std(0)
    assert [row["disagreement"] for row in second] == pytest.approx(disagreement.tolist())
    assert disagreement.tolist() == sorted(disagreement.tolist(), reverse=True)
    assert disagreement[0] > 0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"reward_model": {"kind": "linear_preferences", "ensemble": None}},
            (
                "feedback.selection 'disagreement' needs reward_model.ensemble, the number of models that may "
                "disagree; give it, or choose 'random'."
            ),
        ),
        (
            {"feedback": {"completions": None, "comparisons": 12, "candidates": 11}},
            "feedback.candidates must be at least feedback.comparisons (12), got 11.",
        ),
    ],
)
def test_a_selection_that_could_not_choose_pairs_is_refused(
    tmp_path: Path, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=exactly(f"{tmp_path / 'loop.yaml'}: {problem}")):
        read(
            tmp_path,
            **{
                "feedback": {"completions": None, "comparisons": 12},
                "reward_model": {"kind": "linear_preferences", "ensemble": 2},
                **settings,
            },
        )


def test_agreement_on_pairs_is_krippendorffs_alpha_of_all_that_was_said() -> None:
    """Of 6 judgements 3 are a, 2 b and 1 a tie: α = 1 − (2 / 6) / ((36 − 9 − 4 − 1) / 30) = 12 / 22."""
    pairs = [Pair("p", str(number), "x") for number in range(3)]
    preferences: list[tuple[Preference, Preference]] = [("a", "a"), ("b", "b"), ("a", "tie")]
    said = [
        pair.compared(preference, rater)
        for pair, both in zip(pairs, preferences, strict=True)
        for rater, preference in zip(("Anna", "王"), both, strict=True)
    ]
    judged = judge_comparisons(None, preferences_of(said), said, 3)
    assert judged == {
        "n_asked": 3, "n_comparisons": 6, "n_raters": 2, "alpha": pytest.approx(12 / 22), "n_preferences": 5,
        "accuracy": None,
    }  # fmt: skip


def test_what_each_rater_says_of_each_pair_is_kept_and_agreement_is_judged(compared_loop: Path) -> None:
    for number in (1, 2):
        one = compared_loop / f"loop/round-{number}"
        pairs, said = read_json_lines(one / "pairs.jsonl"), read_json_lines(one / "comparisons.jsonl")
        assert [(Pair.of(row), row["rater"]) for row in said] == [
            (Pair.of(pair), f"rater {rater}") for pair in pairs for rater in (1, 2, 3)
        ]
        assert preferences_of(said) == read_json_lines(one / "preferences.jsonl")
        codes = [PREFERENCES.index(row["preference"]) for row in said]
        units = [dict(enumerate(codes[first : first + N_RATERS])) for first in range(0, len(codes), N_RATERS)]
        judged = read_json(one / "judgement.json")["comparisons"]
        assert judged["alpha"] == pytest.approx(krippendorff_alpha(units, "nominal"))
        assert (judged["n_raters"], judged["n_comparisons"]) == (N_RATERS, N_RATERS * N_PAIRS)


def test_the_page_shows_which_pairs_were_asked_what_was_said_and_what_was_foreseen(compared_loop: Path) -> None:
    page = (compared_loop / "loop/report.html").read_text(encoding="utf-8")
    assert '<th class="number">agreement on pairs (alpha)</th>' in page
    assert "over A, B, tie and both bad" in page
    assert f'<td class="number">{N_RATERS * N_PAIRS} by {N_RATERS}</td>' in page
    alpha = read_json(compared_loop / "loop/round-2/judgement.json")["comparisons"]["alpha"]
    assert f'<td class="number">{alpha:.2f}</td>' in page
    first, second = (page.split(f"What was asked in round {number}")[1].split("<h2>")[0] for number in (1, 2))
    assert f"{N_PAIRS} pairs, of prompts drawn at random; {N_PAIRS} of them:" in first
    assert "reward model foresaw" not in first
    assert f"{N_PAIRS} pairs, those on whose difference in score the reward models disagreed most" in second
    assert "<th>prompt</th><th>A</th><th>B</th><th>raters said</th><th>reward model foresaw" in second
    assert "The &lt;b&gt;sea&lt;/b&gt;" in first
    assert "<b>" not in page
    assert any(said in first for said in ("A, A, ", "A, B, ", "B, A, ", "B, B, "))


def test_a_round_that_kept_preferences_alone_is_still_shown(compared_loop: Path, tmp_path: Path) -> None:
    """As older versions left it: no comparisons, and a judgement that knows nothing of them."""
    folder, old = LoopFolder(tmp_path / "loop"), LoopFolder(compared_loop / "loop")
    one, before = folder.round(1), old.round(1)
    one.path.mkdir(parents=True)
    for path in (before.pairs, before.preferences):
        (one.path / path.name).write_bytes(path.read_bytes())
    folder.config.write_bytes(old.config.read_bytes())
    judgement = read_json(before.judgement)
    del judgement["rating_range"]
    judgement["comparisons"] = {
        name: judgement["comparisons"][name] for name in ("n_asked", "n_preferences", "accuracy")
    }
    write_json(one.judgement, judgement)
    settings = read_loop_settings(compared_loop / "loop.yaml")
    write_report(folder, settings, "somebody")
    page = folder.report.read_text(encoding="utf-8")
    assert f"{N_PAIRS} pairs, of prompts drawn at random" in page
    shown = page.split("What was asked in round 1")[1].split("<h2>")[0]
    n_a = sum(row["preference"] == "a" for row in read_json_lines(before.comparisons))
    said = "".join(cell.split("</td>")[0] for cell in shown.split("<td>")[1:])
    assert said.count("A") == n_a


def test_a_page_of_ratings_and_comparisons_shows_both(workplace: Path, tiny_model: Path) -> None:
    feedback = {"completions": 4, "candidates": 6, "comparisons": 5}
    write_config(workplace, tiny_model, **CONTRASTIVE, rounds=1, feedback=feedback)
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    page = (workplace / "loop/report.html").read_text(encoding="utf-8")
    assert page.count("What was asked in round 1") == 1
    assert "4 completions, drawn at random" in page
    assert "5 pairs, of prompts drawn at random" in page
    assert '<th class="number">agreement (alpha)</th>' in page


def say(place: Path, name: str, preferences: dict[str, str]) -> None:
    """Compare whatever lies in a store as one person: by prompt which text is better, "tie" or "both_bad"."""
    store = FeedbackStore(place)
    with store.writing() as session:
        person = find_or_add(session, name)
        while (given := next_assignment(session, person.id, "compare")) is not None:
            said = preferences[given.item.prompt]
            choice: Choice = "tie" if said == "tie" else "both_bad"
            if said in (given.item.completion_a, given.item.completion_b):
                choice = "left" if (said == given.item.completion_a) != given.is_swapped else "right"
            compare(session, person.id, given.id, ComparisonAnswer(choice, 2, "hm"))
    store.close()


def test_people_are_kept_apart_and_said_in_the_order_that_was_asked(tmp_path: Path) -> None:
    pairs = [Pair("p", "zebra", "ape"), Pair("q", "ape", "zebra"), Pair("r", "1", "2")]
    people = PeopleRaters(PeopleAnnotators(per_item=2), str(tmp_path / "s.db"), "go on", lambda: "bundled")
    with pytest.raises(WaitingForPeople):
        people.compare(pairs, seed=0)
    say(tmp_path / "s.db", "Anna", {"p": "zebra", "q": "zebra", "r": "both_bad"})
    say(tmp_path / "s.db", "王", {"p": "ape", "q": "tie", "r": "2"})
    rows = people.compare(pairs, seed=0)
    assert [(Pair.of(row), row["rater"], row["preference"]) for row in rows] == [
        (pairs[0], "Anna", "a"),
        (pairs[0], "王", "b"),
        (pairs[1], "Anna", "b"),
        (pairs[1], "王", "tie"),
        (pairs[2], "Anna", "both_bad"),
        (pairs[2], "王", "b"),
    ]
    assert {(row["sureness"], row["comment"]) for row in rows} == {(2, "hm")}
    assert len(preferences_of(rows)) == 4


def test_one_round_by_people_is_drawn_with_a_beginning_and_on_the_scale(workplace: Path, tiny_model: Path) -> None:
    """KL from before the round on, the mean rating between the lowest and the highest, and no empty panel."""
    write_config(workplace, tiny_model, annotators={"people": {"per_item": 1}}, rounds=1)
    run_command("rlhf", "loop.yaml")
    say_all(workplace / "loop/feedback.db", "Anna")
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    results = read_json(workplace / "loop/results.json")
    figure = draw_rounds(results)
    assert figure is not None
    means, kl = figure.axes
    assert means.get_title(loc="left") == "Mean rating of what was asked"
    assert (means.get_xticks().tolist(), means.get_xlim()) == ([1], (0.5, 1.5))
    given = [row["rating"] for row in read_json_lines(workplace / "loop/round-1/feedback.jsonl")]
    bottom, top = means.get_ylim()
    assert bottom < min(given)
    assert top > max(given)
    assert kl.get_title(loc="left") == "KL to the first model, nats a completion"
    assert kl.get_xticks().tolist() == [0, 1]
    evaluation = results["rounds"][0]["evaluation"]
    drawn = np.asarray(kl.lines[0].get_ydata()).tolist()
    assert drawn == [evaluation["before"]["kl"], evaluation["after"]["kl"]]
    page = (workplace / "loop/report.html").read_text(encoding="utf-8")
    assert "is known from the second round on" in page


def test_where_no_figure_is_known_nothing_is_drawn() -> None:
    comparisons = judge_comparisons(None, [], [], 3)
    judgement = {"mean_rating": None, "model": None, "rater": None, "comparisons": comparisons}
    results = {"rounds": [{"round": 1, "judgement": judgement, "evaluation": None}]}
    assert draw_rounds(results) is None


def test_the_accuracy_of_a_later_round_stands_in_the_middle_of_its_panel(compared_loop: Path) -> None:
    figure = draw_rounds(read_json(compared_loop / "loop/results.json"))
    assert figure is not None
    true_score, accuracy, kl = figure.axes
    assert accuracy.get_xticks().tolist() == [2]
    assert accuracy.get_xlim() == (1.5, 2.5)
    assert true_score.get_xticks().tolist() == kl.get_xticks().tolist() == [0, 1, 2]
    assert SETTINGS["rounds"] == 2
