"""The report of a loop: a page with each round's questions, agreement, figures and completions."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from textgym.feedback.places import hide_password
from textgym.feedback.tables import Preference
from textgym.html_page import as_svg, render_page
from textgym.replacing import replacing_file
from textgym.training.run_folder import read_json, read_json_lines, write_json
from textgym.training.samples import spread_out

from .annotators import ComparisonRow, Pair
from .figures import draw_rounds
from .folder import LoopFolder, RoundFolder
from .results import accuracies_by_round, read_results, true_by_round
from .settings import LoopSettings

SHOWN_ASKED, SHOWN_PROMPTS = 20, 8
IN_WORDS: dict[Preference, str] = {"a": "A", "b": "B", "tie": "tie", "both_bad": "both bad"}


def write_report(folder: LoopFolder, settings: LoopSettings, annotators: str) -> None:
    """Write the results and the page anew, of as many rounds as there are.

    Args:
        folder: The loop's folder.
        settings: Its settings.
        annotators: Who rates, in words.
    """
    results = read_results(folder, settings.rounds, annotators)
    write_json(folder.results, results)
    rounds = []
    for one in results["rounds"]:
        files = folder.round(one["round"])
        rounds.append({**one, "asked": _asked(files), "compared": _compared(files)})
    figure = draw_rounds(results)
    page = render_page(
        Path(__file__).with_name("report.html.j2"),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        settings=settings,
        config=hide_password(folder.config.read_text(encoding="utf-8")),
        results=results,
        rounds=rounds,
        has_true_scores=bool(true_by_round(results)),
        figure=None if figure is None else as_svg(figure),
        has_accuracies=bool(accuracies_by_round(results)),
        completions=_completions(folder, [one["round"] for one in rounds if one["evaluation"] is not None]),
    )
    with replacing_file(folder.report) as file:
        file.write_text(page, encoding="utf-8")


def _asked(one: RoundFolder) -> dict[str, Any]:
    """Return some of what was asked, those that the reward models disagreed on most first, with what was said."""
    if not one.feedback.is_file():
        return {"shown": [], "n": 0, "by_disagreement": False}
    said: dict[tuple[str, str], list[float]] = {}
    for row in read_json_lines(one.feedback):
        said.setdefault((row["prompt"], row["completion"]), []).append(row["rating"])
    rows = [row for row in read_json_lines(one.completions) if row["is_asked"]]
    rows.sort(key=lambda row: -float(row.get("disagreement", 0.0)))
    shown = [{**row, "ratings": said.get((row["prompt"], row["completion"]), [])} for row in rows[:SHOWN_ASKED]]
    by_disagreement = bool(rows) and "disagreement" in rows[0]
    return {"shown": shown, "n": len(rows), "by_disagreement": by_disagreement}


def _compared(one: RoundFolder) -> dict[str, Any]:
    """Return some of the pairs that were asked, likewise, each with what its raters said and the model foresaw."""
    if not one.preferences.is_file():
        return {"shown": [], "n": 0, "by_disagreement": False, "is_foreseen": False}
    said: dict[Pair, list[str]] = {}
    for row in _judgements(one):
        said.setdefault(Pair.of(row), []).append(IN_WORDS[row["preference"]])
    # They come in the order in which they were chosen.
    rows = read_json_lines(one.pairs)
    return {
        "shown": [{**row, "said": said.get(Pair.of(row), [])} for row in rows[:SHOWN_ASKED]],
        "n": len(rows),
        "by_disagreement": bool(rows) and "disagreement" in rows[0],
        "is_foreseen": bool(rows) and "score_a" in rows[0],
    }


def _judgements(one: RoundFolder) -> list[ComparisonRow]:
    """Return what was said of a round's pairs; of a round before comparisons were kept, what was preferred."""
    if one.comparisons.is_file():
        return [*read_json_lines(one.comparisons)]
    pairs = {(row["prompt"], frozenset(Pair.of(row)[1:])): Pair.of(row) for row in read_json_lines(one.pairs)}
    rows: list[ComparisonRow] = []
    for row in read_json_lines(one.preferences):
        pair = pairs[row["prompt"], frozenset((row["chosen"], row["rejected"]))]
        rows.append(pair.compared("a" if row["chosen"] == pair.completion_a else "b", row.get("rater", "")))
    return rows


def _completions(folder: LoopFolder, numbers: list[int]) -> list[dict[str, Any]]:
    """Return the completions of some prompts before the first round and after each, the same prompts in all."""
    by_round = [read_json(folder.round(number).evaluation)["samples"] for number in numbers]
    if not by_round:
        return []
    columns = [by_round[0]["before"], *(samples["after"] for samples in by_round)]
    chosen = spread_out(min(map(len, columns)), SHOWN_PROMPTS)
    return [{"prompt": columns[0][row]["prompt"], "samples": [column[row] for column in columns]} for row in chosen]
