"""``python -m lowlevel.record`` in tests/: records anew what the C module answers, on each kind of daemon."""

from __future__ import annotations

import json

from daemons import DAEMON_KINDS, start_daemon

from .stage import ANSWERS, play_theirs


def main() -> None:
    answers = {}
    for kind in DAEMON_KINDS:
        with start_daemon(kind) as daemon:
            answers[kind] = play_theirs(daemon)
    ANSWERS.write_text(json.dumps(answers, indent=1, ensure_ascii=True) + "\n")
    print(f"{ANSWERS}: {sum(len(script) for script in answers[DAEMON_KINDS[0]].values())} calls")


if __name__ == "__main__":
    main()
