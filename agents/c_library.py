"""C functions that are compiled when they are first wanted, where there is a compiler, and found without one."""

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch

# As PyTorch compiles its own functions for the processors that it tells apart.
_OF_CAPABILITY = {
    "AVX2": ["-mavx2", "-mfma"],
    "AVX512": [
        *["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"],
        "-mprefer-vector-width=512",
    ],
}
# Without these two GCC does not turn roots and rounding into vector instructions.
_FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]
# First with PyTorch's threads. Where these are of another make, the library cannot be loaded.
_THREADS = ["-fopenmp", "-fopenmp-simd"]
_LINKED = {"Linux": ["-shared"], "Darwin": ["-shared", "-undefined", "dynamic_lookup"]}
_MOST_SECONDS = 60


def compiled(source: Path) -> ctypes.CDLL | None:
    """Compile a C file and load it, which takes half a second.

    Args:
        source: The file.

    Returns:
        The library; None where there is no C compiler on Linux or macOS, and, with a warning, where it fails, or where
        the environment variable `CC` names another one than there is.
    """
    if platform.system() not in _LINKED:
        return None
    named = os.environ.get("CC", "").strip()
    try:
        compiler = shlex.split(named or "cc")
    except ValueError as error:
        _warn(f"CC names no compiler, {named!r}: {error}")
        return None
    if shutil.which(compiler[0]) is None:
        if named:
            _warn(f"There is no compiler {compiler[0]!r}, as CC names it")
        return None
    flags = [*_FLAGS, *_OF_CAPABILITY.get(torch.backends.cpu.get_cpu_capability(), [])]
    reason = ""
    for threads in _THREADS:
        try:
            # Loaded libraries outlive their files.
            with tempfile.TemporaryDirectory(prefix="textgym-") as folder:
                compiled_file, library = str(Path(folder, "part.o")), str(Path(folder, "library.so"))
                _run(*compiler, *flags, threads, "-c", str(source), "-o", compiled_file)
                # Not told of OpenMP, which would bring a second one, with threads of its own.
                _run(*compiler, *_LINKED[platform.system()], compiled_file, "-o", library, "-lm")
                return ctypes.CDLL(library)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = _reason_of(error)
        except subprocess.TimeoutExpired:
            reason = f"it took longer than {_MOST_SECONDS} seconds"
            break
    _warn(f"{shlex.join(compiler)} does not work here: {reason}")
    return None


def _run(*command: str) -> None:
    subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        timeout=_MOST_SECONDS,
    )


def _reason_of(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return next((line for line in said.splitlines() if "error" in line), said.strip()) or str(error)


def _warn(problem: str) -> None:
    warnings.warn(f"{problem}; decoding on the CPU is slower without.", stacklevel=3)
