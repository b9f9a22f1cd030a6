"""How a real agent comes by its certificate, keeps it in time, and survives a crash at any instant of that."""

import os
import signal
import stat
import subprocess
import unittest

import sweep
from fleet import DEADLINE, echo_step, main, program
from secure import SecureFleet, until
from test_clock import LIBRARY, Clock

ENROLLING = ("identity.key", "identity.answer", "identity.saved", "identity.done")


def rollout(fleet, server="web-1", steps=None):
    return fleet.asks("POST", "/v1/rollouts", {"servers": [server], "steps": steps or [echo_step()]})["id"]


def ends(fleet, rollout_id, state="succeeded"):
    until(lambda: fleet.asks("GET", f"/v1/rollouts/{rollout_id}")["state"] == state, f"{rollout_id} {state}")


def serial(path):
    done = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-serial"], check=True, capture_output=True)
    return done.stdout


class Enrolment(unittest.TestCase):
    def pair(self, fleet, server="web-1"):
        return fleet.path("agent-" + server, "identity", server + ".pem")

    def test_an_agent_enrols_once_and_is_known_from_then_on(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            ends(fleet, rollout(fleet))
            pair = self.pair(fleet)
            self.assertEqual(stat.S_IMODE(os.stat(pair).st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(pair)).st_mode), 0o700)
            self.assertFalse(os.path.exists(fleet.path("web-1.ticket")))
            self.assertEqual(os.listdir(os.path.dirname(pair)), ["web-1.pem"])
            known = serial(pair)
            self.assertEqual(fleet.agents["web-1"].stop(), 0)
            fleet.start_agent("web-1")
            fleet.agents["web-1"].wait_line("msg=connected")
            ends(fleet, rollout(fleet))
            self.assertEqual(serial(pair), known)
            self.assertEqual(len(fleet.audited("agent.enrol", target="web-1")), 1)
            # Neither the ticket nor the key is in what it says.
            self.assertNotIn("kit_", fleet.agents["web-1"].text())

    def test_the_cas_fingerprint_is_enough_and_one_that_is_wrong_gets_no_ticket(self):
        with SecureFleet() as fleet:
            ticket = fleet.secret_file("t", fleet.ticket("web-1"))
            fleet.agent_identity = lambda agent: ["--ca-fingerprint", "0" * 64, "--enrol-token-file", ticket]
            agent = fleet.start_agent("web-1")
            agent.wait_line("this agent was not enrolled")
            self.assertTrue(os.path.exists(ticket))
            self.assertEqual(agent.stop(), 0)
            fleet.agent_identity = lambda agent: ["--ca-fingerprint", fleet.fingerprint, "--enrol-token-file", ticket]
            fleet.start_agent("web-1").wait_line("msg=connected")
            self.assertFalse(os.path.exists(ticket))
            # Now it knows the CA itself.
            self.assertEqual(fleet.agents["web-1"].stop(), 0)
            fleet.agent_identity = lambda agent: []
            fleet.start_agent("web-1").wait_line("msg=connected")

    def test_each_of_several_agents_in_a_process_has_its_own(self):
        with SecureFleet() as fleet:
            for server in ("web-1", "web-2"):
                fleet.secret_file("t." + server, fleet.ticket(server))
            fleet.agent_identity = lambda agent: ["--server-id", "web-2", "--ca", fleet.ca,
                                                  "--enrol-token-file", fleet.path("t")]
            fleet.start_agent("web-1")
            ends(fleet, rollout(fleet, "web-1"))
            ends(fleet, rollout(fleet, "web-2"))
            folder = fleet.path("agent-web-1", "identity")
            self.assertEqual(sorted(os.listdir(folder)), ["web-1.pem", "web-2.pem"])
            self.assertNotEqual(serial(f"{folder}/web-1.pem"), serial(f"{folder}/web-2.pem"))

    def test_while_it_is_not_enrolled_it_says_what_to_do_and_takes_a_ticket_when_it_comes(self):
        with SecureFleet() as fleet:
            ticket = fleet.path("web-1.ticket")
            fleet.agent_identity = lambda agent: ["--ca", fleet.ca, "--enrol-token-file", ticket]
            agent = fleet.start_agent("web-1")
            self.assertIn("kitsune agent ticket", agent.wait_line("this agent has no certificate"))
            fleet.agents["web-1"].stop()
            agent = fleet.start_agent("web-1")
            fleet.secret_file("web-1.ticket", "kit_wrong")
            self.assertEqual(agent.stop(), 0)
            agent = fleet.start_agent("web-1")
            self.assertIn("kitsune agent ticket", agent.wait_line("this agent was not enrolled"))
            os.rename(fleet.secret_file("new", fleet.ticket("web-1")), ticket)
            agent.wait_line("msg=connected")

    def test_killed_at_any_instant_of_it_an_agent_ends_up_with_one_certificate(self):
        if not sweep.failpoints_are_built_in():
            self.skipTest("this build has no failpoints (KITSUNE_FAILPOINTS)")
        with SecureFleet() as fleet:
            for point in ENROLLING:
                with self.subTest(point=point):
                    server = point.replace(".", "-")
                    agent = self.start_to_die(fleet, server, point)
                    self.assertEqual(agent.process.wait(DEADLINE), -signal.SIGKILL)
                    agent.kill()
                    # What was there at first is all it has: the ticket's file is as it was left.
                    fleet.start_agent(server).wait_line("msg=connected")
                    ends(fleet, rollout(fleet, server))
                    folder = fleet.path("agent-" + server, "identity")
                    self.assertEqual(os.listdir(folder), [server + ".pem"])
                    self.assertFalse(os.path.exists(fleet.path(server + ".ticket")))
                    self.assertEqual(len(fleet.audited("agent.enrol", target=server)), 1)

    def start_to_die(self, fleet, server, point):
        ticket = fleet.secret_file(server + ".ticket", fleet.ticket(server))
        fleet.agent_identity = lambda agent: ["--ca", fleet.ca, "--enrol-token-file", ticket]
        try:
            return fleet.start_agent(server, env={"KITSUNE_FAILPOINT": f"{point}=kill@1"})
        except AssertionError:
            return fleet.agents[server]  # it was ready to die only


