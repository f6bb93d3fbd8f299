"""What crosses besides plain calls: one table of checks, for real clients and servers of both eras.

Owns the table (what is done, at which servers, with what), and says whether what a client saw is what
had to be seen. The clients are programs with one protocol, `PROGRAM ENDPOINT MODE`: a URL or a command
as JSON, `auto` or `legacy`; each line of input is a check, each line of output what came of it, and the
connection lasts until the input ends. Knows nothing of how the gateway does it; the audit says that a
withdrawn call was cancelled at its server.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from uuid import uuid4

from gateway import Gateway

PATIENCE = 60
ROOT = "file:///r"
# $NEW is another word each time.
FILE = {"name": "$NEW", "data": "data:text/plain,hello", "outputType": "resourceLink"}
UPDATED = "notifications/resources/updated"

# Server -> check -> what it takes, and what has to be in the answer.
#   talker, talker-own: python SDK, modern     talker-legacy: the same, held to the old handshake
#   talker-ts, talker-ts-own: the same names, made with the TypeScript SDK
#   talker-rmcp, talker-rmcp-own, talker-rmcp-legacy: the same names, made with the Rust SDK
#   everything: npm, legacy        everything-plain: the same alone, under its own
#   names and with a session for each caller, without which it is told of nobody to ask
TABLE = {
    "talker": {  # one session for everybody
        "prompt": ("greet", {"name": "Ann"}, "Hello, Ann"),
        "resource": ("note://one", "the first note"),
        "template": ("note://number/{n}", "note://number/7", "note 7"),
        "completion": ("greet", "name", "A", "Ann"),
        "updated": ("note://one", "touch", {}),
        "list_changed": ("tools", "grow", {"name": "$NEW"}),
        "progress": ("progress", {"steps": 3}),
        "cancel": ("sleep", {}),
        "form": ("form", {}, "you are Ann"),
        "page": ("page", {}, "accept"),
        "sample": ("sample", {}, "it is Paris"),
        "roots": ("roots", {}, ROOT),
        "trace": ("trace", {}),
        "task": ("task", {}, "carried out"),
        "task_withdrawn": ("task", {}),
    },
    "talker-own": {  # one for each caller: only then it is known whose a message on a pipe is
        "form": ("form", {}, "you are Ann"),
        "log": ("log", {}),
    },
    "talker-legacy": {
        "form": ("form", {}, "you are Ann"),
        "page": ("page", {}, "accept"),
        "sample": ("sample", {}, "it is Paris"),
        "roots": ("roots", {}, ROOT),
        "log": ("log", {}),
        "progress": ("progress", {"steps": 3}),
        "cancel": ("sleep", {}),
        "trace": ("trace", {}),
        "task": ("task", {}, "carried out"),
    },
    "everything": {
        "prompt": ("args-prompt", {"city": "Oslo"}, "weather in Oslo"),
        "resource": ("demo://resource/dynamic/text/1", "Resource 1"),
        "template": ("demo://resource/dynamic/text/{resourceId}", "demo://resource/dynamic/text/7", "Resource 7"),
        "completion": ("completable-prompt", "department", "Eng", "Engineering"),
        "updated": ("demo://resource/dynamic/text/1", "toggle-subscriber-updates", {}),
        "list_changed": ("resources", "gzip-file-as-resource", FILE),
        "progress": ("trigger-long-running-operation", {"duration": 1, "steps": 4}),
        "cancel": ("trigger-long-running-operation", {"duration": 600, "steps": 1200}),
        # It does this as a task or not at all.
        "task": ("simulate-research-query", {"topic": "gates"}, "Research Report"),
    },
    "everything-plain": {
        "form": ("trigger-elicitation-request", {}, "Name: Ann"),
        "page": ("trigger-url-elicitation", {"url": "https://example.org/in"}, "accept"),
        "sample": ("trigger-sampling-request", {"prompt": "capital?", "maxTokens": 9}, "Paris"),
        "roots": ("get-roots-list", {}, ROOT),
    },
}
for made_with in ["ts", "rmcp"]:
    TABLE |= {f"talker-{made_with}": TABLE["talker"], f"talker-{made_with}-own": TABLE["talker-own"]}
# The other servers have no ear for roots that changed, or ask at once, while no call runs.
TABLE["talker-rmcp-legacy"] = TABLE["talker-legacy"] | {
    "roots_changed": ("roots", {}, "file:///changed after 1 changes")}
# What only one era of clients has: the other has no word for it.
ONLY = {"task_withdrawn": "auto", "roots_changed": "legacy"}
# Where a modern client is given a task; everywhere else the tool runs plainly.
TASKS = {"talker", "talker-ts", "talker-rmcp"}


def checks_of(server: str, mode: str) -> dict:
    return {check: row for check, row in TABLE[server].items() if ONLY.get(check, mode) == mode}


def request(check: str, prefix: str, row: tuple) -> dict:
    """What a client is told to do: whatever it is to see, it is not told."""
    match check:
        case "prompt":
            return {"name": prefix + row[0], "arguments": row[1]}
        case "resource":
            return {"uri": row[0]}
        case "template":
            return {"uri": row[1]}
        case "completion":
            return {"name": prefix + row[0], "argument": row[1], "typed": row[2]}
        case "updated":
            return {"uri": row[0], "tool": prefix + row[1], "arguments": row[2]}
        case "list_changed":
            arguments = {key: value.replace("$NEW", uuid4().hex) for key, value in row[2].items()}
            return {"which": row[0], "tool": prefix + row[1], "arguments": arguments}
        case _:
            return {"tool": prefix + row[0], "arguments": row[1]}


def right(check: str, prefix: str, row: tuple, saw: dict, tasks: bool) -> bool:
    match check:
        case "prompt":
            return prefix + row[0] in saw["listed"] and row[2] in saw["text"]
        case "resource":
            return bool(saw["listed"]) and row[1] in saw["text"]
        case "template":
            return row[0] in saw["listed"] and row[2] in saw["text"]
        case "completion":
            return saw["values"] == [row[3]]
        case "updated":
            return saw["uri"] == row[0]
        case "list_changed":
            return saw["changed"] == row[0]
        case "progress":
            # The last note may be overtaken by the answer; the first ones may not.
            return len(saw["notes"]) >= 2 and saw["notes"] == sorted(saw["notes"])
        case "cancel":
            return True
        case "log":
            return saw["logs"] == ["one message"]
        case "trace":
            return continued(saw["sent"], json.loads(saw["text"]))
        case "task" if tasks:
            states = saw["tasks"]
            return f"{row[2]} for Ann" in saw["text"] and saw["asked"] == ["form"] and states[-1] == "completed"
        case "task":
            return row[2] in saw["text"] and saw["asked"] == saw["tasks"] == []
        case "task_withdrawn":
            return saw["tasks"][-1] == "cancelled" and saw["asked"] == []
        case "roots" | "roots_changed":
            # server-everything asks for them by itself as well, a moment after a session has begun, and
            # then knows them; nobody but the client can have told it.
            return row[2] in saw["text"] and set(saw["asked"]) <= {"roots"}
        case _:
            # server-everything may ask for the roots by itself in the middle; then the round is asked anew.
            asked = {*saw["asked"]} - {"roots"} if "roots" in saw["asked"] else saw["asked"]
            return row[2] in saw["text"] and list(asked) == [check]


def continued(sent: dict, came: dict) -> bool:
    """A step of the same trace arrived; what is not allowed by name did not."""
    (_, trace, span, _), (_, same, other, _) = sent["traceparent"].split("-"), came["traceparent"].split("-")
    return trace == same and span != other and came["tracestate"] == sent["tracestate"] and came["baggage"] == "kept=1"


def cancelled(audit: Path) -> int:
    lines = [line for file in audit.rglob("*.jsonl") for line in file.read_text().splitlines()]
    return sum(json.loads(line).get("error") == "cancelled" for line in lines if line.endswith("}"))


def crosses(gateway: Gateway, program: list, mode: str, server: str, stdio: bool) -> list[str]:
    """All checks of one server, by one client on one connection; what went wrong, by check."""
    command = {"command": str(gateway.program), "env": gateway.environment(),
               "args": ["serve", "--stdio", "--config", str(gateway.config)]}
    endpoint = json.dumps(command) if stdio else gateway.url
    said = gateway.folder / "client.log"
    prefix = "" if gateway.names == "plain" else f"{server}__"
    tasks = mode != "legacy" and server in TASKS
    wrong = []
    with said.open("w") as log, subprocess.Popen(
            [*map(str, program), endpoint, mode], text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as client:
        for check, row in checks_of(server, mode).items():
            if fault := _checked(gateway, client, check, prefix, row, tasks):
                wrong.append(f"{check}: {fault}")
        # A client that was too slow is gone.
        with contextlib.suppress(BrokenPipeError):
            client.stdin.close()
        client.wait(PATIENCE)
    return wrong + [f"it said: {said.read_text()[-2000:]}"] if wrong else []


def _checked(gateway: Gateway, client: subprocess.Popen, check: str, prefix: str, row: tuple,
             tasks: bool) -> str | None:
    audit = gateway.folder / "state/audit"
    before = cancelled(audit)
    late = threading.Timer(PATIENCE, client.kill)
    late.start()
    try:
        client.stdin.write(json.dumps({"check": check, **request(check, prefix, row)}) + "\n")
        client.stdin.flush()
        line = client.stdout.readline()
    except BrokenPipeError:
        line = ""
    finally:
        late.cancel()
    if not line:
        return "the client is gone"
    saw = json.loads(line)
    if "failed" in saw or not right(check, prefix, row, saw, tasks):
        return f"not what was to be expected: {saw}"
    deadline = time.monotonic() + PATIENCE
    while check == "cancel" and cancelled(audit) == before:
        if time.monotonic() > deadline:
            return "the call was not cancelled at its server"
        time.sleep(0.05)
    return None
