"""Package steps: the example plans on a local repository, and an agent killed while dnf is at work."""

import os
import shutil
import subprocess
import tempfile
import unittest

from fleet import SOURCE, Fleet, main

PLANS = os.path.join(SOURCE, "plans")
SERVERS = ["web-1", "web-2", "web-3"]


@unittest.skipUnless(
    all(shutil.which(tool) for tool in ("rpmbuild", "createrepo_c", "modifyrepo_c", "dnf", "strace")), "no rpm or dnf"
)
class Yum(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="kitsune-yum-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)
        repo, cls.root = os.path.join(cls.dir, "repo"), os.path.join(cls.dir, "root")
        for argv in (["rpm-repo", repo], ["rpm-root", cls.root, repo]):
            subprocess.run([os.path.join(SOURCE, "dev", argv[0]), *argv[1:]], check=True, capture_output=True)

    def start(self, fleet, servers):
        for server in servers:
            root = fleet.path("root-" + server)
            subprocess.run(["cp", "-a", self.root, root], check=True)
            fleet.start_agent(server, ["--installroot", root])
        for server in servers:
            fleet.orchestrator.wait_line(f"server={server} ")

    def packages(self, fleet, server):
        root = fleet.path("root-" + server)
        done = subprocess.run(["rpm", "--root", root, "-qa"], check=True, capture_output=True, text=True)
        return set(done.stdout.split())

    def test_the_example_plans_are_made_and_undone(self):
        marker = "/tmp/kitsune-nginx-version.txt"
        there = os.path.exists(marker)
        expected = {
            "yum-upgrade.json": {"nginx-1.20.1-14.noarch"},
            "yum-install.json": {"chrony-4.5-1.noarch", "jq-1.6-17.noarch", "oniguruma-6.9-1.noarch"},
            "yum-remove.json": set(),
            "yum-security.json": {"kitsune-demo-1.1-1.noarch"},
        }
        with Fleet() as fleet:
            self.start(fleet, SERVERS)
            before = self.packages(fleet, "web-1")
            ids = {}
            for name, come in expected.items():
                was = self.packages(fleet, "web-1")
                ids[name] = fleet.run(os.path.join(PLANS, name), timeout=300)["id"]
                for server in SERVERS:
                    self.assertEqual(self.packages(fleet, server) - was, come)
            self.assertNotIn("telnet-server-0.17-85.noarch", self.packages(fleet, "web-3"))
            for name in reversed(expected):
                fleet.kitsune("rollback", ids[name], "--watch", check=0, timeout=300)
            for server in SERVERS:
                self.assertEqual(self.packages(fleet, server), before)
        self.assertEqual(os.path.exists(marker), there)


if __name__ == "__main__":
    main()
