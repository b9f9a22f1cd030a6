"""Rollouts end to end: strategies, thresholds, undo, waiting, cancelling."""

import os
import stat
import unittest

from fleet import Fleet, by_server, echo_step, main

# Each agent of these tests is a process of its own; a script tells them apart by KITSUNE_SERVER_ID.


def fails_on(*servers):
    cases = "|".join(servers)
    return {
        "name": "check",
        "type": "script",
        "params": {"script": "sh", "args": ["-c", f'case $KITSUNE_SERVER_ID in {cases}) echo broken; exit 7;; esac']},
    }


def write_step(path, content, **params):
    return {"name": "write", "type": "file_write", "params": {"path": path, "content": content, **params}}


class Strategies(unittest.TestCase):
    servers = [f"web-{i}" for i in range(1, 6)]

    def test_each_strategy_reaches_every_server(self):
        with Fleet(agents=self.servers) as fleet:
            for strategy in (
                {"type": "Parallel"},
                {"type": "Parallel", "maxParallel": 2},
                {"type": "Sequential"},
                {"type": "Rolling", "batchSize": 2},
                {"type": "Rolling", "batchSize": [1, "40%"]},
                {"type": "Canary", "canaryPercentage": 20, "batchSize": 3},
            ):
                with self.subTest(strategy=strategy):
                    done = fleet.run({"servers": self.servers, "steps": [echo_step()], "rolloutStrategy": strategy})
                    self.assertEqual(done["state"], "succeeded")
                    self.assertEqual(done["counts"]["succeeded"], 5)
                    self.assertTrue(all(x["state"] == "succeeded" for x in done["executions"]))

    def test_a_batch_begins_after_the_one_before_has_settled(self):
        with Fleet(agents=self.servers) as fleet:
            done = fleet.run(
                {
                    "servers": self.servers,
                    "steps": [echo_step(), {"name": "wait", "type": "sleep", "params": {"duration": 0.1}}],
                    "rolloutStrategy": {"type": "Rolling", "batchSize": 2, "batchDelaySeconds": 0.2},
                }
            )
            running, most, batch = set(), 0, 0
            for event in fleet.events(done["id"]):
                if event["type"] == "batch_started":
                    self.assertEqual(running, set(), "a batch began while servers were under way")
                    batch += 1
                elif event["type"] == "execution_started":
                    running.add(event["server"])
                    most = max(most, len(running))
                elif event["type"] == "execution_ended":
                    running.remove(event["server"])
            self.assertEqual(batch, 3)
            self.assertEqual(most, 2)

    def test_a_failing_canary_stops_the_rest_whatever_is_allowed(self):
        with Fleet(agents=self.servers) as fleet:
            done = fleet.run(
                {
                    "servers": self.servers,
                    "steps": [fails_on("web-1")],
                    "rolloutStrategy": {"type": "Canary", "canaryPercentage": 20, "maxFailures": 4},
                },
                check=3,
            )
            self.assertEqual(done["counts"]["skipped"], 4)
            self.assertEqual(done["counts"]["failed"], 1)


