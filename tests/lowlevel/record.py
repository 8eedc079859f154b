"""``python -m lowlevel.record`` in tests/: records the C module's answers again, on each kind of daemon."""

from __future__ import annotations

from daemons import DAEMON_KINDS, start_daemon

from .answers import RECORDED, written
from .stage import play_theirs


def main() -> None:
    answers = {}
    for kind in DAEMON_KINDS:
        with start_daemon(kind) as daemon:
            answers[kind] = play_theirs(daemon)
    RECORDED.write_text(written(answers), encoding="utf-8")
    print(f"{RECORDED}: {sum(len(script) for script in answers[DAEMON_KINDS[0]].values())} calls")


if __name__ == "__main__":
    main()
