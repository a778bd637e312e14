"""The speed table: printed, as JSON, and as a bar chart."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .measurement import CaseResult


def print_table(results: Sequence[CaseResult], machine: str) -> None:
    """Print medians, their spread, and how many times as good as what it is compared with a contestant is."""
    table = Table(title=f"Speed on {machine}")
    table.add_column("case")
    table.add_column("contestant")
    for column in ("median", "lowest to highest", "times as good"):
        table.add_column(column, justify="right")
    for result in results:
        for index, each in enumerate(result.measurements):
            ratios = result.ratios(each)
            ratio = f"{result.ratio(each):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            table.add_row(
                result.case.name if index == 0 else "",
                f"[bold]{each.name}[/bold]" if each.is_ours else each.name,
                f"{each.median:,.0f} {result.case.unit}",
                f"{min(each.rates):,.0f} to {max(each.rates):,.0f}",
                "compared with" if each is result.baseline else ratio,
            )
        for name, reason in result.case.skipped.items():
            table.add_row("", name, "skipped", reason, "")
        table.add_section()
    Console(width=150).print(table)


def markdown_table(results: Sequence[CaseResult]) -> str:
    """Return a table with a row for each of ours and each that it is compared with, for the README."""
    lines = ["| case | TextGym | against | times as good (lowest to highest) |", "|---|---:|---|---:|"]
    for result in results:
        for own, rival in itertools.product(result.own, result.rivals):
            lead, least, most = result.lead_over(rival, own)
            name = f"{own.name}: " if len(result.own) > 1 else ""
            ours = f"{name}{_number(own.median)} {result.case.unit}"
            against = f"{rival.name}: {_number(rival.median)}"
            spread = "" if least == most else f" ({_number(least)} to {_number(most)})"
            lines.append(f"| {result.case.name} | {ours} | {against} | {_number(lead)}{spread} |")
        for name, reason in result.case.skipped.items():
            lines.append(f"| {result.case.name} | | {name}: skipped, {reason} | |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_json(results: Sequence[CaseResult], provenance: dict[str, Any], file: Path) -> None:
    """Write every number, with where it comes from."""
    content = {**provenance, "cases": [result.as_json() for result in results]}
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def draw_chart(results: Sequence[CaseResult], title: str, file: Path) -> None:
    """Draw a panel a case in two columns, a bar a contestant, with whiskers from the lowest to the highest number."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = [results[: (len(results) + 1) // 2], results[(len(results) + 1) // 2 :]]
    columns = [column for column in columns if column]
    heights = [[len(result.measurements) + 2 for result in column] for column in columns]
    figure = Figure(figsize=(11 * len(columns), 1.2 + 0.45 * max(map(sum, heights))), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    for part, column, ratios in zip(parts, columns, heights, strict=True):
        panels = part.subplots(len(column), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})[:, 0]
        for panel, result in zip(panels, column, strict=True):
            _draw_panel(panel, result)
    figure.suptitle(title, fontsize=11)
    figure.savefig(file, dpi=72)


def _draw_panel(panel: Any, result: CaseResult) -> None:
    measurements = result.measurements[::-1]
    medians = [each.median for each in measurements]
    spread = [
        [each.median - min(each.rates) for each in measurements],
        [max(each.rates) - each.median for each in measurements],
    ]
    colors = ["#1b6ca8" if each.is_ours else "#e0c060" if each.is_limit else "#b0b0b0" for each in measurements]
    names = [each.name for each in measurements]
    panel.barh(names, medians, xerr=spread, color=colors, height=0.6, capsize=3, ecolor="#404040")
    for row, each in enumerate(measurements):
        ratio = f"  ({_number(result.ratio(each))}×)" if each.is_ours and each is not result.baseline else ""
        panel.annotate(
            f"{each.median:,.0f}{ratio}",
            (max(each.rates), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    better = ", less is better" if result.case.is_lower_better else ""
    panel.set_title(f"{result.case.name}: {result.case.unit}{better}", loc="left", fontsize=10)
    panel.set_xlim(0, 1.25 * max(max(each.rates) for each in measurements))
    panel.spines[["top", "right"]].set_visible(False)


def summary_line(results: Sequence[CaseResult]) -> str:
    """Return one line of JSON: what we reached and its ratio to what it is compared with, case by case."""
    cases = {
        result.case.name: {
            "ours": round(result.ours.median, 1),
            "unit": result.case.unit,
            "ratio": round(result.ratio(result.ours), 2),
            "against": result.baseline.name,
            "skipped": sorted(result.case.skipped),
        }
        for result in results
    }
    return json.dumps(cases)