@unittest.skipUnless(os.path.exists(LIBRARY), "libfaketime is not installed")
class Renewal(unittest.TestCase):
    """By a clock that is ahead a certificate is due at once; the true one has no part in it."""

    def due(self, fleet, server, **env):
        """The agent, stopped before, at a time when its certificate is to be renewed."""
        clock = Clock(fleet.path("clock")).env
        del clock["FAKETIME_TIMESTAMP_FILE"]  # the network process could not read it
        fleet.agents[server].stop()
        try:
            return fleet.start_agent(server, env={**clock, "FAKETIME": "+25d", **env})
        except AssertionError:
            return fleet.agents[server]  # a failpoint came before it was ready

    def test_it_renews_in_time_and_nobody_notices(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            pair = fleet.path("agent-web-1", "identity", "web-1.pem")
            before = serial(pair)
            fleet.agents["web-1"].stop()
            steps = [{"name": "wait", "type": "sleep", "params": {"duration": 1}}, echo_step()]
            running = rollout(fleet, steps=steps)
            agent = self.due(fleet, "web-1")
            agent.wait_line("the certificate is renewed")
            ends(fleet, running)
            self.assertNotEqual(serial(pair), before)
            self.assertEqual(os.listdir(os.path.dirname(pair)), ["web-1.pem"])
            self.assertNotIn("not connected", agent.text())
            # Once, and not for as long as the clock is ahead.
            self.assertEqual(len(fleet.audited("agent.renew")), 1)

    def test_killed_at_any_instant_of_it_it_goes_on(self):
        if not sweep.failpoints_are_built_in():
            self.skipTest("this build has no failpoints (KITSUNE_FAILPOINTS)")
        servers = {point: point.replace(".", "-") for point in ENROLLING}
        with SecureFleet(agents=servers.values()) as fleet:
            for point, server in servers.items():
                with self.subTest(point=point):
                    folder = fleet.path("agent-" + server, "identity")
                    before = serial(f"{folder}/{server}.pem")
                    agent = self.due(fleet, server, KITSUNE_FAILPOINT=f"{point}=kill@1")
                    self.assertEqual(agent.process.wait(DEADLINE), -signal.SIGKILL)
                    agent.kill()
                    self.due(fleet, server).wait_line("the certificate is renewed")
                    ends(fleet, rollout(fleet, server))
                    self.assertEqual(os.listdir(folder), [server + ".pem"])
                    self.assertNotEqual(serial(f"{folder}/{server}.pem"), before)

    def test_an_orchestrator_that_is_away_in_the_meantime_loses_nothing(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            fleet.orchestrator.kill()
            agent = self.due(fleet, "web-1")
            agent.wait_line("the certificate was not renewed")
            fleet.start_orchestrator()
            agent.wait_line("the certificate is renewed")
            ends(fleet, rollout(fleet))


class Plain(unittest.TestCase):
    def test_to_another_machine_nothing_is_spoken_in_the_clear(self):
        with SecureFleet() as fleet:
            done = subprocess.run(
                [program("kitsune-agent"), "--server-id", "a", "--data-dir", fleet.path("a"), "--orchestrator", "http://192.0.2.1:1"],
                capture_output=True, text=True, timeout=DEADLINE, check=False,
            )
            self.assertEqual(done.returncode, 1)
            self.assertIn("https://", done.stderr)


if __name__ == "__main__":
    main()
