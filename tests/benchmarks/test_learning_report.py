"""Reports of runs that were written by hand: what is read, what is left out, and what is refused."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from playwright.sync_api import Browser, expect

from tests.agents.tiny import exactly
from textgym.benchmarks.learning.figures import chance_matrix
from textgym.benchmarks.learning.page import COLUMNS, by_score, cells, markdown, text_cells, write_report
from textgym.benchmarks.learning.records import RunRecord, find_records
from textgym.benchmarks.learning.summary import (
    describe_texts,
    differing_settings,
    normalised,
    over_tasks,
    summarise,
)
from textgym.training.algorithms import ALGORITHMS
from textgym.training.versions import describe_session

SESSION = {
    "device": "cpu: thing", "cores": 2, "torch_threads": 1, "platform": "Linux", "python": "3.11",
    "packages": {"torch": "2.13", "trl": None},
}  # fmt: skip


def write_run(folder: Path, algorithm: str, seed: int, scores: list[float], *, finished: bool = True) -> None:
    """Write a run's files: rollouts of 100 tokens and 2 seconds, the last one after a new start."""
    folder.mkdir(parents=True)
    settings = {"seed": seed, "task": {"name": "TextGen-Copy-v0", "reward": "x"}, "algorithm": {"name": algorithm}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "versions.json").write_text(json.dumps([SESSION]), encoding="utf-8")
    rows = ["time/total_timesteps,time/time_elapsed,rollout/score"]
    rows += [f"{100 * n},{2 * n if n < len(scores) else 2},{score}" for n, score in enumerate(scores, start=1)]
    (folder / "progress.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    evaluation: dict[str, Any] = {"before": {"tokens": 0, "score": 0.1, "kl": 0.0}}
    if finished:
        evaluation["after"] = {"tokens": 100 * len(scores), "score": scores[-1], "kl": 2.5, "self_bleu": 0.25,
                               "ended_share": 0.75, "greedy": {"score": scores[-1] + 0.01}}  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    samples = [
        {"phase": "before", "prompt": "abc>", "completion": f"once {algorithm}", "score": 0.125},
        {"phase": "after", "prompt": "abc>", "completion": "</script><b>", "score": scores[-1]},
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples), encoding="utf-8")
    view = {"prompt": "abc>", "completion": "a", "score": 1.0, "tokens": ["</script>"], "value": [0.5],
            "advantage": [0.5], "entropy": [1.0]}  # fmt: skip
    (folder / "tokens.jsonl").write_text(json.dumps(view) + "\n", encoding="utf-8")


@pytest.fixture
def records(tmp_path: Path) -> list[RunRecord]:
    """Two seeds each of two algorithms, and one run that was stopped."""
    write_run(tmp_path / "a1", "PPO", 1, [0.5, 0.9, 0.9, 0.97, 1.0, 1.0])
    write_run(tmp_path / "a2", "PPO", 2, [0.5, 0.9, 1.0, 1.0])
    write_run(tmp_path / "b1", "A2C", 1, [0.1, 0.2, 0.3])
    write_run(tmp_path / "b2", "A2C", 2, [0.1, 0.2, 0.5])
    write_run(tmp_path / "b3", "A2C", 3, [0.1, 0.2, 0.5], finished=False)
    return find_records([tmp_path])


def test_seconds_go_on_where_a_run_was_stopped(records: list[RunRecord]) -> None:
    a1 = next(one for one in records if one.folder.name == "a1")
    assert a1.tokens.tolist() == [100, 200, 300, 400, 500, 600]
    assert a1.seconds.tolist() == [2, 4, 6, 8, 10, 12]


def test_a_task_is_solved_at_the_third_of_three_rollouts_whose_mean_reaches_it(records: list[RunRecord]) -> None:
    a1 = next(one for one in records if one.folder.name == "a1")
    assert [a1.index_at(threshold) for threshold in (0.7, 0.95, 0.99, 1.01)] == [2, 4, 5, None]


