"""Deaths that repeat, and failpoints that a rollout which runs through does not come by."""

import contextlib
import os
import shutil
import signal
import subprocess
import unittest

import sweep
from fleet import DEADLINE, Fleet, by_server, echo_step, main, program
from sweep import ORCHESTRATOR


def setUpModule():
    if not sweep.failpoints_are_built_in():
        raise unittest.SkipTest("this build has no failpoints (KITSUNE_FAILPOINTS)")


class Deaths(unittest.TestCase):
    def dies(self, process):
        self.assertEqual(process.process.wait(DEADLINE), -signal.SIGKILL, process.text())
        process.kill()  # closes what was read from it

    def start_dying(self, fleet, name, failpoint, **more):
        """Starts a program and sees it die; the line "ready" may or may not come."""
        env = {"KITSUNE_FAILPOINT": failpoint}
        try:
            if name == ORCHESTRATOR:
                fleet.start_orchestrator(env=env, **more)
            else:
                fleet.start_agent(name, env=env, **more)
        except AssertionError:
            pass
        self.dies(fleet.orchestrator if name == ORCHESTRATOR else fleet.agents[name])

    def until_watched(self, fleet, rollout, failpoint=None):
        """Starts the agent "a" again each time that it dies; the watch's status, and how often it died."""
        watch = subprocess.Popen(
            [program("kitsune"), "--orchestrator", fleet.url, "watch", rollout],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        deaths = 0
        while watch not in sweep.wait_first(watch, fleet.agents["a"].process):
            deaths += 1
            self.assertLess(deaths, 10, fleet.agents["a"].text())
            self.dies(fleet.agents["a"])
            with contextlib.suppress(AssertionError):  # dead again before it served
                fleet.start_agent("a", env={"KITSUNE_FAILPOINT": failpoint} if failpoint else None)
        watch.communicate()
        return watch.returncode, deaths

    def run_to_death(self, fleet, steps, failpoint=None, again=None):
        """A rollout on "a" whose steps kill the agent (or the failpoint does, `again` in those after)."""
        if failpoint:
            fleet.agents["a"].kill()
            fleet.start_agent("a", env={"KITSUNE_FAILPOINT": failpoint})
        rollout = fleet.submit({"servers": ["a"], "steps": steps})
        status, deaths = self.until_watched(fleet, rollout, again)
        return rollout, status, deaths, by_server(fleet.json("show", rollout))["a"]

    @staticmethod
    def write(fleet, name="file"):
        return {"name": f"write-{name}", "type": "file_write",
                "params": {"path": fleet.path(name), "content": "new"}}

    @staticmethod
    def kill_step(phase, **more):
        text = f'if [ "$KITSUNE_PHASE" = {phase} ]; then kill -9 $PPID; sleep 300; fi'
        return {"name": "deadly", "type": "script",
                "params": {"script": "sh", "args": ["-c", text], "rollback_script": "sh"}, **more}

    # ---- Again and again --------------------------------------------------------------------------

    def test_a_step_that_kills_its_agent_every_time_is_given_up_and_undone(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            steps = [self.write(fleet), self.kill_step("execute", onInterrupt="retry")]
            _, status, deaths, server = self.run_to_death(fleet, steps)
            self.assertEqual((status, deaths), (3, 3))
            self.assertEqual((server["state"], server["outcome"]), ("rolled_back", "failed"))
            self.assertIn("the agent died during this step 3 times", server["message"])
            self.assertFalse(os.path.exists(fleet.path("file")))

    def test_a_step_that_kills_its_agent_and_may_not_run_again_runs_once(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            _, status, deaths, server = self.run_to_death(fleet, [self.kill_step("execute")])
            self.assertEqual((status, deaths), (3, 1))
            self.assertIn("whether it took effect is not known", server["message"])

    def test_an_undo_that_kills_its_agent_every_time_is_given_up_and_the_others_are_undone(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            fail = {"name": "fail", "type": "script", "params": {"script": "false"}}
            steps = [self.write(fleet), self.kill_step("rollback"), fail]
            _, status, deaths, server = self.run_to_death(fleet, steps)
            self.assertEqual((status, deaths), (4, 3))
            self.assertEqual(server["state"], "rollback_failed")
            self.assertIn("the agent died 3 times while undoing this step", server["message"])
            self.assertFalse(os.path.exists(fleet.path("file")))

    def test_a_capture_that_kills_its_agent_every_time_is_given_up_and_undone(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            steps = [self.write(fleet), self.write(fleet, "second")]
            _, status, deaths, server = self.run_to_death(
                fleet, steps, "agent.prepare.begun=kill@2", again="agent.prepare.begun=kill@1"
            )
            self.assertEqual((status, deaths), (3, 3))
            self.assertEqual((server["state"], server["outcome"]), ("rolled_back", "failed"))
            self.assertIn("died 3 times while preparing this step", server["message"])
            self.assertFalse(os.path.exists(fleet.path("file")))
            self.assertFalse(os.path.exists(fleet.path("second")))

    def test_the_first_capture_that_kills_its_agent_every_time_is_given_up_too(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            _, status, deaths, server = self.run_to_death(
                fleet, [self.write(fleet)], "agent.prepare.begun=kill@1", again="agent.prepare.begun=kill@1"
            )
            self.assertEqual(status, 3)
            # Of the first death nothing was on record, not even that there was anything to do.
            self.assertIn(deaths, (3, 4))
            self.assertEqual(server["outcome"], "failed")
            self.assertFalse(os.path.exists(fleet.path("file")))

    def test_an_agent_killed_again_as_it_goes_on_goes_on_all_the_same(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            fleet.agents["a"].kill()
            fleet.start_agent("a", env={"KITSUNE_FAILPOINT": "agent.execute.begun=kill@1"})
            rollout = fleet.submit({"servers": ["a"], "steps": [self.write(fleet), echo_step()]})
            self.dies(fleet.agents["a"])
            for _ in range(2):
                self.start_dying(fleet, "a", "agent.resume.before=kill@1")
            fleet.start_agent("a")
            fleet.kitsune("watch", rollout, check=0)
            server = by_server(fleet.json("show", rollout))["a"]
            self.assertEqual([s["attempt"] for s in server["steps"]], [2, 1])

    # ---- Once in a while --------------------------------------------------------------------------

    def test_both_killed_while_they_make_their_data_directory_make_it_with_the_next_start(self):
        fleet = Fleet(heartbeat="10s")
        self.addCleanup(fleet.close)
        for failpoint in ("db.migrate=kill@1", "db.migrate=kill@2", "journal.epoch.before=kill@1",
                          "journal.epoch.between=kill@1", "journal.epoch.after=kill@1", "dispatch.restored=kill@1"):
            with self.subTest(failpoint=failpoint):
                shutil.rmtree(fleet.path(ORCHESTRATOR), ignore_errors=True)
                self.start_dying(fleet, ORCHESTRATOR, failpoint)
                fleet.start_orchestrator()
                self.assertEqual(fleet.json("list")["rollouts"], [])
                self.assertEqual(fleet.orchestrator.stop(), 0)
        fleet.start_orchestrator()
        for failpoint in ("db.migrate=kill@1", "writer.commit=kill@1", "writer.committed=kill@1",
                          "agent.epoch.before=kill@1", "agent.epoch.after=kill@1"):
            with self.subTest(failpoint=failpoint):
                shutil.rmtree(fleet.path("agent-a"), ignore_errors=True)
                self.start_dying(fleet, "a", failpoint)
                fleet.start_agent("a")
                fleet.run({"servers": ["a"], "steps": [self.write(fleet)]})
                self.assertEqual(fleet.agents["a"].stop(), 0)

    def test_the_orchestrator_killed_at_a_deadline_meets_it_after_its_restart(self):
        strategies = {
            "execution_unreachable": {"type": "Sequential", "maxFailures": 1, "startTimeoutSeconds": 0.3},
            "batch_started": {"type": "Rolling", "batchSize": 1, "batchDelaySeconds": 0.3},
        }
        for kind, strategy in strategies.items():
            with self.subTest(kind=kind), Fleet(agents=["a", "b"], heartbeat="10s") as fleet:
                fleet.orchestrator.kill()
                fleet.start_orchestrator(env={"KITSUNE_FAILPOINT": "dispatch.deadline.before=kill@1"})
                servers = ["never"] if kind == "execution_unreachable" else ["a", "b"]
                rollout = fleet.submit({"servers": servers, "steps": [echo_step()], "rolloutStrategy": strategy})
                self.dies(fleet.orchestrator)
                fleet.start_orchestrator()
                fleet.kitsune("watch", rollout, check=0)
                kinds = [e["type"] for e in fleet.events(rollout)]
                self.assertEqual(kinds.count("execution_unreachable"), 1 if kind == "execution_unreachable" else 0)
                self.assertEqual(kinds.count("rollout_ended"), 1)

    def test_an_agent_killed_after_it_took_a_file_away_has_undone_it(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            fail = {"name": "fail", "type": "script", "params": {"script": "false"}}
            _, status, deaths, server = self.run_to_death(
                fleet, [self.write(fleet), fail], "file.removed=kill@1"
            )
            self.assertEqual((status, deaths), (3, 1))
            self.assertEqual(server["state"], "rolled_back")
            self.assertFalse(os.path.exists(fleet.path("file")))

    def test_an_agent_killed_while_it_expires_what_undo_needs_goes_on_with_it(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            with open(fleet.path("file"), "w", encoding="ascii") as file:
                file.write("old")
            rollout = fleet.run({"servers": ["a"], "steps": [self.write(fleet)]})["id"]
            kept = fleet.path("agent-a", "undo", "a", rollout)
            self.assertTrue(os.path.exists(kept))
            self.assertEqual(fleet.agents["a"].stop(), 0)
            short = ["--undo-retention", "1ms"]
            self.start_dying(fleet, "a", "agent.expire.between=kill@1", args=short)
            self.assertFalse(os.path.exists(kept))
            fleet.start_agent("a", args=short)
            fleet.run({"servers": ["a"], "steps": [self.write(fleet)]})
            refused = fleet.kitsune("rollback", rollout, "--server", "a", "--force", "--watch", check=4)
            self.assertIn("no record", refused.stdout + refused.stderr)


if __name__ == "__main__":
    main()
