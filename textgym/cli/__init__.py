"""The command line: textgym train, generate and play."""
