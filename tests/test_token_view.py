"""What a policy made of each token, against the language models' own logits, one context at a time."""

import pytest
import torch

from tests.agents.tiny import full_logits, gpt2_config, language_model, letter_policy, letter_task
from textgym.agents import GPT2Policy
from textgym.agents.reference import Reference
from textgym.training.token_view import view_tokens


@pytest.fixture
def policy() -> GPT2Policy:
    """A policy whose value head is not 0."""
    return letter_policy(letter_task())


def test_each_figure_is_what_single_contexts_say(policy: GPT2Policy) -> None:
    task = letter_task(prompt_order="sequential")
    other = language_model(gpt2_config(initializer_range=0.3))
    reference = Reference(policy, other)
    views = view_tokens(policy, task, reference, 4, seed=1)
    assert [view["prompt"] for view in views] == [prompt.text for prompt in task.prompts]
    for view, prompt in zip(views, task.prompts, strict=True):
        context = list(prompt.token_ids)
        for index, token in enumerate(view["tokens"]):
            ours = torch.log_softmax(full_logits(policy, context), dim=-1)
            theirs = torch.log_softmax(full_logits(reference.policy, context), dim=-1)
            token_id = task.tokenizer.get_vocab()[token]
            assert view["entropy"][index] == pytest.approx(-float((ours.exp() * ours).sum()), abs=1e-4)
            assert view["kl"][index] == pytest.approx(float((ours.exp() * (ours - theirs)).sum()), abs=1e-4)
            assert view["log_prob_ratio"][index] == pytest.approx(float(ours[token_id] - theirs[token_id]), abs=1e-4)
            # Only the last token is paid.
            assert view["advantage"][index] == pytest.approx(view["score"] - view["value"][index], abs=1e-4)
            context.append(token_id)
        assert any(value != 0 for value in view["value"])


def test_the_policy_itself_has_no_kl_and_without_a_reference_there_is_none(policy: GPT2Policy) -> None:
    task = letter_task()
    for view in view_tokens(policy, task, Reference(policy), 3, seed=0):
        assert view["kl"] == pytest.approx([0.0] * len(view["tokens"]), abs=1e-5)
    assert {"kl", "log_prob_ratio"} & view_tokens(policy, task, None, 1, seed=0)[0].keys() == set()
