"""Where something was measured or trained: processor, threads, versions and commit, for the record beside a number."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from textgym.training.versions import processor_name

_PACKAGES = ("torch", "transformers", "tokenizers", "stable-baselines3", "gymnasium", "numpy", "trl")


def describe_machine(device: str = "cpu") -> dict[str, object]:
    """Return processor, number of cores and threads, memory and GPU.

    Args:
        device: PyTorch's name of the device that works; its model is given as `gpu` unless it is the processor.
    """
    machine: dict[str, object] = {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if torch.device(device).type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide how fast a program runs."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def current_commit() -> str | None:
    """Return the commit of the checkout that this file lies in, with `+` where files differ; None outside one."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changes else commit


def _git(folder: Path, *arguments: str) -> str:
    finished = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return finished.stdout.strip()
