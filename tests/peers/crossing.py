"""What crosses besides plain calls: one table of checks, for real clients and servers of both eras.

Owns the table: what is done (a function each), at which servers, with what. The python client makes
every check, once in each era. A check returns what went wrong, or None. Knows nothing of how the
gateway does it; the audit says that a withdrawn call was cancelled at its server.
"""

import asyncio
import json
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import mcp_types as types
from mcp import Client

from gateway import Gateway

PATIENCE = 60
ROOT = "file:///r"
# $NEW is another word each time.
FILE = {"name": "$NEW", "data": "data:text/plain,hello", "outputType": "resourceLink"}

# Server -> check -> what it takes, and what has to be in the answer.
#   talker, talker-own: python SDK, modern     talker-legacy: the same, held to the old handshake
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
    },
    "everything-plain": {
        "form": ("trigger-elicitation-request", {}, "Name: Ann"),
        "page": ("trigger-url-elicitation", {"url": "https://example.org/in"}, "accept"),
        "sample": ("trigger-sampling-request", {"prompt": "capital?", "maxTokens": 9}, "Paris"),
        "roots": ("get-roots-list", {}, ROOT),
    },
}


@dataclass
class Heard:
    """The client's side of what nobody asked for, and of what servers ask."""

    logs: list = field(default_factory=list)
    news: asyncio.Queue = field(default_factory=asyncio.Queue)
    asked: list = field(default_factory=list)

    async def log(self, params) -> None:
        self.logs.append(params.data)

    async def message(self, message) -> None:
        await self.news.put(getattr(message, "method", repr(message)))

    async def elicit(self, context, params) -> types.ElicitResult:
        self.asked.append(params.mode)
        content = None if params.mode == "url" else {"name": "Ann"}
        return types.ElicitResult(action="accept", content=content)

    async def sample(self, context, params) -> types.CreateMessageResult:
        self.asked.append("sample")
        text = types.TextContent(type="text", text="Paris")
        return types.CreateMessageResult(role="assistant", model="m", content=text)

    async def roots(self, context) -> types.ListRootsResult:
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri=ROOT)])

    async def until(self, method: str) -> None:
        while await self.news.get() != method:
            pass


@dataclass
class Cell:
    client: Client
    heard: Heard
    modern: bool
    prefix: str
    audit: Path

    async def call(self, tool: str, arguments: dict, **more) -> str:
        result = await self.client.call_tool(self.prefix + tool, arguments, **more)
        return "\n".join(getattr(block, "text", "") for block in result.content)

    def cancelled(self) -> int:
        lines = self.audit.read_text().splitlines()
        records = [json.loads(line) for line in lines if line.endswith("}")]
        return sum(record.get("error") == "cancelled" for record in records)


async def prompt(cell, name, arguments, want):
    listed = [one.name for one in (await cell.client.list_prompts()).prompts]
    got = await cell.client.get_prompt(cell.prefix + name, arguments)
    return cell.prefix + name in listed and want in got.messages[0].content.text


async def resource(cell, uri, want):
    listed = (await cell.client.list_resources()).resources
    got = (await cell.client.read_resource(uri)).contents[0]
    return bool(listed) and want in got.text


async def template(cell, pattern, uri, want):
    listed = (await cell.client.list_resource_templates()).resource_templates
    got = (await cell.client.read_resource(uri)).contents[0]
    return pattern in [one.uri_template for one in listed] and want in got.text


async def completion(cell, name, argument, typed, want):
    target = types.PromptReference(type="ref/prompt", name=cell.prefix + name)
    got = await cell.client.complete(target, {"name": argument, "value": typed})
    return got.completion.values == [want]


async def updated(cell, uri, tool, arguments):
    if cell.modern:
        async with cell.client.listen(resource_subscriptions=[uri]) as events:
            await _switch_on(cell, tool, arguments)
            return getattr(await anext(events), "uri", None) == uri
    await cell.client.subscribe_resource(uri)
    await _switch_on(cell, tool, arguments)
    await cell.heard.until("notifications/resources/updated")
    return True


async def _switch_on(cell, tool, arguments):
    """One of the servers has a switch for its updates, which a client before us may have left on."""
    while "Stopped" in await cell.call(tool, arguments):
        pass


async def list_changed(cell, which, tool, arguments):
    arguments = {key: value.replace("$NEW", uuid4().hex) for key, value in arguments.items()}
    if cell.modern:
        wish = {f"{which}_list_changed": True}
        async with cell.client.listen(**wish) as events:
            await cell.call(tool, arguments)
            return which[:4] in type(await anext(events)).__name__.lower()
    await cell.call(tool, arguments)
    await cell.heard.until(f"notifications/{which}/list_changed")
    return True


async def progress(cell, tool, arguments):
    seen = []
    async def note(progress, total, message):
        seen.append(progress)
    await cell.call(tool, arguments, progress_callback=note)
    # The last note may be overtaken by the answer; the first ones may not.
    return len(seen) >= 2 and seen == sorted(seen)


async def cancel(cell, tool, arguments):
    runs, before = asyncio.Event(), cell.cancelled()
    async def note(progress, total, message):
        runs.set()
    call = asyncio.create_task(cell.call(tool, arguments, progress_callback=note))
    await runs.wait()
    call.cancel()
    while cell.cancelled() == before:
        await asyncio.sleep(0.05)
    return True


async def asked(cell, tool, arguments, want):
    before = len(cell.heard.asked)
    return want in await cell.call(tool, arguments) and len(cell.heard.asked) > before


async def log(cell, tool, arguments):
    if not cell.modern:
        await cell.client.set_logging_level("info")
    await cell.call(tool, arguments)
    return cell.heard.logs == ["one message"]


CHECKS = {"prompt": prompt, "resource": resource, "template": template, "completion": completion,
          "updated": updated, "list_changed": list_changed, "progress": progress, "cancel": cancel,
          "form": asked, "page": asked, "sample": asked, "roots": asked, "log": log}


def crosses(gateway: Gateway, mode: str, prefix: str, checks: dict) -> list[str]:
    """All checks of one server, by one client; what went wrong, by check."""
    audit = gateway.folder / "state/audit/000001.jsonl"
    return asyncio.run(_crosses(gateway.url, audit, mode, prefix, checks))


async def _crosses(url, audit, mode, prefix, checks) -> list[str]:
    wrong = []
    for what, arguments in checks.items():
        try:
            # A client of its own each: what an earlier check left unread is no answer to a later one.
            async with asyncio.timeout(PATIENCE):
                if not await _check(url, audit, mode, prefix, CHECKS[what], arguments):
                    wrong.append(f"{what}: not what was to be expected")
        except BaseException as error:  # noqa: BLE001 - a group of exceptions is no Exception
            wrong.append(f"{what}: " + "".join(traceback.format_exception(error, limit=-2)))
    return wrong


async def _check(url, audit, mode, prefix, check, arguments) -> bool:
    heard = Heard()
    async with Client(url, mode=mode, read_timeout_seconds=30, log_level="info", cache=None,
                      elicitation_callback=heard.elicit, sampling_callback=heard.sample,
                      list_roots_callback=heard.roots, logging_callback=heard.log,
                      message_handler=heard.message) as client:
        cell = Cell(client, heard, mode != "legacy", prefix, audit)
        return await check(cell, *arguments)
