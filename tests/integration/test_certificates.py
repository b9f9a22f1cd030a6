"""Certificates that are not good, seen from a real agent: what it does not trust, and what does not admit it. Each
time the log says so once, apart from an orchestrator that is not reached, with the remedy; and it goes on by itself
when somebody has mended it."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
import unittest

from fleet import DEADLINE, echo_step, main, program
from secure import SecureFleet, init, new_csr, new_key, until
from test_clock import LIBRARY, Clock

UNTRUSTED = "the orchestrator's certificate is refused"
UNADMITTED = "the orchestrator refuses this agent"


def openssl(*words, text=None):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, input=text).stdout


class Impostor:
    """Takes connections with a certificate of its own, and notes what it is told in the open and in TLS."""

    def __init__(self, pair):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(pair)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.tried = 0
        self.told = b""
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                raw, _ = self.listener.accept()
            except OSError:
                return
            raw.settimeout(DEADLINE)
            self.tried += 1
            try:
                with self.context.wrap_socket(raw, server_side=True) as conn:
                    self.told += conn.recv(65536)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.listener.close()


def server_pair(fleet, pki, name):
    """A key and a certificate for `name`, by the CA in the folder `pki`; None: signed by itself."""
    key, path = fleet.path("impostor.key"), fleet.path("impostor.pem")
    new_key(key)
    extensions = fleet.path("ext")
    with open(extensions, "w", encoding="ascii") as file:
        file.write(f"subjectAltName={name}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
                   "keyUsage=critical,digitalSignature\n")
    signer = ["-signkey", key] if pki is None else ["-CA", f"{pki}/ca.crt", "-CAkey", f"{pki}/ca.key"]
    certificate = openssl("x509", "-req", *signer, "-days", "2", "-extfile", extensions, text=new_csr(key))
    with open(path, "w", encoding="ascii") as file, open(key, encoding="ascii") as secret:
        file.write(secret.read() + certificate)
        if pki:
            with open(f"{pki}/ca.crt", encoding="ascii") as ca:
                file.write(ca.read())
    return path


class Untrusted(unittest.TestCase):
    """What answers where the orchestrator should be."""

    def impostor(self, fleet, pair, reason):
        ticket = fleet.secret_file("t", fleet.ticket("web-1"))
        enrolled = fleet.start_agent("web-2")
        enrolled.wait_line("msg=connected")
        self.assertEqual(enrolled.stop(), 0)
        with Impostor(pair) as impostor:
            url = f"https://localhost:{impostor.port}"
            # One that has a certificate to show, and one that has a ticket to give away.
            fleet.agent_identity = lambda agent: (
                ["--ca", fleet.ca] if agent == "web-2" else ["--ca", fleet.ca, "--enrol-token-file", ticket])
            self.assertIn(reason, fleet.start_agent("web-2", url=url).wait_line(UNTRUSTED))
            self.assertIn(reason, fleet.start_agent("web-1", url=url).wait_line("this agent was not enrolled"))
            until(lambda: impostor.tried >= 4, "both try again")
            self.assertEqual(impostor.told, b"")
            self.assertEqual(len([line for line in fleet.agents["web-2"].lines if UNTRUSTED in line]), 1)
        self.assertTrue(os.path.exists(ticket))

    def test_one_of_another_name(self):
        with SecureFleet() as fleet:
            pair = server_pair(fleet, fleet.path("orchestrator", "pki"), "DNS:elsewhere.example.org")
            self.impostor(fleet, pair, "localhost")

    def test_one_of_another_ca(self):
        with SecureFleet() as fleet:
            init(fleet.path("other"))
            self.impostor(fleet, server_pair(fleet, fleet.path("other", "pki"), "DNS:localhost"), "CA")

    def test_one_that_is_signed_by_itself(self):
        with SecureFleet() as fleet:
            self.impostor(fleet, server_pair(fleet, None, "DNS:localhost"), "certificate")

    @unittest.skipUnless(os.path.exists(LIBRARY), "libfaketime is not installed")
    def test_a_clock_by_which_it_is_expired_or_not_yet_valid(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            clock = Clock(fleet.path("clock")).env
            del clock["FAKETIME_TIMESTAMP_FILE"]  # the network process could not read it
            for shift, said in (("+400d", "expired"), ("-3d", "is not valid before")):
                with self.subTest(clock=shift):
                    self.assertEqual(fleet.agents["web-1"].stop(), 0)
                    agent = fleet.start_agent("web-1", env={**clock, "FAKETIME": shift})
                    line = agent.wait_line(UNTRUSTED)
                    self.assertIn(said, line)
                    self.assertIn("clock", line)
                    self.assertIn("clock", agent.wait_line("this agent's certificate is not valid now"))
            self.assertEqual(fleet.agents["web-1"].stop(), 0)
            fleet.start_agent("web-1").wait_line("msg=connected")


class Unadmitted(unittest.TestCase):
    def test_one_that_is_revoked_ends_the_session_and_a_ticket_brings_it_back(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            agent = fleet.agents["web-1"]
            ticket = fleet.path("web-1.ticket")
            fleet.asks("POST", "/v1/agents/web-1/revoke", {"reason": "stolen"})
            self.assertIn("revoked", agent.wait_line(UNADMITTED, "msg=\"not connected\""))
            self.assertIn("kitsune agent ticket", agent.wait_line("the orchestrator does not admit this agent"))
            self.assertTrue(fleet.audited("agent.connect", "denied"))
            before = len(agent.lines)
            os.rename(fleet.secret_file("new", fleet.ticket("web-1")), ticket)
            until(lambda: any("msg=connected" in line for line in agent.lines[before:]), "connected again")
            self.assertFalse(os.path.exists(ticket))
            # What it said of the refusal, it said once.
            self.assertEqual(len([line for line in agent.lines if "does not admit this agent" in line]), 1)

    def test_one_that_has_expired_while_it_was_away(self):
        with SecureFleet(agents=["web-1"], orchestrator_options=("--agent-certificate", "3s")) as fleet:
            agent = fleet.agents["web-1"]
            self.assertEqual(agent.stop(), 0)
            pair = fleet.path("agent-web-1", "identity", "web-1.pem")
            until(lambda: subprocess.run(["openssl", "x509", "-in", pair, "-noout", "-checkend", "0"],
                                         capture_output=True, check=False).returncode == 1, "it expires")
            agent = fleet.start_agent("web-1", args=["--enrol-token-file", fleet.path("web-1.ticket")])
            self.assertIn("expired", agent.wait_line(UNADMITTED))
            self.assertIn("kitsune agent ticket", agent.wait_line("this agent's certificate is not valid now"))
            os.rename(fleet.secret_file("new", fleet.ticket("web-1", replace=True)), fleet.path("web-1.ticket"))
            agent.wait_line("msg=connected")

    def test_one_of_another_orchestrators_ca(self):
        with SecureFleet(agents=["web-1"]) as fleet, SecureFleet(agents=["web-1"]) as foreign:
            self.assertEqual(fleet.agents["web-1"].stop(), 0)
            shutil.copyfile(foreign.path("agent-web-1", "identity", "web-1.pem"),
                            fleet.path("agent-web-1", "identity", "web-1.pem"))
            line = fleet.start_agent("web-1").wait_line(UNADMITTED)
            self.assertIn("certificate", line)

    def test_one_of_another_server(self):
        with SecureFleet(agents=["web-1", "web-2"]) as fleet:
            self.assertEqual(fleet.agents["web-1"].stop(), 0)
            shutil.copyfile(fleet.path("agent-web-2", "identity", "web-2.pem"),
                            fleet.path("agent-web-1", "identity", "web-1.pem"))
            line = fleet.start_agent("web-1").wait_line("this agent's identity cannot be read")
            self.assertIn("kitsune:agent:web-2", line)

    def test_two_live_agents_with_one_identity_and_the_newer_is_refused(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            copy = fleet.path("agent-copy")
            shutil.copytree(fleet.path("agent-web-1", "identity"), os.path.join(copy, "identity"))
            os.chmod(copy, 0o700)
            first = fleet.agents["web-1"]
            second = fleet.start_agent("web-1", args=["--data-dir", copy])
            try:
                self.assertIn("another agent", second.wait_line(UNADMITTED))
                self.assertIn("stop that one", second.wait_line("the orchestrator does not admit this agent"))
                self.assertTrue(fleet.audited("agent.hello", "denied", who="web-1"))
                rollout = fleet.asks("POST", "/v1/rollouts", {"servers": ["web-1"], "steps": [echo_step()]})["id"]
                until(lambda: fleet.asks("GET", f"/v1/rollouts/{rollout}")["state"] == "succeeded", "the first works on")
                self.assertNotIn("connected server", second.text())
            finally:
                first.stop()
            # The first is gone: the one that is there is let in, by itself.
            second.wait_line("msg=connected")

    def test_an_orchestrator_that_is_not_reached_is_something_else(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            fleet.orchestrator.kill()
            line = fleet.agents["web-1"].wait_line("msg=\"not connected\"")
            self.assertNotIn("certificate", line)
            fleet.agents["web-1"].stop()
            agent = fleet.start_agent("web-1")
            self.assertIn("connection refused", agent.wait_line("msg=\"not connected\""))
            fleet.start_orchestrator()
            agent.wait_line("msg=connected")


class Replaced(unittest.TestCase):
    def test_the_orchestrators_is_replaced_and_agents_come_back(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            done = subprocess.run([program("kitsune-orchestrator"), "init", "--renew", "--data-dir", fleet.data_dir],
                                  capture_output=True, text=True, timeout=DEADLINE, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            agent = fleet.agents["web-1"]
            before = len(agent.lines)
            self.assertEqual(fleet.orchestrator.stop(), 0)
            fleet.start_orchestrator()
            until(lambda: any("msg=connected" in line for line in agent.lines[before:]), "connected again")

    def test_the_agents_own_is_replaced_on_disk_while_it_is_connected(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            agent = fleet.agents["web-1"]
            new = fleet.enrol("web-1", fleet.ticket("web-1", replace=True))
            # The old one is revoked with that; the new one lies there when it is refused.
            os.chmod(new.path, 0o600)
            before = len(agent.lines)
            os.rename(new.path, fleet.path("agent-web-1", "identity", "web-1.pem"))
            until(lambda: any("msg=connected" in line for line in agent.lines[before:]), "connected again")


if __name__ == "__main__":
    main()
