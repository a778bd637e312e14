"""C functions that are compiled when they are first wanted, where there is a compiler, and found without one."""

import ctypes
import os
import platform
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


def compiled(source: Path) -> ctypes.CDLL | None:
    """Compile a C file and load it, which takes half a second.

    Args:
        source: The file.

    Returns:
        The library; None where there is no C compiler on Linux or macOS, and, with a warning, where it fails.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or platform.system() not in ("Linux", "Darwin"):
        return None
    flags = [*_FLAGS, *_OF_CAPABILITY.get(torch.backends.cpu.get_cpu_capability(), [])]
    reason = ""
    for threads in _THREADS:
        # Loaded libraries outlive their files.
        with tempfile.TemporaryDirectory(prefix="textgym-") as folder:
            compiled_file, library = Path(folder, "part.o"), Path(folder, "library.so")
            try:
                _run(compiler, *flags, threads, "-c", str(source), "-o", str(compiled_file))
                # Not told of OpenMP, which would bring a second one, with threads of its own.
                _run(compiler, "-shared", str(compiled_file), "-o", str(library), "-lm")
                return ctypes.CDLL(str(library))
            except (OSError, subprocess.CalledProcessError) as error:
                reason = _reason_of(error)
    warnings.warn(f"{compiler} does not work here, so that decoding is slower: {reason}", stacklevel=2)
    return None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _reason_of(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return next((line for line in said.splitlines() if "error" in line), said.strip())
