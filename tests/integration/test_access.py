"""Who may do what: every route for every kind of caller, scopes, tokens, the Unix socket, the audit log."""

import json
import os
import signal
import sqlite3
import ssl
import subprocess
import threading
import unittest

from fleet import DEADLINE, echo_step, main, program
from raw import WebSocket, connect
from secure import SecureFleet, until

ROLES = ["anybody", "viewer", "operator", "admin"]
REFUSED = (401, 403, 429)
PARAMETERS = {"{id}": "none", "{server}": "web-9", "{name}": "no-such", "{step}": "1", "{type}": "echo",
              "{sha256}": "0" * 64}
with open(os.path.join(os.environ.get("KITSUNE_SOURCE", "."), "docs", "openapi.json"), encoding="utf-8") as file:
    PATHS = json.load(file)["paths"]  # held against the product's table of routes by a unit test


def plan(*servers, step=None):
    return {"servers": list(servers), "steps": [step or echo_step()]}


class Routes(unittest.TestCase):
    def test_every_route_is_for_those_it_is_meant_for_and_nobody_else(self):
        with SecureFleet() as fleet:
            revoked = fleet.token("was", "admin")
            fleet.asks("POST", "/v1/tokens/was/revoke")
            expired = fleet.token("short", "admin", ttlSeconds=1)
            agent = fleet.enrol("web-1")
            callers = {
                "nobody": ("anybody", {}),
                "a token that is none": ("anybody", {"token": "kit_" + "A" * 43}),
                "a revoked token": ("anybody", {"token": revoked}),
                "an expired token": ("anybody", {"token": expired}),
                "another scheme": ("anybody", {"headers": {"Authorization": "Basic YWRtaW46YWRtaW4="}}),
                "viewer": ("viewer", {"token": fleet.token("v", "viewer")}),
                "operator": ("operator", {"token": fleet.token("o", "operator")}),
                "admin": ("admin", {"token": fleet.admin}),
                "agent": ("agent", {"identity": agent}),
            }
            until(lambda: fleet.ask("GET", "/v1/whoami", token=expired).status in REFUSED, "the token expires")
            tried = 0
            for path, methods in PATHS.items():
                for method, operation in methods.items():
                    for name, (role, how) in callers.items():
                        with self.subTest(path=path, method=method, caller=name):
                            self.try_route(fleet, method.upper(), path, (operation["x-role"], role), how)
                            tried += 1
            self.assertGreater(tried, 200)

    def try_route(self, fleet, method, path, roles, how):
        wanted, has = roles
        for parameter, value in PARAMETERS.items():
            path = path.replace(parameter, value)
        # What is refused is refused unread: to parse this would be another error.
        answer = fleet.ask(method, path, body=b"{" if method == "POST" else b"", **how)
        if wanted == "agent" or has == "agent":
            may = wanted in (has, "anybody")
        else:
            may = ROLES.index(has) >= ROLES.index(wanted)
        if may:
            self.assertNotIn(answer.status, REFUSED, answer)
        else:
            self.assertIn(answer.status, REFUSED, answer)
        if method == "POST":
            self.assertGreaterEqual(answer.status, 400)

    def test_the_body_of_one_who_is_refused_is_not_even_waited_for(self):
        with SecureFleet() as fleet:
            viewer = fleet.token("eve", "viewer")
            for token, status in ((None, b" 401 "), ("kit_no", b" 401 "), (viewer, b" 403 ")):
                shown = f"Authorization: Bearer {token}\r\n" if token else ""
                with fleet.connect() as raw:
                    raw.sendall(f"POST /v1/rollouts HTTP/1.1\r\nHost: x\r\n{shown}"
                                "Content-Length: 8000000\r\n\r\n".encode())
                    self.assertIn(status, raw.recv(4096))
            # And who needs no token has little to say.
            with fleet.connect() as raw:
                raw.sendall(b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n")
                self.assertIn(b" 413 ", raw.recv(4096))

    def test_a_path_that_is_none_and_a_method_that_is_none_are_nobodys(self):
        with SecureFleet() as fleet:
            self.assertEqual(fleet.ask("GET", "/v1/secrets", token=fleet.admin).status, 404)
            self.assertEqual(fleet.ask("DELETE", "/v1/tokens", token=fleet.admin).status, 405)
            self.assertEqual(fleet.ask("HEAD", "/v1/tokens").status, 401)
            for path in ("/v1/tokens/", "//v1/tokens", "/v1/./tokens", "/v1/%74okens", "/V1/tokens"):
                answer = fleet.ask("GET", path)
                self.assertIn(answer.status, (400, 401, 404), (path, answer))

    def test_a_refusal_says_what_is_missing(self):
        with SecureFleet() as fleet:
            nobody = fleet.ask("GET", "/v1/servers")
            self.assertEqual(nobody.status, 401)
            self.assertTrue(nobody.headers["WWW-Authenticate"].startswith("Bearer"))
            small = fleet.ask("POST", "/v1/rollouts", plan("web-1"), token=fleet.token("eve", "viewer"))
            self.assertEqual(small.status, 403)
            self.assertIn("operator", small.json["detail"])
            self.assertTrue(fleet.audited("rollout.submit", "denied", who="eve", role="viewer"))
            self.assertEqual(fleet.asks("GET", "/v1/rollouts")["rollouts"], [])

    def test_the_port_speaks_tls_1_3_and_nothing_else(self):
        with SecureFleet() as fleet:
            with connect(fleet.port) as raw, self.assertRaises((AssertionError, OSError)):
                WebSocket(fleet.port, raw=raw)
            old = ssl.create_default_context(cafile=fleet.ca)
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                with fleet.connect_with(old):
                    pass


class Scopes(unittest.TestCase):
    def test_a_token_changes_what_is_in_its_scope_and_nothing_else(self):
        with SecureFleet() as fleet:
            mine = fleet.token("web", "operator", servers=["web-*"], steps=["echo"])
            good = fleet.ask("POST", "/v1/rollouts?id=good", plan("web-1"), token=mine)
            self.assertEqual(good.status, 201, good)
            for name, refused, word in (
                ("server", plan("web-1", "db-1", "db-2"), '"db-1"'),
                ("step", plan("web-1", step={"name": "s", "type": "sleep", "params": {"duration": 0}}), "sleep"),
            ):
                answer = fleet.ask("POST", "/v1/rollouts?id=" + name, refused, token=mine)
                self.assertEqual(answer.status, 403, answer)
                self.assertIn(word, answer.json["detail"])
                self.assertEqual(fleet.ask("GET", "/v1/rollouts/" + name, token=mine).status, 404)
            fleet.asks("POST", "/v1/rollouts?id=other", plan("db-1"))
            for order in ("cancel", "pause", "resume", "rollback", "retry", "servers/db-1/resolve"):
                answer = fleet.ask("POST", "/v1/rollouts/other/" + order, {}, token=mine)
                self.assertEqual(answer.status, 403, (order, answer))
            for order in ("lock", "unlock"):
                answer = fleet.ask("POST", "/v1/servers/db-1/" + order, {"reason": "x"}, token=mine)
                self.assertEqual(answer.status, 403, (order, answer))
                answer = fleet.ask("POST", "/v1/servers/web-1/" + order,
                                   {"reason": "x"} if order == "lock" else {}, token=mine)
                self.assertEqual(answer.status, 200, (order, answer))
            self.assertEqual(fleet.ask("POST", "/v1/rollouts/good/cancel", {}, token=mine).status, 202)
            self.assertEqual(fleet.ask("GET", "/v1/rollouts/other", token=mine).status, 200)  # to look is free

    def test_a_confined_admin_gives_nothing_away_that_is_not_his(self):
        with SecureFleet() as fleet:
            mine = fleet.token("web-admin", "admin", servers=["web-*"])
            for path, body in (
                ("/v1/tokens", {"name": "more", "role": "admin"}),
                ("/v1/tokens/admin/revoke", {}),
                ("/v1/agents/db-1/ticket", {}),
                ("/v1/agents/db-1/revoke", {}),
            ):
                self.assertEqual(fleet.ask("POST", path, body, token=mine).status, 403, path)
            self.assertEqual(fleet.ask("POST", "/v1/agents/web-1/ticket", {}, token=mine).status, 201)

    def test_who_asks_is_who_is_recorded_whatever_he_says(self):
        with SecureFleet() as fleet:
            eve = fleet.token("eve", "operator")
            made = fleet.ask("POST", "/v1/rollouts?id=r&by=alice", plan("web-1"), token=eve)
            self.assertEqual(made.json["by"], "eve")
            fleet.ask("POST", "/v1/servers/web-1/lock", {"by": "alice", "reason": "why"}, token=eve)
            self.assertEqual(fleet.asks("GET", "/v1/servers/web-1")["lock"]["by"], "eve")
            self.assertTrue(fleet.audited("rollout.submit", who="eve", role="operator", target="r"))


class Tokens(unittest.TestCase):
    def test_a_token_that_is_revoked_while_its_request_comes_in_does_nothing(self):
        with SecureFleet() as fleet:
            eve = fleet.token("eve", "operator")
            body = json.dumps(plan("web-1")).encode()
            with fleet.connect() as raw:
                raw.sendall(f"POST /v1/rollouts?id=r HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {eve}\r\n"
                            f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
                self.assertIn(b" 100 ", raw.recv(4096))  # it was let in
                fleet.asks("POST", "/v1/tokens/eve/revoke")
                fleet.token("eve", "viewer")  # another one, by that name
                raw.sendall(body)
                self.assertIn(b" 401 ", raw.recv(4096))
            self.assertEqual(fleet.asks("GET", "/v1/rollouts")["rollouts"], [])

    def test_a_revoked_token_is_good_for_nothing_at_once_and_its_streams_end(self):
        with SecureFleet() as fleet:
            fleet.asks("POST", "/v1/rollouts?id=r", plan("web-1"))
            eve = fleet.token("eve", "viewer")
            raw = fleet.connect()
            raw.sendall(f"GET /v1/rollouts/r/events?follow=true HTTP/1.1\r\nHost: localhost\r\n"
                        f"Authorization: Bearer {eve}\r\n\r\n".encode())
            self.assertIn(b" 200 ", raw.recv(4096))
            fleet.asks("POST", "/v1/tokens/eve/revoke")
            self.assertEqual(fleet.ask("GET", "/v1/whoami", token=eve).status, 401)
            while raw.recv(4096):  # until it ends
                pass
            raw.close()

    def test_whoami_says_name_role_and_scope(self):
        with SecureFleet() as fleet:
            eve = fleet.token("eve", "operator", servers=["web-*"], steps=["echo"], ttlSeconds=3600)
            said = fleet.ask("GET", "/v1/whoami", token=eve).json
            self.assertEqual((said["name"], said["role"]), ("eve", "operator"))
            self.assertEqual((said["servers"], said["steps"]), (["web-*"], ["echo"]))
            self.assertIn("expires", said)
            listed = {t["name"]: t for t in fleet.asks("GET", "/v1/tokens")["tokens"]}
            self.assertEqual(set(listed), {"admin", "eve"})
            self.assertNotIn(eve, json.dumps(listed))

    def test_secrets_are_in_no_file_and_no_log(self):
        with SecureFleet() as fleet:
            eve = fleet.token("eve", "operator")
            ticket = fleet.ticket("web-1")
            fleet.enrol("web-1", ticket)
            unused = fleet.ticket("web-2")
            fleet.ask("GET", "/v1/whoami", token="kit_" + "B" * 43)
            fleet.orchestrator.stop()
            held = fleet.orchestrator.text().encode()
            for folder, _, names in os.walk(fleet.data_dir):
                for name in names:
                    with open(os.path.join(folder, name), "rb") as content:
                        held += content.read()
            fleet.orchestrator = None
            for secret in (fleet.admin, eve, ticket, unused, "kit_" + "B" * 43):
                self.assertNotIn(secret.encode(), held)
                self.assertNotIn(secret[4:].encode(), held)

    def test_too_many_failures_are_told_to_wait_and_counted_while_good_tokens_pass(self):
        with SecureFleet() as fleet:
            answers = [fleet.ask("GET", "/v1/servers", token="kit_" + "C" * 43) for _ in range(40)]
            self.assertEqual([a.status for a in answers], [401] * 10 + [429] * 30)
            self.assertGreater(int(answers[-1].headers["Retry-After"]), 0)
            self.assertEqual(fleet.ask("GET", "/v1/servers", token=fleet.admin).status, 200)
            self.assertEqual(len(fleet.audited("read", "denied")), 10)
            # The Unix socket has nothing to do with it.
            self.assertEqual(fleet.ask_locally("GET", "/v1/servers", token="kit_no").status, 401)
            metrics = fleet.ask("GET", "/metrics", token=fleet.admin).body
            self.assertIn('\nkitsune_refused_unknown_total 41\n', metrics)
            # What was not told one by one is told as a number, at the latest at the end.
            fleet.orchestrator.stop()
            fleet.start_orchestrator()
            told = fleet.audited("refusals", "denied")
            self.assertEqual(len(told), 1, told)
            self.assertIn("30 more", told[0]["detail"])


class Local(unittest.TestCase):
    def test_the_socket_knows_root_and_its_own_user_and_nobody_else(self):
        with SecureFleet() as fleet:
            said = fleet.ask_locally("GET", "/v1/whoami").json
            self.assertEqual((said["name"], said["role"]), (f"uid {os.geteuid()}", "admin"))
            self.assertEqual(os.stat(fleet.socket).st_mode & 0o777, 0o600)
            # A token that is shown counts, and not the user who shows it.
            eve = fleet.token("eve", "viewer")
            self.assertEqual(fleet.ask_locally("POST", "/v1/rollouts", plan("a"), token=eve).status, 403)
            made = fleet.ask_locally("POST", "/v1/rollouts?by=alice", plan("a"))
            self.assertEqual(made.json["by"], "alice")
            self.assertTrue(fleet.audited("rollout.submit", who=f"uid {os.geteuid()}"))

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to be others")
    def test_the_sockets_group_may_operate_and_others_may_not_look(self):
        with SecureFleet(orchestrator_options=["--socket-group", "daemon"]) as fleet:
            os.chmod(fleet.dir, 0o755)
            os.chmod(fleet.socket, 0o666)  # as somebody might, who means well
            group = str(os.stat(fleet.socket).st_gid)

            def curl(path, *who):
                done = subprocess.run(
                    ["setpriv", "--reuid", "65534", *who, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                     "--unix-socket", fleet.socket, "http://localhost" + path],
                    capture_output=True, text=True, check=False, timeout=DEADLINE)
                return done.stdout

            self.assertEqual(curl("/v1/servers", "--regid", group, "--clear-groups"), "200")
            self.assertEqual(curl("/v1/servers", "--regid", "65534", "--groups", group), "200")
            self.assertEqual(curl("/v1/tokens", "--regid", group, "--clear-groups"), "403")
            self.assertEqual(curl("/v1/servers", "--regid", "65534", "--clear-groups"), "403")

    def test_no_agent_comes_over_the_socket(self):
        with SecureFleet() as fleet:
            answer = fleet.ask_locally("GET", "/v1/agent", headers={
                "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "kitsune.v1"})
            self.assertEqual(answer.status, 404)


class Audit(unittest.TestCase):
    def test_what_was_done_is_written_down_before_it_is_answered(self):
        with SecureFleet() as fleet:
            fleet.asks("POST", "/v1/rollouts?id=r", plan("web-1"))
            fleet.asks("POST", "/v1/rollouts/r/cancel", {"reason": "no"})
            refused = fleet.ask("POST", "/v1/rollouts/r/cancel", {}, token=fleet.admin)
            fleet.orchestrator.process.send_signal(signal.SIGKILL)
            fleet.orchestrator.kill()
            fleet.start_orchestrator()
            done = [(e["action"], e["target"], e["result"]) for e in fleet.audit() if e.get("target") == "r"]
            self.assertEqual(done[:3], [("rollout.submit", "r", "ok"), ("rollout.cancel", "r", "ok"),
                                        ("rollout.cancel", "r", "ok")])
            self.assertEqual(refused.status, 409)
            pages = fleet.asks("GET", "/v1/audit?limit=2")
            self.assertEqual([e["seq"] for e in pages["entries"]], [1, 2])
            self.assertEqual(pages["next"], 2)
            self.assertTrue(fleet.asks("GET", "/v1/audit/verify")["whole"])

    def tampered(self, fleet, sql):
        fleet.orchestrator.stop()
        with sqlite3.connect(os.path.join(fleet.data_dir, "access.db")) as db:
            db.execute(sql)
        db.close()
        checked = subprocess.run([program("kitsune-orchestrator"), "--check", "--data-dir", fleet.data_dir],
                                 capture_output=True, text=True, check=False, timeout=DEADLINE)
        fleet.start_orchestrator()
        return checked

    def test_an_entry_that_was_altered_or_cut_off_is_found(self):
        with SecureFleet() as fleet:
            fleet.token("eve", "admin")
            fleet.token("bob", "admin")
            kept = fleet.asks("GET", "/v1/audit/verify")
            head = f"/v1/audit/verify?seq={kept['seq']}&hash={kept['hash']}"
            self.assertTrue(fleet.asks("GET", head)["whole"])
            checked = self.tampered(fleet, "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
            self.assertEqual(checked.returncode, 0, checked.stdout)  # a chain that is cut off is whole
            self.assertTrue(fleet.asks("GET", "/v1/audit/verify")["whole"])
            self.assertIn("cut off", fleet.asks("GET", head)["fault"])
            checked = self.tampered(fleet, "UPDATE audit SET who = 'bob' WHERE seq = 2")
            self.assertEqual(checked.returncode, 1)
            self.assertIn("entry 2", checked.stdout)
            self.assertIn("entry 2", fleet.asks("GET", "/v1/audit/verify")["fault"])

    def test_while_it_cannot_be_written_nothing_is_changed_and_reading_goes_on(self):
        if subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
            self.skipTest("mount namespaces are not allowed here")
        fleet = SecureFleet()
        try:
            mount = ('cp -a "$0" "$0.kept" && mount -t tmpfs -o size=4m,mode=700 tmpfs "$0" && '
                     'cp -a "$0.kept/." "$0" && exec "$@"')
            fleet.start_orchestrator(prefix=["unshare", "--mount", "sh", "-c", mount, fleet.data_dir])
            filler = f"/proc/{fleet.orchestrator.process.pid}/root{fleet.data_dir}/filler"
            with open(filler, "wb", buffering=0) as file, self.assertRaises(OSError):
                while True:
                    file.write(bytes(4096))
            made = []

            def make():  # until one is made to wait for the disk, and then that one
                while not stalled.is_set():
                    made.append(fleet.ask("POST", "/v1/tokens", {"name": f"t{len(made)}", "role": "viewer"},
                                          token=fleet.admin))

            stalled = threading.Event()
            maker = threading.Thread(target=make)
            maker.start()
            try:
                fleet.orchestrator.wait_line("the audit log cannot be written")
            finally:
                stalled.set()
            refused = fleet.ask("POST", "/v1/servers/a/lock", {"reason": "x"}, token=fleet.admin)
            self.assertEqual(refused.status, 503, refused)
            self.assertIn("audit log", refused.json["detail"])
            self.assertEqual(fleet.ask("GET", "/v1/servers", token=fleet.admin).status, 200)
            self.assertIn("\nkitsune_audit_stalled 1\n", fleet.ask("GET", "/metrics", token=fleet.admin).body)
            os.unlink(filler)
            fleet.orchestrator.wait_line("the audit log goes on")
            maker.join(DEADLINE)
            self.assertEqual({a.status for a in made}, {201})
            written = [e["target"] for e in fleet.audit() if e["action"] == "token.create"]
            self.assertEqual(written, ["admin", *(f"t{i}" for i in range(len(made)))])
            self.assertTrue(fleet.asks("GET", "/v1/audit/verify")["whole"])
        finally:
            fleet.close()

    def test_everybody_who_is_not_admin_is_kept_from_reading_it(self):
        with SecureFleet() as fleet:
            for role in ("viewer", "operator"):
                token = fleet.token(role, role)
                self.assertEqual(fleet.ask("GET", "/v1/audit", token=token).status, 403)
                self.assertEqual(fleet.ask("GET", "/v1/audit/verify", token=token).status, 403)


if __name__ == "__main__":
    main()
