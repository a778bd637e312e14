"""The page as a web application: every answer that says "saved" is sent after its transaction has been committed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.orm import Session

from . import requests as bodies
from .chats import Answerer, close_chat, judge_turn, open_chat, say, skip_chat, undo_in_chat
from .judgements import ComparisonAnswer, RatingAnswer, StateError, compare, last_ended, rate, skip, undo
from .pages import PAGE, Pages
from .queue import next_assignment, progress
from .sign_in import SignIn, SignInError
from .store import FeedbackStore, StoreUnavailableError
from .tables import Annotator, Assignment, Kind

LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"]
HEADERS = {
    # Nothing that a text may hold is ever run or loaded, even if it came to stand in the page as HTML.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class PageOptions:
    """How the page is served.

    Attributes:
        answerer: Answers in chats.
        model: The name of the model that answers.
        needs_password: People sign in with name and password.
        is_loopback_only: Requests under any name but the loopback's are refused, so that no other site that this
            machine's browser shows can read from the page.
        other_names: Names that they may come under besides the usual ones, as a browser writes them.
    """

    answerer: Answerer
    model: str
    needs_password: bool = False
    is_loopback_only: bool = True
    other_names: tuple[str, ...] = ()


def make_app(store: FeedbackStore, options: PageOptions) -> FastAPI:
    """Make the application of a store."""
    app = FastAPI(title="TextGym", docs_url=None, redoc_url=None, openapi_url=None)
    sign_in = SignIn(store.project(), needs_password=options.needs_password)
    if options.is_loopback_only:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK_NAMES, *map(str.lower, options.other_names)])
    app.middleware("http")(_add_headers)
    app.exception_handler(SignInError)(_refuse(401))
    app.exception_handler(StateError)(_refuse(409))
    app.exception_handler(ValueError)(_refuse(422))
    app.exception_handler(StoreUnavailableError)(_refuse(503))
    app.mount("/static", StaticFiles(directory=PAGE / "static"))
    Pages(store, sign_in).add_to(app)
    _add_entering(app, store, sign_in)
    _add_judging(app, store, sign_in)
    _add_chatting(app, store, sign_in, options)
    return app


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


def _refuse(status: int) -> Callable[[Request, Exception], Response]:
    return lambda _, error: JSONResponse({"detail": str(error)}, status)


def _add_entering(app: FastAPI, store: FeedbackStore, sign_in: SignIn) -> None:
    @app.post("/api/sign-in")
    def enter(body: bodies.SignInBody, request: Request, response: Response) -> dict[str, str]:
        with store.writing() as session:
            return {"name": sign_in.enter(session, body.name, body.password, request, response).name}

    @app.post("/api/sign-out")
    def leave(response: Response) -> dict[str, str]:
        sign_in.leave(response)
        return {}


def _add_judging(app: FastAPI, store: FeedbackStore, sign_in: SignIn) -> None:
    def shown(session: Session, person: Annotator, kind: Kind, assignment: Assignment | None) -> dict[str, Any]:
        undoable = last_ended(session, person.id, kind)
        return bodies.item_answer(assignment, progress(session, person.id, kind), undoable)

    @app.get("/api/next")
    def give_next(kind: Kind, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            person = sign_in.known(session, request)
            assignment = next_assignment(session, person.id, kind)
            return shown(session, person, kind, assignment)

    @app.post("/api/ratings")
    def save_rating(body: bodies.RatingBody, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            person = sign_in.known(session, request)
            rate(session, person.id, body.assignment, RatingAnswer(body.score, body.quality, body.comment))
        return {}

    @app.post("/api/comparisons")
    def save_comparison(body: bodies.ComparisonBody, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            person = sign_in.known(session, request)
            compare(session, person.id, body.assignment, ComparisonAnswer(body.choice, body.sureness, body.comment))
        return {}

    @app.post("/api/skips")
    def save_skip(body: bodies.SkipBody, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            person = sign_in.known(session, request)
            skip(session, person.id, body.assignment, body.reason, body.comment)
        return {}

    @app.post("/api/undo")
    def take_back(body: bodies.UndoBody, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            person = sign_in.known(session, request)
            if body.assignment is None:
                raise StateError("There is nothing to undo.")
            undone = undo(session, person.id, body.assignment)
            return shown(session, person, undone.item.kind, undone)


def _add_chatting(app: FastAPI, store: FeedbackStore, sign_in: SignIn, options: PageOptions) -> None:
    @app.get("/api/chat")
    def show_chat(request: Request) -> dict[str, Any]:
        with store.writing() as session:
            person = sign_in.known(session, request)
            chat = open_chat(session, person.id, options.model)
            return bodies.chat_answer(chat, progress(session, person.id, "chat"))

    @app.post("/api/chat/turns")
    def add_turn(body: bodies.SayBody, request: Request) -> dict[str, Any]:
        with store.reading() as session:
            person = sign_in.known(session, request)
        return bodies.turn_answer(say(store, person.id, body.chat, body.number, body.said, options.answerer))

    @app.post("/api/chat/judgements")
    def save_turn(body: bodies.TurnBody, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            person = sign_in.known(session, request)
            return bodies.turn_answer(judge_turn(session, person.id, body.turn, body.judgement(), body.created_at))

    @app.post("/api/chat/close")
    def end_chat(body: bodies.CloseBody, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            close_chat(session, sign_in.known(session, request).id, body.chat)
        return {}

    @app.post("/api/chat/skip")
    def pass_by(body: bodies.ChatSkipBody, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            skip_chat(session, sign_in.known(session, request).id, body.chat, body.reason, body.comment)
        return {}

    @app.post("/api/chat/undo")
    def take_back_in_chat(body: bodies.ChatUndoBody, request: Request) -> dict[str, Any]:
        with store.writing() as session:
            person = sign_in.known(session, request)
            chat = undo_in_chat(session, person.id, body.chat, body.what, body.turn, body.created_at)
            return bodies.chat_answer(chat, progress(session, person.id, "chat"))
