"""Measure TextGym against what one would use instead: a table, a JSON file, a chart, and one line of JSON at the end.

    python -m textgym.benchmarks.speed
    python -m textgym.benchmarks.speed --case rollout --case update
    python -m textgym.benchmarks.speed --setting h200

Contestants of a case do the same work with the same weights, prompts and lengths, and are measured in turn; rates are
medians. Run it on a machine that does nothing else. The first command, which has all cases, writes its table into
`README.md` between the marks `<!-- speed -->` and `<!-- end of speed -->`. A new kind of case goes into
`throughput/__init__.py`.
"""

import os
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from textgym.allocator import keep_freed_memory

from .machine import current_commit, describe_machine, installed_versions
from .main_job import RESULTS
from .readme import README, write_into_readme
from .throughput import KINDS
from .throughput.inputs import QUICK, SETTINGS, Setting
from .throughput.measurement import measure_case
from .throughput.report import draw_chart, markdown_table, print_table, summary_line, write_json

MARKS = ("<!-- speed -->", "<!-- end of speed -->")


def main(
    kinds: Annotated[
        list[str] | None, typer.Option("--case", help=f"Only this kind; can be repeated: {', '.join(KINDS)}.")
    ] = None,
    setting_name: Annotated[
        str, typer.Option("--setting", help=f"Sizes and device: {', '.join(SETTINGS)}; h200 needs a CUDA device.")
    ] = "cpu",
    repeats: Annotated[int, typer.Option(help="Repeats of each measurement, after warming up.")] = 5,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 2,
    num_envs: Annotated[int | None, typer.Option(help="Environments, where not those of the setting.")] = None,
    new_tokens: Annotated[int | None, typer.Option(help="Tokens of each completion, likewise.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Tokens a minibatch of an update, likewise.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke run on tiny sizes; its ratios mean nothing.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for JSON and chart.")] = RESULTS,
    readme: Annotated[Path, typer.Option(help="File with the marks.")] = README,
) -> None:
    """Measure tokens and steps a second, and compare."""
    unknown = sorted(set(kinds or []) - set(KINDS))
    if unknown:
        raise typer.BadParameter(f"--case must be one of {', '.join(KINDS)}, got {', '.join(unknown)}.")
    if repeats < 1:
        raise typer.BadParameter(f"--repeats must be at least 1, got {repeats}.")
    setting = choose_setting("quick" if quick else setting_name, num_envs, new_tokens, batch_size)
    # The Rust tokenizers would start a thread a core beside PyTorch's.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(threads)
    keeps_freed_memory = keep_freed_memory()
    results = []
    for kind in kinds or setting.kinds or KINDS:
        for make_case in KINDS[kind](setting):
            case = make_case()
            print(f"{case.name}: {len(case.contestants)} contestants, {repeats} repeats", flush=True)
            results.append(measure_case(case, repeats))
    machine = describe_machine(setting.device)
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
    is_whole = setting == SETTINGS["cpu"] and not kinds
    stem = "speed" if is_whole else f"speed_{'quick' if quick else setting_name}"
    write_json(results, provenance, output / f"{stem}.json")
    name = str(machine.get("gpu", f"{machine['cpu']}, {machine['threads']} threads"))
    sizes = {str(result.case.setting.get("sizes", setting.describe())) for result in results}
    title = sizes.pop() if len(sizes) == 1 else setting.describe()
    draw_chart(results, f"{title}\n{name}, {setting.precision}", output / f"{stem}.png")
    print_table(results, name)
    if is_whole and output == RESULTS:
        write_into_readme(markdown_table(results), MARKS, readme)
    print(summary_line(results))


def choose_setting(name: str, num_envs: int | None, new_tokens: int | None, batch_size: int | None) -> Setting:
    """Return a setting by name, with some of its sizes replaced.

    Raises:
        typer.BadParameter: If there is none of this name, or its device is missing.
    """
    settings = {**SETTINGS, "quick": QUICK}
    if name not in settings:
        raise typer.BadParameter(f"--setting must be one of {', '.join(SETTINGS)}, got {name!r}.")
    setting = settings[name]
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter(
            f"--setting {name} needs a CUDA device, and PyTorch {torch.__version__} finds none here."
        )
    sizes = {"num_envs": num_envs, "new_tokens": new_tokens, "batch_size": batch_size}
    return replace(setting, **{key: value for key, value in sizes.items() if value is not None})  # type: ignore[arg-type]


if __name__ == "__main__":
    typer.run(main)
