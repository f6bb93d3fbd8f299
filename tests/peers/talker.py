"""A server made with the python SDK that says and asks whatever MCP knows, in both eras.

    python tests/peers/talker.py            # on its pipes; the first message decides its era
    python tests/peers/talker.py PORT       # Streamable HTTP, both eras

Uses the SDK as its documentation does and nothing of ours. What it is asked, and what has to come
of it, stands in `crossing.py`.
"""

import asyncio
import json
import sys
import uuid
from typing import Annotated, Any

import mcp_types as types
from mcp import MCPError
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from pydantic import BaseModel

TASKS = "io.modelcontextprotocol/tasks"
THEN = "2026-11-22T00:00:00Z"
FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
WHO = {"method": "elicitation/create", "params": {"mode": "form", "message": "who?", "requestedSchema": FORM}}


class AboutTask(types.RequestParams):
    task_id: str
    input_responses: dict[str, Any] | None = None


class Tasks(Extension):
    """The SDK has no tasks of its own (2.3.0), but its extensions may answer so: one task asks who
    it is for, and is done when it knows."""

    identifier = TASKS

    def __init__(self):
        self.kept: dict[str, dict] = {}

    def methods(self):
        handlers = {"get": self.get, "update": self.update, "cancel": self.cancel}
        return [MethodBinding(f"tasks/{name}", AboutTask, handler) for name, handler in handlers.items()]

    async def intercept_tool_call(self, params, ctx, call_next):
        capabilities = ctx.session.client_capabilities
        if params.name != "task" or TASKS not in (capabilities and capabilities.extensions or {}):
            return await call_next(ctx)
        task = {"taskId": uuid.uuid4().hex, "createdAt": THEN, "lastUpdatedAt": THEN,
                "ttlMs": 600000, "pollIntervalMs": 50}
        self.kept[task["taskId"]] = task | {"status": "input_required", "inputRequests": {"who": WHO}}
        return task | {"resultType": "task", "status": "working"}

    def of(self, params) -> dict:
        if params.task_id not in self.kept:
            raise MCPError(code=types.INVALID_PARAMS, message="no such task")
        return self.kept[params.task_id]

    async def get(self, ctx, params):
        return {"resultType": "complete", **self.of(params)}

    async def update(self, ctx, params):
        task = self.of(params)
        task.pop("inputRequests")
        text = f"carried out for {params.input_responses['who']['content']['name']}"
        content = [{"type": "text", "text": text}]
        result = {"resultType": "complete", "content": content, "structuredContent": {"result": text}}
        task |= {"status": "completed", "result": result}
        return {"resultType": "complete"}

    async def cancel(self, ctx, params):
        task = self.of(params)
        task.pop("inputRequests", None)
        task["status"] = "cancelled"
        return {"resultType": "complete"}


server = MCPServer("talker", extensions=[Tasks()])


class Who(BaseModel):
    name: str


def who() -> Elicit[Who]:
    return Elicit("who?", Who)


def capital() -> Sample:
    text = types.TextContent(type="text", text="the capital of France?")
    return Sample([types.SamplingMessage(role="user", content=text)], max_tokens=9)


def all_roots() -> ListRoots:
    return ListRoots()


@server.tool()
async def form(answer: Annotated[Who, Resolve(who)]) -> str:
    return f"you are {answer.name}"


@server.tool()
async def sample(answer: Annotated[types.CreateMessageResult, Resolve(capital)]) -> str:
    return f"it is {answer.content.text}"


@server.tool()
async def roots(answer: Annotated[types.ListRootsResult, Resolve(all_roots)]) -> str:
    return f"there is {answer.roots[0].uri}"


@server.tool()
async def page(context: Context) -> types.CallToolResult | types.InputRequiredResult:
    message, url, name = "please sign in", "https://example.org/in", "sign-in"
    if context.protocol_version < "2026":
        said = await context.elicit_url(message, url, name)
        action = said.action
    elif context.input_responses is None:
        params = types.ElicitRequestURLParams(message=message, url=url, elicitation_id=name)
        return types.InputRequiredResult(input_requests={name: types.ElicitRequest(params=params)})
    else:
        action = context.input_responses[name].action
    return types.CallToolResult(content=[types.TextContent(type="text", text=f"user: {action}")])


@server.tool()
async def progress(steps: int, context: Context) -> str:
    for step in range(1, steps + 1):
        await context.report_progress(step, steps)
    return "done"


@server.tool()
async def sleep(context: Context) -> str:
    await context.report_progress(1, 2)
    await asyncio.sleep(600)
    return "slept"


@server.tool()
async def log(context: Context) -> str:
    await context.info("one message")
    return "logged"


@server.tool()
async def grow(name: str, context: Context) -> str:
    server.add_tool(lambda: "new", name=name)
    await context.notify_tools_changed()
    return "grown"


@server.tool()
async def touch(context: Context) -> str:
    await context.notify_resource_updated("note://one")
    return "touched"


@server.tool()
async def trace(context: Context) -> str:
    return json.dumps(context.request_context.meta or {})


@server.tool()
async def task() -> str:
    return "carried out"


@server.prompt()
def greet(name: str) -> str:
    return f"Hello, {name}!"


@server.resource("note://one")
def one() -> str:
    return "the first note"


@server.resource("note://number/{n}")
def note(n: str) -> str:
    return f"note {n}"


@server.completion()
async def complete(ref, argument, context) -> types.Completion:
    return types.Completion(values=[name for name in ["Ann", "Bob"] if name.startswith(argument.value)])


if sys.argv[1:]:
    server.run(transport="streamable-http", port=int(sys.argv[1]))
else:
    server.run()
