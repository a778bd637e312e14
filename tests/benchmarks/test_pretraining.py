"""Pre-training: the same weights however often it is killed, on blocks of all texts, with a measure that adds up."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel

from tests.benchmarks.tiny_run import SENTENCE, TINY, write_corpus
from textgym.benchmarks import pretrain
from textgym.benchmarks.pretraining.bits_per_byte import bits_per_byte
from textgym.benchmarks.pretraining.corpus import ORIGINS, read_corpus
from textgym.benchmarks.pretraining.optimizers import learning_rate_factor, orthogonalize
from textgym.benchmarks.pretraining.run_folder import Recipe, RunFolder
from textgym.benchmarks.pretraining.tokenizer import BatchOrder, epoch_blocks, train_tokenizer
from textgym.benchmarks.pretraining.training import MeanLoss, Pretraining, make_model


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


def checkpoint(folder: Path) -> dict[str, object]:
    state = RunFolder(folder).load_checkpoint()
    assert state is not None
    return state


def test_a_run_killed_and_resumed_equals_one_never_killed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgym.benchmarks.pretraining.training.STEPS_A_CHECKPOINT", 2)
    sources, recipe = read_corpus(corpus), replace(TINY, dropout=0.1)
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    Pretraining(recipe, sources, whole).run()

    learn = Pretraining.learn

    def be_killed_in_step_5(self: Pretraining, batch: torch.Tensor) -> None:
        if self.step == 4 and self.first_step == 0:
            learn(self, batch)
            raise KeyboardInterrupt
        learn(self, batch)

    monkeypatch.setattr(Pretraining, "learn", be_killed_in_step_5)
    with pytest.raises(KeyboardInterrupt):
        Pretraining(recipe, sources, parts).run()
    assert checkpoint(parts.path)["step"] == 4
    Pretraining(recipe, sources, parts).run()

    torch.testing.assert_close(checkpoint(parts.path), checkpoint(whole.path), rtol=0, atol=0)
    assert parts.log_file.read_text() == whole.log_file.read_text()
    record = parts.read_record()
    assert record is not None
    assert [(session["first_step"], session["last_step"]) for session in record["sessions"]] == [(0, 4), (4, 6)]


def test_a_finished_run_called_again_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    sources, folder = read_corpus(corpus), RunFolder(tmp_path / "run")
    Pretraining(TINY, sources, folder).run()
    before = checkpoint(folder.path), folder.log_file.read_text()
    Pretraining(TINY, sources, folder).run()
    torch.testing.assert_close(checkpoint(folder.path), before[0], rtol=0, atol=0)
    assert folder.log_file.read_text() == before[1]


def test_a_checkpoint_without_a_mean_loss_loads(corpus: Path, tmp_path: Path) -> None:
    sources, folder = read_corpus(corpus), RunFolder(tmp_path / "run")
    Pretraining(TINY, sources, folder).run()
    state = checkpoint(folder.path)
    del state["loss"]
    folder.save_checkpoint(state)
    resumed = Pretraining(TINY, sources, folder)
    assert resumed.step == 6
    assert math.isnan(resumed.loss.value)


def test_the_run_can_be_made_longer_but_not_be_made_another(corpus: Path, tmp_path: Path) -> None:
    sources, folder = read_corpus(corpus), RunFolder(tmp_path / "run")
    Pretraining(TINY, sources, folder).run()
    longer = Recipe(**{**vars(TINY), "steps": 7})
    Pretraining(longer, sources, folder).run()
    assert checkpoint(folder.path)["step"] == 7
    other = Recipe(**{**vars(TINY), "batch_size": 4})
    message = f"the run in {folder.path} began with batch_size 2, got 4; give the same value, or another output folder"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Pretraining(other, sources, folder)


def test_a_run_begins_with_the_weights_of_another_and_remembers_it(corpus: Path, tmp_path: Path) -> None:
    sources = read_corpus(corpus)
    first, second = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "second")
    Pretraining(TINY, sources, first).run()
    recipe = Recipe(**{**vars(TINY), "steps": 4, "seed": 1})
    begun = Pretraining(recipe, sources, second, earlier=first)
    torch.testing.assert_close(begun.model.state_dict(), checkpoint(first.path)["model"], rtol=0, atol=0)
    assert begun.step == 0
    begun.run()
    # Called again, with and without the earlier run, it is finished.
    for earlier in (first, None):
        again = Pretraining(recipe, sources, second, earlier=earlier)
        assert again.step == 4
        again.run()
    record = second.read_record()
    assert record is not None
    (earlier_run,) = record["earlier_runs"]
    assert (earlier_run["recipe"], earlier_run["step"]) == (vars(TINY), 6)

    third = RunFolder(tmp_path / "third")
    Pretraining(recipe, sources, third, earlier=second).run()
    record = third.read_record()
    assert record is not None
    assert [run["step"] for run in record["earlier_runs"]] == [6, 4]


def test_a_run_refuses_to_begin_from_what_it_did_not(corpus: Path, tmp_path: Path) -> None:
    sources, folder = read_corpus(corpus), RunFolder(tmp_path / "run")
    message = f"expected a pre-training run in {tmp_path / 'empty'}, found neither checkpoint.pt nor pretraining.json"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Pretraining(TINY, sources, folder, earlier=RunFolder(tmp_path / "empty"))
    other = RunFolder(tmp_path / "other")
    for run in (folder, other):
        Pretraining(TINY, sources, run).run()
    message = f"the run in {folder.path} did not begin with the weights in {other.path}; give another output folder"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Pretraining(TINY, sources, folder, earlier=other)


def test_micro_batches_do_not_change_a_step(corpus: Path, tmp_path: Path) -> None:
    sources = read_corpus(corpus)
    one = Pretraining(TINY, sources, RunFolder(tmp_path / "one"))
    two = Pretraining(Recipe(**{**vars(TINY), "micro_batch_size": 2}), sources, RunFolder(tmp_path / "two"))
    for training in (one, two):
        training.learn(training.batches.batch(0))
    torch.testing.assert_close(one.model.state_dict(), two.model.state_dict(), rtol=1e-4, atol=1e-5)
    assert one.loss.value == pytest.approx(two.loss.value)


def test_bfloat16_gives_nearly_the_same_first_loss(corpus: Path, tmp_path: Path) -> None:
    sources = read_corpus(corpus)
    losses = []
    for bf16 in (False, True):
        recipe = Recipe(**{**vars(TINY), "bf16": bf16})
        training = Pretraining(recipe, sources, RunFolder(tmp_path / str(bf16)))
        training.learn(training.batches.batch(0))
        losses.append(training.loss.value)
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_the_command_trains_logs_and_records(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = {name: value for name, value in vars(TINY).items() if name != "bf16"}
    pretrain.main(corpus, run, **settings)
    (row,) = RunFolder(run).log_rows()
    assert list(row) == ["step", "tokens", "loss", "bits_per_byte/movie_reviews_en", "bits_per_byte/speeches_en"]
    assert (row["step"], row["tokens"]) == ("6", str(6 * 2 * 16))
    assert float(row["loss"]) == pytest.approx(math.log(270), rel=0.1)
    assert json.loads((run / "tokenizer_config.json").read_text())["model_max_length"] == 16
    record = json.loads((run / "run.json").read_text())
    assert record["recipe"] == vars(TINY)
    model = GPT2LMHeadModel.from_pretrained(run)
    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_training_lowers_the_loss(corpus: Path, tmp_path: Path) -> None:
    training = Pretraining(Recipe(**{**vars(TINY), "steps": 60}), read_corpus(corpus), RunFolder(tmp_path / "run"))
    # Uniform over the vocabulary is log 270 = 5.6; the words' order is fixed, so little is left to learn in the end.
    training.learn(training.batches.batch(0))
    assert training.loss.value > 5
    for step in range(1, 60):
        training.learn(training.batches.batch(step))
    assert training.loss.value < 4


def test_every_fiftieth_text_is_held_out_and_empty_lines_are_skipped(corpus: Path) -> None:
    reviews, speeches = read_corpus(corpus)
    lines = (corpus / "movie_reviews_en.txt").read_text().split("\n\n")
    assert reviews.name == "movie_reviews_en"
    assert speeches.name == "speeches_en"
    assert reviews.held_out == [lines[0], lines[50], lines[100]]
    assert len(reviews.training) == 107


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    message = f"expected *.txt files with one text a line in {tmp_path}, found none"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_corpus(tmp_path)
    (tmp_path / "a.txt").write_text("only one\n", encoding="utf-8")
    message = f"expected at least two texts, one a line, in {tmp_path / 'a.txt'}, found 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_corpus(tmp_path)


def test_the_corpus_of_the_bundled_model_has_a_licence_for_every_source(corpus_folder: Path) -> None:
    assert {source.name for source in read_corpus(corpus_folder)} == set(ORIGINS)


def test_the_tokenizer_gives_any_text_back() -> None:
    tokenizer = train_tokenizer([SENTENCE] * 9, 270, context=16)
    assert len(tokenizer) == 270
    assert tokenizer.model_max_length == 16
    for text in ["the film", " 机器学习 – naïve\t🙂\n", "<|not special|>"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_an_epoch_holds_every_token_but_the_remainders() -> None:
    encoded = [[text] * 3 + [99] for text in range(10)]
    blocks = epoch_blocks(encoded, 6, torch.Generator().manual_seed(1))
    assert blocks.shape[1] == 6
    assert 40 - blocks.numel() < 12
    stream = blocks.flatten().tolist()
    counts = [stream.count(text) for text in range(10)]
    assert sum(counts) + stream.count(99) == blocks.numel()
    assert max(counts) == 3


def test_a_batch_depends_on_its_step_alone() -> None:
    encoded = [[text] * 5 for text in range(20)]
    order, other = (BatchOrder(encoded, batch_size=3, block=4, seed=7) for _ in range(2))
    batches = [order.batch(step) for step in range(20)]
    assert order.steps_an_epoch == 7
    assert torch.equal(other.batch(13), batches[13])
    assert not torch.equal(batches[0], batches[7])


def test_too_little_text_for_one_batch_is_refused() -> None:
    message = (
        "expected texts of at least 4 blocks of 4 tokens, got 3 tokens; "
        "lower the batch size or the context, or add text"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        BatchOrder([[1, 2, 3]], batch_size=2, block=4, seed=0)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    factors = [learning_rate_factor(step, steps=10, warmup=2, decay_fraction=0.4) for step in range(11)]
    assert factors == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_orthogonalized_matrices_have_singular_values_near_1(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalize(matrix)
    assert result.shape == shape
    singular = torch.linalg.svdvals(result)
    assert singular.min() > 0.3
    assert singular.max() < 1.3
    # The singular vectors stay.
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ result @ right.T
    torch.testing.assert_close(inner, torch.diag(inner.diag()), rtol=0, atol=1e-4)


def test_the_mean_loss_weighs_the_first_value_fully() -> None:
    loss = MeanLoss(decay=0.5)
    assert math.isnan(loss.value)
    loss.add(4.0)
    assert loss.value == 4.0
    loss.add(1.0)
    assert loss.value == pytest.approx((0.5 * 4 + 1) / 1.5)


def test_bits_per_byte_counts_every_token_once() -> None:
    """A model of uniform logits spends log2(V) bits on each token, whatever windows the text is cut into."""
    tokenizer = train_tokenizer([SENTENCE] * 9, 270, context=16)
    model = make_model(tokenizer, TINY)
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.zero_()
    texts = [SENTENCE, "the", " ".join([SENTENCE] * 5)]
    n_tokens = sum(len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"])
    expected = n_tokens * math.log2(270) / sum(len(text) for text in texts)
    for stride in (1, 5, 8, 15):
        assert bits_per_byte(model, tokenizer, texts, stride) == pytest.approx(expected, rel=1e-5)


def test_windows_that_do_not_overlap_are_refused() -> None:
    tokenizer = train_tokenizer([SENTENCE] * 9, 270, context=16)
    message = "stride must be from 1 to 15, below the model's context of 16 tokens, got 16"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        bits_per_byte(make_model(tokenizer, TINY), tokenizer, ["the"], stride=16)


def test_bits_per_byte_of_a_text_within_the_context_is_its_loss() -> None:
    tokenizer = train_tokenizer([SENTENCE] * 9, 270, context=16)
    model = make_model(tokenizer, TINY)
    ids = tokenizer("the film was")["input_ids"]
    tokens = torch.tensor([[tokenizer.eos_token_id, *ids]])
    loss = model(tokens, labels=tokens).loss.item()
    expected = loss * len(ids) / math.log(2) / len("the film was")
    assert bits_per_byte(model, tokenizer, ["the film was"]) == pytest.approx(expected, rel=1e-5)
