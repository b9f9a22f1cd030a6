"""The journal in its operator's hands: checked, backed up, restored, cleaned."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import unittest
import urllib.error
import urllib.request

from fleet import DEADLINE, Fleet, Process, by_server, echo_step, main, program


def journal(fleet):
    return fleet.path("orchestrator", "journal.db")


def check(fleet):
    """The exit status and the lines of --check on the fleet's data directory."""
    done = subprocess.run(
        [program("kitsune-orchestrator"), "--check", "--data-dir", fleet.path("orchestrator")],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def ready(fleet):
    """The status of /readyz and what it says."""
    try:
        with urllib.request.urlopen(fleet.url + "/readyz", timeout=DEADLINE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def stop(fleet):
    assert fleet.orchestrator.stop() == 0, fleet.orchestrator.text()


def put_journal(fleet, file):
    """Restores as the manual says."""
    for end in ("-wal", "-shm"):
        if os.path.exists(journal(fleet) + end):
            os.unlink(journal(fleet) + end)
    shutil.copyfile(file, journal(fleet))


class Check(unittest.TestCase):
    def test_a_journal_is_found_sound_and_is_not_checked_while_it_is_in_use(self):
        with Fleet(agents=["a", "b"]) as fleet:
            fleet.run({"servers": ["a", "b"], "steps": [echo_step()]})
            status, _, errors = check(fleet)
            self.assertEqual(status, 1)
            self.assertIn("in use by another orchestrator", errors)
            stop(fleet)
            status, lines, errors = check(fleet)
            self.assertEqual((status, errors), (0, ""))
            self.assertEqual(len(lines), 1)
            self.assertRegex(lines[0], r"^checked 1 rollouts, \d+ events and 2 outputs in \d+ bytes: sound$")
            fleet.start_orchestrator()

    def test_a_journal_of_a_killed_orchestrator_is_sound(self):
        with Fleet(agents=["a"]) as fleet:
            fleet.submit({"servers": ["a", "never"], "steps": [echo_step()]})
            fleet.orchestrator.kill()
            status, lines, _ = check(fleet)
            self.assertEqual(status, 0, lines)
            fleet.start_orchestrator()

    def test_a_damaged_event_is_named_and_the_journal_is_refused(self):
        with Fleet(agents=["a"]) as fleet:
            rollout = fleet.run({"servers": ["a"], "steps": [echo_step(message="needle")]})["id"]
            stop(fleet)
            with open(journal(fleet), "rb") as file:
                sound = file.read()
            place = sound.rindex(b'"step_ended"')
            with open(journal(fleet), "wb") as file:
                file.write(sound[:place] + b'"step_bnded"' + sound[place + 12 :])
            status, lines, _ = check(fleet)
            self.assertEqual(status, 1)
            self.assertRegex(lines[0], rf"^{journal(fleet)}: rollout {rollout}: event \d+: damaged")
            self.assertIn("1 finding", lines[-1])
            refused = Process(
                [program("kitsune-orchestrator"), "--insecure-dev", "--listen", "127.0.0.1:0", "--data-dir",
                 fleet.path("orchestrator")]
            )
            line = refused.wait_line("journal.db")
            self.assertIn("--check", line)
            self.assertIn("backup", line)
            self.assertEqual(refused.stop(), 1)
            with open(journal(fleet), "wb") as file:
                file.write(sound)
            fleet.start_orchestrator()


class Backup(unittest.TestCase):
    def test_a_backup_is_whole_private_and_replaces_nothing_unasked(self):
        with Fleet(agents=["a"]) as fleet:
            rollout = fleet.run({"servers": ["a"], "steps": [echo_step()]})["id"]
            file = fleet.path("copy.db")
            done = fleet.json("backup", file)
            self.assertEqual(done, {"file": file, "bytes": os.path.getsize(file)})
            self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o600)
            with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as copy:
                self.assertEqual(copy.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
                self.assertEqual(copy.execute("SELECT id FROM rollout").fetchall(), [(rollout,)])
            copy.close()
            refused = fleet.kitsune("backup", file, check=1)
            self.assertIn("--force", refused.stderr)
            fleet.kitsune("backup", file, "--force", check=0)
            fleet.kitsune("backup", fleet.path("nowhere", "copy.db"), check=1)
            # Nothing is left beside either.
            self.assertEqual([n for n in os.listdir(fleet.dir) if n.startswith("copy")], ["copy.db"])
            self.assertNotIn("backup.tmp", os.listdir(fleet.path("orchestrator")))

    def test_a_backup_while_a_rollout_runs_disturbs_nothing(self):
        with Fleet(agents=["a", "b", "c"]) as fleet:
            step = {"name": "wait", "type": "sleep", "params": {"duration": 0.2}}
            rollout = fleet.submit(
                {"servers": ["a", "b", "c"], "steps": [step], "rolloutStrategy": {"type": "Sequential"}}
            )
            for i in range(3):
                fleet.kitsune("backup", fleet.path(f"copy-{i}.db"), check=0)
            fleet.kitsune("watch", rollout, check=0)

    def test_without_an_orchestrator_there_is_no_file(self):
        with Fleet() as fleet:
            stop(fleet)
            fleet.kitsune("backup", fleet.path("copy.db"), check=5)
            self.assertEqual([n for n in os.listdir(fleet.dir) if n.startswith("copy")], [])
            fleet.start_orchestrator()

    def test_a_restored_journal_is_held_until_it_is_accepted_and_then_goes_on(self):
        with Fleet(agents=["a", "b"]) as fleet:
            plan = {"servers": ["a"], "steps": [echo_step()]}
            before = fleet.run(plan)["id"]
            waiting = fleet.submit({"servers": ["b", "late"], "steps": [echo_step()],
                                    "rolloutStrategy": {"type": "Parallel", "maxFailures": 1, "startTimeoutSeconds": 300}})
            fleet.wait_event(waiting, lambda e: e["type"] == "execution_ended")
            file = fleet.path("copy.db")
            fleet.kitsune("backup", file, check=0)
            after = fleet.run(plan)["id"]
            stop(fleet)
            fleet.start_orchestrator()  # an epoch that the backup does not know of
            stop(fleet)

            put_journal(fleet, file)
            self.assertEqual(check(fleet)[0], 0)
            fleet.start_orchestrator()
            status, health = ready(fleet)
            self.assertEqual((status, health["status"]), (503, "held"))
            self.assertIn("--accept-restored", health["detail"])
            fleet.json("show", before)
            fleet.kitsune("show", after, check=1)
            self.assertEqual(fleet.json("show", waiting)["state"], "running")
            refused = fleet.kitsune("submit", fleet.plan(plan), check=1)
            self.assertIn("--accept-restored", refused.stderr)
            with urllib.request.urlopen(fleet.url + "/v1/servers", timeout=DEADLINE) as servers:
                self.assertEqual(json.load(servers)["connected"], 0)
            stop(fleet)

            fleet.start_orchestrator(["--accept-restored"])
            self.assertEqual(ready(fleet)[0], 200)
            for agent in ("a", "b"):
                fleet.orchestrator.wait_line(f"server={agent} ")
            self.assertEqual(by_server(fleet.run(plan))["a"]["state"], "succeeded")
            fleet.start_agent("late")
            fleet.kitsune("watch", waiting, check=0)
            self.assertEqual(by_server(fleet.json("show", waiting))["b"]["state"], "succeeded")
            stop(fleet)
            self.assertEqual(check(fleet)[0], 0)
            fleet.start_orchestrator()
            self.assertEqual(ready(fleet)[0], 200)

    def restore_of_a_running_rollout(self, fleet, path):
        """Restores, held, a backup that was made while a rollout ran on the first of two servers."""
        steps = [
            {"name": "wait", "type": "sleep", "params": {"duration": 1.5}},
            {"name": "count", "type": "script", "params": {"script": "sh", "args": ["-c", f'echo done >>"{path}"']}},
        ]
        rollout = fleet.submit({"servers": ["a", "b"], "steps": steps,
                                "rolloutStrategy": {"type": "Sequential", "maxFailures": 1}})
        fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
        file = fleet.path("copy.db")
        fleet.kitsune("backup", file, check=0)
        fleet.kitsune("watch", rollout, check=0)
        stop(fleet)
        fleet.start_orchestrator()
        stop(fleet)
        put_journal(fleet, file)
        fleet.start_orchestrator()
        self.assertEqual(ready(fleet)[1]["status"], "held")
        return rollout

    def test_what_ran_since_the_backup_is_not_run_again(self):
        with Fleet(agents=["a", "b"]) as fleet:
            path = fleet.path("count")
            rollout = self.restore_of_a_running_rollout(fleet, path)
            stop(fleet)
            fleet.start_orchestrator(["--accept-restored"])
            fleet.kitsune("watch", rollout)
            done = by_server(fleet.json("show", rollout))
            # What b did is told again from its own journal; a was in the middle of it, and has no more to say.
            self.assertEqual(done["b"]["state"], "succeeded")
            self.assertEqual((done["a"]["state"], done["a"]["outcome"]), ("failed", "failed"))
            with open(path, encoding="ascii") as lines:
                self.assertEqual(lines.read(), "done\ndone\n")

    def test_an_open_rollout_can_be_cancelled_before_it_goes_on(self):
        with Fleet(agents=["a", "b"]) as fleet:
            path = fleet.path("count")
            rollout = self.restore_of_a_running_rollout(fleet, path)
            fleet.kitsune("cancel", rollout, check=0)
            stop(fleet)
            fleet.start_orchestrator(["--accept-restored"])
            fleet.kitsune("watch", rollout, check=2)
            done = fleet.json("show", rollout)
            self.assertEqual(done["state"], "cancelled")
            self.assertEqual(by_server(done)["b"]["state"], "skipped")
            with open(path, encoding="ascii") as lines:
                self.assertEqual(lines.read(), "done\ndone\n")

    def test_on_another_machine_the_agents_say_which_epoch_to_begin_above(self):
        with Fleet(agents=["a"]) as fleet:
            plan = {"servers": ["a"], "steps": [echo_step()]}
            fleet.run(plan)
            file = fleet.path("copy.db")
            fleet.kitsune("backup", file, check=0)
            for _ in range(4):
                stop(fleet)
                fleet.start_orchestrator()
            fleet.orchestrator.wait_line("server=a ")
            stop(fleet)
            shutil.rmtree(fleet.path("orchestrator"))
            os.mkdir(fleet.path("orchestrator"), 0o700)
            put_journal(fleet, file)
            fleet.start_orchestrator()
            self.assertEqual(ready(fleet)[0], 200)
            fleet.agents["a"].wait_line("epoch")
            stop(fleet)
            fleet.start_orchestrator(["--accept-restored=100"])
            self.assertIn("epoch=100", fleet.orchestrator.wait_line("ready "))
            fleet.orchestrator.wait_line("server=a ")
            fleet.run(plan)


class Retention(unittest.TestCase):
    def test_old_rollouts_go_and_open_ones_stay(self):
        with Fleet(agents=["a"]) as fleet:
            plan = {"servers": ["a"], "steps": [echo_step()]}
            old = [fleet.run(plan)["id"] for _ in range(3)]
            plan["servers"].append("never")
            plan["rolloutStrategy"] = {"type": "Parallel", "maxFailures": 1}
            running = fleet.submit(plan)
            fleet.wait_event(running, lambda e: e["type"] == "execution_ended")
            stop(fleet)
            fleet.start_orchestrator(["--retain", "0"])
            self.assertEqual(len(fleet.json("list")["rollouts"]), 4)
            stop(fleet)
            fleet.start_orchestrator(["--retain", "1ms"])
            self.assertIn("count=3", fleet.orchestrator.wait_line("old rollouts were removed"))
            self.assertEqual([r["id"] for r in fleet.json("list")["rollouts"]], [running])
            fleet.kitsune("show", old[0], check=1)
            # The id is free again.
            again = fleet.run({"servers": ["other"], "steps": [echo_step()],
                               "rolloutStrategy": {"type": "Parallel", "startTimeoutSeconds": 0.2}}, "--id", old[0], check=3)
            self.assertEqual(again["id"], old[0])
            stop(fleet)
            self.assertEqual(check(fleet)[0], 0)
            fleet.start_orchestrator()


if __name__ == "__main__":
    main()
