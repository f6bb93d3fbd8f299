"""Real clients against real servers, through one gateway: `tests/run peers`.

    target/peers/venv/bin/python tests/peers/run.py --gateway target/release/portcullis
    target/peers/venv/bin/python tests/peers/run.py --direct     # no gateway: are the peers right?

Five servers (three of npm, two of PyPI, of both eras) stand behind one gateway with prefixed names;
python `mcp` in three modes over HTTP and stdio, the Inspector and rmcp in both eras must list them
all and get the right answer from each; one of the servers and one client once more by the transport
of 2024-11-05. Then whatever else crosses (`crossing.py`): prompts, resources, news, questions, logs,
tasks, traces, between servers and clients of the python, TypeScript and Rust SDKs, in both eras, over
HTTP and stdio; which rows with whom says docs/PROTOCOL.md. Prints one line for each client; exit
status 1 if any failed or if a process survived.
"""

import argparse
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import clients
import crossing
from gateway import Gateway, carries, free_port, pids
from servers import HERE, Place

MODERN, LEGACY = "2026-07-28", "2025-11-25"
OWN = {"isolation": "per-session"}
BAGGAGE = {"baggage": ["kept"]}
ASKING = ["trigger-elicitation-request", "trigger-sampling-request", "get-roots-list"]


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name: str, run, *args) -> None:
        began = time.monotonic()
        try:
            wrong = run(*args)
        except Exception:  # noqa: BLE001 - one client's fault shall not hide the others' verdicts
            wrong = [traceback.format_exc(limit=-3)]
        seconds = time.monotonic() - began
        self.passed += not wrong
        self.failed += bool(wrong)
        print(f"{'FAILED' if wrong else 'ok':6} {name} ({seconds:.1f} s)", flush=True)
        for sentence in wrong:
            print(f"       {sentence}", flush=True)


def through_the_gateway(report: Report, place: Place, folder: Path, program: Path, rmcp: Path) -> None:
    prefix = lambda call: f"{call['server']}__{call['tool']}"
    calls = place.calls()
    gateway = Gateway(program, folder / "http", place.servers())
    began = time.monotonic()
    gateway.start()
    print(f"ready  {len(gateway.servers)} servers ({time.monotonic() - began:.1f} s)", flush=True)
    for mode, version in [("auto", MODERN), ("legacy", LEGACY), (MODERN, MODERN)]:
        report.check(f"python mcp, {mode}, http", clients.python_mcp,
                     gateway.url, mode, version, prefix, calls)
    for mode, version in [("auto", MODERN), ("legacy", LEGACY), ("modern", MODERN)]:
        report.check(f"rmcp, {mode}, http", clients.rmcp, rmcp, gateway.url, mode, version, prefix, calls)
    for era in ["legacy", "modern"]:
        report.check(f"inspector, {era}, http", clients.inspector,
                     place, ["--server-url", gateway.url], era, prefix, calls)
    report.check("sigterm leaves nothing behind", gateway.stop)
    if report.failed:
        print(gateway.tail())

    for mode, version in [("auto", MODERN), ("legacy", LEGACY), (MODERN, MODERN)]:
        # A place of its own each: a desktop host starts one gateway, and this one starts anew.
        alone = Gateway(program, folder / f"stdio-{mode}", place.servers())
        endpoint = {"command": str(program), "env": alone.environment(),
                    "args": ["serve", "--stdio", "--config", str(alone.config)]}
        report.check(f"python mcp, {mode}, stdio", clients.python_mcp,
                     endpoint, mode, version, prefix, calls)
        report.check("closed stdin leaves nothing behind", gone, alone)


