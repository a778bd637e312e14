"""Rows of a file as items and judgements: what each column means, and what is wrong with a row."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from .judgements import LONGEST_TEXT, SURENESS, RatingAnswer, Reason, check_text, word_score
from .people import check_name
from .tables import LARGEST_INTEGER, Kind, Preference, Quality

# 1 and 0 are the keys True and False, too.
LABELS: dict[Any, Quality] = {True: "good", False: "bad", "true": "good", "false": "bad", "1": "good", "0": "bad"}
QUALITIES: dict[Any, Quality] = {"good": "good", "fair": "fair", "bad": "bad"}
# What tells the kind of an item, and what may be said of it.
TEXTS: dict[str, tuple[str, ...]] = {
    "completion": ("completion",), "chosen": ("chosen", "rejected"), "completion_a": ("completion_a", "completion_b"),
}  # fmt: skip
SAID = {
    "completion": ("score", "rating", "label", "quality", "reason", "comment"),
    "chosen": ("sureness", "comment"),
    "completion_a": ("preference", "sureness", "reason", "comment"),
    "": ("reason", "comment"),
}
COLUMNS = (
    "prompt", "completion", "label", "score", "rating", "quality", "chosen", "rejected", "completion_a",
    "completion_b", "preference", "sureness", "reason", "rater", "comment", "priority",
)  # fmt: skip
# As near to a column's name as "lable" is to "label"; "source" and "date" are farther from any.
MISTYPED = 0.8


@dataclass(frozen=True)
class Comparison:
    """What a row says of two completions, in the order in which the item has them."""

    preference: Preference
    sureness: int | None
    comment: str


@dataclass(frozen=True)
class Skip:
    """Why somebody passed by what a row is about."""

    reason: Reason
    comment: str


@dataclass(frozen=True)
class Row:
    """A row that can be used; `priority` is None where it says nothing of it, `rater` "" likewise."""

    kind: Kind
    prompt: str
    completion_a: str = ""
    completion_b: str = ""
    rating: RatingAnswer | None = None
    comparison: Comparison | None = None
    skip: Skip | None = None
    rater: str = ""
    priority: int | None = None

    @property
    def is_judged(self) -> bool:
        """Whether the row says what somebody thinks of its item, or that they passed it by."""
        return self.rating is not None or self.comparison is not None or self.skip is not None

    def digest(self, is_check: bool) -> str:
        """Return what tells this row's item from any other."""
        content = [self.kind, self.prompt, self.completion_a, self.completion_b, is_check]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def right_answer(self) -> str:
        """Return what a check item is compared with: a preference, a score, or where there is none a word.

        Raises:
            ValueError: If the row has none.
        """
        if self.comparison is not None:
            return self.comparison.preference
        if self.rating is not None and self.rating.score is not None:
            return str(self.rating.score)
        if self.rating is not None and self.rating.quality is not None:
            return self.rating.quality
        raise ValueError(
            "a check item needs its right answer: a score, a quality or label, a preference, or chosen and rejected"
        )


def check_columns(names: Iterable[str]) -> list[str]:
    """Return the columns that mean nothing here, such as where a text is from.

    Raises:
        ValueError: If one is nearly the name of a column that means something.
    """
    unknown = [name for name in names if name not in COLUMNS]
    mistyped = {name: near for name in unknown if (near := _meant(name)) is not None}
    if mistyped:
        said = " ".join(f"There is no column {name!r}. Did you mean {near!r}?" for name, near in mistyped.items())
        raise ValueError(f"{said} Nothing was imported; rename it, or take it out.")
    return unknown


def read_row(values: Mapping[str, Any], scale: range) -> Row:
    """Read a row.

    Args:
        values: By column.
        scale: The scores that there are.

    Raises:
        ValueError: If it cannot be used.
    """
    # What a long chat goes on with is a prompt, too.
    prompt = _text(values, "prompt", None)
    rater = check_name(str(values["rater"])) if _is_given(values, "rater") else ""
    priority = _integer(values, "priority")
    if priority is not None and not -LARGEST_INTEGER <= priority <= LARGEST_INTEGER:
        raise ValueError(f"priority must be {-LARGEST_INTEGER} to {LARGEST_INTEGER}, got {priority}")
    what = _what(values)
    for name in ("score", "rating", "label", "quality", "preference", "sureness", "reason", "comment"):
        if name not in SAID[what] and _is_given(values, name):
            texts = " and ".join(TEXTS.get(what, ("a prompt alone",)))
            raise ValueError(f"{name} says nothing of {texts}; leave it empty, or give what it belongs to")
    comment = check_text(str(values.get("comment") or ""))
    skip = _skip(values, comment)
    if what == "completion":
        rating = None if skip is not None else _rating(values, comment, scale)
        return Row("rate", prompt, _text(values, what), rating=rating, skip=skip, rater=rater, priority=priority)
    if not what:
        others = [name for name in values if name not in COLUMNS]
        if others and "completion" not in values:
            raise ValueError(f"has no completion, and columns that are unknown here: {', '.join(others)}")
        if comment and skip is None:
            raise ValueError("has a comment, but no reason that it belongs to")
        return Row("chat", prompt, skip=skip, rater=rater, priority=priority)
    one, other = (_text(values, name) for name in TEXTS[what])
    # The same item whichever text comes first.
    if one == other:
        raise ValueError("the two completions are the same text")
    named = "a" if what == "chosen" else values.get("preference")
    comparison = None if skip is not None else _comparison(values, named, comment, one > other)
    first, second = sorted((one, other))
    return Row("compare", prompt, first, second, comparison=comparison, skip=skip, rater=rater, priority=priority)