def test_a_row_says_what_its_seeds_did(records: list[RunRecord]) -> None:
    finished = [one for one in records if one.is_finished]
    a2c, ppo = summarise(finished)
    assert [row.algorithm for row in by_score([a2c, ppo])] == ["PPO", "A2C"]
    assert (ppo.algorithm, ppo.seeds, ppo.score.value, ppo.kl, ppo.n_solved) == ("PPO", [1, 2], 1.0, 2.5, 2)
    # 500 tokens for seed 1, 400 for seed 2.
    assert (ppo.tokens_to_threshold, ppo.seconds_to_threshold) == (450, 9)
    assert (a2c.n_solved, a2c.tokens_to_threshold) == (0, None)
    assert a2c.score.value == pytest.approx(0.4)
    line = markdown(COLUMNS, [cells(a2c)]).splitlines()[2]
    assert line.startswith("| TextGen-Copy-v0 | A2C | 2 | 300 | 0.100 | 0.400 [0.300, 0.500] | 2.5 |")


def test_a_row_says_what_texts_are_like_and_leaves_out_what_an_older_run_has_not_written(
    records: list[RunRecord],
) -> None:
    finished = [one for one in records if one.is_finished]
    rows = describe_texts(finished)
    assert [row.name for row in rows] == ["before training", "A2C", "A2C, greedy", "PPO", "PPO, greedy"]
    before, _, greedy_a2c, ppo, _ = rows
    assert before.figures["score"] == pytest.approx(0.1)
    assert greedy_a2c.figures["score"] == pytest.approx((0.31 + 0.51) / 2)
    assert greedy_a2c.figures["self-BLEU"] is None
    assert ppo.figures["self-BLEU"] == 0.25
    assert ppo.figures["judge"] is None
    names = ["score", "judge", "ended"]
    assert text_cells(ppo, names) == ("TextGen-Copy-v0", "PPO", "1.000", "-", "75%")


def test_every_metric_of_an_evaluation_is_in_the_table_sampled_and_greedy(
    records: list[RunRecord], tmp_path: Path
) -> None:
    of_texts = {"distinct_1": 0.5, "distinct_2": 0.75, "self_bleu": 0.25, "n_tokens": 4.5, "ended_share": 1.0}
    sampled = {"score": 0.5, "terms": {"right_word": 1.0, "length": 0.25}, **of_texts}
    greedy = {"score": 0.75, "terms": {"right_word": 0.5, "length": None}, **of_texts}
    greedy |= {"kl": 25.0, "perplexity": 2.5}
    figures = {"tokens": 1, **sampled, "kl": 1.25, "perplexity": 12.5, "greedy": greedy}
    for record in records:
        written = json.dumps({"before": figures, "after": figures})
        (record.folder / "evaluation.json").write_text(written, encoding="utf-8")
    table = write_report(find_records([tmp_path]), tmp_path / "report.html").read_text(encoding="utf-8")
    _, texts, terms = table.split("\n\n")
    assert texts.splitlines()[0] == (
        "| task | completions of | score | KL | perplexity | distinct-1 | distinct-2 | self-BLEU | tokens | ended |"
    )
    figures_of_texts = "0.500 | 0.750 | 0.250 | 4.5 | 100% |"
    assert texts.splitlines()[-2:] == [
        f"| TextGen-Copy-v0 | PPO | 0.500 | 1.2 | 12.5 | {figures_of_texts}",
        f"| TextGen-Copy-v0 | PPO, greedy | 0.750 | 25.0 | 2.5 | {figures_of_texts}",
    ]
    assert terms.splitlines()[0] == "| task | completions of | right word | length |"
    assert terms.splitlines()[-2:] == [
        "| TextGen-Copy-v0 | PPO | 1.000 | 0.250 |",
        "| TextGen-Copy-v0 | PPO, greedy | 0.500 | - |",
    ]
    assert "What the scores are made of" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_over_tasks_the_better_algorithm_comes_first(records: list[RunRecord]) -> None:
    finished = [one for one in records if one.is_finished]
    means, chances = over_tasks(finished)
    assert list(means) == ["PPO", "A2C"]
    assert means["PPO"].value == pytest.approx(np.mean([normalised(one) for one in finished if one.algorithm == "PPO"]))
    assert {name: one.value for name, one in chances.items()} == {"PPO > A2C": 1.0}


def test_a_page_escapes_what_models_write_and_names_what_is_not_finished(
    records: list[RunRecord], tmp_path: Path
) -> None:
    write_report(records, tmp_path / "pages" / "mine.html")
    page = (tmp_path / "pages" / "mine.html").read_text(encoding="utf-8")
    assert "TextGen-Copy-v0 A2C seed 3." in page
    assert page.count("</script>") == 2
    assert "&lt;/script&gt;&lt;b&gt;" in page
    assert (tmp_path / "pages" / "mine.md").is_file()


