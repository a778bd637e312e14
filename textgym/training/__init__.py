"""A training run: its settings, its folder, and what happens between the first evaluation and the last."""
