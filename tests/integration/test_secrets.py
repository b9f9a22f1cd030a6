"""Secrets: used by steps, and nowhere else: not in a journal, a log, an answer or an output."""

import base64
import json
import os
import subprocess
import threading
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from fleet import DEADLINE, Fleet, by_server, main
from test_signed import Keys

PASSWORD = 'correct"horse\\battery staple'
TOKEN = "-----BEGIN TOKEN-----\nc2VjcmV0IG9mIHRoZSBzaG9w\n-----END TOKEN-----"
YESTERDAY = "the-password-of-yesterday"
PIECES = 'printf "%s\\n" "$PW" | fold -w1 | while IFS= read -r c; do printf "%s" "$c"; done; echo'


def step(name, type, **params):
    return {"name": name, "type": type, "params": params}


def shell(name, line, *args, **params):
    return step(name, "script", script="sh", args=["-c", line, name, *args], **params)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text, mode=0o600):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def forms(secret):
    """The bytes that would give it away, as they stand in files, in JSON, and in JSON in JSON."""
    quoted = json.dumps(secret)[1:-1]
    texts = {secret, quoted, json.dumps(quoted)[1:-1], *(x for x in secret.split("\n") if len(x) > 8)}
    return [*(x.encode() for x in texts), base64.b64encode(secret.encode())[:-4], secret.encode().hex().encode()]


def output(fleet, rollout, number):
    """What a step has printed, without the line before it."""
    return fleet.kitsune("logs", rollout, "--server", "web-1", "--step", str(number), check=0).stdout.split("\n", 1)[1]


