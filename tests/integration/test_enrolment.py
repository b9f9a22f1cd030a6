"""What agents are known by: enrolment, renewal, revocation, and what an agent may say."""

import os
import ssl
import subprocess
import threading
import time
import unittest

from fleet import echo_step, main
from secure import Identity, SecureFleet, init, new_csr, new_key, until


def plan(*servers):
    return {"servers": list(servers), "steps": [echo_step()]}


class Enrolment(unittest.TestCase):
    def enrol(self, fleet, token, server, csr):
        return fleet.ask("POST", "/v1/enrol", {"token": token, "server": server, "csr": csr})

    def test_a_ticket_gives_one_key_one_certificate_however_often_it_asks(self):
        with SecureFleet() as fleet:
            key, other = fleet.path("a.key"), fleet.path("b.key")
            new_key(key)
            new_key(other)
            ticket = fleet.ticket("web-1")
            first = self.enrol(fleet, ticket, "web-1", new_csr(key))
            self.assertEqual(first.status, 200, first)
            again = self.enrol(fleet, ticket, "web-1", new_csr(key))
            self.assertEqual((again.status, again.json), (200, first.json))
            stolen = self.enrol(fleet, ticket, "web-1", new_csr(other))
            self.assertEqual(stolen.status, 403, stolen)
            fleet.orchestrator.kill()
            fleet.start_orchestrator()
            again = self.enrol(fleet, ticket, "web-1", new_csr(key))
            self.assertEqual((again.status, again.json), (200, first.json))
            self.assertEqual(len(fleet.audited("agent.enrol", who="web-1", role="agent")), 1)
            self.assertTrue(fleet.audited("agent.enrol", "denied", target="web-1"))
            fleet.asks("POST", "/v1/agents/web-1/revoke")
            self.assertEqual(self.enrol(fleet, ticket, "web-1", new_csr(key)).status, 403)

    def test_a_ticket_is_for_its_server_and_its_time(self):
        with SecureFleet() as fleet:
            key = fleet.path("a.key")
            new_key(key)
            ticket, short = fleet.ticket("web-1"), fleet.ticket("web-2", ttlSeconds=1)
            self.assertEqual(self.enrol(fleet, ticket, "web-3", new_csr(key)).status, 403)
            self.assertEqual(self.enrol(fleet, ticket, "../web-1", new_csr(key)).status, 403)
            self.assertEqual(self.enrol(fleet, fleet.admin, "web-1", new_csr(key)).status, 403)
            until(lambda: time.sleep(1) is None, "the ticket expires")
            self.assertEqual(self.enrol(fleet, short, "web-2", new_csr(key)).status, 403)
            # A request that is none, or by another kind of key, uses nothing up.
            self.assertEqual(self.enrol(fleet, ticket, "web-1", "no request").status, 400)
            rsa = fleet.path("rsa.key")
            subprocess.run(["openssl", "genrsa", "-out", rsa, "2048"], check=True, capture_output=True)
            self.assertEqual(self.enrol(fleet, ticket, "web-1", new_csr(rsa)).status, 400)
            # What the request calls itself is of no weight.
            made = self.enrol(fleet, ticket, "web-1", new_csr(key, "/CN=kitsune:agent:db-1"))
            self.assertEqual(made.status, 200, made)
            shown = subprocess.run(["openssl", "x509", "-noout", "-text"], input=made.json["certificate"],
                                   capture_output=True, text=True, check=True).stdout
            self.assertIn("URI:kitsune:agent:web-1", shown)
            self.assertNotIn("db-1", shown)

    def test_an_identity_in_use_is_given_away_only_when_told_so_and_the_old_one_ends(self):
        with SecureFleet() as fleet:
            old = fleet.enrol("web-1")
            self.assertEqual(fleet.ask("POST", "/v1/agents/web-1/ticket", {}, token=fleet.admin).status, 409)
            with fleet.websocket(old) as agent:
                agent.hello("web-1")
                self.assertEqual(agent.read()["type"], "welcome")
                new = fleet.enrol("web-1", fleet.ticket("web-1", replace=True))
                self.assertEqual(closing(agent)[0], 1008)
            with fleet.websocket(old) as refused:
                self.assertIn("revoked", closing(refused)[1])
            with fleet.websocket(new) as agent:
                agent.hello("web-1")
                self.assertEqual(agent.read()["type"], "welcome")


def closing(websocket):
    """Code and reason with which the other end closes."""
    while True:
        message = websocket.read()
        if message is None:
            return 0, "the connection ended"
        if isinstance(message, tuple):
            return message


class Agents(unittest.TestCase):
    def test_an_agent_is_the_server_of_its_certificate_and_no_other(self):
        with SecureFleet() as fleet:
            one = fleet.enrol("web-1")
            fleet.enrol("web-2")
            with fleet.websocket(one) as agent:
                agent.hello("web-2")
                self.assertIn("another server", closing(agent)[1])
            self.assertTrue(fleet.audited("agent.hello", "denied", who="web-1"))
            self.assertFalse(any(s["connected"] for s in fleet.asks("GET", "/v1/servers")["servers"]))
            with fleet.websocket() as nobody:
                self.assertIn("no certificate", closing(nobody)[1])
            self.assertTrue(fleet.audited("agent.connect", "denied"))

    def test_an_agent_says_only_what_agents_say_and_of_its_own_rollouts(self):
        with SecureFleet() as fleet:
            one = fleet.enrol("web-1")
            fleet.asks("POST", "/v1/rollouts?id=other", plan("web-2"))
            fleet.asks("POST", "/v1/rollouts?id=mine", plan("web-1"))
            execute = None
            for what, frame in (
                ("agent.frame", {"v": 1, "type": "ack", "rollout": "other", "seq": 1}),
                ("agent.frame", {"v": 1, "type": "cancel", "rollout": "other", "epoch": 1, "now": True}),
                ("agent.report", {"v": 1, "type": "report", "rollout": "other", "entries": [
                    {"seq": 1, "timeMs": 1, "type": "started", "state": "running"}]}),
            ):
                with self.subTest(what=what, frame=frame["type"]), fleet.websocket(one) as agent:
                    before = fleet.audit()[-1]["seq"]
                    agent.hello("web-1")
                    execute = execute or first(agent, "execute")
                    agent.say(frame)
                    self.assertEqual(closing(agent)[0], 1002)
                    until(lambda: any(e["action"] == what for e in fleet.audit(before)), what)
            self.assertEqual(execute["rollout"], "mine")  # its own queue, and not the other's

    def test_two_live_agents_with_one_identity_and_the_newer_is_refused(self):
        with SecureFleet() as fleet:
            one = fleet.enrol("web-1")
            with fleet.websocket(one) as agent, fleet.websocket(one) as copy:
                agent.hello("web-1", instance="first")
                self.assertEqual(agent.read()["type"], "welcome")
                copy.hello("web-1", instance="second")
                self.assertEqual(closing(copy), (1008, "another agent with this id is connected"))
                self.assertTrue(fleet.audited("agent.hello", "denied", who="web-1"))
                agent.heartbeat()
                self.assertEqual(first(agent, "ack")["type"], "ack")

    def test_revocation_ends_a_live_session_and_lets_nothing_in_any_more(self):
        with SecureFleet() as fleet:
            one = fleet.enrol("web-1")
            with fleet.websocket(one) as agent, fleet.websocket(one) as silent:
                agent.hello("web-1")
                self.assertEqual(agent.read()["type"], "welcome")
                self.assertTrue(fleet.asks("GET", "/v1/agents")["agents"][0]["connected"])
                fleet.asks("POST", "/v1/agents/web-1/revoke", {"reason": "stolen"})
                self.assertIn("revoked", closing(agent)[1])
                self.assertIn("revoked", closing(silent)[1])  # one that had not said hello yet
            fleet.orchestrator.kill()
            fleet.start_orchestrator()
            with fleet.websocket(one) as again:
                self.assertIn("revoked", closing(again)[1])
            csr = {"csr": new_csr(one.path)}
            self.assertEqual(fleet.ask("POST", "/v1/renew", csr, identity=one).status, 401)
            self.assertEqual(fleet.asks("GET", "/v1/agents")["agents"], [])
            self.assertTrue(fleet.audited("agent.revoke", who="admin", target="web-1", detail="stolen"))
            self.assertTrue(fleet.audited("agent.connect", "denied", who="web-1"))

    def test_a_renewed_certificate_is_for_the_same_server_and_the_old_one_stays_good(self):
        with SecureFleet() as fleet:
            one = fleet.enrol("web-1")
            key = fleet.path("next.key")
            new_key(key)
            answer = fleet.ask("POST", "/v1/renew", {"csr": new_csr(key, "/CN=db-1")}, identity=one)
            self.assertEqual(answer.status, 200, answer)
            two = fleet.identity_of("web-1", key, answer.json["certificate"])
            for identity in (one, two):
                with fleet.websocket(identity) as agent:
                    agent.hello("web-1")
                    self.assertEqual(agent.read()["type"], "welcome")
            # One that asks without end is told to wait.
            last = [fleet.ask("POST", "/v1/renew", {"csr": new_csr(key)}, identity=two).status for _ in range(8)]
            self.assertEqual(last[-1], 409, last)

    def test_what_the_ca_signed_and_nobody_recorded_is_refused(self):
        with SecureFleet() as fleet:
            key = fleet.path("forged.key")
            new_key(key)
            pki = os.path.join(fleet.data_dir, "pki")
            for ca, said in ((os.path.join(pki, "ca"), "not on record"), (self.other_ca(fleet), None)):
                forged = fleet.identity_of("web-1", key, self.sign(fleet, ca, key))
                if said:
                    with fleet.websocket(forged) as agent:
                        self.assertIn(said, closing(agent)[1])
                else:
                    with self.assertRaises((ssl.SSLError, ConnectionError, AssertionError, OSError)):
                        fleet.websocket(forged)
            # The orchestrator's own is for serving, and not for coming in with.
            with self.assertRaises((ssl.SSLError, ConnectionError, AssertionError, OSError)):
                fleet.websocket(Identity("web-1", os.path.join(pki, "server.pem")))
            until(lambda: "kitsune_refused_handshakes_total 2" in
                  fleet.ask("GET", "/metrics", token=fleet.admin).body, "the handshake is counted")

    @staticmethod
    def sign(fleet, ca, key):
        ext = fleet.path("ext")
        with open(ext, "w", encoding="ascii") as out:
            out.write("subjectAltName=URI:kitsune:agent:web-1\nextendedKeyUsage=clientAuth\n"
                      "keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n"
                      "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
        return subprocess.run(
            ["openssl", "x509", "-req", "-CA", ca + ".crt", "-CAkey", ca + ".key", "-CAcreateserial",
             "-CAserial", fleet.path("serial"), "-days", "1", "-extfile", ext],
            input=new_csr(key), capture_output=True, text=True, check=True,
        ).stdout

    @staticmethod
    def other_ca(fleet):
        init(fleet.path("other"))
        return fleet.path("other", "pki", "ca")

    def test_an_expired_certificate_ends_its_session(self):
        with SecureFleet(orchestrator_options=["--agent-certificate", "3s"]) as fleet:
            one = fleet.enrol("web-1")
            with fleet.websocket(one) as agent:
                agent.hello("web-1")
                beat = threading.Event()

                def live():
                    while not beat.wait(0.3):
                        try:
                            agent.heartbeat()
                        except OSError:
                            return

                thread = threading.Thread(target=live)
                thread.start()
                try:
                    self.assertIn("expired", closing(agent)[1])
                finally:
                    beat.set()
                    thread.join()
            self.assertEqual(fleet.ask("POST", "/v1/agents/web-1/ticket", {}, token=fleet.admin).status, 201)


def first(websocket, kind):
    while (message := websocket.read()) is not None:
        if isinstance(message, dict) and message["type"] == kind:
            return message
        if isinstance(message, tuple):
            break
    raise AssertionError(f"no {kind} came: {message}")


if __name__ == "__main__":
    main()
