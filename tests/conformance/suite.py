"""The official suite: what it requires, and what it says of a server or of a client.

Verdicts go by scenario: None when green, else the suite's own words. A scenario that checked
nothing is not green. Knows the suite's command line and its output, and nothing of the gateway.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

SUITE_SECONDS = 300
CLIENT_SECONDS = 60
# What a client of an authorization server has to do.
NEEDS_OAUTH = "auth/"


class Suite:
    def __init__(self, peers: Path, out: Path):
        self.command = [peers / "node_modules/.bin/node", peers / "node_modules/.bin/conformance"]
        self.out = out

    def required(self, revision: str, side: str) -> set[str]:
        """The scenarios of the set for `server` or `client`, scored or not, by its own list."""
        done = self._run("list", "--requirements", revision)
        blocks = re.split(r"^(Server|Client) scenarios.*$", done.stdout.split("Run and reported")[0],
                          flags=re.M)
        block = blocks[blocks.index(side.capitalize()) + 1]
        unscored = re.findall(rf"- (\S+) \[{side}\]", done.stdout)
        return set(re.findall(r"^  - (\S+)$", block, re.M)) | set(unscored)

    def server(self, revision: str, url: str) -> dict[str, str | None]:
        out = self.out / f"server-{revision}"
        done = self._run("server", "--url", url, "--requirements", revision, "-o", out)
        _, found, summary = done.stdout.partition("=== SUMMARY ===")
        if not found:
            sys.exit(f"the suite gave no summary:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        verdicts = {}
        for name, passed, failed in re.findall(r"^[✓✗] (\S+): (\d+) passed, (\d+) failed", summary, re.M):
            is_green = int(failed) == 0 and int(passed) > 0
            counts = f"{passed} passed, {failed} failed"
            verdicts[name] = None if is_green else words(out, f"server-{name}") or counts
        return verdicts

    def client(self, revision: str, command: str) -> dict[str, str | None]:
        """One scenario after the other: the suite alone would start them all at once."""
        out = self.out / f"client-{revision}"
        verdicts = {}
        for name in sorted(self.required(revision, "client")):
            if name.startswith(NEEDS_OAUTH):
                continue
            done = self._run("client", "--command", command, "--scenario", name, "--force",
                             "--spec-version", revision, "--timeout", f"{CLIENT_SECONDS}000", "-o", out)
            passed = re.search(r"^Passed: (\d+)/", done.stderr, re.M)
            is_green = done.returncode == 0 and passed and int(passed[1]) > 0
            verdicts[name] = None if is_green else words(out, name) or done.stderr[-2000:]
        return verdicts

    def _run(self, *args) -> subprocess.CompletedProcess:
        return subprocess.run([*self.command, *args], capture_output=True, text=True,
                              timeout=SUITE_SECONDS)


def words(out: Path, scenario: str) -> str:
    """Which checks failed, and what a client that failed had to say."""
    said = []
    for file in out.glob(f"{scenario}-2*/checks.json"):
        said += [f"{check['id']}: {check.get('errorMessage', '')}"
                 for check in json.loads(file.read_text()) if check["status"] in ("FAILURE", "WARNING")]
        if (printed := file.with_name("stdout.txt")).exists():
            said += [text[:2000]] if (text := printed.read_text().strip()) else []
    return "; ".join(dict.fromkeys(said))
