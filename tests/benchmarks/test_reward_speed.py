"""The measurement of rule rewards runs, on texts of the length that it says."""

from textgym.benchmarks.reward_speed import N_TOKENS, REWARDS, completions_per_second, make_completions
from textgym.models import load_tokenizer


def test_completions_have_48_tokens_and_differ() -> None:
    texts, ids = make_completions(70)
    assert [len(one) for one in ids] == [N_TOKENS] * 70
    assert len(set(texts)) == 70
    assert texts[0] == load_tokenizer().decode(ids[0])


def test_a_reward_is_measured_in_completions_a_second() -> None:
    assert completions_per_second(REWARDS["EndsSentence"](), number=40, repeats=1) > 100