class Undo(unittest.TestCase):
    def test_a_tripped_threshold_restores_files_byte_for_byte(self):
        servers = ["a", "b", "c", "d"]
        with Fleet(agents=servers) as fleet:
            path = fleet.path("app.conf")
            before = bytes(range(1, 256)) * 40
            with open(path, "wb") as file:
                file.write(before)
            os.chmod(path, 0o640)
            os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
            done = fleet.run(
                {
                    "servers": servers,
                    "steps": [write_step(path, "new\n"), fails_on("c")],
                    "rolloutStrategy": {"type": "Sequential"},
                },
                check=3,
            )
            self.assertEqual(done["state"], "rolled_back")
            with open(path, "rb") as file:
                self.assertEqual(file.read(), before)
            info = os.stat(path)
            self.assertEqual(stat.S_IMODE(info.st_mode), 0o640)
            self.assertEqual(info.st_mtime_ns, 1_600_000_000_123_456_789)
            states = {name: x["state"] for name, x in by_server(done).items()}
            self.assertEqual(states, {"a": "rolled_back", "b": "rolled_back", "c": "rolled_back", "d": "skipped"})
            self.assertEqual(by_server(done)["c"]["outcome"], "failed")
            # Latest first, and the one that failed undid itself.
            undone = [e["server"] for e in fleet.events(done["id"]) if e["type"] == "execution_rolled_back"]
            self.assertEqual(undone, ["c", "b", "a"])

    def test_a_file_that_was_not_there_is_gone_again(self):
        with Fleet(agents=["a"]) as fleet:
            path = fleet.path("fresh.txt")
            fleet.run({"servers": ["a"], "steps": [write_step(path, ""), fails_on("a")]}, check=3)
            self.assertFalse(os.path.exists(path))
            fleet.run({"servers": ["a"], "steps": [write_step(path, "")]})
            self.assertEqual(os.path.getsize(path), 0)

    def test_failures_within_the_limit_leave_the_others_changed(self):
        servers = ["a", "b", "c"]
        with Fleet(agents=servers) as fleet:
            done = fleet.run(
                {
                    "servers": servers,
                    "steps": [fails_on("b")],
                    "rolloutStrategy": {"type": "Parallel", "maxFailures": 1},
                }
            )
            self.assertEqual(done["state"], "succeeded")
            self.assertEqual(done["counts"]["failed"], 1)
            failed = by_server(done)["b"]
            self.assertEqual((failed["state"], failed["outcome"]), ("rolled_back", "failed"))
            self.assertIn("exit", failed["message"])

    def test_scope_none_undoes_nothing(self):
        servers = ["a", "b"]
        with Fleet(agents=servers) as fleet:
            path = fleet.path("kept.txt")
            done = fleet.run(
                {
                    "servers": servers,
                    "steps": [write_step(path, "kept"), fails_on("b")],
                    "rolloutStrategy": {"type": "Sequential"},
                    "rollback": {"scope": "none"},
                },
                check=2,
            )
            self.assertEqual(done["state"], "failed")
            with open(path, encoding="ascii") as file:
                self.assertEqual(file.read(), "kept")

    def test_rollback_scripts_run_in_reverse_order_with_the_same_args(self):
        with Fleet(agents=["a"]) as fleet:
            log = fleet.path("log")

            def step(name):
                return {
                    "name": name,
                    "type": "script",
                    "params": {
                        "script": "/bin/sh",
                        "args": ["-c", f'echo "{name} $KITSUNE_PHASE" >>"{log}"'],
                        "rollback_script": "/bin/sh",
                    },
                }

            fleet.run({"servers": ["a"], "steps": [step("one"), step("two"), fails_on("a")]}, check=3)
            with open(log, encoding="ascii") as file:
                self.assertEqual(
                    file.read().split("\n")[:-1], ["one execute", "two execute", "two rollback", "one rollback"]
                )

    def test_a_rollback_that_fails_is_its_own_end_and_the_others_go_on(self):
        servers = ["a", "b", "c"]
        with Fleet(agents=servers) as fleet:
            step = {
                "name": "change",
                "type": "script",
                "params": {
                    "script": "sh",
                    "args": ["-c", 'test "$KITSUNE_PHASE$KITSUNE_SERVER_ID" != rollbackb'],
                    "rollback_script": "sh",
                },
            }
            done = fleet.run(
                {"servers": servers, "steps": [step, fails_on("c")], "rolloutStrategy": {"type": "Sequential"}},
                check=4,
            )
            self.assertEqual(done["state"], "rollback_failed")
            states = {name: x["state"] for name, x in by_server(done).items()}
            self.assertEqual(states, {"a": "rolled_back", "b": "rollback_failed", "c": "rolled_back"})


class Steps(unittest.TestCase):
    def test_a_step_that_is_not_required_may_fail(self):
        with Fleet(agents=["a"]) as fleet:
            optional = {**fails_on("a"), "required": False}
            tolerated = {**fails_on("a"), "name": "other", "continueOnFailure": True}
            done = fleet.run({"servers": ["a"], "steps": [optional, tolerated, echo_step()]})
            steps = [s["state"] for s in by_server(done)["a"]["steps"]]
            self.assertEqual(steps, ["failed", "failed", "succeeded"])

    def test_a_step_past_its_timeout_is_ended_and_undone(self):
        with Fleet(agents=["a"]) as fleet:
            path = fleet.path("f")
            slow = {
                "name": "slow",
                "type": "script",
                "params": {"script": "sh", "args": ["-c", "echo begun; sleep 600"]},
                "timeoutSeconds": 0.5,
            }
            done = fleet.run({"servers": ["a"], "steps": [write_step(path, "x"), slow]}, check=3)
            self.assertEqual(by_server(done)["a"]["outcome"], "timed_out")
            self.assertFalse(os.path.exists(path))
            self.assertIn("begun", fleet.kitsune("logs", done["id"], check=0).stdout)

    def test_a_step_is_tried_again_as_its_retry_policy_says(self):
        with Fleet(agents=["a"]) as fleet:
            mark = fleet.path("tries")
            step = {
                "name": "flaky",
                "type": "script",
                "params": {"script": "sh", "args": ["-c", f'echo x >>"{mark}"; test $(wc -l <"{mark}") -ge 3']},
                "retry": {"maximumAttempts": 5, "initialIntervalSeconds": 0.05},
            }
            done = fleet.run({"servers": ["a"], "steps": [step]})
            self.assertEqual(by_server(done)["a"]["steps"][0]["attempt"], 3)
            final = {**step, "retry": {**step["retry"], "nonRetryableExitCodes": [9]}}
            final["params"] = {"script": "sh", "args": ["-c", "exit 9"]}
            done = fleet.run({"servers": ["a"], "steps": [final]}, check=3)
            self.assertEqual(by_server(done)["a"]["steps"][0]["attempt"], 1)

    def test_output_of_every_step_can_be_read(self):
        with Fleet(agents=["a"]) as fleet:
            noisy = {
                "name": "noisy",
                "type": "script",
                "params": {"script": "sh", "args": ["-c", "echo first; head -c 3000000 /dev/zero; echo; echo last"]},
            }
            done = fleet.run({"servers": ["a"], "steps": [echo_step(message="hello there"), noisy]})
            logs = fleet.kitsune("logs", done["id"], check=0).stdout
            self.assertIn("hello there", logs)
            self.assertIn("first", logs)
            self.assertIn("last", logs)
            self.assertIn("left out", logs)
            self.assertLess(len(logs), 300_000)


