"""A real server is killed in the middle of 50 people's work: nothing that was acknowledged is lost, nothing doubled."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import httpx
import pytest
from sqlalchemy import func, select

from tests.feedback.conftest import add_items
from tests.feedback.serving import Served, served
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Annotator, Assignment, Rating

N_PEOPLE, N_ITEMS, N_BEFORE_DEATH = 50, 30, 100


def work(server: Served, name: str, acknowledged: dict[tuple[str, int], int], enough: Event) -> None:
    """Rate until the server is gone or nothing is left, noting what it said that it had saved."""
    try:
        with closing(server.person(name)) as client:
            while (item := client.get("/api/next", params={"kind": "rate"}).json())["assignment"] is not None:
                score = (item["assignment"] + len(name)) % 5 + 1
                answer = client.post("/api/ratings", json={"assignment": item["assignment"], "score": score})
                assert answer.status_code == 200, answer.text
                acknowledged[name, item["assignment"]] = score
                if len(acknowledged) >= N_BEFORE_DEATH:
                    enough.set()
    except httpx.TransportError:
        return  # the server is gone
    except BaseException:
        enough.set()  # nobody waits for what will not come
        raise


def check(place: str | Path, acknowledged: dict[tuple[str, int], int]) -> int:
    """Compare what is in the store with what was acknowledged; return the number of ratings."""
    store = FeedbackStore(place, must_exist=True)
    with store.reading() as session:
        rows = session.execute(
            select(Annotator.name, Assignment.id, Rating.score)
            .select_from(Rating)
            .join(Assignment, Assignment.id == Rating.assignment_id)
            .join(Annotator)
        ).all()
        kept = {(name, assignment): score for name, assignment, score in rows}
        per_item = session.execute(select(func.count()).select_from(Assignment).group_by(Assignment.item_id)).all()
        pairs = session.scalar(
            select(func.count()).select_from(select(Assignment.item_id, Assignment.annotator_id).distinct().subquery())
        )
        n_assignments = session.scalar(select(func.count()).select_from(Assignment))
    store.close()
    assert len(kept) == len(rows)
    assert {key: kept.get(key) for key in acknowledged} == acknowledged
    assert pairs == n_assignments
    assert max(count for (count,) in per_item) <= N_PEOPLE // 5
    return len(rows)


@pytest.mark.slow
def test_a_killed_server_loses_and_doubles_nothing(place: str) -> None:
    store = FeedbackStore(place)
    add_items(store, N_ITEMS, people=N_PEOPLE // 5)
    store.close()
    acknowledged: dict[tuple[str, int], int] = {}
    names = [f"person {number}" for number in range(N_PEOPLE)]

    for is_killed in (True, False):
        enough = Event()
        with served(place) as server, ThreadPoolExecutor(N_PEOPLE) as threads:
            at_work = [threads.submit(work, server, name, acknowledged, enough) for name in names]
            if is_killed:
                assert enough.wait(900)
                server.kill()
            for one in at_work:
                one.result()
        n_ratings = check(place, acknowledged)
        if is_killed:
            # The server may have committed what it could not say any more, at most one answer a person.
            assert N_BEFORE_DEATH <= len(acknowledged) <= n_ratings <= len(acknowledged) + N_PEOPLE
            assert n_ratings < N_ITEMS * N_PEOPLE // 5
    assert n_ratings == N_ITEMS * N_PEOPLE // 5
