"""Judge the episodes that have ended, and write the `info` of their last step."""

from collections.abc import Sequence
from typing import Any

from .task import FinishedEpisode, TextTask, episode_info


def judge(task: TextTask, episodes: Sequence[FinishedEpisode]) -> list[dict[str, Any]]:
    """Judge episodes by one call of the reward function, and return the `info` of each; see `TextGenEnv`."""
    return [episode_info(episode, judgement) for episode, judgement in zip(episodes, task.score(episodes), strict=True)]
