"""The speed table: printed, as JSON, and as a bar chart."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .measurement import CaseResult


def print_table(results: Sequence[CaseResult], machine: str) -> None:
    """Print medians, their spread, and the ratio to the best peer."""
    table = Table(title=f"Speed on {machine}")
    table.add_column("case")
    table.add_column("contestant")
    for column in ("median", "lowest to highest", "times the best peer"):
        table.add_column(column, justify="right")
    for result in results:
        for index, each in enumerate(result.measurements):
            ratios = result.ratios(each)
            ratio = f"{each.median / result.best_peer.median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            table.add_row(
                result.case.name if index == 0 else "",
                f"[bold]{each.name}[/bold]" if each.is_ours else each.name,
                f"{each.median:,.0f} {result.case.unit}/s",
                f"{min(each.rates):,.0f} to {max(each.rates):,.0f}",
                "" if each is result.best_peer else ratio,
            )
        for name, reason in result.case.skipped.items():
            table.add_row("", name, "skipped", reason, "")
        table.add_section()
    Console(width=150).print(table)


def write_json(results: Sequence[CaseResult], provenance: dict[str, Any], file: Path) -> None:
    """Write every number, with where it comes from."""
    content = {**provenance, "cases": [result.as_json() for result in results]}
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def draw_chart(results: Sequence[CaseResult], title: str, file: Path) -> None:
    """Draw a panel a case, a bar a contestant, with whiskers from the lowest to the highest rate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [len(result.measurements) for result in results]
    figure = Figure(figsize=(10, 1.2 + sum(0.45 * height + 0.9 for height in heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(results), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for panel, result in zip(panels, results, strict=True):
        measurements = result.measurements[::-1]
        medians = [each.median for each in measurements]
        spread = [
            [each.median - min(each.rates) for each in measurements],
            [max(each.rates) - each.median for each in measurements],
        ]
        colors = ["#1b6ca8" if each.is_ours else "#b0b0b0" for each in measurements]
        names = [each.name for each in measurements]
        panel.barh(names, medians, xerr=spread, color=colors, height=0.6, capsize=3, ecolor="#404040")
        for row, each in enumerate(measurements):
            ratio = f"  ({each.median / result.best_peer.median:.1f}×)" if each.is_ours else ""
            panel.annotate(
                f"{each.median:,.0f}{ratio}",
                (max(each.rates), row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        panel.set_title(f"{result.case.name}: {result.case.unit} a second", loc="left", fontsize=10)
        panel.set_xlim(0, 1.25 * max(max(each.rates) for each in measurements))
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(file, dpi=120)


def summary_line(results: Sequence[CaseResult]) -> str:
    """Return one line of JSON: our rate and its ratio to the best peer, case by case."""
    cases = {
        result.case.name: {
            f"{result.case.unit}_per_second": round(result.ours.median, 1),
            "ratio": round(result.ours.median / result.best_peer.median, 2),
            "against": result.best_peer.name,
        }
        for result in results
    }
    return json.dumps(cases)