def test_a_page_names_the_machine_in_the_singular_and_the_plural(records: list[RunRecord], tmp_path: Path) -> None:
    write_report(records, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "4 sessions: cpu: thing, 2 cores, 1 thread; Linux; Python 3.11; torch 2.13</p>" in page


def test_a_run_on_a_processor_records_its_model_where_linux_names_it() -> None:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ] if Path("/proc/cpuinfo").is_file() else []  # fmt: skip
    if not models:
        pytest.skip("the processor's model is not known here")
    assert describe_session(torch.device("cpu"), 0)["device"] == f"cpu: {models[0]}"


def test_completions_before_training_stand_beside_those_after(tmp_path: Path) -> None:
    """Those of what samples, where anything does; a policy of best tokens writes otherwise, also before training."""
    heads = {("DQN",): "before training, best tokens", ("DQN", "PPO"): "before training"}
    for algorithms, head in heads.items():
        folder = tmp_path / "-".join(algorithms)
        for name in algorithms:
            write_run(folder / name, name, 1, [0.1, 0.2])
        write_report(find_records([folder]), folder / "report.html")
        page = (folder / "report.html").read_text(encoding="utf-8")
        names = "".join(f"<th>{name}</th>" for name in (head, *algorithms))
        assert f"<th>prompt</th>{names}" in page
        before = f'<td><span class="text">once {algorithms[-1]}</span> <span class="score">0.12</span></td>'
        assert f'<td class="text">abc></td>{before}' in page.replace("&gt;", ">")


@pytest.mark.slow
def test_what_is_wide_scrolls_in_its_own_box_and_never_the_page(tmp_path: Path, browser: Browser) -> None:
    """Twelve algorithms with every figure of texts, a setting and a completion that are long."""
    long = {"prompt": "word " * 20, "completion": "longer " * 20, "score": 1.0, "tokens": ["a"], "entropy": [1.0]}
    keys = ("kl", "judge", "perplexity", "distinct_1", "distinct_2", "self_bleu", "ended_share", "n_completions")
    figures = {"tokens": 160_000, "score": 0.5, "n_tokens": 44.5, **dict.fromkeys(keys, 0.125)}
    for place, name in enumerate(ALGORITHMS):
        for seed in (1, 2):
            folder = tmp_path / f"{name}{seed}"
            write_run(folder, name, seed, [0.9 + 0.01 * place, 1.0, 1.0])
            (folder / "tokens.jsonl").write_text(json.dumps(long) + "\n", encoding="utf-8")
            written = json.dumps({"before": figures, "after": {**figures, "greedy": figures}})
            (folder / "evaluation.json").write_text(written, encoding="utf-8")
    settings = yaml.safe_load((tmp_path / "PPO1" / "config.yaml").read_text(encoding="utf-8"))
    (tmp_path / "PPO1" / "config.yaml").write_text(yaml.safe_dump({**settings, "model": "x" * 150}), encoding="utf-8")
    write_report(find_records([tmp_path]), tmp_path / "report.html")
    widths = "boxes => boxes.map(box => [box.scrollWidth, box.clientWidth])"
    for width in (1280, 480):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        boxes = page.locator(".scroll:has(.scores), .scroll:has(img)")
        assert boxes.count() == 6
        if width == 1280:
            assert all(inside <= outside for inside, outside in boxes.evaluate_all(widths))
        page.close()


