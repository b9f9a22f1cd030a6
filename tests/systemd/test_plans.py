"""The example plans of services and health gates, by the three programs, under a systemd of their own.

Run by `boot`: the machine that is seen here, its ports and its units, is this test's alone.
"""

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
import unittest

SOURCE = os.environ["KITSUNE_SOURCE"]
sys.path.insert(0, os.path.join(SOURCE, "tests", "integration"))

from fleet import Fleet, by_server, main  # noqa: E402

UNITS = "/etc/systemd/system"

# Stands for nginx: takes its configuration, and does not start with one that it does not like.
NGINX = """
[Service]
Type=exec
ExecStartPre=/bin/grep -q client_max_body_size /etc/nginx/conf.d/limits.conf
ExecStartPre=/bin/cp /etc/nginx/conf.d/limits.conf /run/nginx.conf
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /run 80
[Install]
WantedBy=multi-user.target
"""
BEFORE = "client_max_body_size 1m;\n"


def plan(name):
    return os.path.join(SOURCE, "plans", name)


def systemctl(*args):
    done = subprocess.run(["systemctl", *args], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Answers(http.server.BaseHTTPRequestHandler):
    """Healthy from the second request on."""

    seen = []

    def do_GET(self):
        Answers.seen.append((self.path, self.headers["Host"], self.headers["Accept"]))
        body = b"status: green\n" if len(Answers.seen) > 1 else b"status: red\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Pong(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.readline() == b"PING\r\n":
            self.wfile.write(b"+PONG\r\n")


class Served:
    def __init__(self, server):
        self.server = server
        self.thread = threading.Thread(target=server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Gates(unittest.TestCase):
    def test_http_check(self):
        Answers.seen.clear()
        with Fleet(agents=["web-1", "web-2"]) as fleet, Served(
            http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Answers)
        ):
            done = fleet.run(plan("http-check.json"))
            self.assertEqual(done["counts"]["succeeded"], 2)
            # One unhealthy and two healthy ones, then two.
            self.assertEqual(Answers.seen, [("/healthz", "www.example.com:8080", "text/plain")] * 5)
            output = fleet.kitsune("logs", done["id"], "--server", "web-1", check=0).stdout
            self.assertIn("probe 1: unhealthy: HTTP 200, and expectBodyRegex does not match the body", output)
            self.assertIn("probe 3: healthy: HTTP 200", output)

    def test_an_unhealthy_server_stops_the_rollout_and_is_undone(self):
        with Fleet(agents=["web-1", "web-2"]) as fleet:
            done = fleet.run(plan("http-check.json"), check=3)
            self.assertEqual([by_server(done)[s]["state"] for s in ("web-1", "web-2")], ["rolled_back", "skipped"])
            self.assertIn("unhealthy: 5 probes in a row failed", by_server(done)["web-1"]["message"])
            self.assertFalse(os.path.exists("/tmp/kitsune-web.conf"))

    def test_tcp_check(self):
        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True

        with Fleet(agents=["cache-1", "cache-2"]) as fleet, Served(Server(("127.0.0.1", 6379), Pong)):
            self.assertEqual(fleet.run(plan("tcp-check.json"))["counts"]["succeeded"], 2)

    def test_command_check(self):
        with Fleet(agents=["db-1", "db-2"]) as fleet:
            done = fleet.run(plan("command-check.json"))
            self.assertEqual(done["counts"]["succeeded"], 2)
            self.assertIn("% used", fleet.kitsune("logs", done["id"], "--server", "db-1", check=0).stdout)

    def test_preview_says_that_there_is_nothing_to_undo(self):
        with Fleet() as fleet:
            preview = fleet.kitsune("preview", plan("tcp-check.json"), check=0).stdout
            self.assertIn("nothing", preview)
            for name in ("http-check", "tcp-check", "command-check", "service", "service-restart"):
                fleet.kitsune("submit", plan(name + ".json"), "--require-undo", check=0)

    def test_a_gate_is_cancelled_at_once(self):
        with Fleet(agents=["a"]) as fleet:
            gate = {"name": "g", "type": "tcp_check", "params": {"port": 9, "interval": 3600}}
            rollout = fleet.submit({"servers": ["a"], "steps": [gate]})
            fleet.wait_event(rollout, lambda event: event["type"] == "step_started")
            began = time.monotonic()
            fleet.kitsune("cancel", rollout, "--now", check=0)
            fleet.wait_event(rollout, lambda event: event["type"] == "rollout_ended")
            self.assertLess(time.monotonic() - began, 30)


class Services(unittest.TestCase):
    def test_service(self):
        with Fleet(agents=["web-1"]) as fleet:
            self.assertEqual(fleet.run(plan("service.json"))["state"], "succeeded")
            self.assertEqual(systemctl("is-active", "kitsune-hello"), "active")
            self.assertEqual(systemctl("is-enabled", "kitsune-hello"), "enabled")

    def test_a_service_that_was_new_is_gone_again(self):
        unit = os.path.join(UNITS, "kitsune-new.service")
        text = json.loads(read(plan("service.json")).replace("kitsune-hello", "kitsune-new"))
        text["steps"].append({"name": "no", "type": "command_check", "params": {"command": "false", "interval": 0.1}})
        with Fleet(agents=["web-1"]) as fleet:
            done = fleet.run(text, check=3)
            self.assertEqual(by_server(done)["web-1"]["state"], "rolled_back")
            self.assertFalse(os.path.exists(unit))
            self.assertNotEqual(systemctl("is-active", "kitsune-new"), "active")
            self.assertFalse(os.path.lexists(os.path.join(UNITS, "multi-user.target.wants", "kitsune-new.service")))

    def nginx(self):
        os.makedirs("/etc/nginx/conf.d", exist_ok=True)
        with open("/etc/nginx/conf.d/limits.conf", "w", encoding="utf-8") as file:
            file.write(BEFORE)
        with open(os.path.join(UNITS, "nginx.service"), "w", encoding="utf-8") as file:
            file.write(NGINX)
        systemctl("daemon-reload")
        systemctl("restart", "nginx")
        self.assertEqual(systemctl("is-active", "nginx"), "active")
        self.assertEqual(read("/run/nginx.conf"), BEFORE)

    def test_service_restart(self):
        self.nginx()
        with Fleet(agents=["web-1", "web-2", "web-3"]) as fleet:
            done = fleet.run(plan("service-restart.json"))
            self.assertEqual(done["counts"]["succeeded"], 3)
            self.assertEqual(read("/run/nginx.conf"), "client_max_body_size 20m;\n")

    def test_a_configuration_that_the_service_does_not_like_is_undone(self):
        """The service cannot start with it, so undoing the restart alone could not bring it back."""
        self.nginx()
        path = os.path.join(SOURCE, "plans", "service-restart.json")
        bad = read(path).replace("client_max_body_size 20m;", "oops;").replace('"web-1", "web-2", "web-3"', '"web-1"')
        with Fleet(agents=["web-1"]) as fleet:
            with open(fleet.path("bad.json"), "w", encoding="utf-8") as file:
                file.write(bad)
            done = fleet.run(fleet.path("bad.json"), check=3)
            self.assertIn("the restart of nginx.service failed", by_server(done)["web-1"]["message"])
            self.assertEqual(by_server(done)["web-1"]["state"], "rolled_back")
        self.assertEqual(systemctl("is-active", "nginx"), "active")
        self.assertEqual(read("/run/nginx.conf"), BEFORE)

    def test_an_unhealthy_service_goes_back_to_its_configuration(self):
        self.nginx()
        path = os.path.join(SOURCE, "plans", "service-restart.json")
        bad = read(path).replace("http://127.0.0.1/", "http://127.0.0.1/missing").replace(
            '"web-1", "web-2", "web-3"', '"web-1"'
        )
        with Fleet(agents=["web-1"]) as fleet:
            with open(fleet.path("bad.json"), "w", encoding="utf-8") as file:
                file.write(bad)
            done = fleet.run(fleet.path("bad.json"), check=3)
            self.assertIn("HTTP 404", by_server(done)["web-1"]["message"])
        self.assertEqual(systemctl("is-active", "nginx"), "active")
        self.assertEqual(read("/run/nginx.conf"), BEFORE)


if __name__ == "__main__":
    main()
