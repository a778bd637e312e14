"""The pages themselves: one for each thing to do, one for the owner, in English and Chinese."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader

from .sign_in import SignIn, SignInError
from .statistics import by_kind, by_person
from .store import FeedbackStore
from .tables import Annotator

PAGE = Path(__file__).parent / "page"
LANGUAGES = ("en", "zh")
LANGUAGE_COOKIE = "textgym_language"


class Pages:
    """Renders the pages, whose templates and words lie in the folder `page`.

    Args:
        store: What is shown.
        sign_in: Knows who looks.
    """

    def __init__(self, store: FeedbackStore, sign_in: SignIn) -> None:
        self.store = store
        self.sign_in = sign_in
        self.templates = Environment(loader=FileSystemLoader(PAGE / "templates"), autoescape=True)
        self.words = json.loads((PAGE / "words.json").read_text(encoding="utf-8"))

    def add_to(self, app: FastAPI) -> None:
        """Give an application its pages."""
        app.get("/")(lambda: RedirectResponse("/rate"))
        app.get("/sign-in")(self.show_sign_in)
        app.get("/owner")(self.show_owner)
        app.get("/{kind}")(self.show_kind)

    def show_sign_in(self, request: Request) -> Response:
        """Ask who it is."""
        return self._render(request, "sign_in", needs_password=self.sign_in.needs_password)

    def show_kind(self, kind: str, request: Request) -> Response:
        """Show the page on which people rate, compare or chat."""
        if kind not in ("rate", "compare", "chat"):
            return HTMLResponse("There is no such page.", 404)
        person = self._person(request)
        return RedirectResponse("/sign-in") if person is None else self._render(request, kind, person=person)

    def show_owner(self, request: Request) -> Response:
        """Show agreement and everybody's work, to the project's owner."""
        person = self._person(request)
        if person is None or not person.is_owner:
            return RedirectResponse("/sign-in" if person is None else "/rate")
        with self.store.reading() as session:
            return self._render(request, "owner", person=person, kinds=by_kind(session), people=by_person(session))

    def _person(self, request: Request) -> Annotator | None:
        try:
            with self.store.reading() as session:
                return self.sign_in.known(session, request)
        except SignInError:
            return None

    def _render(self, request: Request, name: str, **values: Any) -> Response:
        language = _language(request)
        project = self.store.project()
        about = {"words": self.words[language], "language": language, "project": project, "tab": name}
        about["examples"] = [
            one for one in project.examples if one["tab"] == name and one.get("language", language) == language
        ]
        about["store"] = self.sign_in.store_name
        about["keys"] = score_keys(project.least_score, project.most_score)
        response = HTMLResponse(self.templates.get_template(f"{name}.html").render(**about, **values))
        response.set_cookie(LANGUAGE_COOKIE, language, samesite="strict")
        return response


class ScoreKeys(NamedTuple):
    """The keys of a scale's scores; the arrow keys reach every score besides.

    Attributes:
        of_scores: Each score, from the least, with its digit; "" for one that has none.
        are_scores: A digit gives the score of that number; else digits count from the left.
    """

    of_scores: list[tuple[int, str]]
    are_scores: bool

    @property
    def shown(self) -> str:
        """The digits that are keys, in a few characters: "1 … 5"."""
        digits = [key for _, key in self.of_scores if key]
        last = ["0"] if digits[1:] and digits[-1] == "0" else []
        first = digits[: len(digits) - len(last)]
        return " ".join([first[0], *(["…", first[-1]] if len(first) > 1 else []), *last])


def score_keys(least_score: int, most_score: int) -> ScoreKeys:
    """Return which digit gives which score.

    Where the least score is a digit itself, each digit gives the score of that number, and 0, if it is no score, gives
    10. On any other scale digits count from the left: 1 to 9, and 0 for the tenth.

    >>> score_keys(-1, 1).of_scores
    [(-1, '1'), (0, '2'), (1, '3')]
    """
    scores = range(least_score, most_score + 1)
    if 0 <= least_score <= 9:
        digits = {number: str(number) for number in range(10)} | ({10: "0"} if least_score > 0 else {})
        return ScoreKeys([(score, digits.get(score, "")) for score in scores], are_scores=True)
    return ScoreKeys([(score, "1234567890"[place : place + 1]) for place, score in enumerate(scores)], are_scores=False)


def _language(request: Request) -> str:
    """Return the language of a page: chosen by link, kept from before, or the browser's first that there is."""
    accepted = [one.strip()[:2].lower() for one in request.headers.get("accept-language", "").split(",")]
    wishes = [request.query_params.get("language"), request.cookies.get(LANGUAGE_COOKIE), *accepted]
    return next((one for one in wishes if one in LANGUAGES), LANGUAGES[0])
