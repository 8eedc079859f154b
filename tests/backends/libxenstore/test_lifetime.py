"""A shared object is released exactly once, after it has ended and all threads have left, despite interruptions."""

from __future__ import annotations

import itertools

import pytest
from harness.alarms import Interrupt, at_moment, interrupt
from harness.threads import Call, switching_often

from xsffi.backends.libxenstore.lifetime import Lifetime


def test_the_last_one_out_releases() -> None:
    released: list[bool] = []
    lifetime = Lifetime(lambda: released.append(True))
    assert lifetime.enter("a")
    assert lifetime.enter("b")
    lifetime.users.pop("a")
    lifetime.left()
    lifetime.end()
    assert released == []
    assert lifetime.enter("c"), "it is there still"
    for user in ("b", "c"):
        assert released == []
        lifetime.users.pop(user)
        lifetime.left()
    assert released == [True]
    assert not lifetime.enter("d")
    lifetime.users.pop("d")
    lifetime.left()
    lifetime.end()
    assert released == [True]


def test_users_elsewhere() -> None:
    released: list[bool] = []
    used = [True]
    lifetime = Lifetime(lambda: released.append(True), lambda: used[0])
    lifetime.end()
    assert released == []
    used[0] = False
    lifetime.left()
    assert released == [True]


def test_users_of_other_threads_are_forgotten() -> None:
    released: list[bool] = []
    lifetime = Lifetime(lambda: released.append(True))
    assert Call(lambda: lifetime.enter("other")).result() is True
    lifetime.enter("own")
    lifetime.forget_other_threads()
    lifetime.end()
    assert released == []
    lifetime.users.pop("own")
    lifetime.left()
    assert released == [True]


@pytest.mark.usefixtures("no_collection")
def test_an_interruption_at_any_moment() -> None:
    """Of a thread that leaves, or of the one that ends it: the next call releases it, once."""
    for moment in itertools.count():
        released: list[bool] = []
        lifetime = Lifetime(lambda released=released: released.append(True))  # type: ignore[misc]
        user = object()
        try:
            with at_moment(moment, interrupt) as was_there:
                try:
                    lifetime.enter(user)
                    lifetime.end()
                finally:
                    lifetime.users.pop(user, None)
                    lifetime.left()
        except Interrupt:
            pass
        lifetime.end()
        assert set(released) == {True}, f"at moment {moment}"
        if not was_there():
            break
    assert moment > 5


def test_threads() -> None:
    """Each user either finds it alive or is told that it has ended; it is released when none is inside."""
    with switching_often():
        for _ in range(100):
            _release_among_threads()


def _release_among_threads() -> None:
    inside: set[object] = set()
    wrong: list[str] = []
    released: list[bool] = []

    def release() -> None:
        if inside:
            wrong.append("released with a user inside")
        released.append(True)

    def use() -> None:
        going_on = True
        while going_on:
            user = object()
            going_on = lifetime.enter(user)
            if going_on:
                inside.add(user)
                if released:
                    wrong.append("used after it was released")
                inside.discard(user)
            lifetime.users.pop(user)
            lifetime.left()

    lifetime = Lifetime(release)
    calls = [Call(use) for _ in range(3)]
    lifetime.end()
    assert [call.outcome() for call in calls] == [None] * 3
    assert (released, wrong) == ([True], [])


@pytest.mark.parametrize("error", [Interrupt, MemoryError])
def test_a_release_that_raises_is_tried_again(error: type[BaseException]) -> None:
    tries: list[bool] = []

    def release() -> None:
        tries.append(True)
        if len(tries) == 1:
            raise error

    lifetime = Lifetime(release)
    with pytest.raises(error):
        lifetime.end()
    lifetime.end()
    lifetime.end()
    assert len(tries) == 2
