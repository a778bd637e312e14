"""The comparison of reward models: its table, and on the real ratings what its simplest models reach."""

import os
from pathlib import Path

import pytest

from textgym.benchmarks.reward_models import (
    HELD_OUT_SHARE,
    contestants,
    find_encoder,
    judge_vader,
    markdown_table,
    read_domain,
)
from textgym.rewards.learned import NetworkRewardModel, RidgeRewardModel, split_feedback


@pytest.fixture(scope="session")
def film_ratings() -> Path:
    """The table of human ratings: `$TEXTGYM_SHARED/feedback`, else `../shared/feedback` beside the checkout."""
    shared = Path(os.environ.get("TEXTGYM_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    file = shared / "feedback" / "human_ratings.tsv"
    if not file.is_file():
        pytest.skip(f"the human ratings are not at {file}; TEXTGYM_SHARED names the folder that holds feedback/")
    return file


def test_the_table_has_a_row_a_model_and_says_what_is_not_known() -> None:
    figures = {"pearson": 0.676, "spearman": 0.5, "pairwise_accuracy": 0.825}
    rows = [
        {"name": "ridge", "family": "regression", **figures, "calibration_error": 0.123,
         "calibrated_quantity": "rating", "training_processor_seconds": 1.4, "completions_per_second": 12345.6},
        {"name": "human", "family": "-", **figures},
    ]  # fmt: skip
    _, _, ridge, human = markdown_table(rows, 1380).splitlines()
    assert ridge == ("| ridge regression on TF-IDF | regression | 0.68 | 0.50 | 0.82 | 0.12 (rating) | 1 s | 12,000 |")
    assert human == "| one rater against the mean of the others | - | 0.68 | 0.50 | 0.82 | - | - | - |"


def test_words_alone_agree_with_raters_of_films(film_ratings: Path) -> None:
    """Pearson's correlation is 0 for a random score, 0.42 for VADER, and 0.88 for one human."""
    training, held_out = split_feedback(read_domain(film_ratings, "movie"), HELD_OUT_SHARE)
    evaluation = RidgeRewardModel().fit(training).evaluate(held_out)
    assert evaluation.agreement is not None
    assert evaluation.agreement.pearson is not None
    assert evaluation.agreement.pearson > 0.67
    assert evaluation.agreement.pairwise_accuracy is not None
    assert evaluation.agreement.pairwise_accuracy > 0.82
    pytest.importorskip("vaderSentiment", reason="VADER is not installed")
    assert judge_vader(held_out)["pearson"] == pytest.approx(0.42, abs=0.04)


@pytest.mark.slow
def test_a_real_encoder_learns_from_a_few_ratings(film_ratings: Path) -> None:
    """128 ratings, two epochs: far from its best, but far from 0, where a random score is."""
    try:
        encoder = find_encoder()
    except ValueError as error:
        pytest.skip(str(error))
    _, make = contestants(encoder)["encoder"]
    model = make()
    assert isinstance(model, NetworkRewardModel)
    model.epochs = 2
    training, held_out = split_feedback(read_domain(film_ratings, "movie"), 0.02)
    model.fit(split_feedback(training, 0.02, seed=1).held_out, held_out=held_out)
    agreement = model.evaluate(held_out).agreement
    assert agreement is not None
    assert agreement.pearson is not None
    assert agreement.pearson > 0.2
