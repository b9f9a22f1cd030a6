"""The wall clock jumps by a year, in either direction and in mid-rollout: no deadline passes early, none never."""

import os
import time
import unittest

from fleet import Fleet, by_server, echo_step, main

LIBRARY = "/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1".format(os.uname().machine)
SLACK = 0.05  # seconds: what is measured here began a little after what is measured


class Clock:
    """The wall clock of one program; the monotonic one stays the machine's."""

    def __init__(self, path):
        self.path = path
        self.jump("+0")
        self.env = {
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": path,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
        }

    def jump(self, offset):
        """To the true time and `offset`; at once."""
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(offset + "\n")
        os.rename(self.path + ".new", self.path)


@unittest.skipUnless(os.path.exists(LIBRARY), "libfaketime is not installed")
class WallClock(unittest.TestCase):
    def setUp(self):
        self.fleet = Fleet(heartbeat="300ms")
        self.addCleanup(self.fleet.close)
        self.near = Clock(self.fleet.path("near"))
        self.far = Clock(self.fleet.path("far"))
        self.fleet.start_orchestrator(env=self.near.env)
        for agent in ("a", "b"):
            self.fleet.start_agent(agent, env=self.far.env)
            self.fleet.orchestrator.wait_line(f"server={agent} ")

    def wait(self, rollout, kind, server=None):
        self.fleet.wait_event(rollout, lambda e: e["type"] == kind and e.get("server") == server)
        return time.monotonic()

    def years(self, rollout):
        """In the order of the events."""
        events = self.fleet.events(rollout)
        self.assertEqual([e["seq"] for e in events], list(range(1, len(events) + 1)))
        seen = []
        for event in events:
            year = int(event["time"][:4])
            if year not in seen[-1:]:
                seen.append(year)
        return [year - seen[0] for year in seen]

    def test_the_orchestrators_deadlines_follow_no_wall_clock(self):
        for first, second, years in (("+365d", "-365d", [0, 1, -1]), ("-365d", "+365d", [0, -1, 1])):
            with self.subTest(first=first, second=second):
                self.near.jump("+0")
                gate = self.fleet.path(f"gate{first}")
                os.mkfifo(gate)
                began = time.monotonic()
                rollout = self.fleet.submit({
                    "servers": ["never", "a", "b"],
                    "steps": [{"name": "gate", "type": "script", "params": {"script": "cat", "args": [gate]}}],
                    "rolloutStrategy": {"type": "Rolling", "batchSize": 2, "batchDelaySeconds": 2, "maxFailures": 1,
                                        "startTimeoutSeconds": 2},
                })
                self.wait(rollout, "step_started", "a")
                self.near.jump(first)
                self.assertGreater(self.wait(rollout, "execution_unreachable", "never") - began, 2 - SLACK)
                with open(gate, "w", encoding="ascii"):
                    pass
                self.wait(rollout, "batch_ended")
                ended = time.monotonic()
                self.near.jump(second)
                self.assertGreater(self.wait(rollout, "execution_started", "b") - ended, 2 - 1)
                with open(gate, "w", encoding="ascii"):
                    pass
                self.fleet.kitsune("watch", rollout, check=0)
                self.assertEqual(self.years(rollout), years)
        self.assertNotIn("agent is silent", self.fleet.orchestrator.text())

    def test_the_agents_deadlines_follow_no_wall_clock(self):
        for first, second in (("+365d", "-365d"), ("-365d", "+365d")):
            with self.subTest(first=first, second=second):
                self.far.jump("+0")
                began = time.monotonic()
                rollout = self.fleet.submit({
                    "servers": ["a"],
                    "steps": [{"name": "long", "type": "script", "timeoutSeconds": 1.5,
                               "retry": {"maximumAttempts": 2, "initialIntervalSeconds": 1.5},
                               "params": {"script": "sleep", "args": ["1000"]}}],
                })
                self.wait(rollout, "step_started", "a")
                self.far.jump(first)
                timed_out = self.wait(rollout, "step_retrying", "a")
                self.assertGreater(timed_out - began, 1.5 - SLACK)
                self.far.jump(second)
                self.fleet.wait_event(rollout, lambda e: e["type"] == "step_started" and e["attempt"] == 2)
                again = time.monotonic()
                self.assertGreater(again - timed_out, 1.5 - 1)
                self.far.jump("+0")
                self.fleet.kitsune("watch", rollout, check=3)
                self.assertGreater(time.monotonic() - again, 1.5 - 1)
                self.assertEqual(by_server(self.fleet.json("show", rollout))["a"]["outcome"], "timed_out")
        self.assertEqual(self.fleet.orchestrator.text().count("server=a "), 1)
        self.fleet.run({"servers": ["a", "b"], "steps": [echo_step()]})


@unittest.skipUnless(os.path.exists(LIBRARY), "libfaketime is not installed")
class Retention(unittest.TestCase):
    def test_a_clock_that_is_a_year_ahead_makes_nothing_old(self):
        with Fleet(agents=["a"]) as fleet:
            near, far = Clock(fleet.path("near")), Clock(fleet.path("far"))
            path = fleet.path("f")
            step = {"name": "write", "type": "file_write", "params": {"path": path, "content": "new"}}
            rollout = fleet.run({"servers": ["a"], "steps": [step]})["id"]
            kept = fleet.path("agent-a", "undo", "a", rollout)
            self.assertTrue(os.path.isdir(kept))
            self.assertEqual([fleet.agents["a"].stop(), fleet.orchestrator.stop()], [0, 0])
            near.jump("+365d")
            far.jump("+365d")
            fleet.start_orchestrator(env=near.env)
            fleet.start_agent("a", env=far.env)
            fleet.orchestrator.wait_line("the clock is far ahead")
            fleet.agents["a"].wait_line("the clock is far ahead")
            fleet.agents["a"].wait_line("msg=connected")
            # What would have been removed at the start is there, also after what is done next.
            fleet.run({"servers": ["a"], "steps": [echo_step()]})
            self.assertTrue(os.path.isdir(kept))
            self.assertIn(rollout, [r["id"] for r in fleet.json("list")["rollouts"]])


if __name__ == "__main__":
    main()
