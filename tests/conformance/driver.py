"""What the official suite starts when it judges the gateway as a client of MCP servers.

    conformance client --command "PYTHON driver.py --gateway PROGRAM" …     # it appends its URL

Stands a gateway before the suite's server, does through it what the scenario asks of a client, and
stops it again. The suite judges what reached its server; exit status 0 says that the answers were
right as well. Nothing started here may hold the suite's pipes: it waits until they are closed.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))
from gateway import Gateway  # noqa: E402
from plain import MODERN, Client, Legacy, Modern, Refused  # noqa: E402

# A legacy server can ask only where its sessions are not shared.
ASKS = {"elicitation-sep1034-client-defaults"}


def answer(method: str, params: dict) -> dict:
    """A user who takes every form as it is proposed, and ticks what has no default."""
    if method != "elicitation/create":
        raise RuntimeError(f"no scenario asks for {method}")
    fields = params["requestedSchema"]["properties"].items()
    return {"action": "accept", "content": {key: field.get("default", True) for key, field in fields}}


def lists_tools(client: Client) -> None:
    client.list()


def adds_numbers(client: Client) -> None:
    tool = next(iter(client.list()))
    client.call(tool, {"a": 2, "b": 3})


def takes_defaults(client: Client) -> None:
    client.list()
    client.converse("test_client_elicitation_defaults", {})


def reconnects(client: Client) -> None:
    client.list()
    result = client.call("test_reconnection", {})
    assert "successfully" in result["content"][0]["text"], result


def echoes_schema(client: Client) -> None:
    schema = client.list()["json_schema_2020_12_tool"]["inputSchema"]
    client.call("json_schema_echo", {"schema": schema})


def states_metadata(client: Client) -> None:
    client.request("server/discover")
    client.list()


def retries_with_state(client: Modern) -> None:
    client.list()
    asked = client.call("test_mrtr_echo_state", {})
    # In between, so that state and answers could go astray.
    client.call("test_mrtr_unrelated", {})
    client.call("test_mrtr_echo_state", {}, **client.replies(asked))
    client.converse("test_mrtr_no_state", {})
    client.converse("test_mrtr_no_result_type", {})


def reads_everything(client: Client) -> None:
    for tool in client.list():
        client.call(tool, {})
    for resource in client.request("resources/list")["resources"]:
        client.request("resources/read", {"uri": resource["uri"]})
    for prompt in client.request("prompts/list")["prompts"]:
        client.request("prompts/get", {"name": prompt["name"], "arguments": {}})


def mirrors_arguments(client: Client) -> None:
    client.list()
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        # The suite proposes null where its own schema wants a boolean. Such a call the gateway
        # refuses; the rule is about values that are null or left out, so they are left out.
        given = {key: value for key, value in call["arguments"].items() if value is not None}
        client.call(call["name"], given)


def calls_what_is_listed(client: Client) -> None:
    listed = client.list()
    assert list(listed) == ["valid_tool"], f"listed: {list(listed)}"
    client.call("valid_tool", {"region": "us-west1"})


def leaves_references(client: Client) -> None:
    """A call as well: that is when the arguments are held against the schema."""
    client.list()
    try:
        client.call("lookup_user", {"id": "ada"})
    except Refused:
        pass  # the suite's server serves no calls


SCENARIOS: dict[str, Callable[[Client], None]] = {
    "initialize": lists_tools,
    "tools_call": adds_numbers,
    "elicitation-sep1034-client-defaults": takes_defaults,
    "sse-retry": reconnects,
    "json-schema-2020-12-preservation": echoes_schema,
    "request-metadata": states_metadata,
    "sep-2322-client-request-state": retries_with_state,
    "http-standard-headers": reads_everything,
    "http-custom-headers": mirrors_arguments,
    "http-invalid-tool-headers": calls_what_is_listed,
    "json-schema-ref-no-deref": leaves_references,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="The gateway as the client that the suite judges.")
    parser.add_argument("--gateway", type=Path, required=True)
    parser.add_argument("url", help="the suite's server")
    options = parser.parse_args()
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    revision = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
    with tempfile.TemporaryDirectory(prefix="portcullis-client-") as folder:
        server = {"url": options.url} | ({"isolation": "per-session"} if scenario in ASKS else {})
        gateway = Gateway(options.gateway, Path(folder) / "gateway", {"suite": server}, "plain")
        wrong = []
        try:
            gateway.start(listed=False)
            connect = Modern if revision == MODERN else lambda *args: Legacy(*args, revision)
            SCENARIOS[scenario](connect(gateway.url, answer))
        except Exception as error:  # noqa: BLE001 - the gateway's own words belong beside it
            wrong.append(f"{type(error).__name__}: {error}")
        if gateway.process:
            wrong += gateway.stop()
        if wrong:
            print(*wrong, gateway.tail(), sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
