"""How long a text may be for a backbone, by the way in which it counts positions; and whose tokens it must know."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel, DebertaV2Config, GPT2Config, GPT2LMHeadModel, RobertaConfig, XLNetConfig

from tests.fakes import VOCAB_SIZE, byte_tokenizer
from textgym.rewards.learned.backbone import check_belong_together, load_backbone_tokenizer
from textgym.rewards.longest_text import longest_text

SMALL: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 8, "max_position_embeddings": 34,
}  # fmt: skip


def roberta() -> Any:
    return AutoModel.from_config(RobertaConfig(**SMALL, pad_token_id=1))


def deberta() -> Any:
    return AutoModel.from_config(DebertaV2Config(**SMALL, position_biased_input=False, relative_attention=True))


def xlnet() -> Any:
    return AutoModel.from_config(XLNetConfig(vocab_size=VOCAB_SIZE, d_model=8, n_layer=1, n_head=2, d_inner=8))


@pytest.mark.parametrize(
    ("model", "longest"),
    [(roberta, 34 - 2), (deberta, 48), (xlnet, 48)],
    ids=["positions from behind padding", "relative positions beside a table", "relative positions alone"],
)
def test_a_text_is_cut_where_the_backbone_has_no_positions(model: Any, longest: int) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 10**9
    assert longest_text(tokenizer, model(), 48) == longest
    assert longest_text(tokenizer, model(), 20) == 20
    tokenizer.model_max_length = 10
    assert longest_text(tokenizer, model(), 48) == 10


def test_only_special_tokens_that_no_text_brings_may_be_unknown() -> None:
    tokenizer, model = byte_tokenizer(), roberta()
    check_belong_together(tokenizer, model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<picture>"]})
    check_belong_together(tokenizer, model)
    tokenizer.add_tokens(["wordless"])
    with pytest.raises(ValueError, match=r"^The tokenizer has .* save two that belong together into its folder\.$"):
        check_belong_together(tokenizer, model)


def test_a_backbone_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=8, n_layer=1, n_head=1, n_positions=16)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no tokenizer's vocabulary") as caught:
        load_backbone_tokenizer(tmp_path)
    assert f"tokenizer.save_pretrained('{tmp_path}')" in str(caught.value)
