"""The learning benchmark: algorithms × tasks × seeds, each a training run in a folder of its own."""
