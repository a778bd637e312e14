"""Who rates: rewards with an error, simulated people, a command, and people through the store."""

import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from tests.fakes import byte_tokenizer
from tests.rewards.learned.makers import rated_films
from tests.rlhf.conftest import write_config
from textgym.feedback.judgements import RatingAnswer, rate, skip
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.store import FeedbackStore
from textgym.rewards import LengthWindow
from textgym.rewards.learned import Preference, Rating, load_reward_model
from textgym.rlhf.annotator_making import make_annotators
from textgym.rlhf.annotator_settings import SimulatedAnnotators, read_annotators
from textgym.rlhf.annotators import AnnotatorsError, Text
from textgym.rlhf.coded_raters import CodedRaters, Scale
from textgym.rlhf.command_raters import CommandRaters
from textgym.rlhf.folder import LoopFolder
from textgym.rlhf.ratings_file import RatingsFile, hash_of, split_by_hash
from textgym.rlhf.settings import read_loop_settings
from textgym.rlhf.simulated_people import fit_people, load_people, measure_spread
from textgym.training.run_folder import read_json_lines, write_json_lines

TEXTS = [Text("A ", "lovely film"), Text("A ", "dull film"), Text("B ", "scene")]


def n_letters(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


def is_the_answer(completions: Sequence[str], answer: Sequence[str], **columns: Any) -> list[float]:
    return [float(completion == right) for completion, right in zip(completions, answer, strict=True)]


def test_coded_raters_err_as_much_as_they_are_said_to() -> None:
    raters = CodedRaters(n_letters, 400, 0.5)
    rows = raters.rate(TEXTS, seed=3)
    assert len(rows) == 3 * 400
    errors = [row["rating"] - len(row["completion"]) for row in rows]
    assert statistics.fmean(errors) == pytest.approx(0, abs=0.05)
    assert statistics.stdev(errors) == pytest.approx(0.5, abs=0.03)
    assert raters.rate(TEXTS, seed=3) == rows != raters.rate(TEXTS, seed=4)
    assert raters.true_scores(TEXTS) == [11.0, 9.0, 5.0]


def test_ratings_on_a_scale_are_whole_numbers_within_it() -> None:
    ratings = {row["rating"] for row in CodedRaters(n_letters, 50, 2.0, scale=Scale(4, 10)).rate(TEXTS, 0)}
    assert ratings == {4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0}


def test_a_reward_that_rates_reads_the_prompts_columns() -> None:
    columns = {"A ": {"answer": "dull film"}, "B ": {"answer": "scene"}}
    raters = CodedRaters(is_the_answer, 1, 0.0, columns=columns)
    assert [row["rating"] for row in raters.rate(TEXTS, 0)] == [0.0, 1.0, 1.0]


def test_a_reward_that_rates_reads_the_tokens_as_one_that_is_trained_on_does() -> None:
    def one_a_token(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[list[float]]:
        return [[1.0] * len(ids) for ids in completion_ids]

    raters = CodedRaters(one_a_token, 1, 0.0, tokenizer=byte_tokenizer())
    assert raters.true_scores([*TEXTS, Text("A ", "好")]) == [11.0, 9.0, 5.0, 3.0]
    window = CodedRaters(LengthWindow(9, 11), 1, 0.0, tokenizer=byte_tokenizer())
    assert window.true_scores(TEXTS) == LengthWindow(9, 11, unit="characters")([""] * 3, [one[1] for one in TEXTS])


def test_a_loops_reward_rates_by_the_models_tokens(workplace: Path, tiny_model: Path) -> None:
    rater = {"reward": {"reward": {"length_window": {"minimum": 5, "maximum": 9}}}}
    settings = read_loop_settings(write_config(workplace, tiny_model, annotators=rater))
    chosen = read_annotators(settings.annotators)
    annotators = make_annotators(chosen, settings, LoopFolder(workplace / "loop"), "textgym rlhf")
    scores = annotators.true_scores([Text("The sea", "好好"), Text("The sea", "好好好好")])
    assert scores is not None
    assert scores[0] == 1.0 > scores[1]


def test_ratings_that_are_no_whole_numbers_stay_so() -> None:
    rows = [(0.05, 0.25), (0.9, 0.95), (0.5, 0.4)]
    spread = measure_spread([Rating("", str(row), row) for row in rows])
    assert (spread.least, spread.most, spread.is_whole) == (0.05, 0.95, False)
    scale = Scale(spread.least, spread.most, spread.is_whole)
    ratings = [row["rating"] for row in CodedRaters(lambda **_: [0.1, 0.5, 0.9], 20, 0.2, scale=scale).rate(TEXTS, 0)]
    assert len(set(ratings)) > 20
    assert min(ratings) == 0.05
    assert max(ratings) == 0.95


def test_the_spread_of_ratings() -> None:
    """Means 2, 4 and 0; squares about them 2 + 2 + 8 over 1 + 1 + 1 degrees of freedom."""
    rows = [(1.0, 3.0), (3.0, 5.0), (-2.0, 2.0)]
    spread = measure_spread([Rating("", str(row), row) for row in rows])
    assert spread.mean == pytest.approx(2)
    assert spread.std == pytest.approx((8 / 3) ** 0.5)
    assert spread.noise == pytest.approx(2)
    assert (spread.least, spread.most, spread.is_whole) == (-2, 5, True)
    with pytest.raises(ValueError, match="need at least two texts that several people have rated, and not alike"):
        measure_spread([Rating("", "a", (1.0, 2.0)), Rating("", "b", (1.0,))])


def test_a_text_is_on_the_same_side_of_the_hash_wherever_it_is_found() -> None:
    feedback = rated_films(400)
    split = split_by_hash(feedback, 0.25)
    assert len(split.training) == pytest.approx(100, abs=25)
    assert set(split.training.ratings) | set(split.held_out.ratings) == set(feedback.ratings)
    one = feedback.ratings[0]
    assert hash_of(Rating("a", f" {one.completion.upper()}  ", (0.0,))) == hash_of(one)
    assert len(split_by_hash(feedback, 1.0).held_out) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Rating("这部电影", "很好", (0.0,)), Rating("", "这部电影很好", (0.0,))),
        (Rating("The film (", "dull)", (0.0,)), Rating("The film", " (dull)", (0.0,))),
        (Preference("这部电影", "很好", "不好"), Preference("", "这部电影不好", "这部电影很好")),
        (Preference("The", "film", "song"), Preference("", "THE SONG", "the  film")),
    ],
)
def test_where_a_prompt_ends_does_not_decide_the_side_of_the_hash(
    one: Rating | Preference, other: Rating | Preference
) -> None:
    assert hash_of(one) == hash_of(other)


