"""Run the main job over several seeds and write what came out: a table, a figure, and the README's numbers.

    python -m textgym.benchmarks.main_job

Each seed is one run of what `make demo` runs, one after another. The results go to `benchmarks/results/`, and
into `README.md` between the marks `<!-- main job -->` and `<!-- end of main job -->`.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .machine import describe_machine
from .readme import write_into_readme

RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- main job -->", "<!-- end of main job -->")
N_QUOTED = 4
DEMO = "--kl-coef-end 4 --total-tokens 170000 --initial-share 0.1"


def train(seed: int, folder: Path, options: list[str]) -> float:
    """Run `textgym train` and return its seconds, evaluations and start of Python included."""
    command = [sys.executable, "-m", "textgym.cli", "train", "--seed", str(seed), "--output", str(folder), *options]
    started = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - started


def summarise(folder: Path, seed: int, seconds: float | None) -> dict[str, Any]:
    """Return one seed's row of the results."""
    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    before, after = evaluation["before"], evaluation["after"]
    return {
        "seed": seed,
        "tokens": after["tokens"],
        "seconds": seconds,
        "tokens_per_second": evaluation["tokens_per_second"],
        "score_before": before["score"],
        "score": after["score"],
        "keywords": after["terms"]["keywords"],
        "keywords_by_topic": {topic: row["terms"]["keywords"] for topic, row in after["topics"].items()},
        "banned_words_before": before["terms"]["banned_words"],
        "banned_words": after["terms"]["banned_words"],
        "length_inside": after["share_of_ones"]["length_window"],
        "kl": after["kl"],
        "distinct_2_ratio": after["distinct_2"] / before["distinct_2"],
        "self_bleu_before": before["self_bleu"],
        "self_bleu": after["self_bleu"],
        "perplexity_before": before["perplexity"],
        "perplexity": after["perplexity"],
        "n_tokens": after["n_tokens"],
    }


def first_completions(folder: Path, number: int) -> list[dict[str, str]]:
    """Return the first held-out prompts and their completions after training."""
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    after = [row for row in map(json.loads, lines) if row["phase"] == "after"]
    return [{"prompt": row["prompt"], "completion": row["completion"]} for row in after[:number]]


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Return the results as a table, a column a seed."""
    lines: dict[str, list[str]] = {
        "tokens of training": [f"{row['tokens']:,}" for row in rows],
        "score before": [f"{row['score_before']:.2f}" for row in rows],
        "score after": [f"{row['score']:.2f}" for row in rows],
        "keyword coverage": [f"{row['keywords']:.2f}" for row in rows],
    }
    for topic in rows[0]["keywords_by_topic"]:
        lines[f"- prompts on {topic}"] = [f"{row['keywords_by_topic'][topic]:.2f}" for row in rows]
    lines |= {
        "completions with a banned word (before → after)": [
            f"{row['banned_words_before']:.1%} → {row['banned_words']:.1%}" for row in rows
        ],
        "length inside the window": [f"{row['length_inside']:.0%}" for row in rows],
        "KL, nats a completion": [f"{row['kl']:.1f}" for row in rows],
        "distinct-2, of the untrained model's": [f"{row['distinct_2_ratio']:.0%}" for row in rows],
        "self-BLEU (before → after)": [f"{row['self_bleu_before']:.2f} → {row['self_bleu']:.2f}" for row in rows],
        "perplexity under the untrained model (before → after)": [
            f"{row['perplexity_before']:.0f} → {row['perplexity']:.0f}" for row in rows
        ],
        "tokens a second": [_number(row["tokens_per_second"], "{:.0f}") for row in rows],
        "minutes in all": [_number(row["seconds"] and row["seconds"] / 60, "{:.1f}") for row in rows],
    }
    head = "| on 256 held-out completions | " + " | ".join(f"seed {row['seed']}" for row in rows) + " |"
    rule = "|---|" + "---:|" * len(rows)
    return "\n".join([head, rule, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in lines.items())])


def quotations(completions: list[dict[str, str]]) -> str:
    """Return completions as quotations in Markdown, the prompt in bold."""
    return "\n>\n".join(f"> **{_plain(one['prompt'])}**{_plain(one['completion'])}" for one in completions)


def _plain(text: str) -> str:
    """Return a text in one line in which Markdown finds nothing to format."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", re.sub(r"\s+", " ", text))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def main(
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between them.")] = "1,2,3",
    runs: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("runs/main_job"),
    options: Annotated[str, typer.Option(help="Options of textgym train, separated by spaces.")] = DEMO,
    note: Annotated[str, typer.Option(help="What a reader has to know of the machine.")] = "Nothing else was at work.",
) -> None:
    """Run the main job over several seeds and write table, figures and the README's numbers."""
    rows = []
    for seed in (int(text) for text in seeds.split(",")):
        folder = runs / f"seed-{seed}"
        rows.append(summarise(folder, seed, train(seed, folder, options.split())))
    record = {
        "command": f"python -m textgym.benchmarks.main_job --seeds {seeds}"
        + (f" --options '{options}'" if options != DEMO else ""),
        "note": note,
        "machine": describe_machine(),
        "rows": rows,
        "first_completions": first_completions(runs / f"seed-{rows[0]['seed']}", N_QUOTED),
        "median_score": statistics.median(row["score"] for row in rows),
    }
    publish(record, runs / f"seed-{rows[0]['seed']}" / "curves.png")


def publish(record: dict[str, Any], curves: Path) -> None:
    """Write the record, a run's curves, and the README's table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "main_job.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "main_job.png").write_bytes(curves.read_bytes())
    table = markdown_table(record["rows"])
    completions = record["first_completions"]
    heading = f"The first {len(completions)} held-out prompts and what seed {record['rows'][0]['seed']} made of them:"
    write_into_readme("\n\n".join([table, record["note"], heading, quotations(completions)]), MARKS)
    print(table)


if __name__ == "__main__":
    typer.run(main)
