"""Text generation as a Markov decision process, in the interfaces of Gymnasium and Stable-Baselines3."""