def write_ratings(path: Path) -> RatingsFile:
    """200 texts by three raters from −15 to 15, and some of another domain."""
    rows = [
        {"domain": "film", "prompt": one.prompt, "text": one.completion, "ratings": [round(3 * r) for r in one.ratings]}
        for one in rated_films(200).ratings
    ]
    others = [{"domain": "news", "prompt": "A ", "text": f"news {number}", "ratings": [99, 99]} for number in range(5)]
    write_json_lines(path, [*rows, *others])
    return RatingsFile(str(path), {"completion": "text"}, {"domain": "film"})


def test_simulated_people_have_the_mean_and_the_spread_of_real_ones(tmp_path: Path) -> None:
    file = write_ratings(tmp_path / "ratings.jsonl")
    settings = SimulatedAnnotators(file, 0.5, "ridge", {"alpha": 0.1}, 20)
    fit_people(settings, tmp_path / "people", Console(quiet=True))
    people = load_people(tmp_path / "people", settings.per_item)
    real = measure_spread(split_by_hash(file.read(), 0.5).training.ratings)
    assert people.noise == real.noise
    assert people.scale == Scale(real.least, real.most)
    unseen = split_by_hash(file.read(), 0.5).held_out
    texts = [Text(one.prompt, one.completion) for one in unseen.ratings]
    rows = people.rate(texts, seed=1)
    simulated = measure_spread(
        [Rating(*text, tuple(row["rating"] for row in rows if row["completion"] == text.completion)) for text in texts]
    )
    assert simulated.mean == pytest.approx(real.mean, abs=0.3)
    assert simulated.std == pytest.approx(real.std, rel=0.2)
    assert simulated.noise == pytest.approx((real.noise**2 + 1 / 12) ** 0.5, rel=0.15)  # with the rounding's error
    recorded = load_reward_model(tmp_path / "people").record["people"]
    assert recorded["agreement"]["pearson"] > 0.9


