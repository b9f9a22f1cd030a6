"""Commit-confirm: a server undoes by itself what cut it off, though its steps went well."""

import os
import signal
import unittest

from fleet import Fleet, by_server, main


def plan(path, seconds, scope="all", steps=()):
    write = {"name": "write", "type": "file_write", "params": {"path": path, "content": "new"}}
    return {
        "servers": ["a"],
        "steps": [write, *steps],
        "rollback": {"scope": scope, "confirmTimeoutSeconds": seconds},
    }


class Confirm(unittest.TestCase):
    def setUp(self):
        self.fleet = self.enterContext(Fleet(agents=["a"]))
        self.path = self.fleet.path("target")
        with open(self.path, "w", encoding="ascii") as file:
            file.write("old")

    def text(self):
        with open(self.path, encoding="ascii") as file:
            return file.read()

    def test_what_is_heard_over_a_new_connection_succeeds(self):
        document = self.fleet.run(plan(self.path, 60))
        self.assertEqual(by_server(document)["a"]["state"], "succeeded")
        self.assertEqual(self.text(), "new")
        types = [event["type"] for event in self.fleet.events(document["id"])]
        self.assertIn("execution_confirming", types)
        agent = self.fleet.agents["a"]
        self.assertIn("waits to be confirmed", agent.text())
        connections = [line for line in agent.lines if 'msg=connected' in line or 'msg="connected"' in line]
        self.assertEqual(len(connections), 2, agent.text())

    def test_a_server_that_hears_nothing_undoes_itself_whatever_the_plan_says(self):
        pid = self.fleet.orchestrator.process.pid
        cut = {"name": "cut", "type": "script", "params": {"script": "sh", "args": ["-c", f"kill -STOP {pid}"]}}
        rollout = self.fleet.submit(plan(self.path, 3, scope="none", steps=[cut]))
        agent = self.fleet.agents["a"]
        try:
            agent.wait_line("waits to be confirmed")
            self.assertEqual(self.text(), "new")
            agent.wait_line("state=rolled_back")
            self.assertEqual(self.text(), "old")
        finally:
            os.kill(pid, signal.SIGCONT)
        # On its return it tells what happened.
        self.fleet.wait_event(rollout, lambda e: e["type"] == "execution_rolled_back")
        ended = [e for e in self.fleet.events(rollout) if e["type"] == "execution_ended"]
        self.assertEqual(ended[0]["state"], "failed")
        self.assertIn("not confirmed within 3 s", ended[0]["message"])


if __name__ == "__main__":
    main()
