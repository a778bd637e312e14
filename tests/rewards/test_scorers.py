"""Rewards that rest on a package or on a model: compared with the package itself, and with a model computed by hand."""

import importlib
import json
import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification, PreTrainedModel

from tests.fakes import EOS_TOKEN_ID, VOCAB_SIZE, byte_tokenizer, tokens
from textgym.models import BUNDLED_MODEL_FOLDER
from textgym.reward_protocol import RewardError, resolve_reward, score_completions
from textgym.rewards import (
    MissingPackageError,
    Perplexity,
    RewardFunction,
    Sentiment,
    SequenceClassifier,
    Similarity,
    Toxicity,
    build_reward,
    reward_to_data,
)

COMPLETIONS = ["The cat sat on the mat.", "the cat, on the mat", "A dog ran.", "", "猫坐在垫子上。"]
REFERENCE = "The cat sat on the mat."


def scores(reward: RewardFunction, completions: list[str], **columns: Any) -> list[float]:
    return score_completions(reward, ["Q"] * len(completions), completions, columns, [[1]] * len(completions)).scores


def test_bleu_and_chrf_are_sacrebleus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="needs the extra similarity")
    texts = COMPLETIONS[:4]
    bleu = [sacrebleu.sentence_bleu(text, [REFERENCE], use_effective_order=True).score / 100 for text in texts]
    chrf = [sacrebleu.sentence_chrf(text, [REFERENCE]).score / 100 for text in texts]
    assert scores(Similarity("bleu"), texts, reference=[REFERENCE] * 4) == pytest.approx(bleu)
    assert scores(Similarity("chrf"), texts, reference=[REFERENCE] * 4) == pytest.approx(chrf)
    chinese = sacrebleu.sentence_bleu("猫坐在那里。", ["猫坐在垫子上。"], tokenize="zh", use_effective_order=True)
    assert scores(Similarity("bleu"), ["猫坐在那里。"], reference=["猫坐在垫子上。"]) == [
        pytest.approx(chinese.score / 100)
    ]


WORDS = [
    *("the", "cat", "sat", "on", "on", "a", "mat's", "well-known", "end", "3.5", "1,000", "2-3", "U.S.", "...", "?!"),
    *("(so)", "“so”", "&amp;", "&quot;x&quot;", "<skipped>", "a/b", "$5", "naïve", "垫子", "猫坐在", "학교", "é"),
    *("\u3000", "-\n", "\n", "🙂", "🙂🙂"),
]


def random_texts(generator: random.Random, number: int) -> list[str]:
    """Texts of up to 30 words, which repeat; the first is empty."""
    return ["", *(" ".join(generator.choices(WORDS, k=generator.randint(1, 30))) for _ in range(number - 1))]


def test_bleu_of_any_texts_and_references_is_sacrebleus() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics", reason="needs the extra similarity")
    generator = random.Random(0)
    texts = random_texts(generator, 300)
    references = [random_texts(generator, 4)[generator.randint(0, 1) :] for _ in texts]
    sacrebleu = metrics.BLEU(effective_order=True)

    def spaced(text: str) -> str:
        return re.sub("[\u4e00-\u9fff]", r" \g<0> ", text)

    expected = [
        sacrebleu.sentence_score(spaced(text), list(map(spaced, several))).score / 100
        for text, several in zip(texts, references, strict=True)
    ]
    found = scores(Similarity("bleu"), texts, reference=references)
    assert found == pytest.approx(expected, abs=1e-12)
    assert sum(score > 0 for score in found) > 200


