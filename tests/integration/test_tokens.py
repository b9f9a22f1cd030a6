"""People's access as they meet it with the CLI, and every command line of docs/access.md. What the orchestrator lets
whom do is test_access.py's."""

import calendar
import grp
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import unittest

from fleet import DEADLINE, SOURCE, Process, echo_step, main, program
from secure import SecureFleet, init

NOBODY = 65534


def plan(*servers, step=None):
    return {"servers": list(servers), "steps": [step or echo_step()]}


class People(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = SecureFleet(agents=["web-1"])
        cls.fleet.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.fleet.close()

    def create(self, name, *args):
        """A token's file; the secret is what `token create` alone prints on standard output."""
        path = self.fleet.path(name + ".token")
        secret = self.fleet.kitsune("token", "create", name, *args, check=0).stdout
        self.assertRegex(secret, r"\Akit_[A-Za-z0-9_-]{43}\n\Z")
        self.fleet.secret_file(name + ".token", secret.strip())
        return path

    def as_of(self, token, *args, **how):
        return self.fleet.kitsune(*args, "--token-file", token, **how)

    def test_a_role_may_what_it_is_for_and_no_more(self):
        viewer = self.create("vera", "--role", "viewer")
        operator = self.create("otto", "--role", "operator")
        submit = ("submit", self.fleet.plan(plan("web-1")), "--watch")
        operators = [submit, ("lock", "far-1", "--reason", "x"), ("unlock", "far-1")]
        admins = [
            ("token", "list"),
            ("token", "create", "x", "--role", "admin"),
            ("token", "revoke", "vera"),
            ("agent", "ticket", "x"),
            ("agent", "revoke", "web-1"),
            ("audit", "list"),
            ("audit", "verify"),
            ("backup", self.fleet.path("copy.db")),
        ]
        for words in [("list",), ("servers",), ("agent", "list"), ("whoami",), ("handlers",)]:
            self.as_of(viewer, *words, check=0)
        for words in operators:
            self.assertIn("this needs the role operator, and vera is viewer", self.as_of(viewer, *words, check=1).stderr)
            self.as_of(operator, *words, check=0)
        for words in admins:
            self.assertIn("this needs the role admin, and otto is operator", self.as_of(operator, *words, check=1).stderr)
        self.assertFalse(os.path.exists(self.fleet.path("copy.db")))
        # What was refused is on record, with who asked; and who did what was done is known of it.
        log = self.fleet.json("audit", "list", "--all")["entries"]
        refused = {e["action"] for e in log if e.get("who") == "otto" and e["result"] == "denied"}
        self.assertLessEqual({"token.create", "token.revoke", "agent.ticket", "agent.revoke", "backup"}, refused)
        rollout = self.fleet.json("list")["rollouts"][0]
        self.assertEqual("otto", rollout["by"])

    def test_a_confined_token_changes_what_it_may_and_sees_the_rest(self):
        token = self.create("web", "--role", "operator", "--servers", "web-*", "--steps", "echo")
        run = {"name": "run", "type": "script", "params": {"script": "true"}}
        self.as_of(token, "submit", self.fleet.plan(plan("web-1")), "--watch", check=0)
        done = self.as_of(token, "submit", self.fleet.plan(plan("web-1", "db-1")), check=1)
        self.assertIn('server "db-1" is outside of what this token may change', done.stderr)
        done = self.as_of(token, "submit", self.fleet.plan(plan("web-1", step=run)), check=1)
        self.assertIn("of type script, which is outside of what this token may use", done.stderr)
        other = self.fleet.submit(plan("db-1"))
        self.as_of(token, "show", other, check=0)
        self.assertIn("db-1", self.as_of(token, "cancel", other, check=1).stderr)
        self.fleet.kitsune("cancel", other, check=0)

    def test_a_head_that_was_kept_is_compared(self):
        head = self.fleet.kitsune("audit", "verify", check=0).stdout.strip()
        self.assertRegex(head, r"\A\d+:[0-9a-f]{64}\Z")
        self.create("later", "--role", "viewer")
        self.fleet.kitsune("audit", "verify", "--head", head, check=0)
        seq = head.split(":")[0]
        other = self.fleet.kitsune("audit", "verify", "--head", f"{seq}:{64 * '0'}", check=1)
        self.assertEqual("", other.stdout)
        self.assertIn("it was tampered with, or is damaged: the audit log no longer has entry", other.stderr)

    def test_an_agent_that_is_revoked_is_listed_no_more_and_may_come_again_by_ticket(self):
        self.fleet.start_agent("db-7")
        self.fleet.orchestrator.wait_line("server=db-7 ")
        listed = {a["server"]: a["connected"] for a in self.fleet.json("agent", "list")["agents"]}
        self.assertTrue(listed["db-7"])
        self.assertIn("certificate", self.fleet.kitsune("agent", "ticket", "db-7", check=1).stderr)
        self.fleet.kitsune("agent", "revoke", "db-7", "--reason", "test", check=0)
        self.fleet.agents["db-7"].wait_line("refuses this agent")
        self.assertNotIn("db-7", [a["server"] for a in self.fleet.json("agent", "list")["agents"]])
        self.fleet.kitsune("agent", "ticket", "db-7", check=0)

    def test_a_token_ends_when_it_expires(self):
        token = self.create("brief", "--role", "viewer", "--ttl", "2s")
        expires = next(t for t in self.fleet.json("token", "list")["tokens"] if t["name"] == "brief")["expires"]
        self.as_of(token, "list", check=0)
        until = calendar.timegm(time.strptime(expires[:19], "%Y-%m-%dT%H:%M:%S")) + 1
        time.sleep(max(0.0, until - time.time()))
        done = self.as_of(token, "list", check=1)
        self.assertIn("is not accepted: have an admin make another", done.stderr)

    def test_a_revocation_ends_what_is_open_and_refuses_what_comes(self):
        token = self.create("eve", "--role", "operator")
        rollout = self.fleet.submit(plan("far-1"))
        follow = [program("kitsune"), "--orchestrator", self.fleet.url, "--ca", self.fleet.ca, "--token-file", token,
                  "events", rollout, "--follow", "-o", "json"]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
            try:
                self.assertEqual("rollout_created", json.loads(follower.stdout.readline())["type"])
                self.fleet.kitsune("token", "revoke", "eve", check=0)
                _, said = follower.communicate(timeout=DEADLINE)
            finally:
                follower.kill()
        self.assertEqual(1, follower.returncode, said)
        self.assertIn("eve.token is not accepted", said)
        self.as_of(token, "list", check=1)
        self.assertNotIn("eve", [t["name"] for t in self.fleet.json("token", "list")["tokens"]])
        self.fleet.kitsune("cancel", rollout, check=0)


class Impostors(unittest.TestCase):
    def test_one_who_takes_the_orchestrators_place_gets_no_token_from_a_follower(self):
        with SecureFleet() as fleet:
            rollout = fleet.submit(plan("far-1"))
            follow = [program("kitsune"), "--orchestrator", fleet.url, "--ca", fleet.ca, "--token-file",
                      fleet.token_file, "events", rollout, "--follow", "-o", "json"]
            with subprocess.Popen(follow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
                try:
                    self.assertEqual("rollout_created", json.loads(follower.stdout.readline())["type"])
                    fleet.orchestrator.stop()
                    os.rename(fleet.data_dir, fleet.path("true"))
                    init(fleet.data_dir, "--host", "localhost")
                    fleet.start_orchestrator()
                    _, said = follower.communicate(timeout=DEADLINE)
                finally:
                    follower.kill()
            self.assertEqual(5, follower.returncode, said)
            self.assertIn("cannot trust what answers at", said)
            fleet.orchestrator.wait_line("a connection was refused")  # before it said a word


class Sockets(unittest.TestCase):
    @unittest.skipUnless(os.geteuid() == 0, "needs root, to be others")
    def test_over_the_socket_the_kernel_says_who_asks(self):
        group = next(g for g in grp.getgrall() if g.gr_gid not in (0, NOBODY))
        fleet = SecureFleet(orchestrator_options=["--socket-group", group.gr_name])
        with fleet:
            os.chmod(fleet.dir, 0o755)
            url = f"unix://{fleet.socket}"

            def ask(uid, gid, *words):
                return subprocess.run(
                    ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", program("kitsune"),
                     "--orchestrator", url, *words],
                    capture_output=True, text=True, timeout=DEADLINE, env={"PATH": os.environ["PATH"]},
                )

            self.assertIn("role          admin", ask(0, 0, "whoami").stdout)
            self.assertEqual(0, ask(0, 0, "token", "list").returncode)
            member = ask(NOBODY, group.gr_gid, "whoami")
            self.assertIn("role          operator", member.stdout, member.stderr)
            self.assertIn(f"name          uid {NOBODY}", member.stdout)
            self.assertEqual(1, ask(NOBODY, group.gr_gid, "token", "list").returncode)
            other = ask(NOBODY, NOBODY, "whoami")
            self.assertNotEqual(0, other.returncode, other.stdout)
            self.assertEqual("", other.stdout)


class Page(unittest.TestCase):
    """docs/access.md, command by command, in its order, as one who follows it types it."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kitsune-page-")
        self.daemons = []
        self.words = {
            "/var/lib/kitsune-": self.dir + "/",
            "/run/kitsune-orchestrator/": self.dir + "/",
            "0.0.0.0:7233": "127.0.0.1:0",
            "kitsune-operators": grp.getgrgid(os.getgid()).gr_name,
            "kitsune.example.org": "127.0.0.1",
        }
        os.mkdir(self.path("bin"))
        for name in ("kitsune", "kitsune-orchestrator", "kitsune-agent"):
            os.symlink(program(name), self.path("bin", name))
        self.env = {"HOME": self.dir, "PATH": self.path("bin") + ":" + os.environ["PATH"]}

    def tearDown(self):
        for daemon in self.daemons:
            daemon.stop()
        shutil.rmtree(self.dir)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def serve(self, line):
        daemon = Process(shlex.split(line), env=self.env, cwd=self.dir)
        self.daemons.append(daemon)
        ready = daemon.wait_line("ready ")
        port = re.search(r"listen=127\.0\.0\.1:(\d+)", ready)
        if port:
            self.words[":7233"] = ":" + port[1]
        else:
            self.daemons[0].wait_line("server=web-1 ")

    def type(self, line):
        done = subprocess.run(["bash", "-ec", line], cwd=self.dir, env={**os.environ, **self.env},
                              capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual(0, done.returncode, f"{line}\n{done.stdout}\n{done.stderr}")
        fingerprint = re.search("^ca-fingerprint: ([0-9a-f]{64})$", done.stdout, re.MULTILINE)
        if fingerprint:
            self.words["FP"] = fingerprint[1]

    def test_every_command_line_of_the_page_does_what_it_is_there_for(self):
        with open(os.path.join(SOURCE, "docs", "access.md"), encoding="utf-8") as page:
            lines = [line.strip() for line in page if line.startswith("    ")]
        self.assertGreater(len(lines), 15)
        for line in lines:
            self.assertRegex(line, "^kitsune(-orchestrator|-agent)? ")
            for word in sorted(self.words, key=len, reverse=True):
                line = line.replace(word, self.words[word]) if word != "FP" else re.sub(
                    r"\bFP\b", self.words[word], line)
            if line.startswith("kitsune-") and " init " not in line:
                self.serve(line)
            else:
                self.type(line)
        with open(self.path("head"), encoding="ascii") as head:
            self.assertRegex(head.read(), r"\A\d+:[0-9a-f]{64}\n\Z")


class Claims(unittest.TestCase):
    """docs/security.md: whatever it says that a test shows, there is such a test."""

    def test_every_test_that_the_page_names_is_there(self):
        with open(os.path.join(SOURCE, "docs", "security.md"), encoding="utf-8") as page:
            claims = re.findall(r"`([a-z0-9_]+): (\w+)`", page.read())
        self.assertGreater(len(claims), 30)
        tests = {}
        for folder, _, names in os.walk(os.path.join(SOURCE, "tests")):
            for name in names:
                stem, kind = os.path.splitext(name)
                if stem.startswith("test_") and kind in (".c", ".py"):
                    with open(os.path.join(folder, name), encoding="utf-8") as file:
                        tests.setdefault(stem[len("test_"):], []).append(file.read())
        for stem, name in claims:
            with self.subTest(file=stem, test=name):
                definition = rf"^(static void|    def|class) {name}\("
                self.assertTrue(any(re.search(definition, text, re.MULTILINE) for text in tests.get(stem, [])))


if __name__ == "__main__":
    main()
