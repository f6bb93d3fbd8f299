"""The real clients: python `mcp`, the Inspector's command line, and rmcp.

Each function drives one client against one endpoint, lists the tools, makes every call of the
table and returns what went wrong, as sentences; an empty list is a pass. An endpoint is a URL or a
command; `prefix` is what stands before a tool's own name there.
"""

import asyncio
import json
import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable

from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client

from servers import Place, verdict

PATIENCE = 120


def python_mcp(endpoint: str | dict, mode: str, version: str, prefix: Callable, calls: list) -> list[str]:
    """A URL that ends in /sse is spoken to by the transport of 2024-11-05."""
    with tempfile.TemporaryFile("w+") as said:
        target = endpoint
        if isinstance(endpoint, str) and endpoint.endswith("/sse"):
            target = sse_client(endpoint)
        if not isinstance(endpoint, str):
            target = stdio_client(StdioServerParameters(**endpoint), errlog=said)
        try:
            wrong = asyncio.run(
                asyncio.wait_for(_python(target, mode, version, prefix, calls), PATIENCE))
        except BaseException as error:  # noqa: BLE001 - a group of exceptions is no Exception
            wrong = ["".join(traceback.format_exception(error, limit=-3))]
        said.seek(0)
        return wrong + [f"it said: {said.read()[-2000:]}"] if wrong else []


async def _python(target, mode, version, prefix, calls) -> list[str]:
    wrong = []
    async with Client(target, mode=mode, read_timeout_seconds=30) as client:
        if client.protocol_version != version:
            wrong.append(f"speaks {client.protocol_version}, want {version}")
        names, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        wrong += _listed(names, prefix, calls)
        for call in calls:
            result = await client.call_tool(prefix(call), call["arguments"])
            result = result.model_dump(mode="json", by_alias=True, exclude_none=True)
            if fault := verdict(call, result):
                wrong.append(f"{prefix(call)}: {fault}")
        wrong += await _side_by_side(client, prefix, calls)
        wrong += await _progress(client, prefix, calls)
    return wrong


def listed(url: str, prefix: str, names: list[str], want: set[str]) -> list[str]:
    """Of these names exactly those that are wanted are listed."""
    async def ask() -> set[str]:
        async with Client(url, mode="auto", read_timeout_seconds=30) as client:
            # The server says when it has them all.
            for _ in range(PATIENCE):
                page = await client.list_tools()
                found = {name for name in names if prefix + name in [t.name for t in page.tools]}
                if found == want:
                    break
                await asyncio.sleep(0.25)
            return found
    found = asyncio.run(ask())
    return [] if found == want else [f"listed are {sorted(found)}, want {sorted(want)}"]


async def _side_by_side(client, prefix, calls) -> list[str]:
    """Every call once more, all at once over one connection: answers find their callers."""
    async def one(call):
        result = await client.call_tool(prefix(call), call["arguments"])
        return verdict(call, result.model_dump(mode="json", by_alias=True, exclude_none=True))
    faults = await asyncio.gather(*(one(call) for call in calls))
    return [f"{prefix(call)} side by side: {fault}" for call, fault in zip(calls, faults) if fault]


async def _progress(client, prefix, calls) -> list[str]:
    if not any(call["server"] == "everything" for call in calls):
        return []
    seen = []
    async def note(progress, total, message):
        seen.append(progress)
    name = prefix({"server": "everything", "tool": "trigger-long-running-operation"})
    await client.call_tool(name, {"duration": 1, "steps": 4}, progress_callback=note)
    # The last note may be overtaken by the answer; the first ones may not.
    return [] if len(seen) >= 2 and seen == sorted(seen) else [f"{name}: progress {seen} of 4"]


def inspector(place: Place, endpoint: list[str], era: str, prefix: Callable, calls: list) -> list[str]:
    """`endpoint` is the Inspector's own options: `--server-url …` or `--config … --server …`."""
    wrong = []
    def run(*args) -> tuple[int, dict]:
        command = [place.node, place.npm / "mcp-inspector", "--cli", *endpoint, "--protocol-era", era,
                   *args, "--format", "json", "--quiet"]
        env = os.environ | {"MCP_INSPECTOR_SECRET_STORE": "memory"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
        try:
            return done.returncode, json.loads(done.stdout)["result"]
        except (ValueError, KeyError) as error:
            said = f"{done.stdout[-500:]} {done.stderr[-500:]}"
            raise RuntimeError(f"inspector exited with {done.returncode}: {said}") from error
    _, listed = run("--method", "tools/list")
    wrong += _listed([tool["name"] for tool in listed["tools"]], prefix, calls)
    for call in calls:
        arguments = json.dumps(call["arguments"])
        code, result = run("--method", "tools/call", "--tool-name", prefix(call),
                           "--tool-args-json", arguments)
        if fault := verdict(call, result):
            wrong.append(f"{prefix(call)}: {fault}")
        # The Inspector's own verdict: 5 is a tool's error.
        if code != (5 if call.get("error") else 0):
            wrong.append(f"{prefix(call)}: inspector exited with {code}")
    return wrong


def rmcp(program: str, url: str, mode: str, version: str, prefix: Callable, calls: list) -> list[str]:
    """The Rust client prints one JSON line for the session and one for each call."""
    asked = json.dumps([{"name": prefix(call), "arguments": call["arguments"]} for call in calls])
    done = subprocess.run([program, "calls", url, mode], input=asked, capture_output=True, text=True,
                          timeout=PATIENCE)
    if done.returncode != 0:
        return [f"rmcp exited with {done.returncode}: {done.stderr[-800:]}"]
    session, *results = map(json.loads, done.stdout.splitlines())
    wrong = _listed(session["tools"], prefix, calls)
    if session["version"] != version:
        wrong.append(f"speaks {session['version']}, want {version}")
    if len(results) != len(calls):
        wrong.append(f"{len(results)} answers to {len(calls)} calls")
    for call, result in zip(calls, results):
        if fault := verdict(call, result):
            wrong.append(f"{prefix(call)}: {fault}")
    return wrong


def _listed(names: list[str], prefix: Callable, calls: list) -> list[str]:
    wrong = [f"{prefix(call)} is not listed" for call in calls if prefix(call) not in names]
    if len(names) != len(set(names)):
        wrong.append(f"a tool is listed twice: {sorted(names)}")
    return wrong
