"""`textgym reward-model` trains on a file, judges on what it held out, and leaves a folder that is a reward."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import run_command
from tests.rewards.learned.makers import rated_films
from textgym.reward_protocol import resolve_reward, score_completions
from textgym.rewards.learned import EnsembleRewardModel, load_reward_model

TRAIN = ("reward-model", "train", "--data", "ratings.tsv", "--column", "completion=text", "--output", "mine")


@pytest.fixture
def ratings(workplace: Path) -> Path:
    """The current folder, with 120 texts rated by three people."""
    rows = [f"{one.completion}\t{' '.join(map(str, one.ratings))}" for one in rated_films(120).ratings]
    (workplace / "ratings.tsv").write_text("text\tratings\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return workplace


def test_a_model_is_trained_judged_and_scaled_on_the_reference_models_completions(
    ratings: Path, tiny_model: Path
) -> None:
    (ratings / "prompts.txt").write_text("lovely \ndull \n", encoding="utf-8")
    result = run_command(
        *TRAIN, "--kind", "ridge", "--set", "alpha=5e-1",
        "--reference-model", tiny_model, "--reference-prompts", "prompts.txt", "--reference-completions", 6,
        "--reference-tokens", 8,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "120 rated completions, 0 preferences" in result.stdout
    assert "ridge, on 24 ratings held out" in result.stdout
    assert "one rater against the others" in result.stdout
    assert (ratings / "mine" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    saved = json.loads((ratings / "mine" / "reward_model.json").read_text())
    assert saved["normalisation"]["texts"] == f"6 completions of {tiny_model}"
    assert saved["arguments"]["alpha"] == 0.5
    assert saved["record"]["evaluation"]["agreement"]["pearson"] > 0.7
    good, bad = score_completions(resolve_reward("mine"), ["", ""], ["lovely", "dull"], {}, [[1], [1]]).scores
    assert good > bad

    result = run_command("reward-model", "evaluate", "mine", "--data", "ratings.tsv", "--column", "completion=text")
    assert result.exit_code == 0, result.output
    assert "pairwise accuracy" in result.stdout
    result = run_command("generate", tiny_model, "--prompt", "lovely", "--max-new-tokens", "2")
    assert result.exit_code == 0


def test_an_ensemble_is_trained_on_what_is_left_of_bad_rows(ratings: Path) -> None:
    with (ratings / "ratings.tsv").open("a", encoding="utf-8") as file:
        file.write("a lovely film\tgood\n")
    arguments = (*TRAIN, "--kind", "ridge", "--reference-model", "none")
    refused = run_command(*arguments)
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[1] == "  line 122: ratings must be a finite number, got 'good'"
    assert not (ratings / "mine").exists()
    result = run_command(*arguments, "--skip-bad-rows", "--ensemble", 3, "--pessimism", 0.5)
    assert result.exit_code == 0, result.output
    assert "rows skipped: 1 × rating that is no number\n  line 122: ratings must be a finite number, got 'good'\n" in (
        result.stdout
    )
    assert "3 × ridge, on 24 ratings held out" in result.stdout
    assert re.search(
        r"^The 3 members' scores of a text lie 0\.\d\d apart on average .*, of which 0\.5 times is subtracted\.$",
        result.stdout,
        re.MULTILINE,
    )
    model = load_reward_model("mine")
    assert isinstance(model, EnsembleRewardModel)
    assert (len(model.members), model.pessimism) == (3, 0.5)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--kind", "rigde"), "There is no kind of reward model 'rigde'. Did you mean 'ridge'?"),
        (
            ("--kind", "ensemble"),
            "An ensemble is made of models of another kind; name that one (ridge, tree, logistic,",
        ),
        (("--kind", "ensemble", "--ensemble", "3"), "An ensemble is made of models of another kind; name that one"),
        (("--kind", "svm", "--set", "class_weight=balancd"), "class_weight must be 'balanced' or None, got 'balancd'."),
        (("--kind", "ridge", "--set", "alpha=much"), "alpha must be a number, got 'much' of type str."),
        (("--kind", "ridge", "--set", "alpha"), "--set must be NAME=VALUE, got 'alpha'."),
        (
            ("--kind", "svm", "--set", "boundaries=[1"),
            "--set boundaries must have a value in YAML, got '[1' (while pars",
        ),
        (("--kind", "ridge", "--output", "ratings.tsv/mine"), "The output ratings.tsv/mine cannot be made: "),
        (("--kind", "ridge", "--set", "alpha=-1"), "alpha must be above 0, got -1."),
        (("--kind", "ridge", "--pessimism", "1"), "--pessimism needs an ensemble; give --ensemble as well."),
        (("--kind", "ridge", "--rater-weight", "ann=x"), "--rater-weight must be RATER=NUMBER, got 'x'."),
        (("--kind", "ridge", "--column", "words=text"), "columns must name some of the fields prompt, completion,"),
        (
            ("--kind", "ridge", "--set", "alpha=1", "--set", "alpha=2"),
            "--set alpha must be given once, got '1' and '2'.",
        ),
        (
            ("--kind", "ridge", "--reference-model", "nowhere"),
            "No tokenizer named 'nowhere': expected a folder, a name",
        ),
        (("--kind", "ridge", "--reference-prompts", "none.txt"), "There is no file of prompts none.txt"),
        (("--kind", "ridge", "--held-out", "1"), "held_out must be above 0 and below 1, got 1.0."),
        (("--kind", "ridge", "--held-out", "-1"), "held_out must be above 0 and below 1, got -1.0."),
    ],
)
def test_bad_input_gets_one_line(ratings: Path, arguments: tuple[str, ...], line: str) -> None:
    result = run_command(*TRAIN, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {line}")
    assert len(result.stderr.splitlines()) == 1
    assert not (ratings / "mine").exists()


def test_rows_are_chosen_by_a_column_of_the_file(ratings: Path) -> None:
    lines = (ratings / "ratings.tsv").read_text(encoding="utf-8").splitlines()
    table = ["domain\t" + lines[0], *(f"{'film' if n < 40 else 'song'}\t{line}" for n, line in enumerate(lines[1:]))]
    (ratings / "ratings.tsv").write_text("\n".join(table) + "\n", encoding="utf-8")
    arguments = (*TRAIN, "--kind", "ridge", "--reference-model", "none", "--only")
    assert "40 rated completions" in run_command(*arguments, "domain=film").stdout
    result = run_command(*arguments, "domain=flim")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: ratings.tsv has no row whose domain is 'flim'. Did you mean 'film'? It has 'film', 'song'.\n",
    )
    evaluated = run_command(
        "reward-model",
        "evaluate",
        "mine",
        "--data",
        "ratings.tsv",
        "--column",
        "completion=text",
        "--only",
        "domain=song",
    )
    assert "80 rated completions" in evaluated.stdout


def test_a_folder_without_a_model_is_refused(ratings: Path) -> None:
    result = run_command("reward-model", "evaluate", "nowhere", "--data", "ratings.tsv")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: nowhere is not the folder of a reward model: it does not exist. Name a folder that save, or textgym "
        "reward-model train, has written.\n"
    )


@pytest.mark.parametrize("damage", ["truncated", "missing", "JSON", "foreign"])
def test_a_damaged_model_gets_one_line(ratings: Path, damage: str) -> None:
    assert run_command(*TRAIN, "--kind", "ridge", "--reference-model", "none").exit_code == 0
    file = ratings / "mine" / "model.skops"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "missing":
        file.unlink()
    else:
        (ratings / "mine" / "reward_model.json").write_text('{"format"' if damage == "JSON" else '{"format": 1}')
    result = run_command("reward-model", "evaluate", "mine", "--data", "ratings.tsv", "--column", "completion=text")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    assert "train the model again" in result.stderr or "Name a folder" in result.stderr


def test_counterfactuals_are_added_to_what_is_learned_from(ratings: Path) -> None:
    arguments = (*TRAIN, "--kind", "ridge", "--reference-model", "none")
    result = run_command(
        *arguments, "--augment", "exchange: {film: song}", "--augment", "{take_out: [zebra], change: -1}"
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"^\d+ counterfactuals added to 96$", result.stdout, re.MULTILINE)
    assert re.search(r"^exchange 1 pairs of words: moves a score by 0\.\d\d on average$", result.stdout, re.MULTILINE)
    assert "take out zebra: changes no text, so that nothing can be learned from it" in result.stdout
    assert "take out zebra: changes no held-out text" in result.stdout
    record = json.loads((ratings / "mine" / "reward_model.json").read_text())["record"]
    assert record["reliance"]["exchange 1 pairs of words"] < 0.5
    assert record["n_ratings"] > 96


@pytest.mark.parametrize(
    ("change", "message"),
    [("exchange: gendr", "Did you mean 'gender'?"), ("exchange: [", "--augment must be YAML such as")],
)
def test_a_wrong_counterfactual_is_refused(ratings: Path, change: str, message: str) -> None:
    refused = run_command(*TRAIN, "--kind", "ridge", "--augment", change)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert not (ratings / "mine").exists()


def test_a_reference_model_is_looked_for_before_anything_is_learned(ratings: Path, tiny_model: Path) -> None:
    """The learning rate is one that no training survives."""
    result = run_command(
        *TRAIN, "--kind", "network", "--set", f"backbone={tiny_model}", "--set", "learning_rate=1e30",
        "--reference-model", "nowhere",
    )  # fmt: skip
    assert (result.exit_code, result.stderr[:35]) == (2, "Error: No tokenizer named 'nowhere'")


def test_scores_that_are_alike_on_the_reference_models_completions_say_what_to_do(
    ratings: Path, tiny_model: Path
) -> None:
    (ratings / "prompts.txt").write_text("1\n2\n", encoding="utf-8")
    arguments = ("--reference-model", tiny_model, "--reference-prompts", "prompts.txt", "--reference-completions", 4)
    result = run_command(*TRAIN, "--kind", "ridge", *arguments, "--reference-tokens", 1)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: Scores are scaled on at least two texts that differ in score, got 4 texts with 1 different scores. "
        f"These are completions of {tiny_model}; name another --reference-model, or none, to scale scores on the "
        "feedback's texts.\n"
    )


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("a.pdf", "--picture must be a .png file, got 'a.pdf'."),
        ("none/a.png", "--picture must be a file in a folder that is there, got 'none/a.png'; make the folder first."),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_at_once(ratings: Path, picture: str, message: str) -> None:
    result = run_command("reward-model", "evaluate", "mine", "--data", "ratings.tsv", "--picture", picture)
    assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")


def test_an_evaluation_says_what_it_is_of_and_why_there_is_no_diagram(ratings: Path) -> None:
    assert run_command(*TRAIN, "--kind", "ridge", "--reference-model", "none").exit_code == 0
    (ratings / "pairs.csv").write_text(
        "chosen,rejected\nlovely film,dull film\nfine song,ugly song\n", encoding="utf-8"
    )
    result = run_command("reward-model", "evaluate", "mine", "--data", "pairs.csv", "--picture", "reliability.png")
    assert result.exit_code == 0, result.output
    assert "mine (ridge), on 2 preferences" in result.stdout
    assert "no reliability diagram: the model predicts nothing that this feedback tells" in result.stdout
    assert not Path("reliability.png").exists()


def test_kinds_are_listed_with_their_arguments_and_explained(workplace: Path) -> None:
    listed = run_command("reward-model", "kinds").stdout
    assert "ridge: Ridge regression of ratings on TF-IDF features.\n    alpha=1.0, max_ngram=1, min_count=1, " in listed
    assert 'objective="ratings"' in listed
    explained = run_command("reward-model", "kinds", "logistic").stdout
    assert explained.startswith("Logistic regression of the classes bad, fair and good.\n")
    assert "    penalty: Strength of the penalty on weights, above 0.\n" in explained
    refused = run_command("reward-model", "kinds", "rigde")
    assert (refused.exit_code, refused.stderr[:75]) == (
        2, "Error: There is no kind of reward model 'rigde'. Did you mean 'ridge'? Expe"
    )  # fmt: skip


def test_nothing_need_be_held_out(ratings: Path) -> None:
    result = run_command(*TRAIN, "--kind", "ridge", "--reference-model", "none", "--held-out", 0)
    assert result.exit_code == 0, result.output
    assert (
        "Nothing was held out to judge it by; this does: textgym reward-model evaluate mine --data FILE"
        in result.stdout
    )
    record = json.loads((ratings / "mine" / "reward_model.json").read_text())["record"]
    assert (record["n_ratings"], record["evaluation"]) == (120, None)


def test_a_reference_model_whose_texts_hardly_differ_in_score_is_told(ratings: Path, tiny_model: Path) -> None:
    """Of its texts only one has a word that the model knows."""
    (ratings / "prompts.txt").write_text("film \n" + "\n".join(map(str, range(10, 210))) + "\n", encoding="utf-8")
    arguments = ("--reference-model", tiny_model, "--reference-prompts", "prompts.txt", "--reference-completions", 201)
    result = run_command(*TRAIN, "--kind", "ridge", *arguments, "--reference-tokens", 1)
    assert result.exit_code == 0, result.output
    assert re.search(
        rf"Completions of {tiny_model} differ in score \d+ times less than the feedback's texts", result.stdout
    )


def test_what_a_kind_does_not_learn_from_is_told(ratings: Path, tiny_model: Path) -> None:
    rows = [f"{one.completion},{one.rating},{'so good' if number < 5 else ''},," for number, one in enumerate(RATED)]
    table = "\n".join(
        ["completion,rating,comment,chosen,rejected", *rows, ",,,lovely film,dull film", ",,,warm song,ugly"]
    )
    (ratings / "both.csv").write_text(table, encoding="utf-8")
    arguments = (
        "reward-model",
        "train",
        "--data",
        "both.csv",
        "--output",
        "mine",
        "--reference-model",
        "none",
        "--kind",
    )
    result = run_command(*arguments, "ridge")
    assert result.exit_code == 0, result.output
    assert "60 rated completions, 2 preferences" in result.stdout
    assert "preferences that this kind of model does not learn from: 2\n" in result.stdout
    assert "texts with comments, which this kind of model does not read: 5\n" in result.stdout
    result = run_command(*arguments, "linear_preferences")
    assert result.exit_code == 0, result.output
    assert "does not learn from" not in result.stdout
    network = ("network", "--set", f"backbone={tiny_model}", "--set", "epochs=1")
    result = run_command(*arguments, *network)
    assert result.exit_code == 0, result.output
    assert "does not read" not in result.stdout


RATED = rated_films(60).ratings
