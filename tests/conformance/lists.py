"""The list of what is red, and how it is held against what the suite says.

In `not-yet-green.txt` a section `[LEG]`, a leg of the run, has lines `REVISION SCENARIO REASON`.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LISTS = [HERE / "not-yet-green.txt"]
REVISIONS = ["2026-07-28", "2025-11-25"]


def listed(legs: set[str]) -> set[tuple[str, str, str]]:
    """(leg, revision, scenario) on the list. Every line has a reason, nothing is there twice."""
    found = set()
    for path in LISTS:
        leg = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("["):
                leg = line.strip("[]")
                continue
            words = line.split(maxsplit=2)
            entry = (leg, *words[:2])
            if leg not in legs or len(words) != 3 or words[0] not in REVISIONS or entry in found:
                sys.exit(f"{path}:{number}: want `REVISION SCENARIO REASON` below `[LEG]`, each once")
            found.add(entry)
    return found


def compare(verdicts: dict[str, str | None], required: set[str], known: set[str]) -> list[str]:
    """Every difference between what is and what is written, as sentences."""
    wrong = [f"{name} did not run" for name in sorted(required - verdicts.keys())]
    wrong += [f"{name} is listed, but the suite has no such scenario"
              for name in sorted(known - verdicts.keys())]
    for name, words in sorted(verdicts.items()):
        if words is None and name in known:
            wrong.append(f"{name} is green now: take it off the list")
        if words is not None and name not in known:
            wrong.append(f"{name} is red: {words}")
    return wrong
