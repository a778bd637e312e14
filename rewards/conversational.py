"""Rewards written for conversations, such as many of TRL's, on prompts and completions that are plain text."""

from collections.abc import Sequence
from typing import Any

from textgym.reward_protocol import RewardSpec, Scores

from .composite import paid_at_the_end
from .function import RewardFunction
from .registry import register_reward


@register_reward("conversational")
class Conversational(RewardFunction):
    """A reward that reads messages: the prompt as the user's only one, the completion as the assistant's.

    TRL passes a conversational data set's prompts and completions as lists of messages, each a dict with `role` and
    `content`; a reward that reads `completion[0]["content"]` is written for these. Range and unit are the reward's.

        from trl.rewards import think_format_reward
        reward = Conversational(think_format_reward)

    Args:
        reward: Any reward for conversations, or what names one, such as `"trl.rewards:think_format_reward"`.
        name: Name of its term; None for the reward's own name.

    Raises:
        TypeError: If `reward` cannot be called as a reward, or pays on the way.
    """

    def __init__(self, reward: RewardSpec, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.reward = paid_at_the_end(reward, "Conversational")

    @property
    def term_name(self) -> str:
        """Name of the term in `info` and logs."""
        return self.name or self.reward.term_name

    @property
    def waits(self) -> bool:
        """Whether the reward waits."""
        return self.reward.waits

    def parts(self) -> Sequence[RewardFunction]:
        """Return the reward for conversations."""
        return (self.reward,)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Scores:
        """Return what the reward returns for the messages."""
        messages: dict[str, Any] = {
            "prompts": [[{"role": "user", "content": prompt}] for prompt in prompts],
            "completions": [[{"role": "assistant", "content": completion}] for completion in completions],
        }
        return self.reward(**messages, **columns)
