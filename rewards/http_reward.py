"""A reward that a server gives: completions go there in batches, and its scores and terms come back."""

from collections.abc import Mapping, Sequence
from typing import Any

from textgym.reward_protocol import RewardResult
from textgym.reward_validation import RewardError, is_column

from .arguments import check_integer
from .composite import CompositeReward
from .registry import register_reward
from .reward_server import TOKEN_VARIABLE, RewardServer, ServerError


@register_reward("http")
class HttpReward(CompositeReward):
    """What a server says of completions, such as the one of `textgym serve-reward`. Range and unit are the server's.

    A batch is sent as one POST of JSON, `{"prompts": [...], "completions": [...], "completion_ids": [...], "columns":
    {...}}`, and the answer is `{"scores": [...]}`, a number or null a completion, optionally with `"terms"` (a list of
    such for each name) and `"token_rewards"` (a list of numbers, or null, a completion).

    Where the server cannot be reached, breaks off, has not answered in full in time or answers that it is unable
    (status 5xx, 408, 425, 429), the batch is tried again, after 1, 2, 4 … `backoff`, at most 10 seconds. If the last
    try fails, or the answer is of another form or above 64 MiB, training stops with an error; a failure is never a
    score of 0.

    A token, where the server asks for one, is read from an environment variable at each request, so that it stands in
    no file, log or pickle: `token_variable="LAB_TOKEN"` where servers have different ones. Needs the extra `http`.

    What is about the server (`url`, `timeout`, `tries`, `backoff` and `token_variable`) cannot be set afterwards.

    Args:
        url: Where to POST to, `http://` or `https://`, without a password.
        timeout: Seconds that one try may take from connecting to the answer's last byte, above 0.
        tries: How often a batch is sent at most, at least 1.
        backoff: Seconds before the second try, at least 0; doubled for each further one.
        batch_size: Completions in one request, at least 1.
        token_variable: Name of the environment variable that holds the token; the default one need not be set.
        name: Name of the term; None for "http_reward", or the terms that the server reports.

    Raises:
        ValueError: If the URL is none or has a password, a number is out of range, or `token_variable` is no name.
        TypeError: If an argument is of the wrong type.
        MissingPackageError: If httpx2 or tenacity is not installed.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 60.0,
        tries: int = 4,
        backoff: float = 0.5,
        batch_size: int = 256,
        token_variable: str = TOKEN_VARIABLE,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self._server = RewardServer(url, timeout, tries, backoff, token_variable)
        check_integer("batch_size", batch_size, least=1)
        self.batch_size = batch_size

    # Kept by the server alone, which checks and uses them, so that what is printed and compared is what is used.
    @property
    def url(self) -> str:
        """Where batches are POSTed to."""
        return self._server.url

    @property
    def timeout(self) -> float:
        """Seconds that one try may take."""
        return self._server.timeout

    @property
    def tries(self) -> int:
        """How often a batch is sent at most."""
        return self._server.tries

    @property
    def backoff(self) -> float:
        """Seconds before the second try."""
        return self._server.backoff

    @property
    def token_variable(self) -> str:
        """Name of the environment variable that holds the token."""
        return self._server.token_variable

    @property
    def waits(self) -> bool:
        """True: the work is the server's."""
        return True

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, with the terms that the server reports.

        Args:
            prompts: Prompt of each completion, length N.
            completions: The texts, length N.
            **columns: Those of length N are sent, and have to be what JSON can hold.

        Raises:
            RewardError: If the server fails after the last try, refuses, or answers in another form.
            TypeError: If a column is not what JSON can hold.
        """
        size = len(completions)
        sent = {key: list(values) for key, values in columns.items() if is_column(values, size)}
        results = [
            self._score_batch(
                list(prompts[start:end]), list(completions[start:end]), {key: sent[key][start:end] for key in sent}
            )
            for start, end in ((start, start + self.batch_size) for start in range(0, size, self.batch_size))
        ]
        names = list(dict.fromkeys(name for result in results for name in result.terms))
        terms = {
            name: [value for result in results for value in result.terms.get(name, [None] * len(result.scores))]
            for name in names
        }
        return RewardResult(
            [score for result in results for score in result.scores],
            terms,
            [tokens for result in results for tokens in result.token_rewards],
        ).that_applies([result.applies_to(index) for result in results for index in range(len(result.scores))])

    def _score_batch(
        self, prompts: Sequence[str], completions: Sequence[str], columns: dict[str, Sequence[Any]]
    ) -> RewardResult:
        body = {
            "prompts": prompts,
            "completions": completions,
            "completion_ids": columns.pop("completion_ids", None),
            "columns": columns,
        }
        try:
            return self._read(self._server.post(body), len(prompts))
        except ServerError as error:
            problem = f"{error}; the batch's first completion is:"
            raise RewardError(problem, prompts[0], completions[0]) from error

    def _read(self, answer: Any, size: int) -> RewardResult:
        """Return the answer as a result; what is in the lists is checked where all results are."""
        show = self._server.show
        if not isinstance(answer, Mapping) or "scores" not in answer:
            raise ServerError(
                f'The reward server {self.url} must answer {{"scores": [...]}}, got {show(str(answer))!r}'
            )
        scores = answer["scores"]
        terms = answer.get("terms") or {self.term_name: scores}
        if self.name is not None:
            terms = {self.name: scores}
        token_rewards = answer.get("token_rewards") or [None] * size
        if not isinstance(terms, Mapping):
            raise ServerError(f"The reward server {self.url} must give terms as an object, got {show(str(terms))!r}")
        for name, values in {"scores": scores, "token_rewards": token_rewards, **terms}.items():
            if not isinstance(values, list) or len(values) != size:
                got = f"{len(values)} entries" if isinstance(values, list) else show(repr(values))
                raise ServerError(
                    f"The reward server {self.url} must give one entry of {name!r} per completion, got {got} for {size}"
                )
        result = RewardResult([0.0 if score is None else score for score in scores], dict(terms), token_rewards)
        # Also a score that no term accounts for, as of a sum with a constant.
        return result.that_applies([score is not None for score in scores])