def test_chrf_of_any_texts_and_references_is_sacrebleus() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics", reason="needs the extra similarity")
    generator = random.Random(1)
    texts = random_texts(generator, 200)
    references = [random_texts(generator, 4)[generator.randint(0, 1) :] for _ in texts]
    # So many different characters that a batch, and then a single text, does not fit into numbers of six digits.
    for start in range(0x4E00, 0x4E00 + 4000, 400):
        texts.append("".join(map(chr, range(start, start + 400))))
        references.append([texts[-1][50:] + "不" + texts[-1][:40]])
    texts.append("".join(map(chr, range(0x4E00, 0x4E00 + 1500))))
    references.append([texts[-1][::-1], texts[-1][700:]])
    sacrebleu = metrics.CHRF()
    expected = [
        sacrebleu.sentence_score(text, several).score / 100 for text, several in zip(texts, references, strict=True)
    ]
    assert scores(Similarity("chrf"), texts, reference=references) == pytest.approx(expected, abs=1e-12)
    assert scores(Similarity("chrf"), texts[-1:], reference=references[-1:]) == pytest.approx(expected[-1:], abs=1e-12)
    assert scores(Similarity("chrf"), ["", " "], reference=[" ", [""]]) == [0.0, 0.0]


def test_rouge_l_is_the_longest_common_subsequence_by_hand() -> None:
    pytest.importorskip("rapidfuzz", reason="needs the extra similarity")
    # "the cat on the mat" is all of 5 words, and 5 of 6 of the reference: F = 2 · 1 · (5/6) / (1 + 5/6).
    expected = [1.0, 2 * (5 / 6) / (1 + 5 / 6), 0.0, 0.0, 0.0]
    assert scores(Similarity(), COMPLETIONS, reference=[REFERENCE] * 5) == pytest.approx(expected)
    # 猫坐在 of 6 and of 5 characters.
    assert scores(Similarity(), ["猫坐在那边"], reference=["猫坐在垫子上。"]) == [pytest.approx(2 * 3 / (6 + 5))]


def test_the_best_of_several_references_counts_and_none_does_not_apply() -> None:
    pytest.importorskip("rapidfuzz", reason="needs the extra similarity")
    reward = Similarity(column="answers", name="like")
    several = [["a b c", "the cat"], None, "the"]
    result = score_completions(reward, ["Q"] * 3, ["the cat"] * 3, {"answers": several}, [[1]] * 3)
    assert result.terms == {"like": [1.0, None, pytest.approx(2 / 3)]}


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (
            {},
            (
                "ValueError (Similarity compares with the column 'reference', which the prompts do not have. Add it to "
                "them, or name another by column=.)"
            ),
        ),
        ({"reference": [3]}, "TypeError (A reference must be a text, a list of texts or None, got 3.)"),
        ({"reference": [[]]}, "ValueError (A list of references must have at least one, got an empty one; for no "),
    ],
)
def test_references_that_are_none_are_an_error(columns: dict[str, Any], problem: str) -> None:
    pytest.importorskip("rapidfuzz", reason="needs the extra similarity")
    with pytest.raises(RewardError) as caught:
        scores(Similarity(), ["a"], **columns)
    assert f"raised {problem}" in str(caught.value)


def test_sentiment_is_vaders_compound() -> None:
    vader = pytest.importorskip("vaderSentiment.vaderSentiment", reason="needs the extra sentiment")
    texts = ["I love it!", "I hate it.", "It is a table.", "", "我喜欢。"]
    expected = [vader.SentimentIntensityAnalyzer().polarity_scores(text)["compound"] for text in texts]
    assert scores(Sentiment(), texts) == expected
    assert expected[0] > 0.5 > -0.5 > expected[1]
    assert expected[2:] == [0, 0, 0]


def test_sentiment_is_vaders_with_every_rule_of_vader() -> None:
    vader = pytest.importorskip("vaderSentiment.vaderSentiment", reason="needs the extra sentiment")
    analyzer = vader.SentimentIntensityAnalyzer()
    # Words that a rule names are drawn as often as words of the lexicon, so that they meet.
    rules = [*vader.BOOSTER_DICT, *vader.NEGATE, *vader.SPECIAL_CASES, "no", "or", "nor", "at least", "least", "but"]
    rules += ["never so", "never this", "without doubt", "without a doubt", "kind of", "kind", "so", "this", "isn't"]
    lexicon = ["good", "bad", "great", "terrible", "love", "hate", "no", ":)", "lol", "badass", "kind", "well", "worst"]
    plain = ["the", "film", "is", "of", "a", "very!", "(film)", "A", "OK"]
    emojis = ["😀", "x😁", "💘y", "é", "猫"]
    generator = random.Random(0)
    forms = ["{}", "{}", "{}!", "({})??"]
    cases: list[Callable[[str], str]] = [str, str, str.upper, str.title]
    texts = []
    for _ in range(3000):
        kinds = generator.choices([rules, lexicon, plain, emojis], weights=[5, 5, 4, 1], k=generator.randint(0, 16))
        words = [generator.choice(forms).format(generator.choice(kind)) for kind in kinds]
        texts.append(" ".join(generator.choice(cases)(word) for word in words))
    assert scores(Sentiment(), texts) == [analyzer.polarity_scores(text)["compound"] for text in texts]