def crossings(report: Report, place: Place, folder: Path, program: Path, rmcp: Path, only: str = "") -> None:
    """What crosses besides plain calls, from and to both eras: the table of `crossing.py`."""
    peers = {"python mcp": [place.venv / "python", HERE / "crossing_python.py"],
             "typescript": [place.node, HERE / "crossing.mjs", place.npm.parent],
             "rmcp": [rmcp, "checks"]}
    wanted = lambda servers: [server for server in servers if only in ["", server]]
    pairs = lambda servers: itertools.product(peers, ["auto", "legacy"], wanted(servers))

    def cross(gateway: Gateway, client: str, mode: str, server: str, over: str) -> None:
        n_failed = report.failed
        checks = ", ".join(crossing.checks_of(server, mode))
        report.check(f"{client}, {mode}, {over}, {server}: {checks}", crossing.crosses,
                     gateway, peers[client], mode, server, over == "stdio")
        if report.failed > n_failed:
            print(gateway.tail())

    def all_over_http(way: str, names: str, servers: dict) -> None:
        gateway = Gateway(program, folder / f"crossing-{way}-{min(servers)}", servers, names)
        gateway.start()
        for client, mode, server in pairs(servers):
            cross(gateway, client, mode, server, f"http to {way}")
        report.check("sigterm leaves nothing behind", gateway.stop)

    talker = {"command": str(place.venv / "python"), "args": [str(HERE / "talker.py")], "env": {}}
    modules = place.npm.parent
    ts = {"command": str(place.node), "args": [str(HERE / "talker.mjs"), str(modules)], "env": {}}
    rust = {"command": str(rmcp), "args": ["talker"], "env": {}}
    children = [*sorts(talker, place.servers()["everything"]), typescript(ts), made_with_rmcp(rust)]
    for names, servers in filter(lambda sort: wanted(sort[1]), children):
        all_over_http("children", names, servers)
        # A desktop host starts a gateway of its own, here with the one server that is asked.
        for client, mode, server in pairs(servers):
            place_of_its_own = folder / f"crossing-{client}-{mode}-{server}"
            alone = Gateway(program, place_of_its_own, {server: servers[server]}, names)
            cross(alone, client, mode, server, "stdio")
            report.check("closed stdin leaves nothing behind", gone, alone)

    everything_else, url = everything(place, "streamableHttp")
    processes = [everything_else]
    try:
        urls = []
        for child in [talker, ts, rust]:
            port = free_port()
            processes.append(serving([child["command"], *child["args"], str(port)], port))
            urls.append({"url": f"http://127.0.0.1:{port}/mcp"})
        remote = [*sorts(urls[0], {"url": url}), typescript(urls[1]), made_with_rmcp(urls[2])]
        for names, servers in filter(lambda sort: wanted(sort[1]), remote):
            all_over_http("http", names, servers)
    finally:
        for process in processes:
            process.terminate()
            process.wait()


# Apart from the other talker, whose URIs they have as well.
def typescript(ts: dict) -> tuple[str, dict]:
    return "prefixed", {"talker-ts": ts | BAGGAGE, "talker-ts-own": ts | OWN}


def made_with_rmcp(rust: dict) -> tuple[str, dict]:
    legacy = rust | OWN | BAGGAGE | {"protocol": "legacy"}
    return "prefixed", {"talker-rmcp": rust | BAGGAGE, "talker-rmcp-own": rust | OWN,
                        "talker-rmcp-legacy": legacy}


def sorts(talker: dict, everything: dict) -> list[tuple[str, dict]]:
    """The servers of the table, by the names that tools have there."""
    prefixed = {"talker": talker | BAGGAGE, "talker-own": talker | OWN,
                "talker-legacy": talker | OWN | BAGGAGE | {"protocol": "legacy"}, "everything": everything}
    return [("prefixed", prefixed), ("plain", {"everything-plain": everything | OWN})]


def by_the_old_transport(report: Report, place: Place, folder: Path, program: Path) -> None:
    """HTTP+SSE of 2024-11-05 on both sides of the gateway."""
    calls = [call for call in place.calls() if call["server"] == "everything"]
    server, url = everything(place, "sse")
    gateway = Gateway(program, folder / "sse", {"everything": {"url": url}}, legacy_sse=True)
    try:
        gateway.start()
        report.check("python mcp, legacy, http+sse", clients.python_mcp,
                     gateway.url.replace("/mcp", "/sse"), "legacy", LEGACY,
                     lambda call: f"{call['server']}__{call['tool']}", calls)
    finally:
        gateway.process.terminate()
        gateway.process.wait(30)
        server.terminate()
        server.wait()


