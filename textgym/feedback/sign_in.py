"""Who sends a request: a signed cookie, which outlives a restart of the server."""

import hashlib
import hmac

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from .people import find, find_or_add, has_password
from .tables import Annotator, Project

SECONDS_KEPT = 60 * 60 * 24 * 90


class SignInError(ValueError):
    """Nobody has signed in, or not as who they say."""


class SignIn:
    """Signs people in, and knows them again.

    Args:
        project: Holds the store's secret.
        needs_password: A name is not enough.
    """

    def __init__(self, project: Project, *, needs_password: bool) -> None:
        self._secret = project.secret.encode()
        self.needs_password = needs_password
        # Pages of several stores on one machine share their cookies, and what a browser keeps for them.
        self.store_name = hashlib.sha256(self._secret).hexdigest()[:8]
        self._cookie = f"textgym_{self.store_name}"

    def enter(self, session: Session, name: str, password: str, request: Request, response: Response) -> Annotator:
        """Sign a person in.

        Raises:
            SignInError: If name and password do not fit.
            ValueError: If the name is none.
        """
        if self.needs_password:
            found = find(session, name)
            if not has_password(found, password) or found is None:
                raise SignInError("Name and password do not fit.")
            person = found
        else:
            person = find_or_add(session, name)
        token = f"{person.id}.{self._sign(person)}"
        response.set_cookie(
            self._cookie, token, max_age=SECONDS_KEPT, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return person

    def leave(self, response: Response) -> None:
        """Forget who it was."""
        response.delete_cookie(self._cookie)

    def known(self, session: Session, request: Request) -> Annotator:
        """Return who sends a request.

        Raises:
            SignInError: If nobody has signed in.
        """
        number, _, signature = request.cookies.get(self._cookie, "").partition(".")
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        person = session.get(Annotator, int(number)) if is_number else None
        if person is None or not hmac.compare_digest(self._sign(person).encode(), signature.encode()):
            raise SignInError("Sign in first.")
        return person

    def _sign(self, person: Annotator) -> str:
        # A cookie from a time before the present password, or from a page without passwords, is worth nothing.
        content = f"{person.id} {person.password_hash if self.needs_password else ''}"
        return hmac.new(self._secret, content.encode(), hashlib.sha256).hexdigest()
