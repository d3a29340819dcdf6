"""Namespaces keep their numbers, and there are never more than fit into a byte."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from plugins.caches.spaces import MOST, Spaces


@pytest.mark.parametrize(
    ("key", "namespace"),
    [("image:a", "image"), ("a:b:c", "a"), ("ü:", "ü"), ("image", ""), (":a", ""), ("", "")],
)
def test_a_key_belongs_to_what_is_before_its_first_colon(key: str, namespace: str) -> None:
    spaces = Spaces()
    assert spaces.of(key) is spaces[namespace]
    assert spaces.numbered[spaces.of(key).number] is spaces[namespace]
    assert [name for name, _ in spaces.met()] == [namespace]


def test_a_namespace_is_met_once() -> None:
    spaces = Spaces()
    assert spaces["image"] is spaces["image"]
    assert spaces["image"] is not spaces["answer"]
    assert spaces.met() == [("image", spaces["image"]), ("answer", spaces["answer"])]


def test_those_who_come_too_late_share_the_namespace_without_a_name() -> None:
    spaces = Spaces()
    for number in range(2 * MOST):
        assert spaces[str(number)].number <= MOST - 1
    assert len(spaces) == len(spaces.numbered) == MOST
    assert spaces["0"].number == 1
    assert spaces[str(MOST)] is spaces["another"] is spaces[""]
    assert spaces[""].number == 0


def test_threads_that_meet_one_namespace_meet_the_same() -> None:
    spaces = Spaces()
    names = [str(number) for number in range(2 * MOST)]
    with ThreadPoolExecutor(4) as threads:
        met = list(threads.map(lambda _: [spaces[name].number for name in names], range(4)))
    assert met[0] == met[1] == met[2] == met[3]
    assert [space.number for space in spaces.numbered] == list(range(MOST))


def test_an_error_that_belongs_to_no_key_counts_for_the_namespace_without_a_name() -> None:
    spaces = Spaces()
    spaces.count_error(spaces["image"])
    spaces.count_error(None)
    spaces.count_too_large(spaces["image"])
    told = {name: (space.errors, space.too_large) for name, space in spaces.met()}
    assert told == {"image": (1, 1), "": (1, 0)}
