"""A pre-training run that takes a second: a corpus of one sentence, turned, and a recipe to match."""

from pathlib import Path

from textgym.benchmarks.pretraining.run_folder import Recipe

SENTENCE = "the film was slow but its end of the world in the rain was good and we saw it twice"
TINY = Recipe(
    steps=6, batch_size=2, micro_batch_size=1, context=16, n_layer=1, n_embd=16, n_head=2, vocab_size=270, warmup=2
)


def write_corpus(folder: Path) -> Path:
    """Write two sources of 110 texts of 12 words, with empty lines between them."""
    words = SENTENCE.split()
    folder.mkdir()
    for first, name in enumerate(["movie_reviews_en", "speeches_en"]):
        lines = [" ".join(words[(first + line + word) % len(words)] for word in range(12)) for line in range(110)]
        (folder / f"{name}.txt").write_text("\n\n".join(lines), encoding="utf-8")
    return folder
