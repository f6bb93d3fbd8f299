"""One gateway under test: its configuration, its start, its end.

Promises that nothing of it survives: `stop` sends SIGTERM, expects exit status 0 and then looks
through /proc for any process that carries this run's mark in its environment or was ever seen as
its descendant. Knows the gateway only as an operator does: a file, a signal, an HTTP endpoint.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

MODERN = "2026-07-28"
START_SECONDS = 90
STOP_SECONDS = 20


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Gateway:
    def __init__(self, program: Path, folder: Path, servers: dict[str, dict], names: str = "prefixed",
                 legacy_sse: bool = False):
        self.program = program
        self.folder = folder
        self.servers = servers
        self.names = names
        self.legacy_sse = legacy_sse
        self.port = free_port()
        self.mark = f"peers-{os.getpid()}-{self.port}"
        self.seen: set[tuple[int, str]] = set()
        self.config = folder / "servers.toml"
        self.log = folder / "gateway.log"
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True)
        self.config.write_text(self._toml())
        self.config.chmod(0o600)
        (folder / "policies").mkdir()
        (folder / "policies" / "all.cedar").write_text("permit(principal, action, resource);\n")
        # What one tool says is what the next is given here: nobody is there to approve it.
        (folder / "policies" / "risk.toml").write_text("[thresholds]\nhold = 101\n")

    # `localhost`, because the conformance suite asks for it.
    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/mcp"

    def environment(self) -> dict[str, str]:
        """The mark finds us again; the secret must not reach a server that did not declare it."""
        return {"PEERS_MARK": self.mark, "PEERS_SECRET": "peers-gateway-secret"}

    def start(self, listed: bool = True) -> None:
        """Waits until traffic may come and, if `listed`, until every server lists a tool."""
        checked = subprocess.run([self.program, "check", "--config", self.config],
                                 capture_output=True, text=True)
        if checked.returncode != 0:
            raise RuntimeError(f"portcullis check refuses:\n{checked.stdout}{checked.stderr}")
        self.process = subprocess.Popen(
            [self.program, "serve", "--config", self.config], stdin=subprocess.DEVNULL,
            stdout=self.log.open("w"), stderr=subprocess.STDOUT, env=os.environ | self.environment())
        self._wait_until_ready(listed)

    def stop(self) -> list[str]:
        """What was wrong with the end; an empty list is a pass."""
        wrong = []
        self.seen |= descendants(self.process.pid)
        if len(self.seen) < sum("command" in server for server in self.servers.values()):
            wrong.append(f"only {len(self.seen)} child processes were seen")
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
            if code != 0:
                wrong.append(f"SIGTERM: the gateway exited with {code}")
        except subprocess.TimeoutExpired:
            wrong.append(f"SIGTERM: the gateway still runs after {STOP_SECONDS} s")
            self.process.kill()
            self.process.wait()
        return wrong + self.survivors()

    def survivors(self) -> list[str]:
        marked = {(pid, started(pid)) for pid in pids() if carries(pid, self.mark)}
        alive = {seen for seen in self.seen if started(seen[0]) == seen[1]} | marked
        for pid, _ in alive:
            os.kill(pid, signal.SIGKILL)
        return [f"process {pid} survived the gateway" for pid, _ in alive]

    def _toml(self) -> str:
        lines = ["[gateway]", f'listen = "127.0.0.1:{self.port}"',
                 f"admin = {json.dumps('unix:' + str(self.folder / 'admin.sock'))}",
                 f"legacy_sse = {str(self.legacy_sse).lower()}",
                 # The servers change their lists at will: what is new would wait for an approval.
                 'pins = "off"',
                 f'names = "{self.names}"', f"state_dir = {json.dumps(str(self.folder / 'state'))}"]
        for name, server in self.servers.items():
            lines += [f"[servers.{name}]", "startup_timeout_sec = 60"]
            for key, value in server.items():
                if isinstance(value, dict):
                    pairs = {**value, "PEERS_MARK": self.mark}
                    inner = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in pairs.items())
                    lines.append(f"{key} = {{ {inner} }}")
                else:
                    lines.append(f"{key} = {json.dumps(value)}")
        return "\n".join(lines) + "\n"

    def _wait_until_ready(self, listed: bool) -> None:
        """`/ready` says that it takes traffic; servers still starting come into the list later."""
        deadline = time.monotonic() + START_SECONDS
        state = "nothing answers"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"gateway exited with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5):
                    pass
                if not listed:
                    return
                names = self.tools()
                missing = [server for server in self.servers
                           if self.names == "prefixed" and not any(n.startswith(f"{server}__") for n in names)]
                if names and not missing:
                    return
                state = f"no tools of {missing or 'anybody'} yet"
            except urllib.error.HTTPError as error:
                state = f"HTTP {error.code}: {error.read()[:500]}"
            except OSError as error:
                state = str(error)
            time.sleep(0.1)
        raise RuntimeError(f"not ready after {START_SECONDS} s: {state}\n{self.tail()}")

    def tools(self) -> list[str]:
        meta = {"io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "peers", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/mcp", json.dumps(body).encode(),
            {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
             "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"})
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read().decode()
        data = text if text.lstrip().startswith("{") else text.split("data:")[-1]
        return [tool["name"] for tool in json.loads(data)["result"]["tools"]]

    def tail(self) -> str:
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(said.splitlines()[-40:])


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def started(pid: int) -> str | None:
    """The start time tells a process from a later one with the same number; a zombie is none."""
    fields = stat(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def descendants(root: int) -> set[tuple[int, str]]:
    parents = {pid: int(fields[1]) for pid in pids() if (fields := stat(pid))}
    found, edge = set(), {root}
    while edge:
        edge = {pid for pid, parent in parents.items() if parent in edge}
        found |= edge
    return {(pid, at) for pid in found if (at := started(pid))}


def carries(pid: int, mark: str) -> bool:
    try:
        return pid != os.getpid() and mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
