"""Annotators that are a command: it reads completions, one JSON object a line, and writes ratings likewise."""

import json
import math
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from textgym.training.run_folder import json_line

from .annotators import AnnotatorsError, Pair, PreferenceRow, RatingRow, Text


class CommandRaters:
    """A command that is run once a round, and once more where there are pairs.

    It reads lines `{"id": 0, "prompt": …, "completion": …}` from its standard input and writes, in any order, lines
    `{"id": 0, "rating": 3}` to its standard output; `rater` (a name) and `comment` are optional. Several raters of one
    completion are several lines. Of a pair it reads `completion_a` and `completion_b` in the place of `completion`, and
    writes a `choice` ("a", "b" or "tie") in the place of a rating; pairs come in a run of their own. What it writes to
    its standard error is shown.

    Args:
        command: The command, split as a shell would; no shell is run.
    """

    def __init__(self, command: str) -> None:
        self.command = command

    def describe(self) -> str:
        """Return the command."""
        return f"the command {self.command}"

    def rate(self, texts: Sequence[Text], seed: int) -> list[RatingRow]:
        """Run the command, and return what it says."""
        lines = self._run([text._asdict() for text in texts])
        rows = [self._read(line, number, texts) for number, line in lines]
        rated = {(row["prompt"], row["completion"]) for row in rows}
        self._require_all("rate each completion", [text in rated for text in texts])
        return rows

    def compare(self, pairs: Sequence[Pair], seed: int) -> list[PreferenceRow]:
        """Run the command, and return what it prefers."""
        rows: list[PreferenceRow] = []
        judged = [False] * len(pairs)
        for number, line in self._run([pair._asdict() for pair in pairs]):
            said = self._object(line, len(pairs))
            if said.get("choice") not in ("a", "b", "tie"):
                raise AnnotatorsError(
                    f"Line {number} of the annotators' command {self.command!r} must be an object with an id from 0 to "
                    f'{len(pairs) - 1} and a choice of a, b or tie, such as {{"id": 0, "choice": "a"}}, got {line!r}.'
                )
            judged[said["id"]] = True
            if said["choice"] != "tie":
                rows.append(pairs[said["id"]].preferred(said["choice"] == "a", str(said.get("rater") or "command")))
        self._require_all("judge each pair", judged)
        return rows

    def _run(self, asked: Sequence[Mapping[str, str]]) -> list[tuple[int, str]]:
        """Run the command, and return the lines that it writes with their numbers."""
        given = "".join(json_line({"id": number, **row}) for number, row in enumerate(asked))
        try:
            ended = subprocess.run(
                shlex.split(self.command), input=given, stdout=subprocess.PIPE, encoding="utf-8", check=False
            )
        except (OSError, UnicodeDecodeError) as error:
            raise AnnotatorsError(f"The annotators' command {self.command!r} failed: {error}.") from error
        if ended.returncode != 0:
            raise AnnotatorsError(f"The annotators' command {self.command!r} ended with exit code {ended.returncode}.")
        return [(number, line) for number, line in enumerate(ended.stdout.split("\n"), start=1) if line.strip()]

    def _require_all(self, duty: str, done: Sequence[bool]) -> None:
        missing = [number for number, is_done in enumerate(done) if not is_done]
        if missing:
            raise AnnotatorsError(
                f"The annotators' command {self.command!r} must {duty}, but said nothing of "
                f"{len(missing)} of {len(done)}; the first has id {missing[0]}."
            )

    def true_scores(self, texts: Sequence[Text]) -> None:
        """Return None: a command says what its annotators say, not what they mean."""

    def _read(self, line: str, number: int, texts: Sequence[Text]) -> RatingRow:
        row = self._object(line, len(texts))
        rating = row.get("rating")
        if not isinstance(rating, Real) or isinstance(rating, bool) or not math.isfinite(rating):
            raise AnnotatorsError(
                f"Line {number} of the annotators' command {self.command!r} must be an object with an id from 0 to "
                f'{len(texts) - 1} and a rating, such as {{"id": 0, "rating": 3}}, got {line!r}.'
            )
        return {
            **texts[row["id"]]._asdict(),
            "rating": rating,
            "rater": str(row.get("rater") or "command"),
            "comment": str(row.get("comment") or ""),
        }

    def _object(self, line: str, n: int) -> dict[str, Any]:
        """Return what a line says of one of n things; {} where it says nothing of them."""
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return {}
        return row if isinstance(row, dict) and isinstance(row.get("id"), int) and 0 <= row["id"] < n else {}
