"""The agent's two processes: the one that speaks to the network has no privileges, and each outlives the other's death
as far as it should."""

import os
import select
import signal
import stat
import unittest

from fleet import DEADLINE, Fleet, echo_step, main
from secure import SecureFleet, until


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def network_of(agent):
    """The network process of an agent."""
    for child in children(agent.process.pid):
        with open(f"/proc/{child}/comm", encoding="ascii") as file:
            if file.read() == "kitsune-network\n":
                return child
    return None


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def script(name, text):
    return {"name": name, "type": "script", "params": {"script": "sh", "args": ["-c", text]}}


class Rights(unittest.TestCase):
    def test_the_network_process_has_none(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            agent = fleet.agents["web-1"]
            pid = network_of(agent)
            status = status_of(pid)
            own = status_of(agent.process.pid)
            if os.geteuid() == 0:
                self.assertNotIn("0", status["Uid"].split())
                self.assertNotIn("0", status["Gid"].split())
                self.assertEqual(status["Groups"].split(), [])
            for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(status[capabilities], 16), 0, capabilities)
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(status["Seccomp"], "2")
            self.assertEqual(own["Seccomp"], "0")  # steps do what root may do
            # Nothing of the agent's data is open in it, and it can open nothing of it.
            for fd in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
                self.assertFalse(target.startswith(fleet.dir), target)
            data = os.stat(fleet.path("agent-web-1"))
            self.assertEqual((stat.S_IMODE(data.st_mode), data.st_uid), (0o700, os.geteuid()))
            with open(f"/proc/{pid}/limits", encoding="ascii") as file:
                limits = {line[:25].strip(): line[26:].split()[:2] for line in file}
            self.assertEqual(limits["Max core file size"], ["0", "0"])
            self.assertEqual(limits["Max file size"], ["0", "0"])

    def test_no_secret_is_in_arguments_or_environment(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            agent = fleet.agents["web-1"]
            for pid in (agent.process.pid, network_of(agent)):
                for name in ("cmdline", "environ"):
                    with open(f"/proc/{pid}/{name}", "rb") as file:
                        text = file.read()
                    self.assertNotIn(b"PRIVATE KEY", text)
                    self.assertNotIn(b"kit_", text)


class Deaths(unittest.TestCase):
    def test_when_the_network_process_dies_steps_go_on_and_another_takes_its_place(self):
        with Fleet(agents=["a"]) as fleet:
            agent = fleet.agents["a"]
            mark = fleet.path("mark")
            os.mkfifo(mark)
            rollout = fleet.submit({"servers": ["a"], "steps": [
                script("long", f'read line <"{mark}"; echo "$line"'), echo_step()]})
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
            pid = network_of(agent)
            os.kill(pid, signal.SIGKILL)
            agent.wait_line("the network process is gone")
            with open(mark, "w", encoding="ascii") as file:
                file.write("it went on\n")
            fleet.kitsune("watch", rollout, check=0)
            self.assertIn("it went on", fleet.kitsune("logs", rollout, check=0).stdout)
            runs = [e for e in fleet.events(rollout) if e["type"] == "step_started" and e["step"] == "long"]
            self.assertEqual(len(runs), 1)
            self.assertNotEqual(network_of(agent), pid)

    def test_when_the_agent_dies_its_network_process_does(self):
        with Fleet(agents=["a"]) as fleet:
            pid = network_of(fleet.agents["a"])
            descriptor = os.pidfd_open(pid)
            try:
                fleet.agents["a"].kill()
                until(lambda: ended(descriptor), "the network process ends")
            finally:
                os.close(descriptor)

    def test_one_that_dies_again_and_again_is_started_with_growing_pauses(self):
        with Fleet(agents=["a"]) as fleet:
            agent = fleet.agents["a"]
            for _ in range(4):
                until(lambda: network_of(agent) is not None, "there is one")
                os.kill(network_of(agent), signal.SIGKILL)
                until(lambda: network_of(agent) is None, "it is gone")
            rollout = fleet.run({"servers": ["a"], "steps": [echo_step()]})
            self.assertEqual(rollout["state"], "succeeded")

    def test_a_signal_to_all_from_the_terminal_lets_the_agent_say_goodbye(self):
        with Fleet(agents=["a"]) as fleet:
            agent = fleet.agents["a"]
            for pid in (network_of(agent), agent.process.pid):
                os.kill(pid, signal.SIGINT)
            self.assertEqual(agent.process.wait(DEADLINE), 0)
            self.assertIn("the agent stops", fleet.orchestrator.wait_line("the agent stops"))


class OneProcess(unittest.TestCase):
    def test_for_measuring_it_can_all_be_one_process(self):
        with Fleet(agents=["a"], agent_args=["--one-process"]) as fleet:
            self.assertEqual(children(fleet.agents["a"].process.pid), [])
            self.assertEqual(fleet.run({"servers": ["a"], "steps": [echo_step()]})["state"], "succeeded")


def ended(descriptor):
    return bool(select.select([descriptor], [], [], 0)[0])


if __name__ == "__main__":
    main()