def test_toxicity_is_the_packages_probability() -> None:
    package = pytest.importorskip("profanity_check", reason="needs the extra toxicity")
    generator = random.Random(0)
    words = ["you", "stupid", "idiot", "damn", "hell", "kind", "film", "the", "is", "good", "shit", "你好", "a"]
    texts = ["", *(" ".join(generator.choices(words, k=generator.randint(1, 20))) for _ in range(100))]
    assert scores(Toxicity(), texts) == pytest.approx(package.predict_prob(texts).tolist(), abs=1e-12)


def test_toxicity_tells_insults_from_the_rest() -> None:
    pytest.importorskip("profanity_check", reason="needs the extra toxicity")
    insult, kind, empty, chinese = scores(Toxicity(), ["You stupid idiot, go to hell", "How kind of you", "", "你好"])
    assert insult > 0.8
    assert max(kind, empty, chinese) < 0.2


@pytest.mark.parametrize(
    ("reward_class", "package", "extra"),
    [
        (Similarity, "rapidfuzz", "similarity"),
        (lambda: Similarity("bleu"), "sacrebleu", "similarity"),
        (lambda: Similarity("chrf"), "sacrebleu", "similarity"),
        (Toxicity, "profanity_check", "toxicity"),
        (Sentiment, "vaderSentiment", "sentiment"),
        (lambda: build_reward("http://127.0.0.1:1"), "httpx2", "http"),
    ],
)
def test_without_its_package_a_reward_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, reward_class: Any, package: str, extra: str
) -> None:
    import_module = importlib.import_module

    def refuse(name: str) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return import_module(name)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(MissingPackageError) as caught:
        reward_class()
    assert f"needs the package {package}, which is not installed: pip install 'textgym[{extra}]'" in str(caught.value)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, ValueError)


def save_classifier(folder: Path, labels: list[str]) -> PreTrainedModel:
    """Write a GPT-2 of random weights, 2 layers and width 16, that classifies bytes."""
    torch.manual_seed(len(labels))
    config = GPT2Config(
        vocab_size=VOCAB_SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.5,
        bos_token_id=EOS_TOKEN_ID, eos_token_id=EOS_TOKEN_ID, pad_token_id=EOS_TOKEN_ID,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
    )  # fmt: skip
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(folder)
    model.eval()
    return model


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedModel]:
    folder = tmp_path_factory.mktemp("models") / "reward"
    return folder, save_classifier(folder, ["LABEL_0"])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedModel]:
    folder = tmp_path_factory.mktemp("models") / "classifier"
    return folder, save_classifier(folder, ["bad", "fair", "good"])


def logits(model: PreTrainedModel, text: str) -> torch.Tensor:
    """One text at a time, without padding, its last 32 tokens."""
    with torch.no_grad():
        output: torch.Tensor = model(torch.tensor([tokens(text)[-32:]])).logits[0]
    return output


TEXTS = [" is wide", " is wide and calm and deep and blue and cold", "", "很平静", " ends"]


def test_a_folder_of_a_reward_model_is_a_reward(reward_model: tuple[Path, PreTrainedModel]) -> None:
    folder, model = reward_model
    reward = resolve_reward(str(folder))
    result = score_completions(reward, ["The sea"] * 5, TEXTS, {}, [[1]] * 5)
    assert result.scores == pytest.approx([float(logits(model, "The sea" + text)) for text in TEXTS], abs=1e-5)
    assert list(result.terms) == ["sequence_classifier"]
    assert reward(prompts=["The sea"], completions=["is wide"]) == reward(prompts=["The sea"], completions=[" is wide"])
    in_yaml = build_reward({str(folder): {"batch_size": 1, "reads": "completion", "name": "taste"}})
    read_alone = score_completions(in_yaml, ["The sea"], [" is wide"], {}, [[1]])
    assert read_alone.terms == {"taste": [pytest.approx(float(logits(model, " is wide")), abs=1e-5)]}


