"""A causal language model as a Stable-Baselines3 policy that chooses one token at a time."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from .language_head import LanguageHead
from .lora import LoraSource
from .model_check import check_language_model
from .precision import Autocast
from .sampling import draw_tokens, draw_with_log_prob, restrict_to_top
from .term_watch import TermWatch
from .token_rules import NO_RULES, TokenRules
from .trunk_model import ModelSource

OBSERVATION_KEYS = ("input_ids", "attention_mask", "is_generated")


class LanguagePolicy(LanguageHead):
    """What actor-critic and value-based policies on a language model share.

    The distribution over actions is softmax(logits / temperature) over the tokens that the environment allows; all
    log-probabilities and entropies are of that distribution.

    For the two forms of observations see `Trunk`.

    Subclasses say what a hidden state is worth (`values_of`), and may choose tokens otherwise (`choose`).

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `Discrete(V)`.
        model: A language model, a folder, a hub name, a `transformers` configuration (random weights), or None for
            the bundled GPT-2. Dropout is switched off, since the tokens were sampled without it. An object that is
            passed in is copied.
        temperature: Divides the logits.
        token_rules: Tokens that the environment forbids.
        frozen_layers: Number of blocks, from the first, that are not trained, nor are the embeddings then (nor a head
            that is tied to them); 0 trains everything.
        lora: Train a low-rank adapter in place of the model, see `add_lora`: its rank, settings of `peft.LoraConfig`,
            or the folder of a saved adapter. The reference is then the model without it.
        autocast: `"bfloat16"` computes matrix products in it, from weights kept in float32. A CPU decodes in
            float32 where that is faster, see `decoding_dtype`.
        gradient_checkpointing: Keep only each block's input for the backward pass, which computes the rest again.
        optimizer_class: Optimiser of all parameters that are trained.
        optimizer_kwargs: Its arguments but the learning rate; None for those of `optimizer_settings`.

    Raises:
        ValueError: If the vocabulary or context of the model is smaller than the environment's, or an argument is out
            of range.
        TypeError: If the spaces are not those of `TextGen-v0`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        model: ModelSource = None,
        temperature: float = 1.0,
        token_rules: TokenRules = NO_RULES,
        frozen_layers: int = 0,
        lora: LoraSource | None = None,
        autocast: Autocast | None = None,
        gradient_checkpointing: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            temperature=temperature,
            token_rules=token_rules,
            model=model,
            frozen_layers=frozen_layers,
            lora=lora,
            autocast=autocast,
            gradient_checkpointing=gradient_checkpointing,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.term_watch = TermWatch()
        check_language_model(self, self.context_length)

    @property
    def candidate_bytes(self) -> int:
        """Bytes of one decision's `candidates`, 0 where there are none."""
        return 0

    @property
    def recorded_vocabulary(self) -> int:
        """See `Trunk.recorded_vocabulary`."""
        return self.vocab_size if self.has_plain_logits and not self.candidate_bytes else 0

    @property
    def kind_of_choice(self) -> Hashable:
        """What decides which operations a choice consists of, besides its arguments."""
        return self.temperature == 1.0, self.token_rules, self.plain_head is None

    def candidates(self, hidden: Tensor, n_generated: Tensor) -> Tensor | None:
        """Return the tokens that are chosen among at each decision, where the policy narrows the choice.

        Generation stores them with the episode, so that an update scores a token among those it was drawn from.

        Args:
            hidden: Hidden states, as generation has them, shape (N, D).
            n_generated: Tokens generated before each decision, shape (N,).

        Returns:
            As `pack_candidates` packs them; None for all that the environment allows.
        """
        return None

    def stored_candidates(self, obs: PyTorchObs, hidden: Tensor, n_generated: Tensor) -> Tensor | None:
        """Return the candidates that a packed batch brings under the key `candidates`, and else the policy's own."""
        if isinstance(obs, dict) and "candidates" in obs:
            return obs["candidates"]
        return self.candidates(hidden, n_generated)

    def choose(
        self,
        hidden: Tensor,
        n_generated: Tensor,
        uniforms: Tensor,
        deterministic: bool = False,
        top_k: int | None = None,
        top_p: float | None = None,
        candidates: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose the next token of each row.

        Args:
            hidden: Hidden state at the end of each row, shape (B, D).
            n_generated: Tokens generated so far, shape (B,).
            uniforms: Numbers in [0, 1), shape (B,).
            deterministic: Take the most probable token.
            top_k: See `restrict_to_top`.
            top_p: See `restrict_to_top`.
            candidates: What `candidates` returns, where it is known already.

        Returns:
            Token ids and their log-probabilities under the policy without `top_k` and `top_p`, shape (B,) each.
        """
        if candidates is None:
            candidates = self.candidates(hidden, n_generated)
        logits = self.decision_logits(hidden, n_generated, candidates)
        if not deterministic and top_k is None and top_p is None:
            record = self._drawing_record if candidates is None else None
            return draw_with_log_prob(logits, uniforms) if record is None else record.draw(logits, uniforms)
        if deterministic:
            token_ids = logits.argmax(dim=-1)
        else:
            token_ids = draw_tokens(restrict_to_top(logits, top_k, top_p), uniforms)
        return token_ids, logits.softmax(dim=-1).gather(1, token_ids[:, None])[:, 0].log()

    def values_of(self, hidden: Tensor) -> Tensor:
        """Return the value of hidden states, shape (N, D), as float32, shape (N,)."""
        raise NotImplementedError

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
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
            top_k: See `restrict_to_top`.
            top_p: See `restrict_to_top`.

        Returns:
            Token ids, shape () for one context and (B,) for several, and `state`.

        Raises:
            TypeError: If the observation is not a dict, or `top_k` or `top_p` no number.
            ValueError: If the observation has other keys, or `top_k` or `top_p` is out of range.
        """
        obs, is_batch = self._read(observation)
        with torch.no_grad():
            token_ids = self._predict(obs, deterministic, top_k, top_p).cpu().numpy()
        return (token_ids if is_batch else token_ids.squeeze(axis=0)), state

    def _read(self, observation: np.ndarray | dict[str, np.ndarray]) -> tuple[PyTorchObs, bool]:
        """Return an observation as tensors of several rows, and whether it has several; ready for evaluation."""
        if not isinstance(observation, dict):
            raise TypeError(
                f"predict needs the Dict observation of TextGen-v0, got {type(observation).__name__}; reset() of an "
                "Env returns a pair of observation and info, that of a VecEnv the observation alone."
            )
        if set(observation) != set(OBSERVATION_KEYS):
            expected = ", ".join(OBSERVATION_KEYS)
            raise ValueError(f"predict needs an observation with the keys {expected}, got {list(observation)}.")
        self.set_training_mode(False)
        return self.obs_to_tensor(observation)

    def _predict(
        self,
        observation: PyTorchObs,
        deterministic: bool = False,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Tensor:
        hidden, n_generated = self.choices(observation)
        uniforms = torch.rand(len(hidden), device=hidden.device)
        candidates = self.stored_candidates(observation, hidden, n_generated)
        return self.choose(hidden, n_generated, uniforms, deterministic, top_k, top_p, candidates)[0]

    def choices(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Return what `choose` wants of each decision: what `decisions` gives, unless the policy chooses by more."""
        return self.decisions(obs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            # Only the shape of the network: the weights are loaded.
            "model": self.language_model.config,
            "temperature": self.temperature,
            "token_rules": self.token_rules,
            "frozen_layers": self.frozen_layers,
            "lora": self.lora,
            "autocast": self.autocast,
            "gradient_checkpointing": self.gradient_checkpointing,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }
