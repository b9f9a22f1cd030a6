"""Files, folders, links and scripts: their example plans, checked, run, undone, and cut off anywhere."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import unittest

import sweep
from fleet import DEADLINE, SOURCE, Fleet, by_server, main, program


def look(path):
    """All of a folder: names, kinds, modes, owners, times, bytes, targets, extended attributes."""
    found = {}
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            whole = os.path.join(folder, name)
            st = os.lstat(whole)
            entry = [oct(st.st_mode), st.st_uid, st.st_gid]
            entry.append({x: os.getxattr(whole, x, follow_symlinks=False)
                          for x in os.listxattr(whole, follow_symlinks=False)})
            if stat.S_ISLNK(st.st_mode):
                entry += [os.readlink(whole), st.st_mtime_ns]
            elif stat.S_ISREG(st.st_mode):
                with open(whole, "rb") as file:
                    entry += [file.read(), st.st_mtime_ns]
            found[os.path.relpath(whole, path)] = entry
    return found


def example(fleet, name, place):
    """An example plan, moved from its folder below /tmp into the fleet's, for the agent "a"."""
    with open(os.path.join(SOURCE, "plans", name), encoding="utf-8") as file:
        plan = json.loads(file.read().replace(place, fleet.path("there")))
    plan["servers"] = ["a"]
    return plan


def populate(top):
    """What the plan finds: a release in use, with a lock that nobody needs."""
    old = os.path.join(top, "releases", "1")
    os.makedirs(os.path.join(old, "empty"))
    for name, content, mode in (("app.json", b"{}\n", 0o600), ("blob", bytes(range(256)) * 20, 0o4711)):
        with open(os.path.join(old, name), "wb") as file:
            file.write(content)
        os.chmod(os.path.join(old, name), mode)
        os.utime(os.path.join(old, name), ns=(1, 1234567890123456789))
    with contextlib.suppress(OSError):  # not every file system has them
        os.setxattr(os.path.join(old, "blob"), "user.kitsune.test", b"\0\xff")
    os.symlink("app.json", os.path.join(old, "link"))
    os.chmod(old, 0o2711)
    os.symlink("releases/1", os.path.join(top, "current"))
    with open(os.path.join(top, "app.lock"), "w", encoding="ascii") as file:
        file.write("1234\n")
    os.link(os.path.join(top, "app.lock"), os.path.join(top, "app.lock.other"))


class Plans(unittest.TestCase):
    def test_files(self):
        with Fleet(agents=["a"]) as fleet:
            top = fleet.path("there")
            populate(top)
            before = look(top)
            plan = example(fleet, "files.json", "/tmp/kitsune-files")

            checked = fleet.run(plan, "--check")
            self.assertEqual(look(top), before)
            self.assertEqual(checked["counts"].get("unchanged", 0), 0)
            printed = fleet.kitsune("logs", checked["id"], check=0).stdout
            self.assertIn(f"- {top}/releases/1/blob\n", printed)

            done = fleet.run(plan)
            after = look(top)
            self.assertEqual(done["state"], "succeeded")
            self.assertEqual(after["releases/2/app.json"][4], b'{"listen": 8080}\n')
            self.assertEqual(after["releases/2/app.json"][0], oct(0o100640))
            self.assertTrue(after["releases/2/icon.gif"][4].startswith(b"GIF89a\1\0"))
            self.assertEqual(after["current"][4], "releases/2")
            self.assertNotIn("app.lock", after)
            self.assertNotIn("releases/1", after)

            again = fleet.run(plan)
            self.assertEqual(again["counts"]["unchanged"], 1)
            self.assertEqual(look(top), after)

            fleet.kitsune("rollback", done["id"], check=0)
            fleet.kitsune("watch", done["id"], check=3)
            self.assertEqual(look(top), before)
            names = [os.stat(os.path.join(top, x)) for x in ("app.lock", "app.lock.other")]
            self.assertTrue(os.path.samestat(*names), "it is one file of two names again")

    def test_script(self):
        with Fleet(agents=["a"]) as fleet:
            plan = example(fleet, "script.json", "/tmp/kitsune-script")
            features = fleet.path("there", "features")

            def text():
                with open(features, encoding="ascii") as file:
                    return file.read()

            os.mkdir(fleet.path("there"))
            with open(features, "w", encoding="ascii") as file:
                file.write("beta\n")
            checked = fleet.run(plan, "--check")
            self.assertEqual(text(), "beta\n")
            self.assertIn("would run: a text of", fleet.kitsune("show", checked["id"], check=0).stdout)
            done = fleet.run(plan)
            self.assertEqual(text(), "beta\ndark-mode\n")
            self.assertEqual(os.stat(features).st_mode & 0o777, 0o640)
            printed = fleet.kitsune("logs", done["id"], check=0).stdout
            self.assertIn("limits: memory 268435456 bytes (", printed)
            self.assertIn("nobody\n", printed)
            again = fleet.run(plan)
            self.assertEqual(text(), "beta\ndark-mode\n")
            first = by_server(again)["a"]["steps"][0]
            self.assertFalse(first.get("changed", False), first)
            # It has run the step that has nothing to be undone with, so it goes first.
            for rollout in (again["id"], done["id"]):
                fleet.kitsune("rollback", rollout, check=0)
                fleet.kitsune("watch", rollout, check=3)
            self.assertEqual(text(), "beta\n")


