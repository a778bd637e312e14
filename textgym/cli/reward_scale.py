"""What a new reward model's scores are scaled on: completions of the model that reinforcement learning begins with."""

from pathlib import Path
from typing import TYPE_CHECKING

from .reward_report import say

if TYPE_CHECKING:
    from textgym.rewards.learned import RewardModel

NO_MODEL = "none"
MUCH = 10


def write_reference(
    reference: str, prompts: str, n_completions: int, max_new_tokens: int | None
) -> list[tuple[str, str]] | None:
    """Return prompts and completions of the model that reinforcement learning begins with; None where it is "none".

    Raises:
        ValueError: If model or prompts cannot be found, or used.
        FileNotFoundError: If there is no such file of prompts.
    """
    if reference == NO_MODEL:
        return None
    from textgym.prompts import load_prompts
    from textgym.training.run_folder import RunFolder
    from textgym.training.writing import write_completions

    texts = [text for text, _ in load_prompts(prompts)]
    chosen = [texts[index % len(texts)] for index in range(n_completions)]
    return write_completions(
        reference, chosen, RunFolder(Path(reference)).settings_or_defaults(), max_new_tokens=max_new_tokens
    )


def scale_scores(model: "RewardModel", written: list[tuple[str, str]] | None, reference: str) -> None:
    """Scale scores on these completions, and say so where they hardly differ; None leaves scores as they are.

    Raises:
        ValueError: If the model gives all of them the same score.
    """
    if written is None:
        return
    on_feedback = model.normalisation
    prompts, completions = ([texts[place] for texts in written] for place in (0, 1))
    try:
        model.normalise(prompts, completions, texts=f"{len(written):,} completions of {reference}")
    except ValueError as error:
        raise ValueError(
            f"{error} These are completions of {reference}; name another --reference-model, or {NO_MODEL}, to scale "
            "scores on the feedback's texts."
        ) from error
    if on_feedback is not None and model.normalisation is not None:
        ratio = on_feedback.std / model.normalisation.std
        if ratio > MUCH:
            say(
                f"Completions of {reference} differ in score {ratio:.0f} times less than the feedback's texts, so that "
                f"scores of such texts will be large; --reference-model {NO_MODEL} scales them on these texts."
            )