@pytest.mark.slow
def test_a_click_on_a_token_shows_its_figures(records: list[RunRecord], tmp_path: Path, browser: Browser) -> None:
    """Opened as a file, without a server."""
    views = [
        {"prompt": "abc>", "completion": "ab", "score": 1.0, "tokens": ["a", "b<b>"], "value": [0.5, -0.25],
         "advantage": [0.5, 0.125], "kl": [1.0, 2.0], "log_prob_ratio": [0.0, 0.75], "entropy": [1.0, 0.0]},
        {"prompt": "cba>", "completion": "c", "score": 0.5, "tokens": ["c"], "entropy": [3.0]},
    ]  # fmt: skip
    (tmp_path / "b1" / "tokens.jsonl").write_text("".join(json.dumps(view) + "\n" for view in views), encoding="utf-8")
    write_report(find_records([tmp_path]), tmp_path / "report.html")
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    runs = page.locator("#run option").all_inner_texts()
    page.locator("#run").select_option(label=next(name for name in runs if "A2C" in name))
    page.locator("#figures").get_by_role("button", name="value", exact=True).click()
    page.locator(".token").nth(1).click()
    expect(page.locator("#about")).to_have_text(
        'Token 2 of 2, "b<b>": value -0.250 · advantage 0.125 · KL 2.000 · log-prob ratio 0.750 · entropy 0.000'
    )
    expect(page.locator("#missing")).to_be_hidden()
    colours = [
        page.locator(".token").nth(place).evaluate("token => getComputedStyle(token).backgroundColor")
        for place in range(2)
    ]
    assert colours == ["rgba(240, 140, 30, 0.8)", "rgba(70, 140, 230, 0.4)"]
    page.locator("#completion").select_option(index=1)
    expect(page.locator("#figures button")).to_have_text(["entropy"])
    expect(page.locator("#missing")).to_have_text("No value and no advantage: this run learned without a critic.")
    page.locator(".token").press("Tab")
    page.locator(".token").click()
    expect(page.locator("#about")).to_have_text('Token 1 of 1, "c": entropy 3.000')
    assert errors == []
    page.close()


def test_runs_that_would_be_the_same_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    write_run(tmp_path / "first", "PPO", 1, [0.1, 0.2])
    write_run(tmp_path / "second", "PPO", 1, [0.1, 0.3])
    found = find_records([tmp_path / "first", tmp_path / "second"])
    assert [one.algorithm for one in found] == ["PPO (first)", "PPO (second)"]
    assert [one.algorithm for one in find_records([tmp_path])] == ["PPO (first)", "PPO (second)"]


def test_two_experiments_stay_two_with_all_their_seeds(tmp_path: Path) -> None:
    for experiment, seeds in (("first", (1, 2)), ("second", (2, 3))):
        for seed in seeds:
            write_run(tmp_path / experiment / "Copy" / "PPO" / f"seed-{seed}", "PPO", seed, [0.1, 0.2])
        write_run(tmp_path / experiment / "Copy" / "A2C" / "seed-1", "A2C", seeds[0], [0.1, 0.2])
    found = find_records([tmp_path / "first", tmp_path / "second"])
    assert [(one.algorithm, one.seed) for one in found] == [
        ("A2C", 1), ("A2C", 2), ("PPO (first)", 1), ("PPO (first)", 2), ("PPO (second)", 2), ("PPO (second)", 3)
    ]  # fmt: skip


def test_a_damaged_run_is_left_out_with_a_warning_that_names_the_file(tmp_path: Path) -> None:
    write_run(tmp_path / "whole", "PPO", 1, [0.1, 0.2])
    write_run(tmp_path / "cut", "PPO", 2, [0.1, 0.2])
    (tmp_path / "cut" / "evaluation.json").write_text('{"a', encoding="utf-8")
    with pytest.warns(UserWarning, match="cannot be read and is left out: .*evaluation.json is damaged, it is no JSON"):
        assert [one.folder.name for one in find_records([tmp_path])] == ["whole"]
    (tmp_path / "cut" / "config.yaml").write_text("", encoding="utf-8")
    with pytest.warns(UserWarning, match="config.yaml must hold settings, got None"):
        find_records([tmp_path])


