"""Bad input gets one clear line and exit code 2, and changes nothing."""

import json
import warnings
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.conftest import run_command
from textgym.cli.errors import show_warnings_plainly
from textgym.training.algorithms import ALGORITHMS

TRAIN = ("train", "--config", "settings.yaml", "--output", "out")


BAD_INPUT = {
    ("train", "--config", "setings.yaml"): "setings.yaml: No such file or directory",
    (*TRAIN, "--gamma", "2"): "settings.yaml: gamma must be above 0 and at most 1, got 2.0.",
    (*TRAIN, "--algo", "PP"): (
        "settings.yaml: There is no algorithm 'PP'; expected one of {algorithms}. Did you mean 'PPO'?"
    ),
    (*TRAIN, "--reward", "referense_task"): (
        "Unknown reward 'referense_task'. Did you mean 'reference_task'? `textgym rewards` lists all names; a reward "
        'of your own is given as "module:attribute", a model as its folder or "owner/name", a reward server as its URL.'
    ),
    (*TRAIN, "--reward", "my_rewards:few_leters"): (
        "Reward 'my_rewards:few_leters': there is no 'few_leters'. Did you mean 'few_letters'?"
    ),
    (*TRAIN, "--prompts", "bundeld"): (
        "prompts must be a list, a data set, a .txt, .jsonl, .csv file, or one of ['bundled', 'bundled:held_out'], "
        "got 'bundeld'. Did you mean 'bundled'?"
    ),
    (*TRAIN, "--prompts", "none.txt"): "There is no file of prompts none.txt (looked for {folder}/none.txt).",
    (*TRAIN, "--max-prompt-tokens", "2"): (
        "The prompt 'The sea' has 7 tokens, max_prompt_tokens allows 2; raise max_prompt_tokens, shorten the "
        "prompt, or pass truncate_prompts='left'."
    ),
    (*TRAIN, "--max-new-tokens", "64"): (
        "max_prompt_tokens + max_new_tokens is 88, beyond the model's context of 64 tokens; lower one of them."
    ),
    ("train", "--resume", "nowhere"): "nowhere is not the folder of a run: it does not exist.",
    ("train", "--resume", "my_rewards.py"): "my_rewards.py is not the folder of a run: it is a file.",
    ("train", "--resume", "."): ". is not the folder of a run: it has no config.yaml.",
    ("train", "--resume", "nowhere", "--kl-coef", "1"): (
        "--kl-coef cannot be given with --resume, which goes on with the run's own settings; only --total-tokens, "
        "--device, --checkpoint-seconds, --learning-rate, --learning-rate-end, --max-grad-norm can. To train its model "
        "with other settings, start a run with --model FOLDER."
    ),
    ("train", "--config", "settings.yaml", "--output", "."): "The output folder . is not empty; name another one.",
    ("train", "--config", "settings.yaml", "--output", "settings.yaml"): (
        "The output settings.yaml is a file; name a folder."
    ),
    ("play", "--config", "settings.yaml", "--seed", "-1"): (
        "settings.yaml: seed must be at least 0 and at most 2147483647, got -1."
    ),
}


@pytest.mark.parametrize(("arguments", "line"), list(BAD_INPUT.items()), ids=[" ".join(one[2:]) for one in BAD_INPUT])
def test_bad_input_gets_one_line(workplace: Path, arguments: tuple[str, ...], line: str) -> None:
    before = sorted(workplace.iterdir())
    result = run_command(*arguments)
    expected = line.format(folder=workplace, algorithms=", ".join(ALGORITHMS))
    assert (result.exit_code, result.stderr) == (2, f"Error: {expected}\n")
    assert result.stdout == ""
    assert sorted(path for path in workplace.iterdir() if path.name != "__pycache__") == before


def test_a_run_is_not_overwritten(finished_run: tuple[Path, Result], workplace: Path) -> None:
    run, _ = finished_run
    config = (run / "config.yaml").read_text()
    result = run_command("train", "--config", "settings.yaml", "--output", run)
    assert (result.exit_code, result.stderr) == (
        2,
        f"Error: The output folder {run} is not empty; go on with it by --resume {run}, or name another one.\n",
    )
    assert (run / "config.yaml").read_text() == config


def test_a_complete_run_says_how_it_could_go_on(finished_run: tuple[Path, Result], workplace: Path) -> None:
    run, _ = finished_run
    result = run_command("train", "--resume", run)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: The run in {run} is complete, with 2")
    assert result.stderr.endswith(" tokens; to train it further, give --total-tokens above that.\n")


def test_an_unknown_model_gets_the_nearest_match(workplace: Path, tiny_model: Path) -> None:
    wrong = tiny_model.with_name("tinny")
    result = run_command(*TRAIN, "--model", wrong)
    line = (
        f"No model named '{wrong}': expected a folder, a name on the Hugging Face hub, or 'bundled'. "
        "Did you mean 'tiny'?"
    )
    assert (result.exit_code, result.stderr) == (2, f"Error: {line}\n")


BROKEN_MODULES = {
    "def f(:\n": (1, "SyntaxError: invalid syntax"),
    "import os\n\nimport no_such_module_at_all\n": (
        3, "ModuleNotFoundError: No module named 'no_such_module_at_all'"
    ),
    "\nfrom json import lods\n": (2, f"ImportError: cannot import name 'lods' from 'json' ({json.__file__})"),
    "import json\nWORDS = json.loads('')\n": (
        2, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("option", "what"), [("--reward", "Reward"), ("--prompts", "Prompts")])
@pytest.mark.parametrize("text", BROKEN_MODULES)
def test_an_error_in_a_users_module_is_one_line_that_names_the_place(
    workplace: Path, text: str, option: str, what: str
) -> None:
    (workplace / "broken.py").write_text(text, encoding="utf-8")
    result = run_command(*TRAIN, option, "broken:f")
    line, error = BROKEN_MODULES[text]
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {what} 'broken:f' cannot be imported: {workplace / 'broken.py'}, line {line}: {error}.\n"
    )


def test_warnings_are_one_line_without_a_place_in_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True, category=DeprecationWarning) as others:
        warnings.simplefilter("always")
        show_warnings_plainly()
        warnings.warn("something looks odd", stacklevel=1)
        warnings.warn("an old name", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: something looks odd\n"
    assert [str(one.message) for one in others] == ["an old name"]
