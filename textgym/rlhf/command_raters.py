"""Annotators that are a command: it reads completions, one JSON object a line, and writes ratings likewise."""

import json
import math
import shlex
import subprocess
from collections.abc import Sequence
from numbers import Real

from textgym.training.run_folder import json_line

from .annotators import AnnotatorsError, RatingRow, Text


class CommandRaters:
    """A command that is run once a round.

    It reads lines `{"id": 0, "prompt": …, "completion": …}` from its standard input and writes, in any order, lines
    `{"id": 0, "rating": 3}` to its standard output; `rater` (a name) and `comment` are optional. Several raters of one
    completion are several lines. What it writes to its standard error is shown.

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
        asked = "".join(json_line({"id": number, **text._asdict()}) for number, text in enumerate(texts))
        try:
            ended = subprocess.run(
                shlex.split(self.command), input=asked, stdout=subprocess.PIPE, encoding="utf-8", check=False
            )
        except (OSError, UnicodeDecodeError) as error:
            raise AnnotatorsError(f"The annotators' command {self.command!r} failed: {error}.") from error
        if ended.returncode != 0:
            raise AnnotatorsError(f"The annotators' command {self.command!r} ended with exit code {ended.returncode}.")
        rows = [
            self._read(line, number, texts)
            for number, line in enumerate(ended.stdout.split("\n"), start=1)
            if line.strip()
        ]
        rated = {(row["prompt"], row["completion"]) for row in rows}
        missing = [number for number, text in enumerate(texts) if text not in rated]
        if missing:
            raise AnnotatorsError(
                f"The annotators' command {self.command!r} must rate each completion, but said nothing of "
                f"{len(missing)} of {len(texts)}; the first has id {missing[0]}."
            )
        return rows

    def true_scores(self, texts: Sequence[Text]) -> None:
        """Return None: a command says what its annotators say, not what they mean."""

    def _read(self, line: str, number: int, texts: Sequence[Text]) -> RatingRow:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        is_row = isinstance(row, dict) and isinstance(row.get("id"), int) and 0 <= row["id"] < len(texts)
        rating = row.get("rating") if is_row else None
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
