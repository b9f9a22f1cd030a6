"""Releases, with the real programs over TLS: an archive put, deployed, deployed over, cut off, and undone."""

import io
import json
import os
import signal
import tarfile
import unittest

from fleet import SOURCE, by_server, main
from secure import SecureFleet
from test_files import look

VERSIONS = ("1.4.0", "1.4.1", "1.4.2", "1.4.3", "1.4.4")


def archive(path, version, compression="gz", size=200_000):
    """A release as it is built: one folder in front, a program, a link, and something of some size."""
    with tarfile.open(path, f"w:{compression}") as tar:
        def add(name, data=b"", mode=0o644, **more):
            info = tarfile.TarInfo(f"app-{version}/{name}")
            info.size, info.mode, info.mtime = len(data), mode, 1_500_000_000
            for key, value in more.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))

        add("bin", mode=0o755, type=tarfile.DIRTYPE)
        add("bin/app", b"#!/bin/sh\nexec cat ../VERSION\n", 0o755)
        add("app", type=tarfile.SYMTYPE, linkname="bin/app")
        add("VERSION", version.encode() + b"\n")
        add("data", os.urandom(size))


class Releases(unittest.TestCase):
    def setUp(self):
        self.fleet = SecureFleet()
        self.fleet.__enter__()
        self.addCleanup(self.fleet.close)
        self.fleet.start_agent("web-1")
        self.top = self.fleet.path("there")
        os.mkdir(self.top)
        self.app = os.path.join(self.top, "app")

    def plan(self, version, **how):
        """The example plan, for this version, below a folder of this test."""
        path = self.fleet.path(f"{version}.tar")
        archive(path, version, **how)
        name = self.fleet.kitsune("artifact", "put", path, check=0).stdout.strip()
        with open(os.path.join(SOURCE, "plans", "release.json"), encoding="utf-8") as file:
            plan = json.loads(file.read().replace("/tmp/kitsune-release", self.top))
        plan["steps"][0]["params"].update(source=name, name=version)
        return plan

    def undo(self, done):
        self.fleet.kitsune("rollback", done["id"], check=0)
        self.fleet.kitsune("watch", done["id"], check=3)

    def at(self, *parts):
        with open(os.path.join(self.app, *parts), encoding="ascii") as file:
            return file.read()

    def releases(self):
        return sorted(os.listdir(os.path.join(self.app, "releases")))

    def test_the_example_plan_deploys_prunes_and_is_undone_release_by_release(self):
        states, done = [look(self.top)], []
        for version, compression in zip(VERSIONS, ("", "gz", "xz", "bz2", "gz")):
            plan = self.plan(version, compression=compression)
            checked = self.fleet.run(plan, "--check")
            self.assertEqual(look(self.top), states[-1], "a check changes nothing")
            self.assertIn(version, by_server(checked)["web-1"]["steps"][0]["message"])
            done.append(self.fleet.run(plan))
            self.assertEqual(self.at("current", "VERSION"), version + "\n")
            states.append(look(self.top))
        self.assertEqual(self.releases(), list(VERSIONS[-3:]), "three are kept")

        again = self.fleet.run(plan)
        self.assertFalse(by_server(again)["web-1"]["steps"][0].get("changed", False))
        self.assertEqual(look(self.top), states[-1])
        self.undo(again)

        for version in reversed(range(len(VERSIONS))):
            self.undo(done[version])
            self.assertEqual(look(self.top), states[version], f"as before {VERSIONS[version]}")

    def test_a_failing_gate_takes_the_release_back(self):
        self.fleet.run(self.plan("1.4.0"))
        before = look(self.top)
        plan = self.plan("1.4.1")
        plan["steps"][1]["params"].update(command="false", interval=0.05, failureThreshold=2)
        self.fleet.run(plan, check=3)
        self.assertEqual(look(self.top), before)

    def test_an_agent_killed_in_the_step_goes_on(self):
        self.fleet.run(self.plan("1.4.0"))
        before = look(self.top)
        rollout = self.fleet.submit(self.plan("1.4.1", size=60_000_000, compression=""))
        self.fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
        self.fleet.agents["web-1"].process.send_signal(signal.SIGKILL)
        self.fleet.agents["web-1"].process.wait()
        self.assertEqual(self.at("current", "VERSION"), "1.4.0\n")
        self.fleet.start_agent("web-1")
        self.fleet.kitsune("watch", rollout, check=0)
        self.assertEqual(self.at("current", "VERSION"), "1.4.1\n")
        self.assertEqual(self.releases(), ["1.4.0", "1.4.1"])
        self.undo({"id": rollout})
        self.assertEqual(look(self.top), before)

    def test_a_hostile_archive_changes_nothing(self):
        path = self.fleet.path("hostile.tar")
        outside = self.fleet.path("outside")
        with tarfile.open(path, "w") as tar:
            for name in ("app/VERSION", f"app/../../../../../../../..{outside}"):
                info = tarfile.TarInfo(name)
                info.size = 3
                tar.addfile(info, io.BytesIO(b"no\n"))
        name = self.fleet.kitsune("artifact", "put", path, check=0).stdout.strip()
        plan = self.plan("1.4.0")
        plan["steps"][0]["params"].update(source=name)
        failed = self.fleet.run(plan, check=3)
        self.assertIn("..", by_server(failed)["web-1"]["message"])
        self.assertEqual(look(self.top), {})
        self.assertFalse(os.path.exists(outside))


if __name__ == "__main__":
    main()
