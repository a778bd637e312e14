"""Reward functions for text: rules, their composition, and the reference task."""
