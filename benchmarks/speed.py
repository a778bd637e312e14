"""Measure TextGym against what one would use instead: a table, a JSON file, a chart, and one line of JSON at the end.

    python -m textgym.benchmarks.speed

Contestants of a case do the same work with the same weights, prompts and lengths, and are measured in turn; rates are
medians. Run it on a machine that does nothing else. A new kind of case goes into `throughput/__init__.py`.
"""

import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from textgym.allocator import keep_freed_memory

from .machine import current_commit, describe_machine, installed_versions
from .throughput import KINDS
from .throughput.inputs import QUICK, Setting
from .throughput.measurement import measure_case
from .throughput.report import draw_chart, print_table, summary_line, write_json

RESULTS = Path(__file__).parent / "results"


def main(
    kinds: Annotated[
        list[str] | None, typer.Option("--case", help=f"Only this kind; can be repeated: {', '.join(KINDS)}.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Repeats of each measurement, after one to warm up.")] = 5,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 2,
    num_envs: Annotated[int, typer.Option(help="Environments.")] = Setting.num_envs,
    new_tokens: Annotated[int, typer.Option(help="Tokens of each completion.")] = Setting.new_tokens,
    batch_size: Annotated[int, typer.Option(help="Tokens a minibatch of an update.")] = Setting.batch_size,
    quick: Annotated[
        bool, typer.Option("--quick", help="A smoke run of seconds on tiny sizes; its ratios mean nothing.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for JSON and chart.")] = RESULTS,
) -> None:
    """Measure tokens and steps a second, and compare."""
    unknown = sorted(set(kinds or []) - set(KINDS))
    if unknown:
        raise typer.BadParameter(f"--case must be one of {', '.join(KINDS)}, got {', '.join(unknown)}.")
    if repeats < 1:
        raise typer.BadParameter(f"--repeats must be at least 1, got {repeats}.")
    # The Rust tokenizers would start a thread a core beside PyTorch's.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(threads)
    keeps_freed_memory = keep_freed_memory()
    setting = QUICK if quick else Setting(num_envs=num_envs, new_tokens=new_tokens, batch_size=batch_size)
    results = []
    for kind in kinds or KINDS:
        for make_case in KINDS[kind](setting):
            case = make_case()
            print(f"{case.name}: {len(case.contestants)} contestants, {repeats} repeats", flush=True)
            results.append(measure_case(case, repeats))
    machine = describe_machine()
    provenance = {
        "command": shlex.join(["python", "-m", "textgym.benchmarks.speed", *sys.argv[1:]]),
        "commit": current_commit(),
        "machine": machine,
        "keeps_freed_memory": keeps_freed_memory,
        "versions": installed_versions(),
        "setting": asdict(setting),
        "repeats": repeats,
    }
    output.mkdir(parents=True, exist_ok=True)
    stem = "speed_quick" if quick else "speed"
    write_json(results, provenance, output / f"{stem}.json")
    name = f"{machine['cpu']}, {machine['threads']} threads"
    draw_chart(results, f"{setting.describe()}\n{name}, float32", output / f"{stem}.png")
    print_table(results, name)
    print(summary_line(results))


if __name__ == "__main__":
    typer.run(main)
