"""The recipe of the GPT-2 that ships with TextGym, from a folder of plain text to weights and model card."""
