"""kitsune agent install, upgrade and uninstall: real sshds, real systemds, several at once."""

import json
import os
import pty
import re
import subprocess
import unittest

from hosts import PASSWORD, Hosts, agent_program, in_own_network, keygen, read, write

import fleet as fleet_module
from fleet import DEADLINE, Fleet, program

OWN_BINARY = "/usr/local/sbin/kitsune-agent"


def setUpModule():
    global HOSTS
    HOSTS = Hosts("web-1", "web-2", "web-3")
    unittest.addModuleCleanup(HOSTS.__exit__, None, None, None)
    HOSTS.__enter__()


class Case(unittest.TestCase):
    def setUp(self):
        self.fleet = Fleet()
        self.fleet.__enter__()
        self.addCleanup(self.fleet.__exit__, None, None, None)

    def agent(self, verb, *words, check=0):
        command = ["agent", verb, "--ssh-config", HOSTS.path("config"), *words]
        if verb != "uninstall" and "--package" not in words and "--binary" not in words:
            command += ["--binary", agent_program()]
        return self.fleet.kitsune(*command, check=check, timeout=180)

    def results(self, verb, *words, check=0):
        said = json.loads(self.agent(verb, "-o", "json", *words, check=check).stdout)
        return {row["server"]: row for row in said["hosts"]}


class Install(Case):
    def test_three_hosts_get_agents_by_one_command_and_lose_them_again(self):
        done = self.results("install", "web-1", "web-2", "web-3")
        self.assertEqual({r["result"] for r in done.values()}, {"installed"}, done)


if __name__ == "__main__":
    in_own_network()
    fleet_module.main()
