"""What goes wrong on the way: agents that never come, die or are cut off; the orchestrator killed."""

import errno
import os
import signal
import subprocess
import unittest
import urllib.error
import urllib.request

from fleet import Fleet, Process, by_server, echo_step, main, program


def gate_step(path, name="gate"):
    """Says that it runs by writing into the pipe at `path`, then sleeps."""
    os.mkfifo(path)
    return {"name": name, "type": "script", "params": {"script": "sh", "args": ["-c", f'echo up >"{path}"; sleep 300']}}


def wait_gate(path):
    """Returns when the step has written."""
    with open(path, encoding="ascii") as pipe:
        assert pipe.read() == "up\n"


class Agents(unittest.TestCase):
    def test_a_server_whose_agent_never_comes_is_unreachable_and_the_rest_goes_on(self):
        with Fleet(agents=["a", "c"]) as fleet:
            done = fleet.run(
                {
                    "servers": ["a", "b", "c"],
                    "steps": [echo_step()],
                    "rolloutStrategy": {"type": "Sequential", "maxFailures": 1, "startTimeoutSeconds": 1},
                }
            )
            self.assertEqual(by_server(done)["b"]["state"], "unreachable")
            self.assertEqual(done["counts"]["unreachable"], 1)
            self.assertEqual(done["counts"]["succeeded"], 2)

    def test_an_unreachable_server_counts_as_a_failure_unless_it_has_a_limit_of_its_own(self):
        with Fleet(agents=["a"]) as fleet:
            plan = {
                "servers": ["b", "a"],
                "steps": [echo_step()],
                "rolloutStrategy": {"type": "Sequential", "startTimeoutSeconds": 0.5},
            }
            done = fleet.run(plan, check=3)
            self.assertEqual(done["counts"]["skipped"], 1)
            plan["rolloutStrategy"]["maxUnreachable"] = 1
            self.assertEqual(fleet.run(plan)["counts"]["succeeded"], 1)

    def test_an_agent_killed_in_a_script_says_so_and_the_step_is_undone(self):
        with Fleet(agents=["a"]) as fleet:
            mark, path = fleet.path("mark"), fleet.path("f")
            write = {"name": "write", "type": "file_write", "params": {"path": path, "content": "new"}}
            rollout = fleet.submit({"servers": ["a"], "steps": [write, gate_step(mark)]})
            wait_gate(mark)
            fleet.agents["a"].kill()
            fleet.start_agent("a")
            fleet.kitsune("watch", rollout, check=3)
            done = by_server(fleet.json("show", rollout))["a"]
            self.assertEqual((done["state"], done["outcome"]), ("rolled_back", "failed"))
            self.assertFalse(os.path.exists(path))

    def test_an_agent_killed_in_an_idempotent_step_runs_it_again(self):
        with Fleet(agents=["a"]) as fleet:
            step = {"name": "wait", "type": "sleep", "params": {"duration": 1.5}}
            rollout = fleet.submit({"servers": ["a"], "steps": [step]})
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
            fleet.agents["a"].kill()
            fleet.start_agent("a")
            fleet.kitsune("watch", rollout, check=0)
            self.assertEqual(by_server(fleet.json("show", rollout))["a"]["steps"][0]["attempt"], 2)

    def test_an_agent_that_stays_away_in_mid_step_is_unknown(self):
        with Fleet(agents=["a", "b"]) as fleet:
            mark = fleet.path("mark")
            rollout = fleet.submit(
                {
                    "servers": ["a", "b"],
                    "steps": [gate_step(mark)],
                    "rolloutStrategy": {"type": "Sequential", "reconnectTimeoutSeconds": 1},
                }
            )
            wait_gate(mark)
            # Killed before that is known, it would be a server that never began.
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
            fleet.agents["a"].kill()
            fleet.kitsune("watch", rollout, check=4)
            done = fleet.json("show", rollout)
            self.assertEqual(by_server(done)["a"]["outcome"], "unknown")
            self.assertEqual(done["counts"]["skipped"], 1)

    def test_a_server_that_returns_after_its_rollout_was_stopped_is_undone(self):
        for kind in ("in doubt", "finishes late"):
            with self.subTest(kind=kind), Fleet(agents=["a", "b"]) as fleet:
                path, mark = fleet.path("f"), fleet.path("mark")
                write = {"name": "write", "type": "file_write", "params": {"path": path, "content": "new"}}
                slow = {"name": "wait", "type": "sleep", "params": {"duration": 1}}
                rollout = fleet.submit(
                    {
                        "servers": ["a", "b"],
                        "steps": [write, gate_step(mark) if kind == "in doubt" else slow],
                        "rolloutStrategy": {"type": "Sequential", "reconnectTimeoutSeconds": 0.5},
                    }
                )
                fleet.wait_event(rollout, lambda e: e["type"] == "step_started" and e["step"] != "write")
                fleet.agents["a"].kill()
                fleet.kitsune("watch", rollout, check=4)
                self.assertTrue(os.path.exists(path))
                # What comes behind the end shows who returns.
                end = fleet.events(rollout)[-1]["seq"]
                fleet.start_agent("a")
                fleet.wait_late_event(rollout, lambda e: e["type"] == "execution_rolled_back", end)
                self.assertFalse(os.path.exists(path))
                shown = by_server(fleet.json("show", rollout))["a"]
                self.assertEqual(shown["state"], "rolled_back")
                # The server is free again.
                fleet.run({"servers": ["a"], "steps": [echo_step()]})

    def test_reports_spooled_while_the_orchestrator_is_away_are_recorded_once(self):
        with Fleet(agents=["a"]) as fleet:
            mark, go = fleet.path("mark"), fleet.path("go")
            os.mkfifo(go)
            os.mkfifo(mark)
            step = {
                "name": "gate",
                "type": "script",
                "params": {"script": "sh", "args": ["-c", f'echo up >"{mark}"; cat "{go}"']},
            }
            rollout = fleet.submit({"servers": ["a"], "steps": [step, echo_step()]})
            wait_gate(mark)
            fleet.orchestrator.kill()
            with open(go, "w", encoding="ascii") as gate:
                gate.write("finished while nobody listened\n")
            fleet.start_orchestrator()
            fleet.kitsune("watch", rollout, check=0)
            kinds = [e["type"] for e in fleet.events(rollout)]
            self.assertEqual(kinds.count("execution_ended"), 1)
            self.assertEqual(kinds.count("step_ended"), 2)
            self.assertIn("nobody listened", fleet.kitsune("logs", rollout, check=0).stdout)

    def test_a_second_agent_with_the_same_id_is_refused(self):
        with Fleet(agents=["a"]) as fleet:
            other = Process(
                [program("kitsune-agent"), "--server-id", "a", "--orchestrator", fleet.url,
                 "--data-dir", fleet.path("other")]
            )
            fleet.orchestrator.wait_line("second agent")
            self.assertEqual(other.stop(), 0)
            fleet.run({"servers": ["a"], "steps": [echo_step()]})


