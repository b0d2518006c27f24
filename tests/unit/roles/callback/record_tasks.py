"""Writes each task's result to $HOSTTUNE_RECORDED, a JSON object a line, in the order in which they ended."""

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record_tasks
type: aggregate
short_description: Record the results of tasks for a test
description: Writes them to $HOSTTUNE_RECORDED.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, kind, result):
        line = {
            "host": result._host.get_name(),
            "role": result._task._role.get_name() if result._task._role else "",
            "task": result._task.get_name(),
            "action": result._task.action,
            "kind": kind,
            "changed": bool(result._result.get("changed")),
            "message": str(result._result.get("msg", "")),
            "warnings": list(map(str, result._result.get("warnings") or [])),
        }
        with open(os.environ["HOSTTUNE_RECORDED"], "a") as file:
            file.write(json.dumps(line) + "\n")

    def v2_runner_on_ok(self, result):
        self._write("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result):
        self._write("unreachable", result)
