"""Prints what real servers define, one JSON object a line: {"server", "list", "definition"}.

    python3 tests/peers/definitions.py FOLDER NAME=COMMAND... > definitions.jsonl

Asks each command over stdio, as a legacy client, for the four lists. Made once for
tests/fixtures/definitions/real.jsonl, whose README says which versions; no test runs it.
"""

import json
import shlex
import subprocess
import sys

LISTS = [("tools/list", "tools"), ("prompts/list", "prompts"),
         ("resources/list", "resources"), ("resources/templates/list", "resourceTemplates")]


def ask(child, number, method, params):
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    child.stdin.write(json.dumps(message) + "\n")
    child.stdin.flush()
    for line in child.stdout:
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if answer.get("id") == number and "method" not in answer:
            return answer
    return {}


def definitions(name, command, folder):
    child = subprocess.Popen(shlex.split(command), cwd=folder, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    info = {"name": "definitions", "version": "1"}
    ask(child, 0, "initialize",
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})
    child.stdin.write('{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
    child.stdin.flush()
    number = 1
    for method, member in LISTS:
        cursor = {}
        while True:
            result = ask(child, number, method, cursor).get("result", {})
            number += 1
            for definition in result.get(member, []):
                row = {"server": name, "list": member, "definition": definition}
                print(json.dumps(row, ensure_ascii=False, sort_keys=True))
            if "nextCursor" not in result:
                break
            cursor = {"cursor": result["nextCursor"]}
    child.kill()
    child.wait()


for word in sys.argv[2:]:
    definitions(*word.split("=", 1), sys.argv[1])