def test_a_classifier_gives_the_probability_of_a_label(classifier: tuple[Path, PreTrainedModel]) -> None:
    folder, model = classifier
    expected = [float(logits(model, "The sea" + text).softmax(-1)[2]) for text in TEXTS]
    for label in ("good", 2):
        reward = SequenceClassifier(str(folder), label=label, batch_size=2)
        assert reward(prompts=["The sea"] * 5, completions=TEXTS) == pytest.approx(expected, abs=1e-5)
    assert reward.score_range == (0.0, 1.0)
    assert eval(repr(reward)) == reward
    assert pickle.loads(pickle.dumps(reward))(prompts=["The sea"], completions=[""]) == pytest.approx(expected[2:3])
    assert build_reward(reward_to_data(reward)) == reward


def test_a_label_has_to_be_one_of_the_models(
    classifier: tuple[Path, PreTrainedModel], reward_model: tuple[Path, PreTrainedModel]
) -> None:
    for label in (None, "great", 3):
        with pytest.raises(ValueError, match="label must be one of the labels of") as caught:
            SequenceClassifier(str(classifier[0]), label=label)
        assert str(caught.value).endswith(f"which are 0 (bad), 1 (fair), 2 (good); got {label!r}.")
    with pytest.raises(ValueError, match="has one output and no labels; leave out label"):
        SequenceClassifier(str(reward_model[0]), label="good")


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds GPT2LMHeadModel, expected a model for sequence classification"):
        resolve_reward(str(BUNDLED_MODEL_FOLDER))
    with pytest.raises(
        ValueError, match="holds no reward: expected a model as transformers' save_pretrained writes it"
    ):
        resolve_reward(str(tmp_path))
    with pytest.raises(ValueError, match="No sequence classifier named 'some/hub-name': expected a folder, or a name"):
        resolve_reward("some/hub-name")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="holds no sequence classifier that transformers can load"):
        resolve_reward(str(tmp_path))


def test_perplexity_is_that_of_the_model_one_text_at_a_time(tiny_model: tuple[Path, Any]) -> None:
    folder, model = tiny_model
    prompt, completions = "The sea", [" is wide", "", "很平静", " calm " * 10]
    expected = []
    for completion in completions:
        before, after = [EOS_TOKEN_ID, *tokens(prompt)], [*tokens(completion), EOS_TOKEN_ID]
        with torch.no_grad():
            log_probs = model(torch.tensor([(before + after)[-64:]])).logits[0].log_softmax(-1)
        ids = (before + after)[-64:]
        n_scored = min(len(after), len(ids) - 1)
        total = sum(float(log_probs[-n_scored - 1 + step, ids[len(ids) - n_scored + step]]) for step in range(n_scored))
        expected.append(float(torch.tensor(-total / n_scored).exp()))
    reward = Perplexity(str(folder), maximum=1e6, batch_size=3)
    found = reward(prompts=[prompt] * 4, completions=completions)
    assert found == pytest.approx(expected, rel=1e-4)
    bounded = Perplexity(str(folder), maximum=2.0, logarithm=True)
    assert bounded(prompts=[prompt], completions=[""]) == [pytest.approx(0.6931, abs=1e-4)]
    assert pickle.loads(pickle.dumps(reward)) == reward == eval(repr(reward))


def test_the_bundled_model_finds_english_likelier_than_letters() -> None:
    english, letters = scores(Perplexity(maximum=1e6), [" was the first of its kind.", " xq zzv kkj"])
    assert 1 < english < letters


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    from transformers import GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "language"
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB_SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3,
        bos_token_id=EOS_TOKEN_ID, eos_token_id=EOS_TOKEN_ID,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder, model
