"""Infos gathered from columns are those that Gymnasium gathers row by row."""

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from textgym.vector_infos import gather_infos

INFOS: dict[str, dict[int, dict[str, Any]]] = {
    "numbers_texts_and_flags": {
        0: {"score": 0.5, "n_tokens": 3, "completion": "a", "forbidden_action": True},
        3: {"score": 1.0, "n_tokens": 4, "completion": "b"},
    },
    "lists_of_one_length": {1: {"token_rewards": [0.1, 0.2]}, 2: {"token_rewards": [0.3, 0.4]}},
    "keys_of_some_rows": {2: {"a": 1}, 0: {"b": "text"}},
    "observations": {1: {"final_obs": {"input_ids": np.arange(2)}}, 2: {"final_obs": {"input_ids": np.arange(2)}}},
    "none": {},
}


@pytest.mark.parametrize("infos", INFOS.values(), ids=INFOS)
def test_they_equal_gymnasium_s(infos: dict[int, dict[str, Any]]) -> None:
    env: VectorEnv[Any, Any, Any] = VectorEnv()
    env.num_envs = 4
    expected: dict[str, Any] = {}
    for row, info in infos.items():
        expected = env._add_info(expected, info, row)
    keys = {key: None for info in infos.values() for key in info}
    columns = {key: [info.get(key) for info in infos.values()] for key in keys}
    gathered = gather_infos(np.array(list(infos), dtype=np.int64), columns, 4)
    assert list(gathered) == list(expected)
    for key, value in expected.items():
        assert gathered[key].dtype == value.dtype
        if key == "final_obs":
            assert [row is not None for row in gathered[key]] == [row is not None for row in value]
        else:
            assert gathered[key].tolist() == value.tolist()


def test_a_number_that_is_whole_in_one_row_only_is_not_cut_in_the_others() -> None:
    """Gymnasium takes the first row's type for all, and would make 0.5 a 0."""
    gathered = gather_infos(np.arange(2), {"score": [1, 0.5]}, 2)
    assert gathered["score"].tolist() == [1, 0.5]


def test_a_key_that_no_row_has_is_left_out() -> None:
    assert gather_infos(np.arange(2), {"token_rewards": [None, None]}, 2) == {}


def test_the_masks_of_two_keys_can_be_changed_by_themselves() -> None:
    gathered = gather_infos(np.arange(2), {"score": [1.0, 0.5], "n_tokens": [1, 2]}, 2)
    gathered["_score"][:] = False
    assert gathered["_n_tokens"].all()
