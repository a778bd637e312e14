"""A causal language model as a Stable-Baselines3 policy: logits over the allowed tokens, and the choice of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor
from torch.nn import functional

from .candidates import unpack_candidates
from .few_rows import Product
from .finished_logits import finish_logits, has_finished_logits
from .lora import LoraSource
from .model_check import check_language_model
from .number_checks import check_numbers
from .precision import Autocast, aligned_rows, precision
from .sampling import draw_by_probability, draw_tokens, restrict_to_top
from .term_watch import TermWatch
from .token_rules import NO_RULES, TokenRules
from .token_statistics import head_statistics, token_statistics
from .trunk import ModelSource, Trunk

OBSERVATION_KEYS = ("input_ids", "attention_mask", "is_generated")


class LanguagePolicy(Trunk):
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
        autocast: `"bfloat16"` computes matrix products in it, from weights kept in float32.
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
        if temperature == 0:
            raise ValueError(f"temperature must be above 0, got {temperature}; for greedy text use deterministic=True.")
        check_numbers({"temperature": temperature, "frozen_layers": frozen_layers})
        super().__init__(
            observation_space,
            action_space,
            model=model,
            frozen_layers=frozen_layers,
            lora=lora,
            autocast=autocast,
            gradient_checkpointing=gradient_checkpointing,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.temperature = temperature
        self.token_rules = token_rules
        self.term_watch = TermWatch()
        self._decoding_head: Product | None = None
        banned = torch.tensor(token_rules.banned_token_ids, dtype=torch.long)
        self.register_buffer("banned_token_ids", banned, persistent=False)
        check_language_model(self, self.context_length)

    @property
    def candidate_bytes(self) -> int:
        """Bytes of one decision's `candidates`, 0 where there are none."""
        return 0

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

    def decision_logits(self, hidden: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Return logits over allowed tokens, divided by the temperature.

        Args:
            hidden: Hidden states, shape (N, D).
            n_generated: Tokens generated before each decision, shape (N,).
            candidates: As `candidates` returns them; all other tokens are forbidden too.

        Returns:
            Float32, shape (N, V), the least finite number at forbidden tokens.
        """
        logits = self.model_logits(hidden)
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return self.forbid(logits, n_generated, candidates)

    def model_logits(self, hidden: Tensor) -> Tensor:
        """Return the language model's own logits after hidden states, shape (N, D), as float32, shape (N, V)."""
        with precision(hidden.device, self.autocast):
            logits = (self._decoding_head or self._head)(hidden)
        if logits.shape[1] > self.vocab_size:
            logits = logits[:, : self.vocab_size]
        return finish_logits(logits.float(), self.language_model.config)

    def _head(self, hidden: Tensor) -> Tensor:
        """Return logits, shape (N, V'), V' ≥ V."""
        head = self.plain_head
        if head is None or head.bias is not None:
            logits: Tensor = self.language_model.get_output_embeddings()(hidden)
            return logits
        return functional.linear(hidden, aligned_rows(head.weight))

    def statistics_of(
        self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor, candidates: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities of chosen tokens and the entropies of the distributions, shape (N,) each.

        Args:
            hidden: Hidden states, shape (N, D).
            n_generated: Tokens generated before each decision, shape (N,).
            token_ids: The tokens, among those that are allowed, shape (N,).
            candidates: As `candidates` returns them.
        """
        head = self.plain_head
        is_finished_otherwise = has_finished_logits(self.language_model.config)
        if head is None or head.bias is not None or self.autocast is not None or is_finished_otherwise:
            return token_statistics(self.decision_logits(hidden, n_generated, candidates), token_ids)
        weight = head.weight[: self.vocab_size] if len(head.weight) > self.vocab_size else head.weight
        forbid = partial(self.forbid, n_generated=n_generated, candidates=candidates)
        return head_statistics(hidden, weight, token_ids, self.temperature, forbid)

    @contextmanager
    def decoding_with(self, head: Product) -> Iterator[None]:
        """Compute logits by a head of `make_decoding_head`, which belongs to a rollout, for the time of one step."""
        self._decoding_head = head
        try:
            yield
        finally:
            self._decoding_head = None

    def forbid(self, logits: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Put the least finite number in the place of forbidden tokens' logits, shape (N, V), which are changed."""
        rules, lowest = self.token_rules, torch.finfo(logits.dtype).min
        if rules.banned_token_ids:
            logits.index_fill_(1, cast(Tensor, self.banned_token_ids), lowest)
        if rules.min_new_tokens and rules.eos_token_id is not None:
            logits[:, rules.eos_token_id].masked_fill_(n_generated < rules.min_new_tokens, lowest)
        if candidates is not None:
            logits.masked_fill_(~unpack_candidates(candidates, self.vocab_size), lowest)
        return logits

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
        # One softmax serves both: `logsumexp` alone would cost three times as much.
        probabilities = logits.softmax(dim=-1)
        if deterministic:
            token_ids = logits.argmax(dim=-1)
        elif top_k is None and top_p is None:
            token_ids = draw_by_probability(probabilities, uniforms)
        else:
            token_ids = draw_tokens(restrict_to_top(logits, top_k, top_p), uniforms)
        return token_ids, probabilities.gather(1, token_ids[:, None])[:, 0].log()

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
