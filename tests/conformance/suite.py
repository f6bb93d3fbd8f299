"""The official suite: what it requires, and what it says of a server or of a client.

Verdicts go by scenario: the checks that were not passed, each with the suite's own words; none is
green. A scenario that checked nothing is not green, one with a warning neither. Knows the suite's
command line and its output, and nothing of the gateway.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

Verdicts = dict[str, dict[str, str]]

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

    def server(self, revision: str, url: str) -> Verdicts:
        out = self.out / f"server-{revision}"
        done = self._run("server", "--url", url, "--requirements", revision, "-o", out)
        _, found, summary = done.stdout.partition("=== SUMMARY ===")
        if not found:
            sys.exit(f"the suite gave no summary:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return {name: failed_checks(out, f"server-{name}")
                for name in re.findall(r"^[✓✗] (\S+): \d+ passed", summary, re.M)}

    def client(self, revision: str, command: str) -> Verdicts:
        """One scenario after the other: the suite alone would start them all at once."""
        out = self.out / f"client-{revision}"
        verdicts = {}
        for name in sorted(self.required(revision, "client")):
            if name.startswith(NEEDS_OAUTH):
                continue
            done = self._run("client", "--command", command, "--scenario", name, "--force",
                             "--spec-version", revision, "--timeout", f"{CLIENT_SECONDS}000", "-o", out)
            verdicts[name] = failed_checks(out, name)
            if done.returncode != 0:
                (driver,) = out.glob(f"{name}-2*/stdout.txt")
                verdicts[name]["driver"] = driver.read_text()[:2000].strip()
        return verdicts

    def _run(self, *args) -> subprocess.CompletedProcess:
        return subprocess.run([*self.command, *args], capture_output=True, text=True,
                              timeout=SUITE_SECONDS)


def failed_checks(out: Path, scenario: str) -> dict[str, str]:
    checks = [check for file in out.glob(f"{scenario}-2*/checks.json")
              for check in json.loads(file.read_text())]
    failed = {check["id"]: check.get("errorMessage", "") for check in checks
              if check["status"] in ("FAILURE", "WARNING")}
    passed = any(check["status"] == "SUCCESS" for check in checks)
    return failed if failed or passed else {"nothing": "nothing was checked"}
