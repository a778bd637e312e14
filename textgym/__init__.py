"""Text generation as a Markov decision process, in the interfaces of Gymnasium and Stable-Baselines3."""

from .registration import register_environments

register_environments()
