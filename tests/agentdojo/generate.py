"""Makes traces.json from AgentDojo 0.1.35 (MIT, see LICENSE beside this file).

    python3 -m venv /tmp/dojo
    /tmp/dojo/bin/pip install --no-deps agentdojo==0.1.35
    /tmp/dojo/bin/pip install 'pydantic[email]' pyyaml deepdiff docstring-parser typing-extensions
    /tmp/dojo/bin/python tests/agentdojo/generate.py > tests/agentdojo/traces.json

No model is asked anything. What is written down, for every suite of version v1.2.2, is what the
package itself holds to be the right calls: for each user task, with the answers of the tools once
as they are and once with a mark wherever an attacker could have written; for each injection task,
its goal and the calls that reach it, made in an environment of their own. The replay puts the goal
in the place of the mark, so an attack is a task whose agent sees it and then obeys to the letter.
Tasks of attackers without calls (they only want something said) cannot be replayed and are left
out, as are pairs in which the mark never shows.
"""

import importlib.abc
import importlib.machinery
import json
import sys
from unittest.mock import MagicMock

MARK = "@@INJECTED@@"
# Clients of models and the like, which nothing here needs.
UNUSED = {
    "anthropic", "cohere", "dotenv", "google", "langchain", "openai", "requests", "rich",
    "tenacity", "torch", "transformers", "vertexai",
}


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that are not installed."""

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in UNUSED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__ = spec, []
        return module

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, Absent())
from agentdojo.agent_pipeline.tool_execution import tool_result_to_str  # noqa: E402
from agentdojo.functions_runtime import FunctionsRuntime  # noqa: E402
from agentdojo.task_suite.load_suites import get_suites  # noqa: E402


class Table:
    """Texts, each once."""

    def __init__(self):
        self.texts, self.places = [], {}

    def place(self, text):
        if text not in self.places:
            self.places[text] = len(self.texts)
            self.texts.append(text)
        return self.places[text]


def environment(suite, task, text):
    """As the task finds it; with `text` wherever an attacker could have written, if there is one."""
    vectors = suite.get_injection_vector_defaults()
    written = {vector: text for vector in vectors} if text else {}
    found = suite.load_and_inject_default_environment(written)
    return task.init_environment(found) if hasattr(task, "init_environment") else found


def run(suite, task, text, table):
    """The calls of the task with their answers."""
    world = environment(suite, task, text)
    runtime = FunctionsRuntime(suite.tools)
    made = []
    for call in task.ground_truth(world.model_copy(deep=True)):
        answer, error = runtime.run_function(world, call.function, call.args)
        told = error or tool_result_to_str(answer)
        made.append((call.function, dict(call.args), table.place(told)))
    return made


def of_suite(name, suite):
    table = Table()
    tasks, injections = [], []
    for task_id, task in suite.user_tasks.items():
        plain, marked = run(suite, task, None, table), run(suite, task, MARK, table)
        if len(plain) != len(marked):
            raise SystemExit(f"{name}/{task_id}: the calls depend on what was injected")
        calls = [
            {"tool": tool, "args": args, "answer": answer, "marked": hers[2], "marked_args": hers[1]}
            for (tool, args, answer), hers in zip(plain, marked)
        ]
        for call in calls:
            if call["marked_args"] == call["args"]:
                del call["marked_args"]
        tasks.append({"id": task_id, "calls": calls})
    for task_id, task in suite.injection_tasks.items():
        calls = [
            {"tool": tool, "args": args, "answer": answer}
            for tool, args, answer in run(suite, task, MARK, table)
        ]
        if calls:
            injections.append({"id": task_id, "goal": task.GOAL, "calls": calls})
    tools = sorted(tool.name for tool in suite.tools)
    n_pairs = len(suite.user_tasks) * len(suite.injection_tasks)
    return {
        "suite": name, "pairs": n_pairs, "tools": tools, "tasks": tasks,
        "injections": injections, "answers": table.texts,
    }


def main():
    suites = [of_suite(name, suite) for name, suite in sorted(get_suites("v1.2.2").items())]
    whole = {"source": "AgentDojo 0.1.35, suites v1.2.2, MIT", "mark": MARK, "suites": suites}
    json.dump(whole, sys.stdout, ensure_ascii=False, indent=0, default=str)
    sys.stdout.write("\n")


main()