class Orchestrator(unittest.TestCase):
    def test_killed_in_mid_rollout_it_goes_on_and_ends(self):
        servers = [f"s{i}" for i in range(1, 7)]
        with Fleet(agents=servers) as fleet:
            rollout = fleet.submit(
                {
                    "servers": servers,
                    "steps": [echo_step(), {"name": "wait", "type": "sleep", "params": {"duration": 0.3}}],
                    "rolloutStrategy": {"type": "Rolling", "batchSize": 2, "batchDelaySeconds": 0.2},
                }
            )
            for server in ("s1", "s3", "s5"):
                fleet.wait_event(rollout, lambda e, s=server: e["type"] == "execution_started" and e["server"] == s)
                fleet.orchestrator.kill()
                fleet.start_orchestrator()
            fleet.kitsune("watch", rollout, check=0)
            events = fleet.events(rollout)
            self.assertEqual([e["seq"] for e in events], list(range(1, len(events) + 1)))
            for server in servers:
                starts = [e for e in events if e["type"] == "execution_started" and e["server"] == server]
                self.assertEqual(len(starts), 1, server)

    def test_killed_while_undoing_it_goes_on_undoing(self):
        servers = ["a", "b", "c"]
        with Fleet(agents=servers) as fleet:
            path = fleet.path("f")
            slow_undo = {
                "name": "slow-undo",
                "type": "script",
                "params": {
                    "script": "sh",
                    "args": ["-c", 'if [ "$KITSUNE_PHASE" = rollback ]; then sleep 1; fi'],
                    "rollback_script": "sh",
                },
            }
            write = {"name": "write", "type": "file_write", "params": {"path": path, "content": "new"}}
            fail = {
                "name": "fail",
                "type": "script",
                "params": {"script": "sh", "args": ["-c", 'test "$KITSUNE_SERVER_ID" != c']},
            }
            rollout = fleet.submit(
                {"servers": servers, "steps": [write, slow_undo, fail], "rolloutStrategy": {"type": "Sequential"}}
            )
            fleet.wait_event(rollout, lambda e: e["type"] == "rollback_started")
            fleet.orchestrator.kill()
            fleet.start_orchestrator()
            fleet.kitsune("watch", rollout, check=3)
            self.assertFalse(os.path.exists(path))

    def test_a_second_one_on_the_same_data_directory_is_refused(self):
        with Fleet() as fleet:
            second = Process(
                [program("kitsune-orchestrator"), "--insecure-dev", "--listen", "127.0.0.1:0", "--data-dir",
                 fleet.path("orchestrator")]
            )
            self.assertEqual(second.process.wait(60), 1)
            second.reader.join(60)
            self.assertEqual(len(second.lines), 1, second.text())
            self.assertIn(fleet.path("orchestrator"), second.lines[0])

    def test_a_port_that_is_taken_is_said_in_one_line(self):
        with Fleet() as fleet:
            second = Process(
                [program("kitsune-orchestrator"), "--insecure-dev", "--listen", f"127.0.0.1:{fleet.port}",
                 "--data-dir", fleet.path("other")]
            )
            self.assertEqual(second.process.wait(60), 1)
            second.reader.join(60)
            self.assertEqual(len(second.lines), 1, second.text())
            self.assertIn(str(fleet.port), second.lines[0])

    def test_a_data_directory_that_cannot_be_written_is_said_in_one_line(self):
        for name in ("kitsune-orchestrator", "kitsune-agent"):
            args = ["--server-id", "a"] if name == "kitsune-agent" else ["--insecure-dev", "--listen", "127.0.0.1:0"]
            for directory in ("/proc/kitsune", "/dev/null/kitsune"):
                with self.subTest(name=name, directory=directory):
                    process = Process([program(name), *args, "--data-dir", directory])
                    self.assertEqual(process.process.wait(60), 1)
                    process.reader.join(60)
                    self.assertEqual(len(process.lines), 1, process.text())
                    self.assertIn(directory, process.lines[0])

    def test_a_full_disk_stops_dispatch_and_not_reading_and_it_goes_on_with_space(self):
        fleet = Fleet()
        folder = fleet.path("orchestrator")
        os.mkdir(folder)
        mount = 'mount -t tmpfs -o size=4m,mode=700 tmpfs "$0" && exec "$@"'
        if subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
            fleet.close()
            self.skipTest("mount namespaces are not allowed here")
        try:
            fleet.start_orchestrator(prefix=["unshare", "--mount", "sh", "-c", mount, folder])
            fleet.start_agent("a")
            fleet.orchestrator.wait_line("server=a ")
            gate = fleet.path("gate")
            os.mkfifo(gate)
            step = {"name": "gate", "type": "script", "params": {"script": "cat", "args": [gate]}}
            rollout = fleet.submit({"servers": ["a"], "steps": [step, echo_step()]})
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
            # The mount is the orchestrator's alone; its root leads there.
            filler = f"/proc/{fleet.orchestrator.process.pid}/root{folder}/filler"
            with open(filler, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
            with open(gate, "w", encoding="ascii") as pipe:
                pipe.write("go on\n")
            fleet.orchestrator.wait_line("stalled")
            refused = fleet.kitsune("submit", fleet.plan({"servers": ["a"], "steps": [echo_step()]}), check=1)
            self.assertIn("full", refused.stderr)
            self.assertEqual(fleet.json("list")["rollouts"][0]["state"], "running")
            with self.assertRaises(urllib.error.HTTPError) as red:
                urllib.request.urlopen(fleet.url + "/healthz", timeout=30)
            self.assertEqual(red.exception.code, 503)
            red.exception.close()
            os.unlink(filler)
            fleet.kitsune("watch", rollout, check=0)
        finally:
            fleet.close()

    def test_a_silent_agent_does_not_hold_up_the_others(self):
        with Fleet(agents=["a", "b"]) as fleet:
            os.kill(fleet.agents["a"].process.pid, signal.SIGSTOP)
            try:
                done = fleet.run(
                    {
                        "servers": ["a", "b"],
                        "steps": [echo_step()],
                        "rolloutStrategy": {"type": "Parallel", "maxFailures": 1, "startTimeoutSeconds": 1},
                    }
                )
                self.assertEqual(by_server(done)["b"]["state"], "succeeded")
            finally:
                os.kill(fleet.agents["a"].process.pid, signal.SIGCONT)


if __name__ == "__main__":
    main()
