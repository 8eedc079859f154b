"""Runs the tests on releases of Xen, and shows what passed on which (see ci/every-xen)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from daemons.packages import RELEASES  # noqa: E402
from daemons.releases import order  # noqa: E402

RESULTS = REPOSITORY / ".cache/every-xen.json"
OF_DEBIAN = ("4.14", "4.17", "4.20", "testing", "unstable")
STORES = ("xenstored", "oxenstored", "embedded")
OTHERS = "none by name"  # tests without a parameter that names the daemon
LONGEST = 3600  # time limit in seconds for the tests on one release
OUTCOMES = ("passed", "failed", "skipped", "xfailed")


def fetch(name: str) -> str:
    """Make a release, or that of a suite, available; returns the release."""
    subprocess.run([str(REPOSITORY / "ci/fetch-xen"), name], stdout=subprocess.DEVNULL, check=True)
    manifest = json.loads((RELEASES / name / "manifest.json").read_text())
    return str(manifest["xen"])


def built_elsewhere() -> list[str]:
    """The available releases that are not from one of Debian's suites."""
    found = (path.name for path in RELEASES.iterdir() if (path / "manifest.json").exists())
    return [name for name in found if name not in OF_DEBIAN]


def test(release: str, arguments: list[str]) -> dict[str, Any]:
    """Run pytest on a release; returns the data for the table."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
        print(f"== Xen {release}", flush=True)
        try:
            run = subprocess.run(
                [*command, "--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile"],
                cwd=REPOSITORY,
                env={**os.environ, "XSFFI_XEN_RELEASE": release},
                timeout=LONGEST,
            )
            status = run.returncode
        except subprocess.TimeoutExpired:
            status = -1
        stores = outcomes(ElementTree.parse(report)) if report.exists() else {}
    manifest = json.loads((RELEASES / release / "manifest.json").read_text())
    return {"release": release, "source": manifest["source"], "status": status, "stores": stores}


def outcomes(report: ElementTree.ElementTree) -> dict[str, dict[str, Any]]:
    """For each store, how many tests passed, failed and so on, and how many were skipped, or failed as expected, for
    which reason."""
    counts: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    for case in report.iter("testcase"):
        named = re.findall("|".join(STORES), case.get("name", "").partition("[")[2])
        store = named[0] if named else OTHERS
        skipped = case.find("skipped")
        if skipped is not None:
            outcome = "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"
            reasons.setdefault(store, Counter())[skipped.get("message", "")] += 1
        else:
            outcome = "passed" if case.find("failure") is None and case.find("error") is None else "failed"
        counts.setdefault(store, Counter())[outcome] += 1
    return {
        store: {**{outcome: counts[store][outcome] for outcome in OUTCOMES}, "reasons": dict(reasons.get(store, {}))}
        for store in (*STORES, OTHERS)
        if store in counts
    }


def write(results: list[dict[str, Any]]) -> None:
    """Write the results to the file, keeping those of other releases."""
    known = {result["release"]: result for result in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    known.update((result["release"], result) for result in results)
    RESULTS.write_text(json.dumps([known[release] for release in sorted(known, key=order)], indent=1) + "\n")


def show(results: list[dict[str, Any]]) -> None:
    table = Table("Xen", "taken from", "daemon", *OUTCOMES, title="The tests on each release of Xen")
    for result in results:
        for store, of_store in result["stores"].items():
            table.add_row(result["release"], result["source"], store, *(str(of_store[o]) for o in OUTCOMES))
        if not result["stores"]:
            table.add_row(result["release"], result["source"], f"no result: pytest ended with {result['status']}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for result in results:
        reasons: Counter[str] = Counter()
        for of_store in result["stores"].values():
            reasons.update(of_store["reasons"])
        for reason, count in reasons.most_common():
            console.print(f"{result['release']}: {count} times: {reason}", markup=False, highlight=False)


def main() -> int:
    separator = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    names = sys.argv[1:separator] or (*OF_DEBIAN, *built_elsewhere())
    releases = {fetch(name) for name in names}
    results = [test(release, sys.argv[separator + 1 :]) for release in sorted(releases, key=order)]
    if separator == len(sys.argv):  # only results of all tests are stored
        write(results)
    show(results)
    return any(result["status"] != 0 for result in results)


if __name__ == "__main__":
    sys.exit(main())
