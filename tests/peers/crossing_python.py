"""The python SDK's client as a peer of `crossing.py`: makes checks and tells what it saw.

    python tests/peers/crossing_python.py ENDPOINT auto|legacy     # a check a line, an answer a line

Judges nothing. Uses the SDK as its documentation does.
"""

import asyncio
import json
import sys
import traceback
from typing import Any, Literal

import mcp_types as types
from mcp import Client
from mcp.client.extension import ClientExtension, ResultClaim
from mcp.client.stdio import StdioServerParameters, stdio_client
from pydantic import TypeAdapter

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
         "tracestate": "vendor=1", "baggage": "kept=1,dropped=2"}


class Heard:
    """The client's side of what nobody asked for, and of what servers ask."""

    def __init__(self):
        self.logs, self.asked, self.tasks = [], [], []
        self.withdraws = False
        self.root = "file:///r"
        self.news = asyncio.Queue()

    async def log(self, params) -> None:
        self.logs.append(params.data)

    async def message(self, message) -> None:
        await self.news.put(message)

    async def elicit(self, context, params) -> types.ElicitResult:
        self.asked.append("page" if params.mode == "url" else "form")
        content = None if params.mode == "url" else {"name": "Ann"}
        return types.ElicitResult(action="accept", content=content)

    async def sample(self, context, params) -> types.CreateMessageResult:
        self.asked.append("sample")
        text = types.TextContent(type="text", text="Paris")
        return types.CreateMessageResult(role="assistant", model="m", content=text)

    async def roots(self, context) -> types.ListRootsResult:
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri=self.root)])

    async def until(self, method: str):
        while getattr(message := await self.news.get(), "method", None) != method:
            pass
        return message


class Begun(types.Result):
    result_type: Literal["task"]
    task_id: str


class AboutTask(types.Request[dict[str, Any], str]):
    name_param = "taskId"


