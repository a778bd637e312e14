"""Proximal policy optimisation on whole text episodes."""

from stable_baselines3 import PPO as PlainPPO

from .clipped import ClippedAlgorithm


class PPO(ClippedAlgorithm, PlainPPO):
    """Stable-Baselines3's PPO with cached rollouts of whole episodes; its `train` runs unchanged.

    Arguments that Stable-Baselines3 has too mean what they mean there; the defaults are a language model's.

    Args:
        policy: `"GPT2Policy"`, `"GPT2CompletionPolicy"` where an action is a whole completion, or a subclass of one.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        learning_rate: A number, or a function of the progress that remains when a rollout begins, from 1 to 0.
        n_steps: Tokens a row and rollout; None for 4,096 tokens a rollout. A rollout is whole episodes, so that its
            tokens come out about `n_steps × n_envs`: as many episodes as that is at the last rollout's mean length.
        batch_size: Tokens a minibatch, nearly; a minibatch is whole episodes.
        n_epochs: Passes over each rollout.
        gamma: Discount. At 1 a token's position in the completion does not change what it is worth.
        gae_lambda: See `generalized_advantages`.
        clip_range: Bound on the change of a token's probability ratio.
        clip_range_vf: Bound on the change of a value; None for no bound.
        normalize_advantage: Scale a minibatch's advantages to mean 0 and standard deviation 1.
        ent_coef: Price of entropy, which is rewarded where it is above 0.
        vf_coef: Weight of the value loss.
        max_grad_norm: Bound on the gradient's norm.
        target_kl: Stop an update's epochs where the approximate KL from the policy that made the rollout is above 1.5
            times this, as in Stable-Baselines3.
        **options: See `SequenceOptions`.

    Reference:
        Schulman et al. (2017), arXiv:1707.06347.
    """
