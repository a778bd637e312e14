"""Each kind of reward model learns, scores, keeps its scale, and is the same after saving; each is a reward."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.rewards.learned.makers import rated_films
from textgym.reward_protocol import resolve_reward, score_completions
from textgym.rewards import build_reward
from textgym.rewards.extras import MissingPackageError
from textgym.rewards.learned import (
    EnsembleRewardModel,
    Feedback,
    LinearPreferenceModel,
    LogisticRewardModel,
    Preference,
    Rating,
    RewardModel,
    RidgeRewardModel,
    SVMRewardModel,
    TreeRewardModel,
    load_reward_model,
    make_reward_model,
    pairs_from_ratings,
    read_feedback,
)
from textgym.rewards.learned.folder import ORIGIN

TRAINING, HELD_OUT = rated_films(300), rated_films(60, seed=1)
TEXTS = HELD_OUT.texts()

# Pearson's correlation that each has to reach on texts it has not seen; at random it is 0.
MAKERS: dict[str, tuple[Callable[[], RewardModel], float]] = {
    "ridge": (RidgeRewardModel, 0.93),
    "tree": (lambda: TreeRewardModel(min_leaf=2), 0.6),
    "logistic": (lambda: LogisticRewardModel(class_weight="balanced"), 0.85),
    "svm": (lambda: SVMRewardModel(boundaries=(-0.5, 0.5), max_ngram=1), 0.85),
    "linear_preferences": (LinearPreferenceModel, 0.93),
    "linear_preferences with a margin": (lambda: LinearPreferenceModel(margin=0.5), 0.93),
    "ensemble": (lambda: EnsembleRewardModel([RidgeRewardModel(), LinearPreferenceModel()], pessimism=0.5), 0.9),
}


@pytest.fixture(scope="module", params=list(MAKERS))
def fitted(request: pytest.FixtureRequest) -> tuple[RewardModel, float]:
    make, pearson = MAKERS[request.param]
    return make().fit(TRAINING), pearson


def test_each_kind_agrees_with_people_on_texts_that_it_has_not_seen(fitted: tuple[RewardModel, float]) -> None:
    model, pearson = fitted
    evaluation = model.evaluate(HELD_OUT)
    assert evaluation.agreement is not None
    assert evaluation.agreement.pearson is not None
    assert evaluation.agreement.pearson > pearson
    assert evaluation.human is not None
    assert evaluation.human.pearson is not None
    assert 0.9 < evaluation.human.pearson < 1
    json.dumps(evaluation.as_dict(), allow_nan=False)


def test_scores_have_mean_0_and_variance_1_on_the_texts_they_were_scaled_on(fitted: tuple[RewardModel, float]) -> None:
    model, _ = fitted
    before = model.normalisation
    scores = np.array(model.score(*TRAINING.texts()))
    assert (scores.mean(), scores.std()) == pytest.approx((0, 1), abs=1e-6)
    scores = np.array(model.normalise(*TEXTS, texts="the held-out ones").score(*TEXTS))
    assert (scores.mean(), scores.std()) == pytest.approx((0, 1), abs=1e-6)
    model.normalisation = before


def test_a_saved_model_scores_the_same_and_is_a_reward_by_its_folder(
    fitted: tuple[RewardModel, float], tmp_path: Path
) -> None:
    model, _ = fitted
    folder = tmp_path / "model"
    model.save(folder)
    assert not [path for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle", ".bin", ".pt", ".joblib"}]
    loaded = type(model).load(folder)
    assert loaded.score(*TEXTS) == model.score(*TEXTS)
    assert (loaded.normalisation, loaded.record) == (model.normalisation, model.record)
    assert repr(loaded) == f"load_reward_model({str(folder)!r})"
    for spec in (folder, str(folder)):
        reward = resolve_reward(spec)
        result = score_completions(reward, *TEXTS, {}, [[] for _ in TEXTS[0]])
        assert result.scores == model.score(*TEXTS)
    total = build_reward([{str(folder): None, "weight": 2}, {"constant": 1}])
    assert total(prompts=["A "], completions=["lovely song"]) == pytest.approx(
        [2 * model.score(["A "], ["lovely song"])[0] + 1]
    )
    model.save(folder)  # a reward model may take the place of another


def test_models_pickle_and_equal_only_themselves(fitted: tuple[RewardModel, float]) -> None:
    model, _ = fitted
    copied = pickle.loads(pickle.dumps(model))
    assert copied.score(*TEXTS) == model.score(*TEXTS)
    assert copied != model
    assert model == model  # noqa: PLR0124 (equality is by identity)


def test_pairs_that_are_given_teach_what_pairs_made_from_ratings_teach() -> None:
    pairs = Feedback(preferences=tuple(pairs_from_ratings(TRAINING.ratings, pairs_per_rating=5)))
    from_pairs, from_ratings = LinearPreferenceModel().fit(pairs), LinearPreferenceModel().fit(TRAINING)
    one, other = from_pairs.raw_scores(*TEXTS), from_ratings.raw_scores(*TEXTS)
    assert np.corrcoef(one, other)[0, 1] > 0.99
    evaluation = from_pairs.evaluate(Feedback(preferences=tuple(pairs_from_ratings(HELD_OUT.ratings))))
    assert evaluation.agreement is None
    assert evaluation.preference_accuracy is not None
    assert evaluation.preference_accuracy > 0.95


def test_a_margin_moves_scores_apart() -> None:
    near, far = (LinearPreferenceModel(margin=margin).fit(TRAINING).raw_scores(*TEXTS) for margin in (0.0, 2.0))
    assert far.std() > 1.2 * near.std()


def test_weights_decide_where_feedback_contradicts_itself() -> None:
    """With equal weights the word that both raters judge is worth 0."""
    ratings = [Rating("", f"song {word}", (1.0,), ("ann",)) for word in ("film", "scene")] + [
        Rating("", f"song {word}", (-1.0,), ("bob",)) for word in ("story", "actor")
    ]
    feedback = Feedback(tuple(ratings)).with_rater_weights({"ann": 100.0})
    assert RidgeRewardModel(max_ngram=1).fit(feedback).raw_scores([""], ["song"])[0] > 0.2
    feedback = Feedback(tuple(ratings)).with_rater_weights({"bob": 100.0})
    assert RidgeRewardModel(max_ngram=1).fit(feedback).raw_scores([""], ["song"])[0] < -0.2


def test_an_ensemble_subtracts_its_disagreement() -> None:
    members = [RidgeRewardModel().fit(TRAINING.resampled(seed)) for seed in range(3)]
    plain, cautious = EnsembleRewardModel(members), EnsembleRewardModel(members, pessimism=2.0)
    scores = np.array([member.score(*TEXTS) for member in members])
    assert plain.score(*TEXTS) == pytest.approx(scores.mean(0))
    assert cautious.score(*TEXTS) == pytest.approx(scores.mean(0) - 2 * scores.std(0))
    with pytest.raises(ValueError, match="at least two members, got 1"):
        EnsembleRewardModel(members[:1])


def test_an_ensembles_members_learn_from_bootstrap_samples_or_from_everything() -> None:
    def disagreement(bootstrap: bool) -> float:
        members = [RidgeRewardModel() for _ in range(2)]
        fitted = EnsembleRewardModel(members, bootstrap=bootstrap).fit(TRAINING)
        return float(fitted.score_members(*TEXTS).disagreement.max())

    assert disagreement(bootstrap=True) > 0.01
    assert disagreement(bootstrap=False) == 0


def test_chinese_texts_are_read_character_by_character() -> None:
    good, bad = ("这部电影很好", "很好看", "音乐好听"), ("这部电影很差", "太差了", "音乐难听")
    ratings = [Rating("", text, (1.0,)) for text in good] + [Rating("", text, (-1.0,)) for text in bad]
    scores = RidgeRewardModel(max_ngram=1).fit(Feedback(tuple(ratings))).score(["", ""], ["故事好", "故事差"])
    assert scores[0] > 0 > scores[1]


def test_fitting_twice_gives_the_same_model() -> None:
    for make, _ in MAKERS.values():
        assert make().fit(TRAINING).score(*TEXTS) == make().fit(TRAINING).score(*TEXTS)


def test_empty_batches_and_empty_completions_have_scores() -> None:
    model = RidgeRewardModel().fit(TRAINING)
    assert model.score([], []) == []
    assert len(model(prompts=["", "A "], completions=["", ""], trainer_state=None)) == 2


PREFERENCES = Feedback(preferences=(Preference("", "a", "b"),))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: RidgeRewardModel().score(["a"], ["b"]),
            "This RidgeRewardModel has not learned anything yet; call fit(feedback) first.",
        ),
        (
            lambda: RidgeRewardModel().save("never"),
            "This RidgeRewardModel has not learned anything yet; call fit(feedback) before save.",
        ),
        (
            lambda: RidgeRewardModel().fit(PREFERENCES),
            (
                "This kind of reward model learns from ratings, got none and 1 preferences; choose a kind that learns "
                "from pairs: linear_preferences, or network with the objective 'preferences'."
            ),
        ),
        (
            lambda: LinearPreferenceModel().fit(Feedback(TRAINING.ratings[:1])),
            (
                "A model of preferences needs pairs: preference rows, or ratings of one prompt's completions that "
                "differ by more than 1; got 1 ratings and no such pair."
            ),
        ),
        (
            lambda: RidgeRewardModel().fit(Feedback(TRAINING.ratings[:1])),
            (
                "A RidgeRewardModel learned nothing from the 1 ratings and pairs: it gives all their texts the same "
                "score. Give more feedback, that differs."
            ),
        ),
        (
            lambda: LinearPreferenceModel(min_count=9).fit(PREFERENCES),
            ("The 2 texts have no sequence of words that occurs in 9 of them; give more feedback, or lower min_count."),
        ),
        (
            lambda: RidgeRewardModel().fit(Feedback((Rating("", "!", (1.0,)), Rating("", "?", (2.0,))))),
            "The 2 texts have no sequence of words that is of letters or digits; give more feedback.",
        ),
        (lambda: RidgeRewardModel(alpha=0), "alpha must be above 0, got 0."),
        (
            lambda: make_reward_model("rigde"),
            (
                "There is no kind of reward model 'rigde'. Did you mean 'ridge'? Expected one of ridge, tree, "
                "logistic, svm, linear_preferences, network."
            ),
        ),
        (
            lambda: make_reward_model("ridge", alpa=1),
            (
                "A reward model of kind 'ridge' has no argument 'alpa'. Did you mean 'alpha'? Expected one of "
                "alpha, max_ngram, min_count, name."
            ),
        ),
        (
            lambda: LogisticRewardModel(boundaries=(50, 60)).fit(TRAINING),
            (
                "A classifier needs ratings of at least two classes, got 300 bad, 0 fair, 0 good with the boundaries "
                "(50.0, 60.0); change them."
            ),
        ),
        (
            lambda: RidgeRewardModel().fit(TRAINING).score(["a"], []),
            "prompts and completions must have one length, got [1, 0].",
        ),
        (
            lambda: RidgeRewardModel().fit(TRAINING).evaluate(Feedback()),
            "A reward model is judged on at least one rating or preference, got none.",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(act: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message[:12]) as caught:
        act()
    assert str(caught.value) == message


def test_a_model_is_replaced_and_what_lies_beside_it_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    model = EnsembleRewardModel([RidgeRewardModel() for _ in range(2)]).fit(TRAINING)
    model.save(folder)
    model.save(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"also holds notes\.txt, which is not the reward model's and would be lost"):
        model.save(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert load_reward_model(folder).score(*TEXTS) == pytest.approx(model.score(*TEXTS))
    (tmp_path / "link").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "other").mkdir()
    model.save(tmp_path / "link")
    assert load_reward_model(tmp_path / "other").score(*TEXTS) == pytest.approx(model.score(*TEXTS))
    monkeypatch.chdir(folder)
    (folder / "notes.txt").unlink()
    with pytest.raises(ValueError, match="is the current folder, which cannot be replaced"):
        model.save(Path())


def test_folders_of_other_things_are_refused_and_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the folder") as caught:
        load_reward_model(tmp_path)
    assert str(caught.value) == f"{tmp_path} is not the folder of a reward model: it has no reward_model.json. {ORIGIN}"
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty") as caught:
        RidgeRewardModel().fit(TRAINING).save(tmp_path)
    assert str(caught.value) == (
        f"The output folder {tmp_path} is not empty and holds no reward model; name another one."
    )
    assert (tmp_path / "letters.txt").read_text() == "mine"
    RidgeRewardModel().fit(TRAINING).save(tmp_path / "ridge")
    with pytest.raises(ValueError, match=r"expected a TreeRewardModel in .*, it holds a RidgeRewardModel"):
        TreeRewardModel.load(tmp_path / "ridge")


def test_files_of_scikit_learn_with_types_that_can_do_harm_are_refused(tmp_path: Path) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    model = RidgeRewardModel().fit(TRAINING)
    model.save(tmp_path / "ridge")
    skops.io.dump([FunctionTransformer(func=rated_films), 1], tmp_path / "ridge" / "model.skops")
    with pytest.raises(ValueError, match=r"holds types that are not known to be harmless: .*rated_films"):
        load_reward_model(tmp_path / "ridge")


def test_a_damaged_tree_is_refused(tmp_path: Path) -> None:
    model = TreeRewardModel().fit(TRAINING)
    tree = model._pipeline[1].tree_
    tree.children_left[0] = 10**6
    model.save(tmp_path / "tree")
    with pytest.raises(ValueError, match="damaged: a node points outside it"):
        load_reward_model(tmp_path / "tree")


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] == "sklearn":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    with pytest.raises(MissingPackageError) as caught:
        RidgeRewardModel()
    assert str(caught.value) == (
        "This kind of reward model needs sklearn, which is not installed; install it by: pip install 'textgym[learned]'"
    )


def test_an_svm_that_learned_the_wrong_way_round_is_refused() -> None:
    """Three parts of three texts or four, each judged by what two others taught of other words."""
    texts = {
        " was a joy": 5, " was a bore": 1, " was so so": 3, " was great fun": 5, " was dull": 1, " was fine": 3,
        " was lovely": 4.5, " was awful": 1.5, " was okay": 2.9, " was medium": 3.1,
    }  # fmt: skip
    feedback = read_feedback([{"prompt": "The film", "completion": text, "rating": texts[text]} for text in texts])
    with pytest.raises(ValueError, match="SVMRewardModel ranks its own 10 ratings the wrong way round, of which one"):
        SVMRewardModel(boundaries=[2, 4]).fit(feedback)
    agreement = LogisticRewardModel(boundaries=[2, 4]).fit(feedback).evaluate(feedback).agreement
    assert agreement is not None
    assert (agreement.pearson or 0) > 0.9


@pytest.mark.parametrize("intercept", [2.4, 3.19, 0.1])
def test_a_model_that_gives_all_texts_one_score_is_not_scaled_by_what_rounding_makes_of_it(intercept: float) -> None:
    ratings = tuple(Rating("", f"song {number}", (intercept,)) for number in range(9))
    with pytest.raises(ValueError, match="it gives all their texts the same score"):
        TreeRewardModel().fit(Feedback(ratings))
    model = RidgeRewardModel().fit(TRAINING)
    with pytest.raises(ValueError, match="Scores are scaled on at least two texts that differ in score, got 256 texts"):
        model.normalise([""] * 256, ["zzz"] * 256, texts="strangers")
