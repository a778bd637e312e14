"""The folders, the list of packages and what is installed agree, and importing textgym stays light."""

import ast
import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What a wheel holds besides modules.
DATA_FOLDERS = ("textgym/bundled/", "textgym/feedback/page/")
needs_checkout = pytest.mark.skipif(not (ROOT / "textgym").is_dir(), reason="runs outside the checkout")


def setuptools_settings() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings: dict[str, Any] = tomllib.load(file)["tool"]["setuptools"]
    return settings


def package_folders() -> dict[str, str]:
    """Each package's name and its folder in the checkout, as the layout rule has them."""
    folders = {}
    for init_file in ROOT.glob("[!.]*/**/__init__.py"):
        folder = init_file.parent.relative_to(ROOT)
        if folder.parts[0] in {"tests", "build", "dist"}:
            continue
        name = ".".join(folder.parts)
        folders[name if folder.parts[0] == "textgym" else f"textgym.{name}"] = folder.as_posix()
    return folders


@needs_checkout
def test_pyproject_lists_every_folder_that_is_a_package() -> None:
    assert sorted(setuptools_settings()["packages"]) == sorted(package_folders())


@needs_checkout
def test_package_dir_maps_every_top_level_folder_to_a_subpackage() -> None:
    assert setuptools_settings()["package-dir"] == {
        name: folder for name, folder in package_folders().items() if "/" not in folder
    }


@needs_checkout
def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("[!.]*/**/*.py")}
    modules = {folder for folder in folders if folder.split("/")[0] not in {"tests", "build", "dist", "runs"}}
    assert modules == set(package_folders().values())


@needs_checkout
def test_type_checkers_find_every_top_level_folder_under_its_installed_name() -> None:
    links = {link.name: link.resolve() for link in (ROOT / "tests/typings/textgym").iterdir()}
    expected = {
        folder: ROOT / folder for folder in package_folders().values() if "/" not in folder and folder != "textgym"
    }
    assert links == expected


def absolute_imports(module: Path) -> set[str]:
    """The dotted names that a module imports, but for its siblings' relative ones."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


@needs_checkout
@pytest.mark.parametrize("folder", ["agents", "benchmarks", "rewards"])
def test_no_folder_imports_a_bare_name(folder: str) -> None:
    bare_names = {"agents", "benchmarks", "rewards"}
    for module in (ROOT / folder).glob("**/*.py"):
        assert not {name.split(".")[0] for name in absolute_imports(module)} & bare_names, module


@needs_checkout
@pytest.mark.parametrize(("folder", "forbidden"), [("agents", "textgym.rewards"), ("rewards", "textgym.agents")])
def test_agents_and_rewards_never_import_each_other(folder: str, forbidden: str) -> None:
    for module in (ROOT / folder).glob("**/*.py"):
        imports = absolute_imports(module)
        assert not any(name == forbidden or name.startswith(f"{forbidden}.") for name in imports), module


@pytest.mark.smoke
def test_importing_textgym_imports_neither_torch_nor_transformers() -> None:
    heavy = ("torch", "transformers", "stable_baselines3", "pandas", "matplotlib")
    program = f"import sys, textgym; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.smoke
def test_the_installed_package_has_the_bundled_prompts_and_its_type_marker() -> None:
    package = files("textgym")
    assert (package / "py.typed").is_file()
    lines = (package / "bundled" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["split"] for line in lines} == {"train", "held_out"}


@needs_checkout
@pytest.mark.slow
def test_sdist_and_wheel_hold_every_module_and_every_bundled_file(tmp_path: Path) -> None:
    """The wheel is built from the sdist, so a file that the sdist lacks is missing in the wheel, too."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    shipped = {folder: name.replace(".", "/") for name, folder in package_folders().items()}
    expected = set()
    for line in tracked.stdout.splitlines():
        path = Path(line)
        is_shipped = path.suffix in (".py", ".c", ".j2") or path.name == "py.typed" or line.startswith(DATA_FOLDERS)
        if is_shipped and path.parts[0] in shipped:
            expected.add(f"{shipped[path.parts[0]]}/{path.relative_to(path.parts[0]).as_posix()}")

    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, capture_output=True, text=True, check=True)

    (wheel_path,) = tmp_path.glob("*.whl")
    (sdist_path,) = tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel_path) as wheel:
        in_wheel = {name for name in wheel.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist_path) as sdist:
        in_sdist = {name.partition("/")[2] for name in sdist.getnames()}
    assert in_wheel == expected
    assert {"README.md", "LICENSE", "pyproject.toml"} <= in_sdist
    assert wheel_path.stat().st_size < 25e6
