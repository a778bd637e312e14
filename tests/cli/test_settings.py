"""Settings: defaults, YAML and command line in the right order, and a clear line for each mistake."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import run_command
from textgym.cli.options import option_name
from textgym.training.algorithms import ALGORITHMS, PPOSettings
from textgym.training.settings import EvaluationSettings, PolicySettings, TaskSettings, TrainSettings
from textgym.training.settings_file import all_settings, build_settings, read_mapping, read_settings, write_settings


def test_settings_come_back_from_what_is_written_of_them() -> None:
    settings = TrainSettings(
        model="gpt2",
        seed=7,
        task=TaskSettings(
            prompts=[{"prompt": "海", "topic": "水"}],
            reward=[{"keywords": {"words": ["海"]}, "weight": 0.5}],
            stop=(".", "\n\n"),
            allowed_token_ids=(1, 2),
            truncate_prompts="left",
        ),
        algorithm=PPOSettings(learning_rate=3e-7, kl_target=6.0, potential_shaping=True),
        evaluation=EvaluationSettings(eval_prompts="other.txt"),
    )
    assert build_settings(yaml.safe_load(write_settings(settings))) == settings


def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("seed: 5\nalgorithm: {gamma: 0.9, n_epochs: 3}\n", encoding="utf-8")
    settings = read_settings(file, {"algorithm.gamma": 0.8, "task.max_new_tokens": 9})
    assert settings.algorithm == PPOSettings(gamma=0.8, n_epochs=3)
    assert (settings.seed, settings.task.max_new_tokens) == (5, 9)
    assert settings.total_tokens == TrainSettings.total_tokens


def test_an_algorithm_may_be_given_by_its_name_alone(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("algorithm: PPO", encoding="utf-8")
    assert read_settings(file, {"algorithm.n_epochs": 9}).algorithm == PPOSettings(n_epochs=9)


@pytest.mark.parametrize(("text", "rate"), [("1e-4", 1e-4), ("1", 1.0), ("0.5", 0.5)])
def test_a_number_may_be_written_in_any_way(text: str, rate: float) -> None:
    settings = build_settings(yaml.safe_load(f"algorithm: {{learning_rate: {text}}}"))
    assert settings.algorithm == PPOSettings(learning_rate=rate)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("algorithm: {n_quantiles: 5}", "PPO has no setting 'n_quantiles'; it belongs to QRDQN."),
        ("sed: 1", "There is no setting 'sed'. Did you mean 'seed'?"),
        ("learning_rate: 1", "There is no setting 'learning_rate'. Did you mean 'algorithm.learning_rate'?"),
        ("lerning_rate: 1", "There is no setting 'lerning_rate'. Did you mean 'algorithm.learning_rate'?"),
        ("task: {max_new_token: 1}", "There is no setting 'task.max_new_token'. Did you mean 'task.max_new_tokens'?"),
        (
            "evaluation: {q: 1}",
            (
                "There is no setting 'evaluation.q'. Known here are evaluation.eval_prompts, evaluation.judge, "
                "evaluation.eval_completions, evaluation.eval_seed, evaluation.sample_every, evaluation.table_rows."
            ),
        ),
        (
            "algorithm: {name: POP}",
            f"There is no algorithm 'POP'; expected one of {', '.join(ALGORITHMS)}. Did you mean 'PPO'?",
        ),
        ("seed: one", "seed must be a whole number, got 'one'."),
        ("seed: 1.5", "seed must be a whole number, got 1.5."),
        ("seed: true", "seed must be a whole number, got True."),
        ("seed: -1", "seed must be at least 0 and at most 2147483647, got -1."),
        ("model: 3", "model must be text, got 3."),
        ("algorithm: {gamma: 1.5}", "gamma must be above 0 and at most 1, got 1.5."),
        ("algorithm: {learning_rate: .nan}", "learning_rate must be a finite number above 0, got nan."),
        ("algorithm: {learning_rate: .inf}", "learning_rate must be a finite number above 0, got inf."),
        ("algorithm: {gamma: .inf}", "gamma must be a finite number above 0 and at most 1, got inf."),
        ("algorithm: {potential_shaping: 1}", "algorithm.potential_shaping must be true or false, got 1."),
        ("task: {prompt_order: any}", "task.prompt_order must be 'random' or 'sequential', got 'any'."),
        ("task: {stop: [1]}", "task.stop must be text, got 1."),
        ("task: 3", "task must be a mapping of settings to values, got 3."),
    ],
)
def test_a_mistake_in_the_settings_is_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the message is compared in full)
        build_settings(yaml.safe_load(text))
    assert str(raised.value) == message


def test_a_file_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("- seed", encoding="utf-8")
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the message is compared in full)
        read_settings(file, {})
    assert str(raised.value) == f"{file} must be a mapping of settings to values, got list."


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("seed: [1", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{file} is not YAML: while parsing a flow sequence"):
        read_settings(file, {})


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("seed: 1\nmodel: gpt2\nseed: 2\n", "seed", (1, 3)),
        ("task:\n  stop: a\n  stop: b\n", "stop", (2, 3)),
        ("algorithm: {gamma: 1, gamma: 1}\n", "gamma", (1, 1)),
    ],
)
def test_a_key_that_is_given_twice_is_named(tmp_path: Path, text: str, key: str, lines: tuple[int, int]) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the message is compared in full)
        read_settings(file, {})
    first, second = lines
    assert str(raised.value) == (
        f"{file} is not YAML: the key {key!r} is given twice, in line {first} and in line {second}."
    )


def test_a_key_may_come_again_in_another_section_and_over_a_merged_one(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "task: &task {stop: a, max_new_tokens: 7}\nevaluation: {}\nx: [{<<: *task, stop: b}, {stop: c}]\n",
        encoding="utf-8",
    )
    assert read_mapping(file)["x"] == [{"stop": "b", "max_new_tokens": 7}, {"stop": "c"}]


def test_the_network_is_given_what_is_not_its_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("policy: {critic: none, lora_rank: 4, micro_batch_size: 1e3}\n", encoding="utf-8")
    policy = read_settings(file, {"policy.autocast": "bfloat16"}).policy
    assert policy.policy_arguments() == {"critic": None, "lora": 4, "micro_batch_size": 1000, "autocast": "bfloat16"}
    assert TrainSettings().policy.policy_arguments() == {}


def test_the_policy_knows_every_setting_that_it_is_given() -> None:
    from textgym.agents import GPT2Policy

    settings = PolicySettings("separate", 1, 1, "bfloat16", 1, True)
    arguments = settings.policy_arguments()
    assert len(arguments) == len(fields(PolicySettings))
    assert set(arguments) <= set(inspect.signature(GPT2Policy).parameters)


def test_no_two_options_have_one_name() -> None:
    names = [option_name(name) for name, *_ in all_settings()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_knows_every_setting_that_it_is_given(name: str) -> None:
    from textgym.agents.clipped import ClippedOptions
    from textgym.agents.off_policy import ValueOptions
    from textgym.training.run import algorithm_class

    settings = ALGORITHMS[name]()
    assert settings.name == name
    parameters = inspect.signature(algorithm_class(TrainSettings(algorithm=settings))).parameters
    options = {*ClippedOptions.__annotations__, *ValueOptions.__annotations__}
    assert set(settings.constructor_arguments()) <= {*parameters, *options}


def test_rates_and_prices_go_to_what_they_shall_be_at_the_end() -> None:
    given = {"learning_rate": 0.1, "learning_rate_end": 0.5, "kl_coef": 0.2, "kl_coef_end": 3.0}
    arguments = build_settings({"algorithm": given}).algorithm.constructor_arguments()
    assert [arguments["learning_rate"](remaining) for remaining in (1.0, 0.5, 0.0)] == pytest.approx([0.1, 0.075, 0.05])
    assert [arguments["kl_coef"](remaining) for remaining in (1.0, 0.5, 0.0)] == pytest.approx([0.2, 0.4, 0.6])
    steered = build_settings({"algorithm": {**given, "kl_target": 20.0}}).algorithm.constructor_arguments()
    assert (steered["kl_coef"], steered["kl_target"]) == (0.2, 20.0)


@pytest.mark.parametrize(("name", "given", "expected"), [("PPO", None, 1), ("RLOO", None, 8), ("GRPO", 4, 4)])
def test_an_algorithm_that_compares_completions_gets_groups(name: str, given: int | None, expected: int) -> None:
    settings = build_settings({"task": {"completions_per_prompt": given}, "algorithm": {"name": name}})
    assert settings.completions_per_prompt == expected


def test_every_algorithm_that_is_exported_can_be_chosen() -> None:
    import textgym.agents

    exported = [getattr(textgym.agents, name) for name in textgym.agents.__all__]
    algorithms = {f"textgym.agents:{one.__name__}" for one in exported if _is_algorithm(one)}
    assert algorithms == {kind.class_path for kind in ALGORITHMS.values()}


def _is_algorithm(one: object) -> bool:
    from stable_baselines3.common.base_class import BaseAlgorithm

    return isinstance(one, type) and issubclass(one, BaseAlgorithm)


def test_every_setting_explains_itself() -> None:
    for name, _, declared, _ in all_settings():
        assert declared.metadata["help"], name


def test_defaults_stand_in_the_classes_alone() -> None:
    assert build_settings({}) == TrainSettings()
    assert {declared.name for declared in fields(PPOSettings)} >= {"learning_rate", "kl_coef", "temperature"}


def test_help_says_which_defaults_are_whose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    words = " ".join(run_command("train", "--help").output.split())
    for kind in ("PPO", "A2C", "TRPO", "DQN"):
        default = ALGORITHMS[kind]().learning_rate  # type: ignore[attr-defined]
        (owners,) = re.findall(rf"{re.escape(str(default))} for ([A-Za-z0-9, ]+)", words.split("Step size of Adam")[1])[
            :1
        ]
        assert kind in owners.split(", ")
    assert "[default: 0.05 for TRPO]" in words


def test_a_file_may_name_the_output_folder_which_is_no_setting_of_the_run(workplace: Path) -> None:
    with (workplace / "settings.yaml").open("a", encoding="utf-8") as file:
        file.write("output: out/mine\n")
    short = ("--config", "settings.yaml", "--steps", 20, "--eval-completions", 2)
    assert run_command("train", *short).exit_code == 0
    assert run_command("train", *short, "--output", "other").exit_code == 0, "the option goes before the file"
    assert "output" not in yaml.safe_load((workplace / "out/mine/config.yaml").read_text())
    assert run_command("train", "--resume", "other", "--steps", 100).exit_code == 0
    again = run_command("train", *short)
    assert again.stderr.startswith("Error: The output folder out/mine is not empty; go on with it by --resume out/mine")


@pytest.mark.parametrize("value", ["3", "''", "[runs]"])
def test_an_output_folder_that_is_no_name_is_one_line(workplace: Path, value: str) -> None:
    (workplace / "wrong.yaml").write_text(f"output: {value}\n", encoding="utf-8")
    result = run_command("train", "--config", "wrong.yaml")
    expected = f"Error: wrong.yaml: output must be the name of a folder, got {yaml.safe_load(value)!r}.\n"
    assert (result.exit_code, result.stderr) == (2, expected)


@pytest.mark.parametrize("section", ["task", "evaluation", "policy", "algorithm"])
def test_an_empty_section_takes_an_option_and_a_wrong_one_is_named(tmp_path: Path, section: str) -> None:
    name, value = {
        "task": ("task.max_new_tokens", 9),
        "evaluation": ("evaluation.eval_completions", 9),
        "policy": ("policy.frozen_layers", 9),
        "algorithm": ("algorithm.name", "A2C"),
    }[section]
    overrides = {name: value}
    file = tmp_path / "a.yaml"
    file.write_text(f"{section}:\n", encoding="utf-8")
    settings = read_settings(file, overrides)
    assert getattr(getattr(settings, section), name.partition(".")[2]) == value
    file.write_text(f"{section}: [shared]\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"{section} must be a mapping of settings to values") as caught:
        read_settings(file, overrides)
    assert str(caught.value).startswith(str(file))
