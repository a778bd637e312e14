"""The people who judge: found by name, and known by a password where the page is open to others."""

import hashlib
import hmac
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from .store import utc_now
from .tables import Annotator, Project

LONGEST_NAME = 60


def check_name(name: str) -> str:
    """Return a name without the spaces around it.

    Raises:
        ValueError: If it is empty, too long, or holds what cannot be printed.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise ValueError(f"a name must have 1 to {LONGEST_NAME} printable characters, got {name!r}.")
    return name


def find_or_add(session: Session, name: str, *, may_own: bool = True) -> Annotator:
    """Return the person of a name, who is new if there is none; the first who may is the project's owner."""
    name = check_name(name)
    found = find(session, name)
    if found is not None:
        return found
    # New people come one after the other: the same name at once is one person, and there is one first.
    session.execute(select(Project.id).with_for_update())
    found = find(session, name)
    if found is not None:
        return found
    has_owner = session.scalar(select(Annotator.id).where(Annotator.is_owner).limit(1)) is not None
    person = Annotator(name=name, is_owner=may_own and not has_owner, created_at=utc_now())
    session.add(person)
    session.flush()
    return person


def find(session: Session, name: str) -> Annotator | None:
    """Return the person of a name, None if there is none."""
    return session.scalar(select(Annotator).where(Annotator.name == " ".join(name.split())))


def give_password(person: Annotator) -> str:
    """Give a person a new password, and return it; the store keeps only its hash."""
    password = secrets.token_urlsafe(12)
    salt = secrets.token_bytes(16)
    person.password_hash = f"{salt.hex()}:{_hash(password, salt).hex()}"
    return password


def has_password(person: Annotator | None, password: str) -> bool:
    """Return whether this is the person's password; as slow for one who does not exist."""
    stored = person.password_hash if person is not None else None
    salt, _, expected = (stored or f"{'00' * 16}:").partition(":")
    return hmac.compare_digest(_hash(password, bytes.fromhex(salt)).hex(), expected)


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=2**14, r=8, p=1)