class Secrets(unittest.TestCase):
    def start(self, **more):
        fleet = Fleet()
        self.addCleanup(fleet.close)
        os.mkdir(fleet.path("host"))
        self.conf, self.token = fleet.path("host", "shop.conf"), fleet.path("host", "token")
        write(self.token, TOKEN + "\n")
        self.fleet = fleet
        self.secrets = {"db.password": {"env": "SHOP_DB_PASSWORD"}, "token": {"file": self.token}}
        return fleet

    def start_agent(self, password=PASSWORD, **more):
        self.fleet.start_agent("web-1", env={"SHOP_DB_PASSWORD": password}, **more)
        self.fleet.orchestrator.wait_line("server=web-1 ")

    def plan(self, *steps, **more):
        return {"name": "shop", "servers": ["web-1"], "secrets": self.secrets, "steps": list(steps), **more}

    def assert_nowhere(self, *secrets, rollouts=()):
        """In no file of the programs, no log, and no answer."""
        fleet = self.fleet
        texts = {"the orchestrator's log": fleet.orchestrator.text(), "the agent's log": fleet.agents["web-1"].text()}
        for rollout in rollouts:
            for words in (["show", rollout, "--all", "-o", "json"], ["show", rollout], ["events", rollout, "-o", "json"],
                          ["logs", rollout], ["logs", rollout, "-o", "json"]):
                texts["kitsune " + " ".join(words)] = fleet.kitsune(*words).stdout
        for path in ("/v1/rollouts", "/v1/servers", "/v1/servers/web-1", "/metrics"):
            with urllib.request.urlopen(fleet.url + path, timeout=DEADLINE) as answer:
                texts[path] = answer.read().decode()
        found = {name: text.encode() for name, text in texts.items()}
        for top, _, files in os.walk(fleet.dir):
            for name in files:
                path = os.path.join(top, name)
                if top != fleet.path("host"):
                    with open(path, "rb") as file:
                        found[path] = file.read()
        self.assertTrue(any("web-1" in name for name in found))
        for secret in secrets:
            for form in forms(secret):
                for name, data in found.items():
                    self.assertNotIn(form, data, f"{form} is in {name}")

    def test_secrets_are_where_the_plan_wants_them_and_nowhere_else(self):
        fleet = self.start()
        fleet.start_orchestrator()
        self.start_agent()
        write(self.conf, f"password {YESTERDAY}\n")
        plan = self.plan(
            shell("print", f'printf "it is %s.\\n" "$PW"; {PIECES}; printf "pw=%s\\n" "$PW" >>"$KITSUNE_OUTPUT"; cat',
                  env={"PW": "${secrets.db.password}"}, stdin="<${secrets.token}>\n"),
            step("inline", "script", inline="cat <<'END'\n${secrets.token} for ${server.id}\nEND\n"),
            step("configure", "file_write", path=self.conf,
                 content="user ${vars.user}\npassword ${secrets.db.password}\n$${secrets.token}\n"),
            shell("leak", 'cat "$1"; echo "$2"', self.conf, "${steps.print.outputs.pw}"),
            vars={"user": "${secrets.nothing of the kind}"},
        )
        checked = fleet.run(plan, "--check")
        message = {s["name"]: s for s in by_server(checked)["web-1"]["steps"]}["configure"]["message"]
        self.assertIn("not shown", message)
        self.assert_nowhere(PASSWORD, TOKEN, YESTERDAY, rollouts=[checked["id"]])
        self.assertEqual(read(self.conf), f"password {YESTERDAY}\n")

        done = fleet.run(plan)
        self.assertEqual(
            read(self.conf), f"user ${{secrets.nothing of the kind}}\npassword {PASSWORD}\n${{secrets.token}}\n")
        outputs = [output(fleet, done["id"], number) for number in (1, 2, 4)]
        self.assertEqual(outputs[0], "it is ***.\n***\n<***>\n")
        self.assertEqual(outputs[1], "*** for web-1\n")
        self.assertIn("\npassword ***\n", outputs[2])
        self.assertTrue(outputs[2].endswith("\n***\n"), outputs[2])
        self.assert_nowhere(PASSWORD, TOKEN, rollouts=[checked["id"], done["id"]])

        fleet.kitsune("rollback", done["id"], "--watch", check=0)
        self.assertEqual(read(self.conf), f"password {YESTERDAY}\n")
        self.assert_nowhere(PASSWORD, TOKEN, rollouts=[checked["id"], done["id"]])

    def test_a_gate_can_show_who_it_is(self):
        seen = []

        class Door(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                seen.append((self.headers["Authorization"], body))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args):
                pass

        door = HTTPServer(("127.0.0.1", 0), Door)
        self.addCleanup(door.server_close)
        self.addCleanup(door.shutdown)
        threading.Thread(target=door.serve_forever, args=(0.05,), daemon=True).start()
        fleet = self.start()
        fleet.start_orchestrator()
        self.start_agent()
        gate = step("gate", "http_check", url=f"http://127.0.0.1:{door.server_port}/", method="POST", interval=0.1,
                    headers={"Authorization": "Bearer ${secrets.db.password}"}, body="${secrets.token}",
                    expectBody="nothing of it", failureThreshold=1)
        failed = fleet.run(self.plan(gate), check=3)["id"]
        del gate["params"]["expectBody"]
        done = fleet.run(self.plan(gate))["id"]
        self.assertEqual(set(seen), {(f"Bearer {PASSWORD}", TOKEN)})
        self.assert_nowhere(PASSWORD, TOKEN, rollouts=[failed, done])

    def test_what_is_missing_fails_before_anything_changes_and_undo_says_what_it_needs(self):
        fleet = self.start()
        fleet.start_orchestrator()
        self.start_agent(password="abc")
        marker = fleet.path("host", "marker")
        mark = shell("mark", 'echo ran >>"$1"', marker, env={"X": "${secrets.db.password}"})
        failed = fleet.run(self.plan(mark), check=3)
        self.assertIn("secrets.db.password: it is shorter than 4 bytes", json.dumps(failed))
        self.assertFalse(os.path.exists(marker))

        write(self.token, TOKEN, mode=0o622)
        configure = step("configure", "file_write", path=self.conf, content="token ${secrets.token}\n")
        failed = fleet.run(self.plan(configure), check=3)
        self.assertIn(f"secrets.token: {self.token} may be written by others", json.dumps(failed))
        self.assertFalse(os.path.exists(self.conf))

        write(self.token, TOKEN)
        done = fleet.run(self.plan(configure))["id"]
        os.unlink(self.token)
        fleet.kitsune("rollback", done, "--watch", check=4)
        self.assertIn("secrets.token", fleet.kitsune("show", done).stdout)
        self.assertIn("nothing was undone", json.dumps(fleet.events(done)))
        self.assertEqual(read(self.conf), f"token {TOKEN}\n")
        self.assertEqual(os.stat(self.conf).st_mode & 0o7777, 0o600)
        write(self.token, TOKEN)
        fleet.kitsune("rollback", done, "--watch", check=0)
        self.assertFalse(os.path.exists(self.conf))
        self.assert_nowhere(TOKEN, rollouts=[done])

    def test_after_a_restart_a_secret_is_looked_up_anew_and_one_that_was_changed_is_a_conflict(self):
        fleet = self.start()
        fleet.start_orchestrator()
        self.start_agent()
        configure = step("configure", "file_write", path=self.conf, content="${secrets.db.password}")
        done = fleet.run(self.plan(configure))["id"]
        fleet.agents["web-1"].stop()
        self.start_agent(password="of today")
        fleet.kitsune("rollback", done, "--watch", check=4)
        events = json.dumps(fleet.events(done))
        self.assertIn("a secret in it is another one now", events)
        self.assertNotIn("sha256", events)
        self.assertEqual(read(self.conf), PASSWORD)
        fleet.kitsune("rollback", done, "--server", "web-1", "--force", "--watch", check=0)
        self.assertFalse(os.path.exists(self.conf))

    def test_a_reference_of_a_signed_plan_cannot_be_changed(self):
        fleet = self.start()
        keys = Keys(fleet, ["alice"], ["alice"], threshold=1)
        fleet.start_orchestrator()
        self.start_agent(args=["--trusted-keys", keys.trusted])
        plan = self.plan(shell("print", 'printf "%s\\n" "$PW"', env={"PW": "${secrets.db.password}"}))
        signed = keys.sign(plan, "alice")
        with open(signed, encoding="utf-8") as file:
            changed = json.load(file)
        changed["secrets"]["db.password"]["env"] = "KITSUNE_TEST_FLEET"
        refused = fleet.kitsune("submit", fleet.plan(changed), check=1).stderr
        self.assertIn("the plan is not what was signed", refused)
        done = fleet.run(signed)
        self.assertEqual(output(fleet, done["id"], 1), "***\n")

    def test_the_network_process_does_not_have_the_agents_environment(self):
        fleet = self.start()
        fleet.start_orchestrator()
        self.start_agent()
        agent = fleet.agents["web-1"].process.pid
        children = subprocess.run(["pgrep", "-P", str(agent)], capture_output=True, text=True, check=True).stdout.split()
        self.assertTrue(children)
        for child in children:
            with open(f"/proc/{child}/environ", "rb") as file:
                self.assertNotIn(b"SHOP_DB_PASSWORD", file.read())


if __name__ == "__main__":
    main()