class Refusals(unittest.TestCase):
    def test_a_validation_that_fails_leaves_the_file_and_tells_why(self):
        with Fleet(agents=["a"]) as fleet:
            populate(fleet.path("there"))
            before = look(fleet.path("there"))
            plan = example(fleet, "files.json", "/tmp/kitsune-files")
            plan["steps"][1]["params"]["content"] = "{"
            failed = fleet.run(plan, check=3)
            self.assertIn("python3: exit status 1", json.dumps(by_server(failed)["a"]))
            self.assertIn("Expecting property name", fleet.kitsune("logs", failed["id"], check=0).stdout)
            self.assertEqual(look(fleet.path("there")), before)

    def test_an_unknown_user_fails_before_anything_is_done(self):
        with Fleet(agents=["a"]) as fleet:
            marker = fleet.path("marker")
            steps = [
                {"name": "write", "type": "file_write",
                 "params": {"path": marker, "content": "x", "owner": "no-such-user"}},
                {"name": "run", "type": "script",
                 "params": {"script": "touch", "args": [marker], "user": "no-such-user"}},
            ]
            for step in steps:
                failed = fleet.run({"servers": ["a"], "steps": [step]}, check=3)
                self.assertIn("there is no user no-such-user", json.dumps(by_server(failed)["a"]))
                self.assertFalse(os.path.exists(marker))


@unittest.skipUnless(sweep.failpoints_are_built_in(), "this build has no failpoints (KITSUNE_FAILPOINTS)")
class CutOff(unittest.TestCase):
    """The agent is killed between one change and the next, and started again."""

    def watch(self, fleet, rollout, failpoint):
        """Until the rollout ends; starts the agent again when it dies. How it ended, how often it died."""
        watch = subprocess.Popen(
            [program("kitsune"), "--orchestrator", fleet.url, "watch", rollout],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        deaths = 0
        while watch not in sweep.wait_first(watch, fleet.agents["a"].process):
            self.assertEqual(fleet.agents["a"].process.wait(DEADLINE), -signal.SIGKILL)
            fleet.agents["a"].kill()
            deaths += 1
            self.assertEqual(deaths, 1, failpoint)
            fleet.start_agent("a")
        watch.communicate()
        return watch.returncode, deaths

    def arm(self, fleet, failpoint):
        fleet.agents["a"].kill()
        fleet.start_agent("a", env={"KITSUNE_FAILPOINT": failpoint})

    def test_a_rollout_of_files_goes_on_and_is_undone_wherever_it_was_cut_off(self):
        with Fleet(agents=["a"]) as fleet:
            top = fleet.path("there")
            populate(top)
            before = look(top)
            plan = example(fleet, "files.json", "/tmp/kitsune-files")
            for failpoint in ("file.replace=kill@3", "file.replaced=kill@5", "file.removed=kill@1",
                              "file.removed=kill@4", "agent.execute.ended=kill@6"):
                with self.subTest(failpoint=failpoint):
                    self.arm(fleet, failpoint)
                    rollout = fleet.submit(plan)
                    self.assertEqual(self.watch(fleet, rollout, failpoint), (0, 1))
                    after = look(top)
                    self.assertEqual(after["current"][4], "releases/2")
                    self.assertNotIn("releases/1", after)
                    self.assertFalse([name for name in after if "kitsune-" in name], "nothing is left beside")
                    fleet.kitsune("rollback", rollout, check=0)
                    fleet.kitsune("watch", rollout, check=3)
                    self.assertEqual(look(top), before)

    def test_an_undo_goes_on_wherever_it_was_cut_off(self):
        with Fleet(agents=["a"]) as fleet:
            top = fleet.path("there")
            populate(top)
            before = look(top)
            plan = example(fleet, "files.json", "/tmp/kitsune-files")
            for failpoint in ("file.replace=kill@2", "file.replaced=kill@1", "file.removed=kill@1",
                              "agent.undo.ended=kill@1"):
                with self.subTest(failpoint=failpoint):
                    rollout = fleet.run(plan)["id"]
                    self.arm(fleet, failpoint)
                    fleet.kitsune("rollback", rollout, check=0)
                    self.assertEqual(self.watch(fleet, rollout, failpoint), (3, 1))
                    self.assertEqual(look(top), before)


if __name__ == "__main__":
    main()
