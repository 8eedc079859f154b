"""A pipeline and what it queues, as far as the conformance suite does not cover it."""

from __future__ import annotations

import gc
import warnings

import pytest

from xsffi import Client, Node


def test_one_that_is_dropped_with_operations_queued_warns(client: Client) -> None:
    p = client.pipeline()
    p.write("/a", "1")
    p.mkdir("/b")
    with pytest.warns(ResourceWarning, match="dropped with operations queued: 2"):
        del p


def test_one_that_was_carried_does_not(client: Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            p = client.pipeline()
            p.mkdir("/a")
            p.execute()
            with client.pipeline() as p:
                p.mkdir("/a")
            del p
            client.pipeline()
        gc.collect()


def test_nor_one_whose_block_was_left_by_an_exception(client: Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ZeroDivisionError), client.pipeline() as p:
            p.mkdir("/a")
            raise ZeroDivisionError
        assert len(p) == 0
        del p
        gc.collect()


def test_nor_a_load_of_what_is_no_node(client: Client) -> None:
    good = Node("/a", b"", (), ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="double slash"):
            client.load([good, Node("//", b"", (), ())])
        gc.collect()
