"""Which tokens a task forbids, as a policy needs to know it."""

from dataclasses import dataclass

from textgym.task import TextTask


@dataclass(frozen=True)
class TokenRules:
    """Which tokens the environment allows, as the policy needs to know it.

    Attributes:
        banned_token_ids: Tokens that are never allowed.
        min_new_tokens: The end-of-sequence token is not allowed before this many tokens.
        eos_token_id: The end-of-sequence token; None where `min_new_tokens` is 0.
    """

    banned_token_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    eos_token_id: int | None = None


NO_RULES = TokenRules()


def token_rules(task: TextTask) -> TokenRules:
    """Return the rules of a task."""
    banned = (~task.is_allowed).nonzero()[:, 0].tolist()
    return TokenRules(tuple(banned), task.min_new_tokens, task.eos_token_id if task.min_new_tokens else None)
