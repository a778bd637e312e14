"""Where a store is: a SQLite file, or a PostgreSQL URL whose password is never shown."""

import re
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

HOW_TO_MAKE = "make one by: textgym feedback import {place} FILE, or an empty one by: textgym label {place}"
ESCAPING = "in its password write @ as %40, / as %2F, : as %3A, # as %23 and ? as %3F"


def is_missing_file(place: str) -> bool:
    """Return whether a place is a SQLite file that is not there yet."""
    return "://" not in place and not Path(place).exists()


def hide_password(place: str) -> str:
    """Return a place as it may be shown: a URL without its password.

    >>> hide_password("postgresql://ada:secret@db.example/films")
    'postgresql://ada:***@db.example/films'
    """
    if "://" not in place:
        return place
    # Up to the last @, since a password may hold one that its owner has not escaped.
    shown = re.sub(r"(://[^:@/]*:).*@", r"\1***@", place)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", shown)


def without_password(place: str) -> str:
    """Return a place as it may be kept: a URL that has lost its password, which PostgreSQL then finds elsewhere.

    >>> without_password("postgresql://ada:secret@db.example/films?password=secret&sslmode=require")
    'postgresql://ada@db.example/films?sslmode=require'
    """
    if "://" not in place:
        return place
    address, _, query = re.sub(r"(://[^:@/]*):.*@", r"\1@", place).partition("?")
    kept = [one for one in query.split("&") if one and one.partition("=")[0] not in ("password", "sslpassword")]
    return "?".join([address, *(["&".join(kept)] if kept else [])])


def read_place(place: str, *, must_exist: bool) -> URL:
    """Return the URL of a place for SQLAlchemy.

    Raises:
        ValueError: If there is no file and one must exist, there is no folder for it, or it is no URL of a database
            that can hold a store.
    """
    if "://" not in place:
        path = Path(place)
        if must_exist and not path.is_file():
            raise ValueError(f"There is no feedback store {path}; {HOW_TO_MAKE.format(place=path)}")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"There is no folder {path.absolute().parent} to make the feedback store {path.name} in.")
        return URL.create("sqlite", database=str(path.absolute()))
    scheme, _, rest = place.partition("://")
    try:
        url = make_url(f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else place)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        # Neither the place nor the cause: which part of what cannot be read is the password, nobody knows.
        raise ValueError(
            f"a {scheme}:// URL names no feedback store: expected postgresql://user:password@host:port/database; "
            f"{ESCAPING}."
        ) from None
    if backend not in ("sqlite", "postgresql"):
        raise ValueError(f"expected a SQLite file or a postgresql:// URL, got {hide_password(place)!r}.")
    if "@" in (url.host or ""):
        raise ValueError(f"{hide_password(place)!r} has more than one @; {ESCAPING}.")
    password = url.query.get("password")
    if isinstance(password, str):
        # SQLAlchemy hides a password in its proper place alone.
        url = url.set(password=password).difference_update_query(["password"])
    return url
