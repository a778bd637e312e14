"""C is compiled where there is a compiler that works, and else nothing is in the way, but for a warning."""

import ctypes
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from textgym.agents import c_library
from textgym.agents.c_library import compiled


def version_of_cc() -> str:
    """Return what the C compiler says of itself, nothing where there is none."""
    compiler = shutil.which("cc")
    return "" if compiler is None else subprocess.check_output([compiler, "--version"], text=True)


SOURCE = "double twice(double number) { return 2 * number; }\n"


def written(folder: Path, text: str) -> Path:
    source = folder / "part.c"
    source.write_text(text)
    return source


@pytest.mark.usefixtures("in_c")
def test_c_is_compiled_and_loaded(tmp_path: Path) -> None:
    library = compiled(written(tmp_path, SOURCE))
    assert library is not None
    library.twice.restype, library.twice.argtypes = ctypes.c_double, [ctypes.c_double]
    assert library.twice(4.0) == 8.0
    assert [path.name for path in tmp_path.iterdir()] == ["part.c"]


@pytest.mark.usefixtures("in_c")
def test_without_threads_of_pytorch_s_make_it_is_compiled_for_one(tmp_path: Path) -> None:
    """A library that calls what is nowhere cannot be loaded."""
    with_threads = "#ifdef _OPENMP\nint nowhere(void);\nint call(void) { return nowhere(); }\n#endif\n"
    assert compiled(written(tmp_path, with_threads + SOURCE)) is not None


@pytest.mark.usefixtures("in_c")
@pytest.mark.skipif("Free Software" not in version_of_cc(), reason="the C compiler is not GCC")
def test_threads_are_pytorch_s(tmp_path: Path) -> None:
    if "OpenMP" not in torch.__config__.parallel_info():
        pytest.skip("PyTorch has threads of another make")
    calls = "int omp_get_max_threads(void);\nint most(void) { return omp_get_max_threads(); }\n"
    library = compiled(written(tmp_path, calls))
    assert library is not None
    n_threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            assert library.most() == number
    finally:
        torch.set_num_threads(n_threads)


def test_without_a_compiler_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", " ")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiled(written(tmp_path, SOURCE)) is None


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        (
            "no-such-compiler -O2",
            "There is no compiler 'no-such-compiler', as CC names it; decoding on the",
        ),
        ("cc '", 'CC names no compiler, "cc \'": No closing quotation; decoding on the'),
    ],
)
def test_a_compiler_that_is_named_and_not_there_is_warned_of(
    named: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setenv("CC", named)
    with pytest.warns(UserWarning, match=problem):
        assert compiled(written(tmp_path, SOURCE)) is None


@pytest.mark.usefixtures("in_c")
def test_a_compiler_may_be_named_with_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", f"{os.environ.get('CC') or 'cc'} -DTWICE=twice")
    library = compiled(written(tmp_path, SOURCE.replace("twice", "TWICE")))
    assert library is not None
    assert library.twice is not None


def test_on_other_systems_no_compiler_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert compiled(written(tmp_path, SOURCE)) is None


@pytest.mark.usefixtures("in_c")
@pytest.mark.parametrize(
    ("script", "most_seconds", "reason"),
    [
        ("printf 'error: \\377 is no text\\n' >&2; exit 1", 60, "error: . is no text"),
        ("exec sleep 60", 0.2, "it took longer than 0.2 seconds"),
        ("exit 0", 60, "library.so"),
    ],
)
def test_a_compiler_that_fails_or_waits_is_warned_of(
    script: str, most_seconds: float, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", shlex.quote(str(compiler)))
    monkeypatch.setattr(c_library, "_MOST_SECONDS", most_seconds)
    with pytest.warns(UserWarning, match=f"does not work here: .*{reason}.*; decoding on the CPU is slower"):
        assert compiled(written(tmp_path, SOURCE)) is None


@pytest.mark.usefixtures("in_c")
def test_what_is_not_c_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="does not work here: .*error"):
        assert compiled(written(tmp_path, "this is not C\n")) is None


@pytest.mark.usefixtures("in_c")
def test_without_a_folder_for_temporary_files_a_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.warns(UserWarning, match="does not work here: .*No such file or directory"):
        assert compiled(written(tmp_path, SOURCE)) is None