class Tasks(ClientExtension):
    """The SDK has no tasks of its own (2.3.0); this is what its extensions are for."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, heard: Heard):
        self.heard = heard

    def claims(self):
        return [ResultClaim(result_type="task", model=Begun, resolve=self.finish)]

    async def finish(self, begun: Begun, context) -> types.CallToolResult:
        async def ask(what: str, **more) -> dict:
            about = AboutTask(method=f"tasks/{what}", params={"taskId": begun.task_id, **more})
            return await context.session.send_request(about, TypeAdapter(dict[str, Any]))
        if self.heard.withdraws:
            await ask("cancel")
        while True:
            task = await ask("get")
            self.heard.tasks.append(task["status"])
            if task["status"] == "completed":
                return types.CallToolResult.model_validate(task["result"])
            if task["status"] in ["cancelled", "failed"]:
                return types.CallToolResult(content=[], is_error=True)
            for key in task.get("inputRequests", {}):
                self.heard.asked.append("form")
                said = {"action": "accept", "content": {"name": "Ann"}}
                await ask("update", inputResponses={key: said})
            await asyncio.sleep(task["pollIntervalMs"] / 1000)


class Peer:
    def __init__(self, client: Client, heard: Heard, modern: bool):
        self.client, self.heard, self.modern = client, heard, modern

    async def call(self, tool: str, arguments: dict, **more) -> str:
        result = await self.client.call_tool(tool, arguments, **more)
        return "\n".join(getattr(block, "text", "") for block in result.content)

    async def prompt(self, name, arguments):
        listed = [one.name for one in (await self.client.list_prompts()).prompts]
        got = await self.client.get_prompt(name, arguments)
        return {"listed": listed, "text": got.messages[0].content.text}

    async def resource(self, uri):
        listed = [str(one.uri) for one in (await self.client.list_resources()).resources]
        return {"listed": listed, "text": (await self.client.read_resource(uri)).contents[0].text}

    async def template(self, uri):
        templates = (await self.client.list_resource_templates()).resource_templates
        listed = [one.uri_template for one in templates]
        return {"listed": listed, "text": (await self.client.read_resource(uri)).contents[0].text}

    async def completion(self, name, argument, typed):
        target = types.PromptReference(type="ref/prompt", name=name)
        got = await self.client.complete(target, {"name": argument, "value": typed})
        return {"values": got.completion.values}

    async def updated(self, uri, tool, arguments):
        if self.modern:
            async with self.client.listen(resource_subscriptions=[uri]) as events:
                await self._switch_on(tool, arguments)
                return {"uri": getattr(await anext(events), "uri", None)}
        await self.client.subscribe_resource(uri)
        await self._switch_on(tool, arguments)
        return {"uri": str((await self.heard.until("notifications/resources/updated")).params.uri)}

    async def _switch_on(self, tool, arguments):
        """One of the servers has a switch for its updates, which a client before us may have left on."""
        while "Stopped" in await self.call(tool, arguments):
            pass

    async def list_changed(self, which, tool, arguments):
        if self.modern:
            async with self.client.listen(**{f"{which}_list_changed": True}) as events:
                await self.call(tool, arguments)
                told = type(await anext(events)).__name__.lower()
                return {"changed": which if which[:4] in told else told}
        await self.call(tool, arguments)
        await self.heard.until(f"notifications/{which}/list_changed")
        return {"changed": which}

    async def progress(self, tool, arguments):
        notes = []
        async def note(progress, total, message):
            notes.append(progress)
        await self.call(tool, arguments, progress_callback=note)
        return {"notes": notes}

    async def cancel(self, tool, arguments):
        runs = asyncio.Event()
        async def note(progress, total, message):
            runs.set()
        call = asyncio.create_task(self.call(tool, arguments, progress_callback=note))
        await runs.wait()
        call.cancel()
        return {}

    async def ask(self, tool, arguments):
        return {"text": await self.call(tool, arguments), "asked": self.heard.asked}

    form = page = sample = roots = ask

    async def trace(self, tool, arguments):
        return {"sent": TRACE, "text": await self.call(tool, arguments, meta=dict(TRACE))}

    async def task(self, tool, arguments):
        text = await self.call(tool, arguments)
        return {"text": text, "asked": self.heard.asked, "tasks": self.heard.tasks}

    async def task_withdrawn(self, tool, arguments):
        self.heard.withdraws = True
        try:
            return await self.task(tool, arguments)
        finally:
            self.heard.withdraws = False

    async def roots_changed(self, tool, arguments):
        await self.call(tool, arguments)
        self.heard.asked, self.heard.root = [], "file:///changed"
        try:
            await self.client.session.send_roots_list_changed()
            while "file:///changed" not in (text := await self.call(tool, arguments)):
                await asyncio.sleep(0.1)
            return {"text": text, "asked": self.heard.asked}
        finally:
            self.heard.root = "file:///r"

    async def log(self, tool, arguments):
        if not self.modern:
            await self.client.set_logging_level("info")
        await self.call(tool, arguments)
        return {"logs": self.heard.logs}


async def main(endpoint: str, mode: str) -> None:
    heard = Heard()
    target = stdio_client(StdioServerParameters(**json.loads(endpoint))) if endpoint.startswith("{") else endpoint
    async with Client(target, mode=mode, read_timeout_seconds=30, log_level="info", cache=None,
                      elicitation_callback=heard.elicit, sampling_callback=heard.sample,
                      list_roots_callback=heard.roots, logging_callback=heard.log,
                      message_handler=heard.message, extensions=[Tasks(heard)]) as client:
        peer = Peer(client, heard, mode != "legacy")
        while line := await asyncio.to_thread(sys.stdin.readline):
            check = json.loads(line)
            heard.logs, heard.asked, heard.tasks = [], [], []
            try:
                saw = await getattr(peer, check.pop("check"))(**check)
            except Exception:  # noqa: BLE001 - one check's fault shall not hide the others'
                saw = {"failed": traceback.format_exc(limit=-2)}
            print(json.dumps(saw), flush=True)


asyncio.run(main(*sys.argv[1:]))
