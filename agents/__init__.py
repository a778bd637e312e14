"""Stable-Baselines3 policies, buffers and algorithms that work on whole texts."""
