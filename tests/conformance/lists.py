"""The lists of what is red, and how they are held against what the suite says.

`not-yet-green.txt` is work that is left; `exceptions.txt` is what cannot be where the eras of the two
sides differ. In both a section `[LEG …]` has lines `REVISION WHAT REASON`; WHAT is a scenario, or
one check of it as `SCENARIO:CHECK`. `oauth.txt` names the scenarios that are not run: `SCENARIO REVISION…`.
"""

import sys
from pathlib import Path

from suite import Verdicts

HERE = Path(__file__).resolve().parent
LISTS = [HERE / "not-yet-green.txt", HERE / "exceptions.txt"]
OAUTH = HERE / "oauth.txt"
REVISIONS = ["2026-07-28", "2025-11-25"]


def listed(known_legs: set[str]) -> set[tuple[str, str, str]]:
    """(leg, revision, what) of both lists. Every line has a reason, nothing is there twice."""
    found = set()
    for path in LISTS:
        legs: list[str] = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("["):
                legs = line.strip("[]").split()
                continue
            words = line.split(maxsplit=2)
            entries = {(leg, *words[:2]) for leg in legs}
            is_fine = legs and known_legs.issuperset(legs) and words[0] in REVISIONS
            if not is_fine or len(words) != 3 or found & entries:
                sys.exit(f"{path}:{number}: want `REVISION WHAT REASON` below `[LEG …]`, each once")
            found |= entries
    return found


def left_out(revision: str) -> set[str]:
    """The scenarios of that revision that are not run."""
    lines = [line.split() for line in OAUTH.read_text().splitlines() if not line.startswith("#")]
    return {scenario for scenario, *revisions in filter(None, lines) if revision in revisions}


def compare(verdicts: Verdicts, required: set[str], known: set[str]) -> list[str]:
    """Every difference between what is and what is written, as sentences."""
    wrong = [f"{name} did not run" for name in sorted(required - verdicts.keys())]
    red = {f"{name}:{check}": words for name, failed in verdicts.items()
           for check, words in failed.items()}
    stale = {what for what in known if what not in red and not verdicts.get(what)}
    wrong += [f"{what} is green now, or not there: take it off the list" for what in sorted(stale)]
    wrong += [f"{what} is red: {words}" for what, words in sorted(red.items())
              if what not in known and what.partition(":")[0] not in known]
    return wrong