def _meant(name: str) -> str | None:
    """Return the column that an unknown one was probably meant to be."""
    plain = re.sub(r"[\s-]+", "_", name.strip().casefold())
    # What says more of a column, such as completion_id and rating_time, is no slip of the keys.
    if plain not in COLUMNS and re.fullmatch(rf"({'|'.join(COLUMNS)})_\w\w+", plain):
        return None
    return next(iter(difflib.get_close_matches(plain, COLUMNS, n=1, cutoff=MISTYPED)), None)


def _what(values: Mapping[str, Any]) -> str:
    """Return the first column of the texts that a row has, "" where it has a prompt alone."""
    # A table that holds items of several kinds has empty cells.
    given = [what for what, names in TEXTS.items() if any(_is_given(values, name) for name in names)]
    if len(given) > 1:
        raise ValueError(f"has both {given[0]} and {given[1]}, which are items of two kinds; make it two rows")
    there = given or [what for what, names in TEXTS.items() if any(name in values for name in names)]
    return there[0] if len(there) == 1 else ""


def _rating(values: Mapping[str, Any], comment: str, scale: range) -> RatingAnswer | None:
    words = {name: _quality(values, name) for name in ("label", "quality") if _is_given(values, name)}
    if len(set(words.values())) > 1:
        raise ValueError(f"label {values['label']} says {words['label']}, and quality {words['quality']}")
    quality = next(iter(words.values()), None)
    score = _score(values, scale, quality)
    if score is None and quality is None:
        if comment:
            raise ValueError("has a comment, but no score, label or quality that it belongs to")
        return None
    return RatingAnswer(score, quality, comment)


def _score(values: Mapping[str, Any], scale: range, quality: Quality | None) -> int | None:
    if quality is not None and "score" in values and not _is_given(values, "score") and _is_given(values, "rating"):
        # An export says of a word alone what it counts as; nobody has given that number.
        counts_as = word_score(quality, scale[0], scale[-1])
        if str(values["rating"]) in {str(counts_as), f"{counts_as:g}"}:
            return None
    scores = {name: _integer(values, name) for name in ("score", "rating") if _is_given(values, name)}
    if len(set(scores.values())) > 1:
        raise ValueError(f"score and rating are two names of the same, got {scores['score']} and {scores['rating']}")
    score = next(iter(scores.values()), None)
    if score is not None and score not in scale:
        raise ValueError(f"score must be {scale[0]} to {scale[-1]}, got {score}")
    return score


def _skip(values: Mapping[str, Any], comment: str) -> Skip | None:
    if not _is_given(values, "reason"):
        return None
    for name in ("score", "rating", "label", "quality", "preference", "sureness"):
        if _is_given(values, name):
            raise ValueError(f"has both {name} and reason, which says why nothing was said; leave one of them empty")
    if values["reason"] not in get_args(Reason):
        raise ValueError(f"reason must be one of {', '.join(get_args(Reason))}, got {values['reason']!r}")
    return Skip(values["reason"], comment)


def _quality(values: Mapping[str, Any], name: str) -> Quality:
    value = values[name]
    plain = value.strip().lower() if isinstance(value, str) else value
    known = LABELS if name == "label" else QUALITIES
    if not isinstance(plain, str | int) or plain not in known:
        raise ValueError(f"{name} must be {'true or false' if name == 'label' else 'good, fair or bad'}, got {value!r}")
    return known[plain]


def _comparison(values: Mapping[str, Any], named: object, comment: str, is_turned: bool) -> Comparison | None:
    sureness = _integer(values, "sureness")
    if sureness is not None and sureness not in SURENESS:
        raise ValueError(f"sureness must be 1, 2 or 3, got {sureness}")
    if named in (None, ""):
        if comment or sureness is not None:
            raise ValueError("has a comment or sureness, but no preference that it belongs to")
        return None
    if named not in get_args(Preference):
        raise ValueError(f"preference must be one of {', '.join(get_args(Preference))}, got {named!r}")
    turned: dict[Any, Any] = {"a": "b", "b": "a"} if is_turned else {}
    return Comparison(turned.get(named, named), sureness, comment)


def _is_given(values: Mapping[str, Any], column: str) -> bool:
    return values.get(column) not in (None, "")


def _text(values: Mapping[str, Any], column: str, longest: int | None = LONGEST_TEXT) -> str:
    text = values.get(column)
    if not isinstance(text, str):
        raise ValueError(f"{column} must be text, got {text!r}" if column in values else f"has no {column}")
    if not text.strip():
        raise ValueError(f"{column} is empty")
    return check_text(text, longest)


def _integer(values: Mapping[str, Any], column: str) -> int | None:
    value = values.get(column)
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else 0.5
    except (ValueError, OverflowError):
        number = 0.5
    if not number.is_integer():
        raise ValueError(f"{column} must be a whole number, got {value!r}")
    return int(number)