RATE = """
import json, sys
for line in sys.stdin:
    one = json.loads(line)
    for rater in "ab":
        print(json.dumps({"id": one["id"], "rating": len(one["completion"]), "rater": rater, "comment": "好"}))
"""


def command(program: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}"


def test_a_command_rates() -> None:
    rows = CommandRaters(command(RATE)).rate(TEXTS, seed=0)
    assert rows[:2] == [
        {"prompt": "A ", "completion": "lovely film", "rating": 11, "rater": rater, "comment": "好"} for rater in "ab"
    ]
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import sys; sys.exit(7)", "ended with exit code 7."),
        ('print(\'{"id": 3, "rating": 1}\')', "must be an object with an id from 0 to 2 and a rating, such as"),
        ('print(\'{"id": 0, "rating": NaN}\')', "Line 1 of the annotators' command"),
        ('print(\'{"id": 1, "rating": 1}\')', "but said nothing of 2 of 3; the first has id 0."),
    ],
)
def test_a_command_that_fails_or_says_nonsense_is_an_error(program: str, problem: str) -> None:
    with pytest.raises(AnnotatorsError) as caught:
        CommandRaters(command(program)).rate(TEXTS, seed=0)
    assert problem in str(caught.value)


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AnnotatorsError, match="The annotators' command 'no-such-program' failed"):
        CommandRaters("no-such-program").rate(TEXTS, seed=0)


def say_all(place: Path, name: str, n_skipped: int = 0) -> int:
    """Rate whatever lies in a store as one person, the first few of it skipped; return how many ratings."""
    store = FeedbackStore(place)
    n_rated = 0
    with store.writing() as session:
        person = find_or_add(session, name)
        while (given := next_assignment(session, person.id, "rate")) is not None:
            if n_skipped > 0:
                n_skipped -= 1
                skip(session, person.id, given.id, "unclear")
                continue
            rate(session, person.id, given.id, RatingAnswer(1 + len(given.item.completion_a) % 5, None, "hm"))
            n_rated += 1
    store.close()
    return n_rated


def test_what_everybody_skips_is_not_waited_for(workplace: Path, tiny_model: Path) -> None:
    write_config(workplace, tiny_model, annotators={"people": {"per_item": 1}}, rounds=1)
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    asked = [row for row in read_json_lines(workplace / "loop/round-1/completions.jsonl") if row["is_asked"]]
    assert say_all(workplace / "loop/feedback.db", "Anna", n_skipped=2) == len(asked) - 2
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    assert len(read_json_lines(workplace / "loop/round-1/feedback.jsonl")) == len(asked) - 2


def test_where_everything_is_skipped_somebody_has_to_rate(workplace: Path, tiny_model: Path) -> None:
    write_config(workplace, tiny_model, annotators={"people": {"per_item": 1}}, rounds=1)
    run_command("rlhf", "loop.yaml")
    say_all(workplace / "loop/feedback.db", "Anna", n_skipped=100)
    assert "Waiting for people: 0 of 1 completions are rated" in run_command("rlhf", "loop.yaml").output


