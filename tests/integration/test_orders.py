"""What people order: undo of what has ended, retries, servers settled by hand, locks."""

import os
import stat
import subprocess
import threading
import unittest

from fleet import DEADLINE, Fleet, by_server, echo_step, main, program


def write_step(path, content, name="write"):
    return {"name": name, "type": "file_write", "params": {"path": path, "content": content}}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def put(path, content, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
    os.chmod(path, mode)


def per_server(fleet, name="f"):
    """A step that writes a file of each server's own, and what the files are called."""
    script = f'echo "$KITSUNE_PHASE" >>"{fleet.dir}/{name}-$KITSUNE_SERVER_ID"'
    return {
        "name": name,
        "type": "script",
        "params": {"script": "sh", "args": ["-c", script], "rollback_script": "sh"},
    }


def check_journal(fleet):
    assert fleet.orchestrator.stop() == 0, fleet.orchestrator.text()
    done = subprocess.run(
        [program("kitsune-orchestrator"), "--check", "--data-dir", fleet.path("orchestrator")],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    fleet.start_orchestrator()


class Rollback(unittest.TestCase):
    def test_a_finished_rollout_is_undone_byte_for_byte(self):
        with Fleet(agents=["a"]) as fleet:
            there, fresh = fleet.path("there"), fleet.path("fresh")
            put(there, "old\nbytes\x01\n", 0o640)
            plan = {"servers": ["a"], "steps": [write_step(there, "new"), write_step(fresh, "new", "fresh")]}
            rollout = fleet.run(plan)["id"]
            self.assertEqual((read(there), read(fresh)), ("new", "new"))
            done = fleet.kitsune("rollback", rollout, "--watch", "--reason", "memory leak", check=0)
            self.assertIn("rollback requested", done.stdout)
            self.assertEqual(read(there), "old\nbytes\x01\n")
            self.assertEqual(stat.S_IMODE(os.stat(there).st_mode), 0o640)
            self.assertFalse(os.path.exists(fresh))
            shown = fleet.json("show", rollout)
            self.assertEqual(shown["state"], "rolled_back")
            self.assertEqual(by_server(shown)["a"]["outcome"], "succeeded")
            ordered = [e for e in fleet.events(rollout) if e["type"] == "rollback_requested"]
            self.assertEqual(len(ordered), 1)
            self.assertEqual(ordered[0]["message"], "memory leak")
            self.assertIn("@", ordered[0]["by"])
            self.assertEqual([e["type"] for e in fleet.events(rollout)].count("rollout_ended"), 2)
            again = fleet.kitsune("rollback", rollout, check=1)
            self.assertIn("nothing is left to undo", again.stderr)
            check_journal(fleet)
            # Also after a restart, and the server is free.
            self.assertEqual(fleet.json("server", "a")["touchedBy"][0]["undone"], True)
            fleet.run(plan)

    def test_one_server_is_undone_and_the_others_stay(self):
        with Fleet(agents=["a", "b", "c"]) as fleet:
            rollout = fleet.run({"servers": ["a", "b", "c"], "steps": [per_server(fleet)],
                                 "rolloutStrategy": {"type": "Parallel"}})["id"]
            fleet.kitsune("rollback", rollout, "--server", "b", "--watch", check=0)
            shown = fleet.json("show", rollout)
            self.assertEqual(shown["state"], "succeeded")
            self.assertEqual({s: x["state"] for s, x in by_server(shown).items()},
                             {"a": "succeeded", "b": "rolled_back", "c": "succeeded"})
            self.assertEqual(read(fleet.path("f-b")), "execute\nrollback\n")
            self.assertEqual(read(fleet.path("f-a")), "execute\n")
            fleet.kitsune("rollback", rollout, "--server", "a", "--server", "c", "--watch", check=0)
            self.assertEqual(fleet.json("show", rollout)["state"], "rolled_back")
            refused = fleet.kitsune("rollback", rollout, "--server", "d", check=1)
            self.assertIn('no server "d"', refused.stderr)

    def test_the_newest_is_undone_first(self):
        with Fleet(agents=["a"]) as fleet:
            path = fleet.path("f")
            put(path, "zero")
            first = fleet.run({"servers": ["a"], "steps": [write_step(path, "one")]})["id"]
            second = fleet.run({"servers": ["a"], "steps": [write_step(path, "two")]})["id"]
            refused = fleet.kitsune("rollback", first, check=1)
            self.assertIn(f'rollout "{second}" touched server "a" later', refused.stderr)
            status, problem = fleet.post(f"/v1/rollouts/{first}/rollback", {"by": "me"})
            self.assertEqual(status, 409)
            self.assertIn(second, problem["detail"])
            self.assertEqual(fleet.json("show", first)["state"], "succeeded")
            shown = fleet.json("server", "a")["touchedBy"]
            self.assertEqual([(t["rollout"], t["undone"]) for t in shown], [(second, False), (first, False)])
            fleet.kitsune("rollback", second, "--watch", check=0)
            self.assertEqual(read(path), "one")
            fleet.kitsune("rollback", first, "--watch", check=0)
            self.assertEqual(read(path), "zero")

    def test_what_somebody_else_changed_is_a_conflict_until_it_is_forced(self):
        with Fleet(agents=["a", "b"]) as fleet:
            path = fleet.path("f")
            put(path, "old")
            rollout = fleet.run({"servers": ["a"], "steps": [write_step(path, "new")]})["id"]
            put(path, "by hand")
            fleet.kitsune("rollback", rollout, "--watch", check=4)
            self.assertEqual(read(path), "by hand")
            shown = fleet.json("show", rollout)
            self.assertEqual(shown["state"], "rollback_failed")
            self.assertTrue(by_server(shown)["a"]["conflict"])
            self.assertTrue(by_server(shown)["a"]["steps"][0]["conflict"])
            self.assertIn("rollback_failed (succeeded), conflict", fleet.kitsune("show", rollout, check=0).stdout)
            self.assertIn("--force", by_server(shown)["a"]["message"])
            # Force is for servers that are named.
            self.assertEqual(fleet.post(f"/v1/rollouts/{rollout}/rollback", {"force": True})[0], 400)
            fleet.kitsune("rollback", rollout, "--server", "a", "--force", "--watch", check=0)
            self.assertEqual(read(path), "old")
            shown = fleet.json("show", rollout)
            self.assertEqual((shown["state"], by_server(shown)["a"].get("conflict")), ("rolled_back", None))

    def test_force_undoes_in_spite_of_a_later_rollout(self):
        with Fleet(agents=["a"]) as fleet:
            path = fleet.path("f")
            put(path, "zero")
            first = fleet.run({"servers": ["a"], "steps": [write_step(path, "one")]})["id"]
            fleet.run({"servers": ["a"], "steps": [write_step(path, "two")]})
            fleet.kitsune("rollback", first, "--server", "a", check=1)
            fleet.kitsune("rollback", first, "--server", "a", "--force", "--watch", check=0)
            self.assertEqual(read(path), "zero")

    def test_an_undo_that_failed_is_ordered_again_and_succeeds(self):
        with Fleet(agents=["a"]) as fleet:
            path, broken = fleet.path("f"), fleet.path("broken")
            put(path, "old")
            put(broken, "")
            stubborn = {
                "name": "stubborn",
                "type": "script",
                "params": {
                    "script": "sh",
                    "args": ["-c", f'[ "$KITSUNE_PHASE" = execute ] || [ ! -e "{broken}" ]'],
                    "rollback_script": "sh",
                },
            }
            rollout = fleet.run({"servers": ["a"], "steps": [write_step(path, "new"), stubborn]})["id"]
            fleet.kitsune("rollback", rollout, "--watch", check=4)
            # The rest of the server was undone all the same.
            self.assertEqual(read(path), "old")
            steps = {s["name"]: s["state"] for s in by_server(fleet.json("show", rollout))["a"]["steps"]}
            self.assertEqual(steps, {"write": "rolled_back", "stubborn": "rollback_failed"})
            os.unlink(broken)
            fleet.kitsune("rollback", rollout, "--watch", check=0)
            shown = fleet.json("show", rollout)
            self.assertEqual((shown["state"], shown["counts"]["rollbackFailed"]), ("rolled_back", 0))

    def test_a_running_rollout_is_stopped_and_undone(self):
        with Fleet(agents=["a", "b"]) as fleet:
            mark = fleet.path("mark")
            os.mkfifo(mark)
            gate = {"name": "gate", "type": "script",
                    "params": {"script": "sh", "args": ["-c", f'echo up >"{mark}"; sleep 300']}}
            rollout = fleet.submit({"servers": ["a", "b"], "steps": [per_server(fleet), gate]})
            self.assertEqual(read(mark), "up\n")
            fleet.kitsune("rollback", rollout, "--now", "--watch", check=0)
            shown = fleet.json("show", rollout)
            self.assertEqual(shown["state"], "rolled_back")
            self.assertEqual(by_server(shown)["b"]["state"], "skipped")
            self.assertEqual(read(fleet.path("f-a")), "execute\nrollback\n")

    def test_readers_follow_a_rollout_that_is_opened_again(self):
        with Fleet(agents=["a"]) as fleet:
            rollout = fleet.run({"servers": ["a"], "steps": [per_server(fleet)]})["id"]
            end = fleet.events(rollout)[-1]["seq"]
            seen = []
            reader = threading.Thread(
                target=lambda: seen.append(
                    fleet.wait_late_event(rollout, lambda e: e["type"] == "rollout_ended", end)))
            reader.start()
            fleet.kitsune("rollback", rollout, "--watch", check=0)
            reader.join(DEADLINE)
            self.assertEqual(seen[0]["state"], "rolled_back")
            # From its beginning it has two ends, and a reader sees both.
            lines = fleet.kitsune("events", rollout, "--follow", check=0).stdout
            self.assertEqual(lines.count("rollout_ended"), 2)
            fleet.kitsune("watch", rollout, check=3)

    def test_killed_in_mid_undo_of_what_had_ended_it_goes_on(self):
        with Fleet(agents=["a", "b", "c"]) as fleet:
            slow = per_server(fleet)
            slow["params"]["args"][1] += '; [ "$KITSUNE_PHASE" = execute ] || sleep 0.5'
            rollout = fleet.run({"servers": ["a", "b", "c"], "steps": [slow]})["id"]
            waiting = fleet.events(rollout)[-1]["seq"]
            fleet.kitsune("rollback", rollout, check=0)
            for server in ("c", "b", "a"):
                fleet.wait_event(
                    rollout, lambda e, s=server: e["type"] == "execution_rollback_started" and e["server"] == s,
                    after=waiting)
                fleet.orchestrator.kill()
                fleet.start_orchestrator()
                if server == "b":
                    # It holds what it has still to undo.
                    self.assertEqual(fleet.json("server", "a")["rollout"], rollout)
            fleet.kitsune("watch", rollout, check=3)
            for server in ("a", "b", "c"):
                self.assertEqual(read(fleet.path("f-" + server)), "execute\nrollback\n")
            events = fleet.events(rollout)
            self.assertEqual([e["seq"] for e in events], list(range(1, len(events) + 1)))
            check_journal(fleet)

    def test_what_is_owed_by_an_ended_rollout_is_said_when_the_agent_comes(self):
        with Fleet(agents=["a"]) as fleet:
            rollout = fleet.run({"servers": ["a"], "steps": [per_server(fleet)],
                                 "rolloutStrategy": {"type": "Parallel", "reconnectTimeoutSeconds": 0.5}})["id"]
            self.assertEqual(fleet.agents["a"].stop(), 0)
            fleet.kitsune("rollback", rollout, "--watch", check=4)
            end = fleet.events(rollout)[-1]["seq"]
            self.assertEqual(fleet.orchestrator.stop(), 0)
            fleet.start_orchestrator()
            # Nothing of it is under way at the agent, which therefore does not speak of it.
            fleet.start_agent("a")
            fleet.wait_late_event(rollout, lambda e: e["type"] == "execution_rolled_back", end)
            self.assertEqual(read(fleet.path("f-a")), "execute\nrollback\n")


class Retry(unittest.TestCase):
    def test_a_retry_runs_where_the_first_did_not_succeed_and_is_linked(self):
        with Fleet(agents=["a", "b", "c"]) as fleet:
            flag = fleet.path("flag")
            fail = {"name": "fail", "type": "script",
                    "params": {"script": "sh", "args": ["-c", f'[ "$KITSUNE_SERVER_ID" = b ] || [ -e "{flag}" ]']}}
            plan = {"name": "n", "servers": ["a", "b", "c"], "steps": [per_server(fleet), fail],
                    "rolloutStrategy": {"type": "Rolling", "batchSize": 3, "maxFailures": 2, "maxTouched": 3},
                    "rollback": {"scope": "failed"}}
            first = fleet.run(plan)["id"]
            put(flag, "")
            done = fleet.kitsune("retry", first, "--id", "again", "--watch", check=0)
            self.assertIn("again\n", done.stdout)
            shown = fleet.json("show", "again")
            self.assertEqual((shown["retryOf"], shown["name"], shown["state"]), (first, "n", "succeeded"))
            self.assertEqual([x["server"] for x in shown["executions"]], ["a", "c"])
            self.assertEqual(fleet.events("again")[0]["retryOf"], first)
            self.assertEqual(fleet.json("list")["rollouts"][0]["retryOf"], first)
            self.assertIn(f"retry of  {first}\n", fleet.kitsune("show", "again", check=0).stdout)
            self.assertEqual(read(fleet.path("f-b")), "execute\n")
            repeat = fleet.kitsune("retry", first, "--id", "again", check=0)
            self.assertIn("nothing new was started", repeat.stderr)
            nothing = fleet.kitsune("retry", "again", check=1)
            self.assertIn("left to do", nothing.stderr)
            other = fleet.kitsune("retry", "again", "--id", first, check=1)
            self.assertIn("no retry of", other.stderr)
            check_journal(fleet)
            self.assertEqual(fleet.json("show", "again")["retryOf"], first)

    def test_only_what_has_ended_is_retried(self):
        with Fleet(agents=["a"]) as fleet:
            rollout = fleet.submit({"servers": ["a", "never"], "steps": [echo_step()]})
            refused = fleet.kitsune("retry", rollout, check=1)
            self.assertIn("has not ended", refused.stderr)
            fleet.kitsune("cancel", rollout, check=0)
            fleet.kitsune("watch", rollout)
            retry = fleet.json("retry", rollout)["id"]
            self.assertEqual([x["server"] for x in fleet.json("show", retry)["executions"]], ["never"])


class Resolve(unittest.TestCase):
    def silent(self, fleet, scope):
        """A rollout that has ended and whose only server is unknown; its file, and the agent's step."""
        path, mark = fleet.path("f"), fleet.path("mark")
        os.mkfifo(mark)
        gate = {"name": "gate", "type": "script",
                "params": {"script": "sh", "args": ["-c", f'echo up >"{mark}"; sleep 300']}}
        rollout = fleet.submit({
            "servers": ["a"], "steps": [write_step(path, "new"), gate],
            "rolloutStrategy": {"type": "Parallel", "reconnectTimeoutSeconds": 0.5},
            "rollback": {"scope": scope}})
        self.assertEqual(read(mark), "up\n")
        fleet.agents["a"].kill()
        fleet.kitsune("watch", rollout)
        return rollout, path

    def test_a_server_that_stays_unknown_is_settled_and_left_alone(self):
        with Fleet(agents=["a"]) as fleet:
            rollout, path = self.silent(fleet, "all")
            self.assertEqual(fleet.json("show", rollout)["state"], "rollback_failed")
            self.assertEqual(fleet.post(f"/v1/rollouts/{rollout}/servers/a/resolve", {"as": "failed"})[0], 400)
            done = fleet.kitsune("resolve", rollout, "a", "--as", "rolled_back", "--reason", "rebuilt it", check=0)
            self.assertIn("a is settled as rolled_back", done.stdout)
            shown = fleet.json("show", rollout)
            self.assertEqual((shown["state"], by_server(shown)["a"]["state"]), ("rolled_back", "rolled_back"))
            self.assertTrue(by_server(shown)["a"]["resolved"])
            event = [e for e in fleet.events(rollout) if e["type"] == "execution_resolved"][0]
            self.assertEqual((event["state"], event["message"]), ("rolled_back", "rebuilt it"))
            self.assertIn("@", event["by"])
            refused = fleet.kitsune("resolve", rollout, "a", "--as", "failed", "--reason", "x", check=1)
            self.assertIn("settled already", refused.stderr)
            end = fleet.events(rollout)[-1]["seq"]
            # Its agent says how the step ended, and that changes nothing.
            fleet.start_agent("a")
            fleet.wait_late_event(rollout, lambda e: e["type"] == "execution_ended", end)
            self.assertEqual(by_server(fleet.json("show", rollout))["a"]["state"], "rolled_back")
            check_journal(fleet)

    def test_what_succeeded_after_all_is_said_so(self):
        with Fleet(agents=["a"]) as fleet:
            rollout, path = self.silent(fleet, "none")
            self.assertEqual(by_server(fleet.json("show", rollout))["a"]["state"], "unknown")
            fleet.kitsune("resolve", rollout, "a", "--as", "succeeded", "--reason", "looked at it", check=0)
            shown = fleet.json("show", rollout)
            self.assertEqual((shown["counts"]["succeeded"], shown["counts"]["unknown"]), (1, 0))
            self.assertEqual(read(path), "new")
            fleet.kitsune("retry", rollout, check=1)


class Lock(unittest.TestCase):
    def test_a_locked_server_is_waited_for_and_goes_on_when_it_is_unlocked(self):
        with Fleet(agents=["a", "b"]) as fleet:
            plan = {"servers": ["a", "b"], "steps": [echo_step()],
                    "rolloutStrategy": {"type": "Parallel", "startTimeoutSeconds": 10}}
            fleet.kitsune("lock", "a", "--reason", "disk is being replaced", check=0)
            refused = fleet.kitsune("lock", "a", "--reason", "me too", check=1)
            self.assertIn("disk is being replaced", refused.stderr)
            rollout = fleet.submit(plan)
            fleet.wait_event(rollout, lambda e: e["type"] == "execution_ended" and e["server"] == "b")
            shown = by_server(fleet.json("show", rollout))["a"]
            self.assertEqual((shown["state"], shown["lockReason"]), ("queued", "disk is being replaced"))
            self.assertRegex(fleet.kitsune("show", rollout, check=0).stdout,
                             r"a +queued .* locked by \S+: disk is being replaced\n")
            no_wait = fleet.kitsune("submit", fleet.plan(plan), "--no-wait", check=1)
            self.assertIn('server "a" is locked by', no_wait.stderr)
            # A lock stands after a restart, and nobody is given up meanwhile.
            fleet.orchestrator.kill()
            fleet.start_orchestrator()
            fleet.orchestrator.wait_line("server=a ")
            listed = {s["id"]: s for s in fleet.json("servers")["servers"]}
            self.assertEqual((listed["a"]["lock"]["locked"], "lock" in listed["b"]), (True, False))
            fleet.kitsune("unlock", "a", check=0)
            fleet.kitsune("watch", rollout, check=0)
            lock = fleet.json("server", "a")["lock"]
            self.assertEqual((lock["locked"], lock["reason"]), (False, "disk is being replaced"))
            self.assertIn("@", lock["unlockedBy"])
            again = fleet.kitsune("unlock", "a", check=1)
            self.assertIn("not locked", again.stderr)
            check_journal(fleet)

    def test_a_server_that_nobody_has_seen_is_locked_and_rollback_is_refused_on_it(self):
        with Fleet(agents=["a"]) as fleet:
            fleet.kitsune("lock", "new", "--reason", "not yet", check=0)
            self.assertEqual(fleet.json("server", "new")["connected"], False)
            self.assertEqual(fleet.post("/v1/servers/.no/lock", {"reason": "x"})[0], 400)
            self.assertEqual(fleet.post("/v1/servers/x/lock", {})[0], 400)
            rollout = fleet.run({"servers": ["a"], "steps": [per_server(fleet)]})["id"]
            fleet.kitsune("lock", "a", "--reason", "hands off", check=0)
            refused = fleet.kitsune("rollback", rollout, check=1)
            self.assertIn("hands off", refused.stderr)
            fleet.kitsune("unlock", "a", check=0)
            fleet.kitsune("rollback", rollout, "--watch", check=0)


class Confirm(unittest.TestCase):
    def test_what_was_confirmed_can_be_undone_by_a_person(self):
        with Fleet(agents=["a"]) as fleet:
            path = fleet.path("f")
            rollout = fleet.run({"servers": ["a"], "steps": [write_step(path, "new")],
                                 "rollback": {"confirmTimeoutSeconds": 30}})["id"]
            self.assertEqual(read(path), "new")
            kinds = [e["type"] for e in fleet.events(rollout)]
            self.assertIn("execution_confirming", kinds)
            fleet.kitsune("rollback", rollout, "--watch", check=0)
            self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    main()
