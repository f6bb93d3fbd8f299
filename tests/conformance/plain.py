"""A plain MCP client over Streamable HTTP, in either era.

Raw requests and no SDK: an SDK drops members that it does not know, and one mistake on both sides
of the gateway would hide another. Both eras offer the same three things: `list`, `call` and
`request`. A client declares that it can be asked, and answers what `answer` can.
"""

import base64
import http.client
import itertools
import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

MODERN = "2026-07-28"
PATIENCE = 20
INFO = {"name": "plain", "version": "1"}
CAPABILITIES = {"elicitation": {}, "sampling": {}, "roots": {}}
NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class Refused(Exception):
    """The answer is a JSON-RPC error."""


class Client:
    def __init__(self, url: str, answer: Callable[[str, dict], dict]):
        self.endpoint = urlsplit(url)
        self.answer = answer
        self.ids = itertools.count(1)
        self.tools: dict[str, dict] = {}

    def list(self) -> dict[str, dict]:
        """Every tool by name, as listed; later calls go by it."""
        cursor = {}
        while True:
            page = self.request("tools/list", cursor)
            self.tools |= {tool["name"]: tool for tool in page["tools"]}
            if "nextCursor" not in page:
                return self.tools
            cursor = {"cursor": page["nextCursor"]}

    def call(self, tool: str, arguments: dict, **more) -> dict:
        return self.request("tools/call", {"name": tool, "arguments": arguments, **more})

    def _post(self, message: dict, headers: dict) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.endpoint.netloc, timeout=PATIENCE)
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
                   **headers}
        connection.request("POST", self.endpoint.path, json.dumps(message).encode(), headers)
        return connection.getresponse()


class Modern(Client):
    def request(self, method: str, params: dict | None = None) -> dict:
        meta = {"protocolVersion": MODERN, "clientInfo": INFO, "clientCapabilities": CAPABILITIES}
        params = dict(params or {})
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if method in NAMED_BY:
            headers["Mcp-Name"] = header_value(params[NAMED_BY[method]])
        if method == "tools/call":
            headers |= self._mirrored(params["name"], params["arguments"])
        params["_meta"] = {f"io.modelcontextprotocol/{key}": value for key, value in meta.items()}
        message = {"jsonrpc": "2.0", "id": next(self.ids), "method": method, "params": params}
        for answer in messages(self._post(message, headers)):
            if answer.get("id") == message["id"]:
                return outcome(answer)
        raise RuntimeError(f"{method}: the stream ended without an answer")

    def converse(self, tool: str, arguments: dict) -> dict:
        """Calls, answers what is asked, and calls again, until the answer is complete."""
        result = self.call(tool, arguments)
        while result.get("resultType") == "input_required":
            result = self.call(tool, arguments, **self.replies(result))
        return result

    def replies(self, asked: dict) -> dict:
        """What goes into the retry of a call that asked."""
        more = {"requestState": asked["requestState"]} if "requestState" in asked else {}
        requests = asked.get("inputRequests", {}).items()
        answers = {key: self.answer(one["method"], one.get("params", {})) for key, one in requests}
        return {"inputResponses": answers, **more}

    def _mirrored(self, tool: str, arguments: dict) -> dict:
        properties = self.tools.get(tool, {}).get("inputSchema", {}).get("properties", {})
        named = {key: schema["x-mcp-header"] for key, schema in properties.items()
                 if "x-mcp-header" in schema}
        return {f"Mcp-Param-{header}": header_value(arguments[key]) for key, header in named.items()
                if arguments.get(key) is not None}


class Legacy(Client):
    """A session; requests of the server are answered while a call waits."""

    def __init__(self, url: str, answer: Callable[[str, dict], dict], version: str):
        super().__init__(url, answer)
        self.session: dict[str, str] = {}
        asked = {"protocolVersion": version, "clientInfo": INFO, "capabilities": CAPABILITIES}
        opened = self.request("initialize", asked)
        self.session["MCP-Protocol-Version"] = opened["protocolVersion"]
        self._tell({"method": "notifications/initialized"})

    def request(self, method: str, params: dict | None = None) -> dict:
        message = {"jsonrpc": "2.0", "id": next(self.ids), "method": method, "params": params or {}}
        response = self._post(message, self.session)
        if session := response.getheader("Mcp-Session-Id"):
            self.session["Mcp-Session-Id"] = session
        for answer in messages(response):
            if "method" in answer and "id" in answer:
                said = self.answer(answer["method"], answer.get("params", {}))
                self._tell({"id": answer["id"], "result": said})
            elif answer.get("id") == message["id"]:
                return outcome(answer)
        raise RuntimeError(f"{method}: the stream ended without an answer")

    def converse(self, tool: str, arguments: dict) -> dict:
        return self.call(tool, arguments)

    def _tell(self, message: dict) -> None:
        response = self._post({"jsonrpc": "2.0", **message}, self.session)
        response.read()
        if response.status != 202:
            raise RuntimeError(f"{message} was answered with HTTP {response.status}")


def outcome(answer: dict) -> dict:
    if "error" in answer:
        raise Refused(json.dumps(answer["error"]))
    return answer["result"]


def messages(response: http.client.HTTPResponse) -> Iterator[dict]:
    """One JSON text, or the events of a stream as they come."""
    if "text/event-stream" not in (response.getheader("Content-Type") or ""):
        yield json.loads(response.read())
        return
    data = []
    for line in response:
        line = line.rstrip(b"\r\n")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and (text := b"\n".join(data)):
            data = []
            yield json.loads(text)


def header_value(value: str | int | bool) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    safe = re.fullmatch(r"[!-~]([ -~]*[!-~])?|", text) and not text.startswith("=?base64?")
    return text if safe else f"=?base64?{base64.b64encode(text.encode()).decode()}?="
