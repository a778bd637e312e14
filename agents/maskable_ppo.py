"""Proximal policy optimisation with masked actions, as sb3-contrib has it, on whole text episodes."""

from typing import ClassVar

import numpy as np
import torch
from sb3_contrib import MaskablePPO as PlainMaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBufferSamples
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from .candidates import pack_candidates
from .clipped import ClippedAlgorithm
from .episode_buffer import EpisodeBuffer
from .policy import GPT2Policy

Masks = np.ndarray | Tensor | None


class MaskableGPT2Policy(GPT2Policy, MaskableActorCriticPolicy):  # type: ignore[misc]  # sb3-contrib asks for both
    """A `GPT2Policy` that also takes masks from outside, as sb3-contrib's `MaskablePPO` and its evaluation give them.

    Masks are True at each allowed action, shape (N, V); what they forbid is forbidden besides what `token_rules` does.
    """

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False, action_masks: Masks = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose an action for each decision; see `GPT2Policy.forward`."""
        return super().forward(self._with_masks(obs, action_masks), deterministic)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor, action_masks: Masks = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, shape (N, 1), log-probabilities and entropies, shape (N,), of the actions taken."""
        return super().evaluate_actions(self._with_masks(obs, action_masks), actions)

    def get_distribution(self, obs: PyTorchObs, action_masks: Masks = None) -> Distribution:  # type: ignore[override]
        """Return the distribution over tokens at each decision."""
        return super().get_distribution(self._with_masks(obs, action_masks))

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: Masks = None,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose the next token of one context or of several; see `GPT2Policy.predict`."""
        obs, is_batch = self._read(observation)
        with torch.no_grad():
            token_ids = self._predict(self._with_masks(obs, action_masks), deterministic, top_k, top_p).cpu().numpy()
        return (token_ids if is_batch else token_ids.squeeze(axis=0)), state

    def _with_masks(self, obs: PyTorchObs, action_masks: Masks) -> PyTorchObs:
        if action_masks is None or isinstance(obs, Tensor):
            return obs
        masks = torch.as_tensor(action_masks, device=self.device).reshape(-1, self.vocab_size).bool()
        return {**obs, "candidates": pack_candidates(masks)}


class MaskablePPO(ClippedAlgorithm, PlainMaskablePPO):
    """sb3-contrib's MaskablePPO with cached rollouts of whole episodes; its `train` runs unchanged.

    The environment's `action_masks()` follow from its rules, banned tokens and `min_new_tokens`, and the policy knows
    the rules. So masks are neither asked for nor stored; a rollout's would take as much memory as its logits. `PPO`
    keeps to the rules likewise, and learns the same; this class also takes masks in `predict`, for sb3-contrib's
    `evaluate_policy` and `MaskableEvalCallback`.

    Args:
        policy: `"GPT2Policy"` or `"MaskableGPT2Policy"`, which is meant by both, or a subclass of it.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        **arguments: All other arguments are those of `PPO`.

    Reference:
        Huang and Ontañón (2020), arXiv:2006.14171.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "GPT2Policy": MaskableGPT2Policy,
        "MaskableGPT2Policy": MaskableGPT2Policy,
    }
    policy: MaskableGPT2Policy
    rollout_buffer: "MaskableEpisodeBuffer"  # type: ignore[assignment]
    batch_size: int

    def _choose_buffer(self, seed: int) -> None:
        super()._choose_buffer(seed)
        self.rollout_buffer_class = MaskableEpisodeBuffer

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
        use_masking: bool = True,
    ) -> bool:
        """Generate, score and store one rollout.

        Returns:
            False if a callback asked to stop.

        Raises:
            ValueError: If `use_masking` is False.
        """
        if not use_masking:
            raise ValueError(
                "use_masking must be True: the policy never samples a token that the environment forbids. To allow "
                "all tokens, make the environment without banned_token_ids and min_new_tokens."
            )
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: Masks = None,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose the next token of one context or of several.

        Args:
            observation: As `TextGen-v0` or a VecEnv of it gives it.
            state: Returned as it is; the context is all there is to know.
            episode_start: Not used, likewise.
            deterministic: Take the most probable token.
            action_masks: True at each allowed token, shape (V,) or (B, V); None for what the rules allow.
            top_k: See `restrict_to_top`.
            top_p: See `restrict_to_top`.

        Returns:
            Token ids, shape () for one context and (B,) for several, and `state`.
        """
        policy = self.policy
        return policy.predict(
            observation, state, episode_start, deterministic, action_masks=action_masks, top_k=top_k, top_p=top_p
        )


class MaskableEpisodeBuffer(EpisodeBuffer):
    """An `EpisodeBuffer` whose samples have the field that sb3-contrib reads: no masks, since the policy knows them."""

    def samples(self, episodes: np.ndarray) -> MaskableDictRolloutBufferSamples:  # type: ignore[override]
        """Pack the given episodes, by number, longest first."""
        return MaskableDictRolloutBufferSamples(*super().samples(episodes), action_masks=None)  # type: ignore[arg-type]
