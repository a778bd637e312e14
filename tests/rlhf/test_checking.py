"""What is wrong is found before a loop's folder is made, and a loop in which nothing was done may be changed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import run_command
from tests.rlhf.conftest import write_config
from textgym.feedback.store import FeedbackStore, ProjectSettings
from textgym.rlhf.annotator_settings import PeopleAnnotators
from textgym.rlhf.folder import LoopFolder
from textgym.rlhf.people import PeopleRaters
from textgym.rlhf.report import write_report
from textgym.rlhf.settings import read_loop_settings

REWARD = {"reward": {"reward": "my_rewards:few_letters"}}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"warm_start": {"data": "none.jsonl"}}, "There is no file of demonstrations none.jsonl"),
        ({"warm_start": {"data": "short.jsonl"}}, "warm_start: row 1 of short.jsonl must have a completion, got None"),
        ({"warm_start": {"data": "one.jsonl"}}, "warm_start: expected demonstrations to learn besides those held out"),
        ({"warm_start": {"data": "one.jsonl", "epochs": "three"}},
         "warm_start: epochs must be a whole number, got 'three'."),
        ({"annotators": {"command": {"command": "no-such-program --fast"}}},
         "annotators.command.command: the program 'no-such-program' is not there; see 'no-such-program --fast'."),
        ({"annotators": {"command": {"command": "./loop.yaml"}}},
         "annotators.command.command: the program './loop.yaml' may not be executed; see './loop.yaml'."),
        ({"annotators": {"command": {"command": "'unclosed"}}}, "cannot be split into words (No closing quotation)"),
        ({"annotators": {"people": {"instructions": "none.txt"}}}, "none.txt: No such file or directory"),
        ({"annotators": {"people": {"least_score": 3, "most_score": 3}}}, "the scale must have 2 to 11 scores"),
        ({"annotators": {"people": {"store": "nowhere/s.db"}}}, "to make the feedback store s.db in."),
        ({"annotators": {"people": {"store": "mysql://ada:s3cret@h/x"}}}, "got 'mysql://ada:***@h/x'."),
        ({"annotators": {"people": {"store": "judged.db", "most_score": 9}}},
         "the store's scale is -4 to 4 and cannot become 1 to 9, since judging has begun by it"),
        ({"eval_prompts": "none.txt"}, "There is no file of prompts none.txt"),
        ({"training": {"task": {"max_prompt_tokens": 3}}}, "has 7 tokens, max_prompt_tokens allows 3"),
        ({"training": {"evaluation": {"judge": "no_such_reward"}}}, "no_such_reward"),
        ({"training": {"task": {"max_new_tokens": 60}}},
         "max_prompt_tokens + max_new_tokens is 84, beyond the model's context of 64 tokens"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_the_folder_is_made(
    workplace: Path, tiny_model: Path, changes: dict[str, Any], problem: str
) -> None:
    (workplace / "short.jsonl").write_text(json.dumps({"prompt": "A"}) + "\n")
    (workplace / "one.jsonl").write_text(json.dumps({"prompt": "A", "completion": " b"}) + "\n")
    FeedbackStore("judged.db", ProjectSettings(-4, 4)).close()
    (workplace / "in.jsonl").write_text(json.dumps({"prompt": "A", "completion": "b", "score": 3}) + "\n")
    assert run_command("feedback", "import", "judged.db", "in.jsonl").exit_code == 0
    write_config(workplace, tiny_model, **changes)
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 2, result.output
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (workplace / "loop").exists()


def test_settings_may_be_changed_until_the_first_step_is_done(workplace: Path, tiny_model: Path) -> None:
    def settings(**changes: Any) -> Any:
        return read_loop_settings(write_config(workplace, tiny_model, annotators=REWARD, **changes))

    folder = LoopFolder(workplace / "loop")
    folder.open(settings())
    folder.open(settings(seed=7))
    assert yaml.safe_load(folder.config.read_text())["seed"] == 7
    folder.round(1).path.mkdir()
    folder.round(1).completions.write_text("")
    with pytest.raises(ValueError, match=r"begun with other settings \(seed: see "):
        folder.open(settings(seed=8))


def test_how_a_policy_is_trained_may_be_changed_until_that_has_begun(workplace: Path, tiny_model: Path) -> None:
    def settings(**changes: Any) -> Any:
        return read_loop_settings(write_config(workplace, tiny_model, **{"annotators": REWARD, **changes}))

    folder = LoopFolder(workplace / "loop")
    folder.open(settings())
    folder.round(1).path.mkdir()
    folder.round(1).completions.touch()
    others: dict[str, Any] = {"training": {"total_tokens": 99}, "eval_prompts": ["A hill"]}
    folder.open(settings(**others))
    folder.open(settings(**others, annotators={"reward": {"reward": "my_rewards:few_letters", "noise": 0.2}}))
    folder.open(settings(**others))
    folder.round(1).reward_model.mkdir()
    folder.open(settings())
    with pytest.raises(ValueError, match=r"begun with other settings \(annotators: see "):
        folder.open(settings(annotators={"reward": {"reward": "my_rewards:few_letters", "noise": 0.2}}))
    folder.round(1).training.touch()
    with pytest.raises(ValueError, match=r"begun with other settings \(eval_prompts, training: see "):
        folder.open(settings(**others))
    folder.round(1).training.unlink()
    folder.round(1).run.mkdir()
    for name, value in others.items():
        with pytest.raises(ValueError, match=rf"begun with other settings \({name}: see "):
            folder.open(settings(**{name: value}))


def test_what_training_refuses_is_found_also_where_it_was_changed_later(workplace: Path, tiny_model: Path) -> None:
    raters = {"people": {"per_item": 1}}
    write_config(workplace, tiny_model, annotators=raters)
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    before = (workplace / "loop/config.yaml").read_text()
    write_config(workplace, tiny_model, annotators=raters, eval_prompts="none.txt")
    refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert "There is no file of prompts none.txt" in refused.stderr
    assert (workplace / "loop/config.yaml").read_text() == before
    write_config(workplace, tiny_model, annotators=raters, eval_prompts=["A hill"])
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    assert yaml.safe_load((workplace / "loop/config.yaml").read_text())["eval_prompts"] == ["A hill"]


def test_a_loop_takes_the_scale_of_the_store_that_it_is_given(workplace: Path, tiny_model: Path) -> None:
    FeedbackStore("mine.db", ProjectSettings(-4, 4)).close()
    write_config(workplace, tiny_model, annotators={"people": {"store": "mine.db"}}, rounds=1)
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    store = FeedbackStore("mine.db")
    assert (store.project().least_score, store.project().most_score) == (-4, 4)
    store.close()


def test_a_stores_password_is_neither_said_nor_written(workplace: Path, tiny_model: Path) -> None:
    place = "postgresql://ada:s3cret@db.example/films"
    raters = PeopleRaters(PeopleAnnotators(store=place), place, "textgym rlhf", lambda: "bundled")
    assert "s3cret" not in raters.describe()
    settings = read_loop_settings(write_config(workplace, tiny_model, annotators={"people": {"store": place}}))
    folder = LoopFolder(workplace / "loop")
    folder.open(settings)
    write_report(folder, settings, "people")
    for path in (folder.config, folder.report):
        assert "postgresql://ada@db.example/films" in path.read_text()
    assert not [path for path in folder.path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    folder.round(1).path.mkdir()
    folder.round(1).completions.touch()
    folder.open(settings)
    folder.open(read_loop_settings(folder.config))
    others = {"people": {"store": "postgresql://bo@db.example/films"}}
    with pytest.raises(ValueError, match=r"begun with other settings \(annotators: see "):
        folder.open(read_loop_settings(write_config(workplace, tiny_model, annotators=others)))
