"""When a server is left aside, when it is tried again, and what it has missed meanwhile."""

from __future__ import annotations

import threading

import pytest

from plugins.caches import breaker as module
from plugins.caches.breaker import LONGEST, Breaker


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(2.0, clock)


def test_a_closed_breaker_has_nothing_to_try(breaker: Breaker, clock: Clock) -> None:
    clock.now += 100
    assert not breaker.is_open
    assert not breaker.claim_trial()


def test_the_first_failure_opens_it_and_only_the_first_is_told_so(breaker: Breaker) -> None:
    assert breaker.trip() is True
    assert breaker.is_open
    assert breaker.trip() is False


def test_one_of_all_who_come_later_tries(breaker: Breaker, clock: Clock) -> None:
    breaker.trip()
    clock.now += 1.9
    assert not breaker.claim_trial()
    # A failure that is noticed late puts nothing off.
    breaker.trip()
    clock.now += 0.1
    assert breaker.claim_trial()
    assert not breaker.claim_trial()
    assert breaker.is_open


def test_it_closes_when_the_trial_is_passed(breaker: Breaker, clock: Clock) -> None:
    breaker.trip()
    clock.now += 2
    assert breaker.claim_trial()
    assert breaker.take_missed() == (frozenset(), False)
    assert breaker.pass_trial() is True
    assert not breaker.is_open
    clock.now += 100
    assert breaker.trip() is True
    clock.now += 2
    assert breaker.claim_trial()


def test_after_a_failed_trial_there_is_another_one(breaker: Breaker, clock: Clock) -> None:
    breaker.trip()
    clock.now += 2
    assert breaker.claim_trial()
    breaker.fail_trial(frozenset(), missed_too_many=False)
    assert not breaker.claim_trial()
    clock.now += 2
    assert breaker.claim_trial()


def come_back(breaker: Breaker, clock: Clock) -> float:
    """How many seconds it takes until there is a trial, which is passed."""
    began = clock.now
    while not breaker.claim_trial():
        clock.now += 0.5
        assert clock.now - began < 100
    breaker.take_missed()
    assert breaker.pass_trial() is True
    return clock.now - began


def test_a_server_that_fails_soon_after_each_return_is_left_aside_for_longer(
    breaker: Breaker, clock: Clock
) -> None:
    pauses = []
    for back_for in (100, 0, LONGEST - 0.5, 0, LONGEST, 0):
        clock.now += back_for
        breaker.trip()
        pauses.append(come_back(breaker, clock))
    # In time for one that is sound again to be back within five seconds.
    assert pauses == [2, 4, 4, 4, 2, 4]
    assert LONGEST < 5


def test_a_trial_that_fails_after_a_short_return_puts_the_next_one_off_as_long(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.trip()
    come_back(breaker, clock)
    breaker.trip()
    clock.now += 4
    assert breaker.claim_trial()
    breaker.fail_trial(frozenset(), missed_too_many=False)
    clock.now += 3.5
    assert not breaker.claim_trial()
    clock.now += 0.5
    assert breaker.claim_trial()


def test_whoever_sets_a_longer_time_has_no_shorter_one_after_a_short_return(clock: Clock) -> None:
    breaker = Breaker(30.0, clock)
    breaker.trip()
    assert come_back(breaker, clock) == 30
    breaker.trip()
    assert come_back(breaker, clock) == 30


def test_failures_and_changes_of_one_absence_prolong_nothing(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(5):
        breaker.trip()
        breaker.miss("a")
    assert come_back(breaker, clock) == 2
    # A change that was refused just before the return says nothing of the server.
    breaker.miss("b")
    assert come_back(breaker, clock) == 2


def test_it_does_not_close_before_all_that_was_missed_was_taken(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.trip()
    breaker.miss("a")
    clock.now += 2
    assert breaker.claim_trial()
    assert breaker.take_missed() == (frozenset({"a"}), False)
    breaker.miss("b")
    assert breaker.pass_trial() is False
    assert breaker.is_open
    assert breaker.take_missed() == (frozenset({"b"}), False)
    assert breaker.pass_trial() is True


def test_what_a_failed_trial_could_not_make_good_is_still_missed(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.miss("a")
    clock.now += 2
    assert breaker.claim_trial()
    missed, _ = breaker.take_missed()
    breaker.miss("b")
    breaker.fail_trial(missed, missed_too_many=False)
    assert breaker.take_missed() == (frozenset({"a", "b"}), False)


def test_a_change_that_comes_just_after_it_closed_opens_it_again(breaker: Breaker) -> None:
    breaker.miss("a")
    assert breaker.is_open
    assert breaker.take_missed() == (frozenset({"a"}), False)


def test_more_changes_than_can_be_remembered_put_all_values_in_doubt(
    breaker: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MISSED", 2)
    for key in "aab":
        breaker.miss(key)
    assert breaker.take_missed() == (frozenset("ab"), False)
    for key in "abc":
        breaker.miss(key)
    assert breaker.pass_trial() is False
    missed, too_many = breaker.take_missed()
    assert (missed, too_many) == (frozenset("ab"), True)
    breaker.fail_trial(missed, too_many)
    assert breaker.take_missed() == (frozenset("ab"), True)


def test_of_many_threads_one_tries_and_no_change_is_lost(breaker: Breaker, clock: Clock) -> None:
    breaker.trip()
    clock.now += 2
    gate, claims = threading.Barrier(4), []

    def work(number: int) -> None:
        gate.wait()
        for step in range(200):
            breaker.miss(f"{number} {step}")
            claims.append(breaker.claim_trial())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert claims.count(True) == 1
    assert len(breaker.take_missed()[0]) == 800
