"""Annotators that are a command: it reads completions, one JSON object a line, and writes ratings likewise."""

import json
import math
import shlex
import subprocess
from collections.abc import Hashable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from textgym.training.run_folder import json_line

from .annotators import AnnotatorsError, ComparisonRow, Pair, RatingRow, Text


class Said(NamedTuple):
    """What a line says.

    Attributes:
        line: Its number, from 1.
        id: What it speaks of.
        rater: Who says it.
        verdict: What that is: the rating with its comment, or the choice.
    """

    line: int
    id: int
    rater: str
    verdict: Hashable


class CommandRaters:
    """A command that is run once a round, and once more where there are pairs.

    It reads lines `{"id": 0, "prompt": …, "completion": …}` from its standard input and writes, in any order, lines
    `{"id": 0, "rating": 3}` to its standard output; `rater` (a name) and `comment` are optional. Several raters of one
    completion are several lines, each with its rater's name; what is said twice counts once. Of a pair it reads
    `completion_a` and `completion_b` in the place of `completion`, and writes a `choice` ("a", "b" or "tie") in the
    place of a rating; pairs come in a run of their own. What it writes to its standard error is shown.

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
        rows: list[RatingRow] = []
        said: list[Said] = []
        for number, line in self._run([text._asdict() for text in texts]):
            one = self._object(line, len(texts))
            row = self._read(one, line, number, texts)
            rows.append(row)
            said.append(Said(number, one["id"], row["rater"], (row["rating"], row["comment"])))
        self._require_all("rate each completion", len(texts), said)
        return rows

    def compare(self, pairs: Sequence[Pair], seed: int) -> list[ComparisonRow]:
        """Run the command, and return what it prefers."""
        rows: list[ComparisonRow] = []
        said: list[Said] = []
        for number, line in self._run([pair._asdict() for pair in pairs]):
            one = self._object(line, len(pairs))
            if one.get("choice") not in ("a", "b", "tie"):
                raise AnnotatorsError(
                    f"Line {number} of the annotators' command {self.command!r} must be an object with an id from 0 to "
                    f'{len(pairs) - 1} and a choice of a, b or tie, such as {{"id": 0, "choice": "a"}}, got {line!r}.'
                )
            row = pairs[one["id"]].compared(one["choice"], str(one.get("rater") or "command"))
            rows.append(row)
            said.append(Said(number, one["id"], row["rater"], one["choice"]))
        self._require_all("judge each pair", len(pairs), said)
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

    def _require_all(self, duty: str, n: int, said: Sequence[Said]) -> None:
        """Raise AnnotatorsError unless something is said of each of n things, and by each rater one thing only."""
        first: dict[tuple[int, str], Said] = {}
        for one in said:
            before = first.setdefault((one.id, one.rater), one)
            if before.verdict != one.verdict:
                raise AnnotatorsError(
                    f"Line {one.line} of the annotators' command {self.command!r} says otherwise of id {one.id} than "
                    f"line {before.line}, both of the rater {one.rater!r}; of several raters each line must have its "
                    'rater\'s name, such as "rater": "anna".'
                )
        missing = sorted({*range(n)} - {one.id for one in said})
        if missing:
            raise AnnotatorsError(
                f"The annotators' command {self.command!r} must {duty}, but said nothing of "
                f"{len(missing)} of {n}; the first has id {missing[0]}."
            )

    def true_scores(self, texts: Sequence[Text]) -> None:
        """Return None: a command says what its annotators say, not what they mean."""

    def _read(self, row: Mapping[str, Any], line: str, number: int, texts: Sequence[Text]) -> RatingRow:
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
