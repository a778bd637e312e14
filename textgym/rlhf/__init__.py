"""Rounds of human feedback: completions are rated, a reward model learns, the policy improves, and again."""
