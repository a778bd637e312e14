"""The picture of a run: lines that can be seen, and no others in its legend."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from textgym.training.curves import draw_curves


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *arguments, **options: figures.append(figure))
    return figures


@pytest.mark.parametrize(
    ("terms", "labels"),
    [
        ({"few_letters": (0.25, 0.5)}, ["score"]),
        ({"few_letters": (0.5, 1.0)}, ["score", "few letters"]),
        ({"few_letters": (0.25, 0.5), "keywords": (0.0, 0.0)}, ["score", "few letters", "keywords"]),
    ],
)
def test_the_only_term_is_left_out_where_it_is_the_score(
    tmp_path: Path, drawn: list[Figure], terms: dict[str, tuple[float, float]], labels: list[str]
) -> None:
    progress = tmp_path / "progress.csv"
    names = [f"rollout/reward/{name}" for name in terms]
    rows = [",".join(["time/total_timesteps", "rollout/score", *names])]
    for row, score in enumerate((0.25, 0.5)):
        rows.append(",".join(map(str, [row + 1, score, *(term[row] for term in terms.values())])))
    progress.write_text("\n".join([*rows, ""]), encoding="utf-8")
    draw_curves(progress, {}, tmp_path / "curves.png", "A run")
    (figure,) = drawn
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == labels
    assert len(figure.axes[0].lines) == len(labels)