def test_people_are_waited_for_and_the_same_command_goes_on(workplace: Path, tiny_model: Path) -> None:
    annotators = {"people": {"per_item": 2, "enough": 0.5}}
    write_config(workplace, tiny_model, annotators=annotators)
    waiting = run_command("rlhf", "loop.yaml")
    assert waiting.exit_code == 3
    asked = [row for row in read_json_lines(workplace / "loop/round-1/completions.jsonl") if row["is_asked"]]
    n_wanted = -(-len(asked) // 2)
    assert waiting.output.endswith(
        f"Waiting for people: 0 of {n_wanted} completions are rated, each by 2.\n"
        f"Open the page by: textgym label loop/feedback.db --model {tiny_model}\n"
        "Then go on by:    textgym rlhf loop.yaml\n"
    )
    store = workplace / "loop/feedback.db"
    assert say_all(store, "Anna") == len(asked)
    assert "0 of" in run_command("rlhf", "loop.yaml").output
    assert say_all(store, "王", n_skipped=1) == len(asked) - 1

    second = run_command("rlhf", "loop.yaml")

    assert second.exit_code == 3, second.output
    assert "Round 2: asking people, 2 an item, through loop/feedback.db" in second.output
    feedback = read_json_lines(workplace / "loop/round-1/feedback.jsonl")
    assert len(feedback) == 2 * len(asked) - 1
    assert {row["rater"] for row in feedback} == {"Anna", "王"}
    assert "true score" not in (workplace / "loop/report.html").read_text().split("<h2>")[0].lower().split("quiet")[0]


def test_the_one_that_learns_must_not_rest_on_what_the_raters_rest_on(workplace: Path, tiny_model: Path) -> None:
    simulated = {"ratings": {"file": "ratings.jsonl"}, "kind": "svm"}
    write_config(workplace, tiny_model, annotators={"simulated": simulated})
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: loop.yaml: annotators.simulated and reward_model must not share a backbone, or the one knows the "
        "other's faults; both rest on words (TF-IDF). Choose kind network for one of them, or another "
        "settings.backbone.\n"
    )
    settings = SimulatedAnnotators(kind="network", settings={"backbone": str(tiny_model)})
    settings.check_against("network", {"backbone": "bundled"})
    with pytest.raises(ValueError, match="must not share a backbone"):
        settings.check_against("network", {"backbone": f"{tiny_model}/../{tiny_model.name}"})


def test_ratings_that_raters_were_fitted_on_are_not_learned_from(workplace: Path, tiny_model: Path) -> None:
    """The same file for both, of which each takes its side of the hash."""
    write_ratings(workplace / "ratings.jsonl")
    file = {"file": "ratings.jsonl", "columns": {"completion": "text"}, "only": {"domain": "film"}}
    network = {"backbone": str(tiny_model), "epochs": 1, "max_tokens": 60}
    write_config(
        workplace, tiny_model, rounds=1, training={"total_tokens": 16, "task": {"max_new_tokens": 16}},
        annotators={"simulated": {"ratings": file, "share": 0.5, "kind": "network", "settings": network}},
        reward_model={"kind": "ridge", "ensemble": 2, "ratings": file},
    )  # fmt: skip
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    split = split_by_hash(RatingsFile(**file).read(), 0.5)  # type: ignore[arg-type]
    raters, learner = (load_reward_model(workplace / "loop" / name) for name in ("people", "round-1/reward_model"))
    n_asked = sum(row["is_asked"] for row in read_json_lines(workplace / "loop/round-1/completions.jsonl"))
    assert raters.record["n_ratings"] == len(split.training)
    assert learner.record["n_ratings"] == len(split.held_out) + n_asked


def test_what_the_errors_name_is_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=exactly("ratings.only must be a mapping, got 'film'.")):
        RatingsFile("x.csv", only="film")
