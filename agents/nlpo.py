"""Natural-language policy optimisation: PPO among the tokens that a mask policy finds probable."""

from typing import ClassVar, Unpack

from stable_baselines3 import PPO as PlainPPO
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from .clipped import ClippedAlgorithm, ClippedOptions
from .nucleus_policy import NucleusPolicy
from .number_checks import check_numbers


class NLPO(ClippedAlgorithm, PlainPPO):
    """PPO whose actions are cut down to the nucleus of a mask policy, a copy of the policy that is renewed at times.

    Tokens are sampled among these candidates only, which are stored with the episode, a bit for each token of the
    vocabulary; the update scores a token among those that it was sampled from, so its first ratios are 1 whatever the
    mask policy has become. So do `predict`, evaluation and, where KL is paid for, the reference; the KL and perplexity
    of an evaluation are against the whole reference, to which the cut itself is a distance. What
    `language_model.save_pretrained` writes is the policy without the cut.

    Where this differs from the paper's released code (RL4LMs): there a refresh replaces the policy's mask model, but
    the logits processor that generation uses keeps the first one, so that all tokens are sampled from the nucleus of
    the model that training began with; here sampling follows the refreshed one. There the special tokens are always
    candidates, and a least number of candidates may be kept; here the nucleus alone decides. And there the price of KL
    is taken from probabilities before the cut; here from those after it, of policy and reference alike.

    Args:
        policy: `"GPT2Policy"` or `"NucleusPolicy"`, which is meant by both, or a subclass of it.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        top_p: Probability that the mask policy gives to the candidates, as a set; 1 for all tokens, which is PPO.
        mask_update_interval: Rollouts after which the mask policy is renewed.
        **options: All other arguments are those of `PPO`.

    Raises:
        ValueError: If `top_p` is not above 0 and at most 1, or `mask_update_interval` is below 1.

    Reference:
        Ramamurthy et al. (2022), arXiv:2210.01241, algorithm 1.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "GPT2Policy": NucleusPolicy,
        "NucleusPolicy": NucleusPolicy,
    }
    policy: NucleusPolicy

    def __init__(
        self,
        policy: str | type[NucleusPolicy],
        env: GymEnv | str | None,
        *,
        top_p: float = 0.9,
        mask_update_interval: int = 5,
        **options: Unpack[ClippedOptions],
    ) -> None:
        check_numbers({"top_p": top_p, "mask_update_interval": mask_update_interval})
        self.mask_update_interval = mask_update_interval
        self.n_rollouts_learned = 0
        options["policy_kwargs"] = {**(options.get("policy_kwargs") or {}), "top_p": top_p}
        super().__init__(policy, env, **options)

    def train(self) -> None:
        """Update as PPO does, and renew the mask policy when it is time."""
        super().train()
        self.n_rollouts_learned += 1
        if self.n_rollouts_learned % self.mask_update_interval == 0:
            self.policy.refresh_mask()