class Operators(unittest.TestCase):
    slow = {"name": "wait", "type": "sleep", "params": {"duration": 300}}

    def test_cancel_now_ends_the_running_step_and_can_undo(self):
        with Fleet(agents=["a", "b"]) as fleet:
            path = fleet.path("f")
            plan = {"servers": ["a", "b"], "steps": [write_step(path, "x"), self.slow]}
            rollout = fleet.submit(plan)
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started" and e["step"] == "wait")
            fleet.kitsune("cancel", rollout, "--now", "--rollback", check=0)
            fleet.kitsune("watch", rollout, check=3)
            self.assertFalse(os.path.exists(path))
            done = fleet.json("show", rollout)
            self.assertEqual(done["counts"]["skipped"], 1)

    def test_cancel_lets_the_running_step_finish(self):
        with Fleet(agents=["a"]) as fleet:
            go = fleet.path("go")
            os.mkfifo(go)
            step = {
                "name": "gate",
                "type": "script",
                "params": {"script": "sh", "args": ["-c", f'cat "{go}"; echo finished']},
            }
            rollout = fleet.submit({"servers": ["a"], "steps": [step, echo_step("after", "must not run")]})
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
            fleet.kitsune("cancel", rollout, check=0)
            with open(go, "w", encoding="ascii") as gate:
                gate.write("go on\n")
            fleet.kitsune("watch", rollout, check=2)
            done = fleet.json("show", rollout)
            self.assertEqual(done["state"], "cancelled")
            self.assertEqual([s["state"] for s in done["executions"][0]["steps"]], ["succeeded", "pending"])

    def test_pause_starts_no_server_until_resumed(self):
        with Fleet(agents=["a"]) as fleet:
            rollout = fleet.submit(
                {
                    "servers": ["a", "b"],
                    "steps": [{"name": "wait", "type": "sleep", "params": {"duration": 0.5}}],
                    "rolloutStrategy": {"type": "Sequential"},
                }
            )
            fleet.kitsune("pause", rollout, check=0)
            fleet.wait_event(rollout, lambda e: e["type"] == "execution_ended")
            self.assertEqual(fleet.json("show", rollout)["state"], "paused")
            fleet.start_agent("b")
            fleet.kitsune("resume", rollout, check=0)
            fleet.kitsune("watch", rollout, check=0)

    def test_a_second_rollout_waits_for_the_server_or_is_refused(self):
        with Fleet(agents=["a"]) as fleet:
            first = fleet.submit({"servers": ["a"], "steps": [self.slow]})
            fleet.wait_event(first, lambda e: e["type"] == "step_started")
            plan = {"servers": ["a"], "steps": [echo_step()]}
            refused = fleet.kitsune("submit", fleet.plan(plan), "--no-wait", check=1)
            self.assertIn(first, refused.stderr)
            second = fleet.submit(plan)
            waiting = by_server(fleet.json("show", second))["a"]
            self.assertEqual((waiting["state"], waiting["waitingFor"]), ("queued", first))
            fleet.kitsune("cancel", first, "--now", check=0)
            fleet.kitsune("watch", second, check=0)

    def test_the_same_id_and_plan_give_the_same_rollout(self):
        with Fleet(agents=["a"]) as fleet:
            plan = {"servers": ["a"], "steps": [echo_step()]}
            self.assertEqual(fleet.submit(plan, "--id", "release-7"), "release-7")
            fleet.kitsune("watch", "release-7", check=0)
            self.assertEqual(fleet.submit(plan, "--id", "release-7"), "release-7")
            starts = [e for e in fleet.events("release-7") if e["type"] == "execution_started"]
            self.assertEqual(len(starts), 1)
            other = {"servers": ["a"], "steps": [echo_step(message="other")]}
            refused = fleet.kitsune("submit", fleet.plan(other), "--id", "release-7", check=1)
            self.assertIn("another plan", refused.stderr)
            self.assertEqual(fleet.json("show", "rel")["id"], "release-7")


if __name__ == "__main__":
    main()
