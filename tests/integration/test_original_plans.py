"""The plan files of the original run unchanged."""

import json
import os
import shutil
import subprocess
import unittest

from fleet import SOURCE, Fleet, by_server, main

PLANS = os.path.join(SOURCE, "plans", "original")


class Plain(unittest.TestCase):
    def setUp(self):
        self.paths = ["/tmp/kitsune-test.txt", "/tmp/deployment-marker.txt"]
        self.before = {}
        for path in self.paths:
            if os.path.exists(path):
                with open(path, "rb") as file:
                    self.before[path] = file.read()

    def tearDown(self):
        for path in self.paths:
            if path in self.before:
                with open(path, "wb") as file:
                    file.write(self.before[path])
            elif os.path.exists(path):
                os.unlink(path)

    def test_local_exec(self):
        with Fleet(agents=["dev-local"]) as fleet:
            done = fleet.run(os.path.join(PLANS, "local-exec.json"))
            self.assertEqual(done["state"], "succeeded")
            self.assertIn("Hello from Kitsune!", fleet.kitsune("logs", done["id"], check=0).stdout)
            with open("/tmp/kitsune-test.txt", encoding="ascii") as file:
                self.assertEqual(file.read(), "Hello from Kitsune!")

    def test_orchestrator(self):
        with Fleet(agents=["server-1", "server-2", "server-3"]) as fleet:
            done = fleet.run(os.path.join(PLANS, "orchestrator.json"), timeout=150)
            self.assertEqual(done["counts"]["succeeded"], 3)
            with open("/tmp/deployment-marker.txt", encoding="ascii") as file:
                self.assertEqual(file.read(), "Executed through orchestrator'")


@unittest.skipUnless(
    all(shutil.which(tool) for tool in ("rpmbuild", "createrepo_c", "dnf")), "rpmbuild, createrepo_c or dnf is missing"
)
class Yum(unittest.TestCase):
    """Against a local repository that offers these versions, each agent below a root of its own."""

    old = "2.34-100.el9_6"
    new = "2.34-168.0.1.el9_6.24"

    def start(self, fleet, servers):
        subprocess.run([os.path.join(SOURCE, "dev", "rpm-repo"), fleet.path("repo")], check=True, capture_output=True)
        for server in servers:
            root = fleet.path("root-" + server)
            subprocess.run(
                [os.path.join(SOURCE, "dev", "rpm-root"), root, fleet.path("repo")], check=True, capture_output=True
            )
            fleet.start_agent(server, ["--installroot", root])
        for server in servers:
            fleet.orchestrator.wait_line(f"server={server} ")

    def version(self, fleet, server):
        return subprocess.run(
            ["rpm", "--root", fleet.path("root-" + server), "-q", "--qf", "%{VERSION}-%{RELEASE}", "glibc"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def test_upgrade(self):
        servers = ["server-1", "server-2"]
        with Fleet() as fleet:
            self.start(fleet, servers)
            self.assertEqual(self.version(fleet, "server-1"), self.old)
            done = fleet.run(os.path.join(PLANS, "yum-upgrade-success.json"), timeout=200)
            self.assertEqual(done["state"], "succeeded")
            self.assertEqual([self.version(fleet, s) for s in servers], [self.new] * 2)

    def test_upgrade_that_is_undone(self):
        servers = ["server-1", "server-2", "server-3"]
        with Fleet() as fleet:
            self.start(fleet, servers)
            done = fleet.run(os.path.join(PLANS, "yum-upgrade-rollback.json"), check=3, timeout=250)
            self.assertEqual(done["state"], "rolled_back")
            self.assertEqual([self.version(fleet, s) for s in servers], [self.old] * 3)
            states = [by_server(done)[s]["state"] for s in servers]
            self.assertEqual(states, ["rolled_back", "rolled_back", "skipped"])


class Files(unittest.TestCase):
    def test_each_is_valid(self):
        fleet = Fleet()
        try:
            names = sorted(os.listdir(PLANS))
            self.assertEqual(len(names), 4)
            for name in names:
                fleet.kitsune("validate", os.path.join(PLANS, name), check=0)
            for name in sorted(os.listdir(os.path.join(SOURCE, "plans"))):
                if name.endswith(".json"):
                    with open(os.path.join(SOURCE, "plans", name), encoding="utf-8") as file:
                        json.load(file)
                    fleet.kitsune("validate", os.path.join(SOURCE, "plans", name), check=0)
        finally:
            fleet.close()


if __name__ == "__main__":
    main()
