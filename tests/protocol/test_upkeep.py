"""How a mirror is kept up to date, apart from what the mirrors' own tests cover: when a lost daemon is tried again."""

from __future__ import annotations

from xsffi.protocol.upkeep import BackOff


def test_the_daemon_is_tried_again_at_once_and_then_more_seldom() -> None:
    back_off = BackOff()
    for _ in range(2):
        delays = [back_off.next_delay() for _ in range(12)]
        assert delays[0] == 0
        most = [0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5]
        assert all(longest / 2 <= delay <= longest for delay, longest in zip(delays, most))
        back_off.reset()
