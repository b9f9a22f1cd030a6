"""Check mode: what a plan would change is shown, nothing is changed, and the run changes exactly that."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import unittest

from fleet import SOURCE, Fleet, by_server, echo_step, main


def write_step(path, content, name="write", **params):
    return {"name": name, "type": "file_write", "params": {"path": path, "content": content, **params}}


def script_step(line, name="script", **params):
    return {"name": name, "type": "script", "params": {"script": "sh", "args": ["-c", line], **params}}


def put(path, content, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
    os.chmod(path, mode)


# What dnf keeps for itself, and updates whenever it looks anything up.
DNF_OWN = ("var/cache/dnf", "var/lib/dnf", "var/log")


def snapshot(folder, left_out=()):
    """Everything that a check could change below a folder: names, kinds, bytes, modes, owners, times."""
    seen = {}
    for top, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if os.path.relpath(os.path.join(top, f), folder) not in left_out]
        for name in [*folders, *files]:
            path = os.path.join(top, name)
            info = os.lstat(path)
            digest = ""
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
            times = () if stat.S_ISDIR(info.st_mode) else (info.st_mtime_ns, info.st_ino)
            seen[os.path.relpath(path, folder)] = (info.st_mode, info.st_uid, info.st_gid, digest, times)
    return seen


def steps_of(document, server):
    return {s["name"]: s for s in by_server(document)[server]["steps"]}


class Check(unittest.TestCase):
    def test_the_diff_is_shown_nothing_is_changed_and_the_run_changes_exactly_that(self):
        with Fleet(agents=["web-1", "web-2", "web-3"]) as fleet:
            host = fleet.path("host")
            os.mkdir(host)
            conf, same, fresh = (os.path.join(host, n) for n in ("app.conf", "same.conf", "fresh.conf"))
            put(conf, "listen 80;\nroot /srv;\n", 0o600)
            put(same, "as it is\n")
            steps = [write_step(conf, "listen 8080;\nroot /srv;\n", "conf", mode="0644"),
                     write_step(same, "as it is\n", "same"), write_step(fresh, "new\n", "fresh"), echo_step()]
            plan = {"servers": fleet.agent_ids, "steps": steps,
                    "rolloutStrategy": {"type": "Rolling", "batchSize": 2}}
            before = snapshot(host)
            done = fleet.kitsune("submit", fleet.plan(plan), "--check", "--watch", "--id", "look", check=0)
            self.assertEqual(snapshot(host), before)
            self.assertIn("web-1..web-3 (3 servers)", done.stdout)
            self.assertIn("    -listen 80;\n    +listen 8080;\n     root /srv;\n", done.stdout)
            self.assertIn("mode 0600 -> 0644", done.stdout)
            self.assertIn("unchanged on web-1..web-3 (3 servers): " + same + " is so already", done.stdout)
            self.assertIn("    --- /dev/null\n    +++ " + fresh + "\n    @@ -0,0 +1 @@\n    +new\n", done.stdout)
            self.assertIn("3 of 3 servers would change", done.stdout)
            self.assertIn("batch 2 of 2 started", done.stdout)

            shown = fleet.json("show", "look")
            self.assertEqual((shown["state"], shown["check"]), ("succeeded", True))
            found = steps_of(shown, "web-2")
            self.assertEqual({n: s.get("changed", False) for n, s in found.items()},
                             {"conf": True, "same": False, "fresh": True, "say": False})
            self.assertIn("check     nothing is changed", fleet.kitsune("show", "look", check=0).stdout)
            self.assertIn("succeeded (check)", fleet.kitsune("list", check=0).stdout)
            self.assertNotIn("step_started", {e["type"] for e in fleet.events("look")})
            self.assertEqual(fleet.json("server", "web-1").get("touchedBy", []), [])

            plan["servers"] = ["web-1"]
            fleet.run(plan, "--id", "real")
            after = snapshot(host)
            self.assertEqual({n for n in after if after[n] != before.get(n)}, {"app.conf", "fresh.conf"})
            found = steps_of(fleet.json("show", "real"), "web-1")
            self.assertEqual([n for n, s in found.items() if s.get("changed")], ["conf", "fresh"])

            done = fleet.kitsune("submit", fleet.plan(plan), "--check", "--watch", check=0)
            self.assertIn("1 succeeded, 1 unchanged; 0 of 1 servers would change", done.stdout)

    def test_what_changed_nothing_is_not_undone(self):
        with Fleet(agents=["a"]) as fleet:
            first, second = fleet.path("first"), fleet.path("second")
            put(first, "there\n")
            plan = {"servers": ["a"], "steps": [write_step(first, "there\n", "first"),
                                                write_step(second, "new\n", "second")]}
            rollout = fleet.run(plan)["id"]
            put(first, "somebody's\n")  # would be a conflict, were it undone
            fleet.kitsune("rollback", rollout, "--watch", check=0)
            undone = [e["step"] for e in fleet.events(rollout) if e["type"] == "step_rolled_back"]
            self.assertEqual(undone, ["second"])
            self.assertFalse(os.path.exists(second))

            put(first, "there\n")
            again = {"servers": ["a"], "steps": [write_step(first, "there\n", "first")]}
            shown = fleet.run(again, "--id", "nothing")
            self.assertEqual((shown["counts"]["succeeded"], shown["counts"]["unchanged"]), (1, 1))
            self.assertTrue(by_server(shown)["a"]["unchanged"])
            self.assertIn("succeeded, unchanged", fleet.kitsune("show", "nothing", check=0).stdout)
            self.assertIn("unchanged", fleet.kitsune("events", "nothing", check=0).stdout)

    def test_a_step_is_looked_at_in_the_light_of_those_before_it(self):
        with Fleet(agents=["a"]) as fleet:
            tool = fleet.path("tool")
            mark = fleet.path("mark")
            gate = {"name": "gate", "type": "command_check", "params": {"command": "touch", "args": [mark]}}
            steps = [gate, write_step(tool, "#!/bin/sh\n", "tool", mode="0755"),
                     script_step("true", "use", check_script=tool), {**gate, "name": "late"},
                     write_step(fleet.path("no/such/folder"), "x", "folder"),
                     script_step("rm -rf " + fleet.dir, "run")]
            done = fleet.kitsune("submit", fleet.plan({"servers": ["a"], "steps": steps}), "--check", "--watch",
                                 "--id", "look", check=0)
            found = steps_of(fleet.json("show", "look"), "a")
            depends = "depends on a change of step 2 (tool)"
            self.assertTrue(os.path.exists(mark), "the first gate is probed")
            self.assertEqual(found["late"]["message"], "not probed: " + depends)
            self.assertIn(depends + ": check_script: ", found["use"]["message"])
            self.assertIn(depends + ": the folder", found["folder"]["message"])
            self.assertIn("would run: sh -c 'rm -rf ", found["run"]["message"])
            self.assertEqual([n for n, s in found.items() if not s.get("changed")], ["gate", "late"])
            self.assertIn("would change on a: would run: sh -c", done.stdout)
            self.assertFalse(os.path.exists(tool))

    def test_what_cannot_be_checked_fails_and_nothing_is_rolled_back(self):
        with Fleet(agents=["a", "b", "c"]) as fleet:
            steps = [script_step("true", "here", check_script="sh"),
                     write_step(fleet.path("no/such/folder"), "x", "folder"), echo_step()]
            plan = {"servers": fleet.agent_ids, "steps": steps,
                    "rolloutStrategy": {"type": "Sequential", "maxFailures": 1}}
            steps[0]["params"]["args"] = ["-c", "exit 0"]
            done = fleet.kitsune("submit", fleet.plan(plan), "--check", "--watch", "--id", "look", check=2)
            self.assertIn("failed on a, b: the folder " + fleet.path("no/such") + " does not exist", done.stdout)
            shown = fleet.json("show", "look")
            self.assertEqual(shown["state"], "failed")
            self.assertEqual({s: x["state"] for s, x in by_server(shown).items()},
                             {"a": "failed", "b": "failed", "c": "skipped"})
            types = {e["type"] for e in fleet.events("look")}
            self.assertFalse({t for t in types if "roll" in t and "back" in t}, types)

    def test_a_check_stays_one_and_cannot_be_undone(self):
        with Fleet(agents=["a"]) as fleet:
            path = fleet.path("file")
            plan = fleet.plan({"servers": ["a", "gone"], "steps": [write_step(path, "x")],
                               "rolloutStrategy": {"type": "Parallel", "maxUnreachable": 1, "startTimeoutSeconds": 0.2}})
            fleet.kitsune("submit", plan, "--check", "--watch", "--id", "look", check=0)
            refused = fleet.kitsune("rollback", "look", check=1)
            self.assertIn("a check, which changes nothing", refused.stderr)
            refused = fleet.kitsune("submit", plan, "--id", "look", check=1)
            self.assertIn("exists and is a check", refused.stderr)
            self.assertIn("submitted before", fleet.kitsune("submit", plan, "--id", "look", "--check", check=0).stderr)
            fleet.kitsune("retry", "look", "--id", "again", "--watch", check=0)
            self.assertTrue(fleet.json("show", "again")["check"])
            self.assertFalse(os.path.exists(path))

    def test_an_agent_that_dies_in_a_check_does_it_again(self):
        with Fleet(agents=["a"]) as fleet:
            fifo, path = fleet.path("fifo"), fleet.path("file")
            os.mkfifo(fifo)
            steps = [script_step("true", "wait", check_script="sh"), write_step(path, "x")]
            steps[0]["params"]["args"] = ["-c", f'read line <"{fifo}"; exit "$line"']
            rollout = fleet.submit({"servers": ["a"], "steps": steps}, "--check")
            with open(fifo, "w", encoding="utf-8"):  # it reads now
                fleet.agents["a"].kill()
            fleet.start_agent("a")
            with open(fifo, "w", encoding="utf-8") as file:
                file.write("0\n")
            fleet.kitsune("watch", rollout, check=0)
            found = steps_of(fleet.json("show", rollout), "a")
            self.assertEqual((found["wait"].get("changed", False), found["write"]["changed"]), (False, True))
            self.assertFalse(os.path.exists(path))


@unittest.skipUnless(shutil.which("dnf") and shutil.which("rpmbuild") and shutil.which("createrepo_c"), "no dnf")
class Packages(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kitsune-check-rpm-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.root = os.path.join(self.dir, "root")
        repo = os.path.join(self.dir, "repo")
        for argv in (["rpm-repo", repo], ["rpm-root", self.root, repo]):
            subprocess.run([os.path.join(SOURCE, "dev", argv[0]), *argv[1:]], check=True, capture_output=True)

    def step(self, package, version):
        return {"name": package, "type": "yum_upgrade",
                "params": {"package": package, "version": version, "installroot": self.root}}

    def packages(self):
        done = subprocess.run(["rpm", "--root", self.root, "-qa"], check=True, capture_output=True, text=True)
        return set(done.stdout.split())

    def test_the_versions_are_shown_and_the_run_installs_them(self):
        with Fleet(agents=["a"]) as fleet:
            plan = {"servers": ["a"], "steps": [self.step("kitsune-suite", "2.0-1"), self.step("kitsune-demo", "1.0")]}
            before, files = self.packages(), snapshot(self.root, DNF_OWN)
            done = fleet.kitsune("submit", fleet.plan(plan), "--check", "--watch", "--id", "look", check=0)
            self.assertEqual(self.packages(), before)
            after = snapshot(self.root, DNF_OWN)
            touched = {n for n in after.keys() | files.keys() if after.get(n) != files.get(n)}
            self.assertEqual({n for n in touched if not n.endswith("-shm")}, set())  # SQLite's, of readers too
            self.assertIn("would change kitsune-suite 1.0-1 -> 2.0-1", done.stdout)
            self.assertIn("kitsune-suite-common", done.stdout)  # what dnf takes along
            self.assertIn("kitsune-demo is at 1.0 already", done.stdout)
            fleet.run(plan)
            self.assertEqual(self.packages() - before, {"kitsune-suite-2.0-1.noarch", "kitsune-suite-common-2.0-1.noarch"})

            plan = {"servers": ["a"], "steps": [self.step("kitsune-demo", "7.0")]}
            done = fleet.kitsune("submit", fleet.plan(plan), "--check", "--watch", check=2)
            self.assertIn("kitsune-demo", done.stdout)


if __name__ == "__main__":
    main()
