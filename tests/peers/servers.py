"""The five real servers, a place for them to work in, and what is asked of each.

Owns the table `calls.json` (with its `$FILES` and `$REPO` filled in) and the rule by which an
answer passes. Knows neither gateway nor client; both of the runners and all clients use it.
"""

import json
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


class Place:
    """Files, a repository and a memory for the servers, in one temporary folder."""

    def __init__(self, folder: Path, peers: Path):
        self.files = folder / "files"
        self.repo = folder / "repo"
        self.memory = folder / "memory.json"
        self.node = peers / "node_modules/.bin/node"
        self.npm = peers / "node_modules/.bin"
        self.venv = peers / "venv/bin"
        self.files.mkdir(parents=True)
        (self.files / "hello.txt").write_text("hello from a file\n")
        git = ["git", "-c", "user.name=peers", "-c", "user.email=peers@example.org"]
        subprocess.run([*git, "init", "--quiet", self.repo], check=True)
        commit = ["commit", "--quiet", "--allow-empty", "-m", "the only commit"]
        subprocess.run([*git, "-C", self.repo, *commit], check=True)

    def servers(self) -> dict[str, dict]:
        """Name -> command, args, env: as in an `mcpServers` file and in servers.toml."""
        script = lambda name, *args: {
            "command": str(self.node), "args": [str(self.npm / name), *map(str, args)], "env": {}}
        program = lambda name, *args: {
            "command": str(self.venv / name), "args": [*map(str, args)], "env": {}}
        servers = {
            "everything": script("mcp-server-everything", "stdio"),
            "filesystem": script("mcp-server-filesystem", self.files),
            "memory": script("mcp-server-memory"),
            "time": program("mcp-server-time", "--local-timezone=UTC"),
            "git": program("mcp-server-git", "--repository", self.repo),
        }
        servers["everything"]["env"] = {"PEERS_DECLARED": "yes"}
        servers["memory"]["env"] = {"MEMORY_FILE_PATH": str(self.memory)}
        servers["git"]["env"] = {"PATH": os.environ["PATH"]}
        return servers

    def calls(self) -> list[dict]:
        text = (HERE / "calls.json").read_text()
        text = text.replace("$FILES", str(self.files)).replace("$REPO", str(self.repo))
        return json.loads(text)


def verdict(call: dict, result: dict) -> str | None:
    """What is wrong with the `tools/call` result (as JSON), or None."""
    content = result.get("content", [])
    texts = "\n".join(block.get("text", "") for block in content)
    if bool(result.get("isError")) != call.get("error", False):
        return f"isError is {result.get('isError')}: {texts[:300]}"
    if call.get("text", "") not in texts:
        return f"no `{call['text']}` in `{texts[:300]}`"
    if "never" in call and call["never"] in texts:
        return f"`{call['never']}` leaked into `{texts[:300]}`"
    if "kind" in call and call["kind"] not in [block.get("type") for block in content]:
        return f"no block of type {call['kind']}: {[block.get('type') for block in content]}"
    if "structured" in call and call["structured"] not in (result.get("structuredContent") or {}):
        return f"no `{call['structured']}` in structuredContent {result.get('structuredContent')}"
    return None
