"""Tasks and their benchmark, and what is run by hand: the speed table and the bundled model's pre-training."""