def test_a_session_that_is_stopped_early_and_gone_on_with_slowly_loses_no_time(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "PPO", 1, [0.1, 0.2, 0.3])
    rows = ["time/total_timesteps,time/seconds,time/time_elapsed,time/iterations,rollout/score"]
    rows += ["100,1.5,1,1,0.1", "200,2.5,2,2,0.2", "300,2.75,2,1,0.3"]
    (tmp_path / "run" / "progress.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (found,) = find_records([tmp_path])
    assert found.seconds.tolist() == [1.5, 2.5, 5.25]


def test_a_run_that_never_solves_its_task_counts_as_the_longest(tmp_path: Path) -> None:
    solving = [0.5, 0.9, 1.0, 1.0, 1.0]
    for seed, scores in enumerate([solving, [0.1] * 2 + solving, [0.1] * 4 + solving, [0.1] * 5, [0.1] * 5], start=1):
        write_run(tmp_path / f"s{seed}", "PPO", seed, scores)
    (row,) = summarise(find_records([tmp_path]))
    # Solved after 400, 600 and 800 tokens, and twice not.
    assert (row.n_solved, row.tokens_to_threshold) == (3, 800)
    (without_first,) = summarise(find_records([tmp_path / f"s{seed}" for seed in (2, 3, 4, 5)]))
    assert (without_first.n_solved, without_first.tokens_to_threshold) == (2, None)


def test_runs_of_one_row_that_are_not_alike_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "PPO", 1, [0.1, 0.2])
    write_run(tmp_path / "b", "PPO", 2, [0.1, 0.2])
    settings = yaml.safe_load((tmp_path / "b" / "config.yaml").read_text(encoding="utf-8"))
    settings["algorithm"]["learning_rate"] = 0.5
    (tmp_path / "b" / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert differing_settings(find_records([tmp_path])) == {"algorithm.learning_rate": ["not named", "0.5"]}
    write_report(find_records([tmp_path]), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "PPO on TextGen-Copy-v0: algorithm.learning_rate is not named, 0.5" in page


def test_runs_are_alike_where_one_does_not_name_what_is_the_default(tmp_path: Path) -> None:
    """As a run of an older version does not; and no one knows what a setting was that this version has not."""
    write_run(tmp_path / "older", "PPO", 1, [0.1, 0.2])
    write_run(tmp_path / "newer", "PPO", 2, [0.1, 0.2])
    write_run(tmp_path / "newest", "PPO", 3, [0.1, 0.2])
    config = tmp_path / "newer" / "config.yaml"
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings |= {"initial_share": 0.0, "policy": {"lora_rank": None}}
    settings["algorithm"] |= {"kl_coef_end": 1.0, "retired": 3}
    settings["task"]["stop"] = []
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert differing_settings(find_records([tmp_path])) == {}
    settings |= {"seed": 3, "initial_share": 0.1}
    settings["algorithm"] |= {"retired": 4}
    (tmp_path / "newest" / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert differing_settings(find_records([tmp_path])) == {
        "algorithm.retired": ["not named", "3", "4"],
        "initial_share": ["not named", "0.0", "0.1"],
    }


def test_what_policies_before_training_do_is_not_mixed(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "PPO", 1, [0.1, 0.2])
    write_run(tmp_path / "b", "DQN", 1, [0.1, 0.3])
    write_run(tmp_path / "c", "NLPO", 1, [0.1, 0.2])
    found = find_records([tmp_path])
    names = [row.name for row in describe_texts(found) if "greedy" not in row.name]
    assert names[:3] == ["before training, best tokens", "before training, nucleus", "before training"]
    assert "DQN, greedy" not in {row.name for row in describe_texts(found)}
    assert "PPO, greedy" in {row.name for row in describe_texts(found)}


def test_many_algorithms_are_compared_in_a_matrix(tmp_path: Path) -> None:
    for place, name in enumerate(("PPO", "A2C", "RLOO", "GRPO")):
        for seed in (1, 2):
            write_run(tmp_path / f"{name}{seed}", name, seed, [0.1, 0.2 * place + 0.01 * seed])
    found = find_records([tmp_path])
    means, chances = over_tasks(found)
    assert list(means) == ["GRPO", "RLOO", "A2C", "PPO"]
    matrix = base64.b64decode(chance_matrix(list(means), chances).partition(",")[2]).decode()
    # Matplotlib writes a text as a drawing with the text beside it.
    assert matrix.count("<!-- 1.00 -->") == matrix.count("<!-- 0.00 -->") == 6
    write_report(found, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    # Six pairs are drawn one by one; a seventh would make a matrix.
    assert "the first algorithm scores higher" in page


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no folder"):
        find_records([tmp_path / "none"])
    with pytest.raises(ValueError, match="There is no run in"):
        find_records([tmp_path])
    write_run(tmp_path / "stopped", "PPO", 1, [0.1], finished=False)
    with pytest.raises(ValueError, match=exactly("None of the 1 runs is finished; go on with them first.")):
        write_report(find_records([tmp_path]), tmp_path / "report.html")
    for name, what in (("table.md", "has the name of the table beside it"), ("stopped", "is a folder")):
        message = f"The page must be an HTML file, such as report.html; {tmp_path / name} {what}."
        with pytest.raises(ValueError, match=exactly(message)):
            write_report(find_records([tmp_path]), tmp_path / name)