def what_asks_is_listed(report: Report, place: Place, folder: Path, program: Path) -> None:
    """`everything` lists the tools that ask only to a client that can be asked."""
    for isolation, want in [("shared", set()), ("per-session", set(ASKING))]:
        server = place.servers()["everything"] | {"isolation": isolation}
        gateway = Gateway(program, folder / f"asking-{isolation}", {"everything": server})
        gateway.start()
        try:
            report.check(f"{isolation} everything lists what asks: {bool(want)}",
                         clients.listed, gateway.url, "everything__", ASKING, want)
        finally:
            gateway.stop()


def everything(place: Place, transport: str) -> tuple[subprocess.Popen, str]:
    """The server of that name over HTTP, and its URL."""
    port = free_port()
    of = place.servers()["everything"]
    server = serving([of["command"], of["args"][0], transport], port, of["env"] | {"PORT": str(port)})
    return server, f"http://localhost:{port}/{'sse' if transport == 'sse' else 'mcp'}"


def serving(command: list[str], port: int, env: dict = {}) -> subprocess.Popen:
    """A server that listens there."""
    server = subprocess.Popen(command, env=os.environ | env,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
            return server
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise RuntimeError(f"{command} does not listen on {port}")


def gone(gateway: Gateway) -> list[str]:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and any(carries(pid, gateway.mark) for pid in pids()):
        time.sleep(0.1)
    return gateway.survivors()


def direct(report: Report, place: Place, rmcp: Path) -> None:
    """The peers among themselves: what fails here is no fault of the gateway."""
    plain = lambda call: call["tool"]
    calls = place.calls()
    modern = ("time", "git")
    of = lambda server: [call for call in calls if call["server"] == server]
    for name, server in place.servers().items():
        version = MODERN if name in modern else LEGACY
        report.check(f"python mcp, auto, {name}", clients.python_mcp,
                     server, "auto", version, plain, of(name))
    server, url = everything(place, "streamableHttp")
    try:
        report.check("python mcp, legacy, http", clients.python_mcp,
                     url, "legacy", LEGACY, plain, of("everything"))
        report.check("rmcp, legacy, http", clients.rmcp,
                     rmcp, url, "legacy", LEGACY, plain, of("everything"))
        report.check("inspector, legacy, http", clients.inspector,
                     place, ["--server-url", url], "legacy", plain, of("everything"))
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")).resolve()
    parser = argparse.ArgumentParser(description="Real peers through the gateway.")
    parser.add_argument("--gateway", type=Path, default=target / "release/portcullis")
    parser.add_argument("--peers", type=Path, default=target / "peers")
    parser.add_argument("--only", default="", help="only what crosses to this server of the table")
    parser.add_argument("--direct", action="store_true", help="the peers among themselves")
    options = parser.parse_args()
    manifest = HERE / "rmcp/Cargo.toml"
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--manifest-path", manifest,
                    "--target-dir", options.peers / "rmcp-target"], check=True)
    rmcp = options.peers / "rmcp-target/debug/rmcp-peer"
    report = Report()
    with tempfile.TemporaryDirectory(prefix="portcullis-peers-") as folder:
        place = Place(Path(folder), options.peers.resolve())
        if options.direct:
            direct(report, place, rmcp)
        elif options.only:
            crossings(report, place, Path(folder), options.gateway.resolve(), rmcp, options.only)
        else:
            through_the_gateway(report, place, Path(folder), options.gateway.resolve(), rmcp)
            by_the_old_transport(report, place, Path(folder), options.gateway.resolve())
            crossings(report, place, Path(folder), options.gateway.resolve(), rmcp)
            what_asks_is_listed(report, place, Path(folder), options.gateway.resolve())
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
