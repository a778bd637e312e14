"""Prompt and completion become one text in which no two words run together, whoever wrote the table."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rewards.learned.makers import BAD, GOOD, rated_films, save_tiny_encoder, save_tiny_gpt2, word_tokenizer
from textgym.rewards.learned import (
    Feedback,
    LinearPreferenceModel,
    LogisticRewardModel,
    NetworkRewardModel,
    Preference,
    Rating,
    RewardModel,
    RidgeRewardModel,
    split_feedback,
)
from textgym.rewards.learned.encoding import encode_texts


def films(space: str) -> Feedback:
    """Rate completions of one word after a prompt whose last word runs into them unless there is a space."""
    words = {**dict.fromkeys(GOOD, 1.0), **dict.fromkeys(BAD, -1.0)}
    return Feedback(
        tuple(Rating("The film", f"{space}{word}", (rating,)) for word, rating in words.items() for _ in range(2)),
        tuple(Preference("The song", f"{space}{good}", f"{space}{bad}") for good in GOOD for bad in BAD),
    )


@pytest.mark.parametrize(
    "make", [RidgeRewardModel, lambda: LogisticRewardModel(boundaries=(-0.5, 0.5)), LinearPreferenceModel]
)
def test_tables_with_and_without_a_space_between_teach_the_same(make: Callable[[], RewardModel]) -> None:
    plain, spaced = make().fit(films("")), make().fit(films(" "))
    prompts = ["A story"] * 6
    for words in ([*GOOD, *BAD], [f" {word}" for word in (*GOOD, *BAD)]):
        scores = plain.score(prompts, words)
        assert min(scores[:3]) > 0 > max(scores[3:])
        assert scores == spaced.score(prompts, words)


@pytest.mark.parametrize("save", [save_tiny_encoder, save_tiny_gpt2])
def test_networks_read_both_tables_alike(save: Callable[[Path], str], tmp_path: Path) -> None:
    backbone = save(tmp_path / "backbone")
    scores = []
    for space in ("", " "):
        feedback = Feedback(tuple(Rating("A", f"{space}{one.completion}", one.ratings) for one in RATINGS))
        model = NetworkRewardModel(backbone, epochs=1, batch_size=8, max_tokens=16, device="cpu").fit(feedback)
        # Each by itself: the rows of one batch, even equal ones, are summed up in an order that threads decide.
        scores.append([model.score(["A"], [completion]) for completion in ("film", " film")])
    assert scores[0] == scores[1]
    assert scores[0][0] == scores[0][1]
    (ids,) = encode_texts(word_tokenizer(is_encoder=True), ["A"], ["film"], [""], 16)
    assert word_tokenizer(is_encoder=True).convert_ids_to_tokens(ids) == ["[CLS]", "A", "film", "[SEP]"]


RATINGS = rated_films(24).ratings


def test_a_text_is_on_one_side_of_a_split_wherever_its_prompt_ends() -> None:
    texts = [("这部电影", "很好"), ("", "这部电影很好"), ("The film", "was dull"), ("The film was", " dull")]
    ratings = [Rating(prompt, completion, (float(n),)) for n, (prompt, completion) in enumerate(texts)]
    for seed in range(4):
        one, other = split_feedback(Feedback(tuple(ratings)), 0.5, seed)
        assert sorted([[rating.rating for rating in side.ratings] for side in (one, other)]) == [[0, 1], [2, 3]]
