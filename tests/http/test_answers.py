"""Timelines and statistics are kept while they are right, and made once for all who ask."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest

from core.api import Cache, CacheTraits, Generation, SpaceFigures
from core.app import Application
from core.services.allowance import Allowance
from core.services.answers import Answers
from core.services.meters import Namespace
from core.services.spaces import Epochs, Spaces
from core.settings import CacheSettings
from tests.http.conftest import Api, Clock, Tenant

ORGANIZATION = UUID(int=1)
STATS = Namespace.STATS


def spaces(app: Application, cache: Cache) -> Spaces:
    return Spaces(
        cache, app.services.meters, Epochs(app.services.storage), lambda: Allowance(2**40), 0
    )


@pytest.fixture
def made(app: Application, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was reckoned, as it was."""
    found: list[str] = []
    for name in ("timeline", "stats"):
        reckon = getattr(app.services.statistics, name)

        def noted(*arguments: Any, name: str = name, reckon: Any = reckon, **named: Any) -> Any:
            found.append(name)
            return reckon(*arguments, **named)

        monkeypatch.setattr(app.services.statistics, name, noted)
    return found


@pytest.mark.parametrize("what", ["timeline", "stats"])
def test_an_answer_is_kept_until_something_is_counted(
    editor: Api, anonymous: Api, acme: Tenant, made: list[str], what: str
) -> None:
    url = f"{acme.code_url}/{what}"
    first = editor.get(url)
    assert editor.get(url).content == first.content
    assert made == [what]
    anonymous.get("/r/acme-menu")
    second = editor.get(url)
    assert made == [what] * 2
    assert second.json != first.json
    assert second.headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize("what", ["timeline", "stats"])
@pytest.mark.parametrize("organization", [False, True])
def test_a_client_that_has_the_answer_is_not_sent_it_again(
    editor: Api, acme: Tenant, made: list[str], what: str, organization: bool
) -> None:
    url = f"{acme.url}/{what}" if organization else f"{acme.code_url}/{what}"
    answer = editor.get(url)
    again = editor.get(url, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert made == [what]
    other = editor.get(url, headers={"If-None-Match": '"other"'})
    assert other.content == answer.content


def test_answers_to_different_questions_are_different(
    editor: Api, anonymous: Api, acme: Tenant, made: list[str]
) -> None:
    anonymous.get("/r/acme-menu")
    url = f"{acme.code_url}/timeline"
    questions: list[tuple[str, str]] = [
        ("", "application/json"),
        ("", "text/csv"),
        ("", "image/svg+xml"),
        ("width=300", "image/svg+xml"),
        ("period=30d", "application/json"),
        ("timezone=Asia/Tokyo", "application/json"),
        ("bots=only", "application/json"),
        ("compare=previous", "application/json"),
        ("interval=hour", "application/json"),
        ("start=2026-05-01&end=2026-05-02", "application/json"),
    ]
    for _ in range(2):
        bodies = {
            editor.get(url, query_string=query, headers={"Accept": accept}).content
            for query, accept in questions
        }
        assert len(bodies) == len(questions)
    assert len(made) == len(questions)


def test_tomorrow_the_week_is_another_one(
    editor: Api, acme: Tenant, made: list[str], clock: Clock
) -> None:
    url = f"{acme.code_url}/timeline"
    first = editor.get(url).json
    clock.forward(hours=1)
    assert editor.get(url).json == first
    clock.forward(days=1)
    assert editor.get(url).json["start"] > first["start"]
    assert len(made) == 2


def test_a_chart_has_the_title_that_the_code_has_now(editor: Api, acme: Tenant) -> None:
    chart = {"Accept": "image/svg+xml"}
    editor.get(f"{acme.code_url}/timeline", headers=chart)
    editor.patch(acme.code_url, {"title": "Harbour menu"})
    assert "Harbour menu" in editor.get(f"{acme.code_url}/timeline", headers=chart).text


def test_what_is_wrong_is_said_again_and_never_kept(
    editor: Api, acme: Tenant, made: list[str]
) -> None:
    url = f"{acme.code_url}/timeline"
    for _ in range(2):
        answer = editor.get(url, query_string="period=8d&timezone=Mars")
        assert answer.status_code == 422
        assert {error["field"] for error in answer.json["errors"]} == {"period", "timezone"}


def test_a_deleted_code_is_gone_at_once(editor: Api, acme: Tenant) -> None:
    editor.get(f"{acme.code_url}/stats")
    editor.delete(acme.code_url)
    assert editor.get(f"{acme.code_url}/stats").status_code == 404


class Counts:
    """A scan store that knows nothing but a generation."""

    def __init__(self) -> None:
        self.number = 1
        self.asked = 0

    def generation(self, *_: object) -> Generation:
        self.asked += 1
        return Generation(self.number)


def test_the_generation_is_asked_for_once_in_a_while(app: Application) -> None:
    now = 100.0
    store: Any = Counts()
    answers = Answers(store, spaces(app, app.services.cache), CacheSettings(), lambda: now)
    bodies = iter([b"first", b"second"])

    def fetch() -> bytes:
        return answers.fetch(STATS, ORGANIZATION, None, (), lambda: next(bodies)).body

    assert [fetch() for _ in range(3)] == [b"first"] * 3
    store.number = 2
    now += 9.9
    assert fetch() == b"first"
    assert store.asked == 1
    now += 0.1
    assert fetch() == b"second"
    assert fetch() == b"second"
    assert store.asked == 2


def test_processes_that_share_a_cache_do_not_make_each_others_answers_anew(
    app: Application,
) -> None:
    now = 100.0
    store: Any = Counts()
    shared = spaces(app, app.services.cache)
    one, other = (Answers(store, shared, CacheSettings(), lambda: now) for _ in range(2))
    made = []

    def fetch(answers: Answers) -> bytes:
        def make() -> bytes:
            made.append(store.number)
            return b"%d" % store.number

        return answers.fetch(STATS, ORGANIZATION, None, (), make).body

    assert fetch(one) == b"1"
    now += 5
    store.number = 2
    # The other one asks 5 seconds later; the first one finds the newer answer.
    assert [fetch(other), fetch(one), fetch(other), fetch(one)] == [b"2"] * 4
    assert made == [1, 2]
    now += 10
    # A number that was set back, as of a database from a backup, is not taken for a newer one.
    store.number = 1
    assert [fetch(other), fetch(one)] == [b"1"] * 2


def test_of_many_who_ask_at_once_one_reckons(app: Application) -> None:
    store: Any = Counts()
    answers = Answers(store, spaces(app, app.services.cache), CacheSettings())
    gate, began, made = threading.Event(), threading.Event(), []

    def make() -> bytes:
        began.set()
        assert gate.wait(60)
        made.append(1)
        return b"body"

    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(answers.fetch(STATS, ORGANIZATION, None, ("x",), make).body)
        )
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    assert began.wait(60)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert found == [b"body"] * 50
    assert len(made) == 1


def test_whatever_else_lies_in_the_cache_is_made_anew(app: Application) -> None:
    store: Any = Counts()

    class Junk:
        traits = CacheTraits(shared=False)

        def get(self, key: str) -> bytes:
            return b"\xc1 junk"

        def set(self, key: str, value: bytes, ttl: float) -> None:
            pass

        def spaces(self) -> dict[str, SpaceFigures]:
            return {}

    junk: Any = Junk()
    answers = Answers(store, spaces(app, junk), CacheSettings())
    assert answers.fetch(STATS, ORGANIZATION, None, ("x",), lambda: b"body").body == b"body"
