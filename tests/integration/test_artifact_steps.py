"""Steps that name artifacts, with the real programs over TLS: fetched, gone on with, kept, and undone."""

import contextlib
import hashlib
import os
import socket
import threading
import unittest

from fleet import DEADLINE, main
from secure import SecureFleet, until

MIB = 1024 * 1024


def content(size, seed):
    """Bytes that do not repeat."""
    out = bytearray()
    block = hashlib.sha256(str(seed).encode()).digest()
    while len(out) < size:
        block = hashlib.sha256(block).digest()
        out += block * 32
    return bytes(out[:size])


class Tap:
    """Between an agent and the orchestrator; counts what goes to the agent, and once so many bytes have passed holds up
    the connections that carry much, until it is opened."""

    def __init__(self, port):
        self.port = port
        self.passed = 0
        self.limit = None
        self.turned = threading.Condition()
        self.reached = threading.Event()
        self.sockets, self.threads = [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"
        self.start(self.accept)

    def start(self, target, *args):
        self.threads.append(threading.Thread(target=target, args=args))
        self.threads[-1].start()

    def close(self):
        self.hold(None)
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self.threads:
            thread.join(DEADLINE)
        for end in (self.listener, *self.sockets):
            end.close()

    def cut(self):
        """Ends every connection."""
        for end in list(self.sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hold(self, more):
        """After so many bytes from now on; None: not at all."""
        with self.turned:
            self.reached.clear()
            self.limit = None if more is None else self.passed + more
            self.turned.notify_all()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                agent, _ = self.listener.accept()
                self.sockets.append(agent)
                try:
                    server = socket.create_connection(("127.0.0.1", self.port))
                except OSError:
                    agent.shutdown(socket.SHUT_RDWR)
                    continue
                self.sockets.append(server)
                self.start(self.carry, agent, server, False)
                self.start(self.carry, server, agent, True)

    def wait_open(self, size, own):
        with self.turned:
            self.passed += size
            while self.limit is not None and self.passed > self.limit and own > MIB:
                self.reached.set()
                self.turned.wait()

    def carry(self, source, sink, counted):
        own = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                own += len(data)
                if counted:
                    self.wait_open(len(data), own)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class ArtifactSteps(unittest.TestCase):
    def setUp(self):
        self.fleet = SecureFleet()
        self.fleet.__enter__()
        self.addCleanup(self.fleet.close)
        self.target = self.fleet.path("target")

    def put(self, data):
        path = self.fleet.path("put")
        with open(path, "wb") as file:
            file.write(data)
        return self.fleet.kitsune("artifact", "put", path, check=0).stdout.strip()

    def plan(self, name, **params):
        return {"servers": ["web-1"], "steps": [{
            "name": "put", "type": "file_write", "params": {"path": self.target, "source": name, **params}}]}

    def start(self, **how):
        self.fleet.start_agent("web-1", **how)
        self.fleet.orchestrator.wait_line("server=web-1 ")

    def tap(self):
        tap = Tap(self.fleet.port)
        self.addCleanup(tap.close)
        return tap

    def cached(self, name, end=""):
        path = self.fleet.path("agent-web-1", "artifacts", name.removeprefix("sha256:") + end)
        return os.path.getsize(path) if os.path.exists(path) else None

    def assert_target(self, data):
        with open(self.target, "rb") as file:
            self.assertTrue(data == file.read(), "the file is not what was put")

    def test_an_artifact_becomes_a_file_and_is_kept_for_the_next_rollout(self):
        data = content(9 * MIB + 1, 1)
        name = self.put(data)
        with open(self.target, "wb") as file:
            file.write(b"old\n")
        self.start()
        rollout = self.fleet.run(self.plan(name))["id"]
        self.assert_target(data)
        self.assertEqual(len(data), self.cached(name))
        self.fleet.kitsune("rollback", rollout, "--watch")
        self.assert_target(b"old\n")
        self.fleet.run(self.plan(name))
        self.assert_target(data)
        self.assertEqual(1, self.fleet.agents["web-1"].text().count("an artifact was fetched"))
        # One that was damaged is found out and fetched anew.
        path = self.fleet.path("agent-web-1", "artifacts", name.removeprefix("sha256:"))
        with open(path, "r+b") as file:
            file.seek(12345)
            file.write(b"????")
        os.unlink(self.target)
        self.fleet.run(self.plan(name))
        self.assert_target(data)
        self.assertIn("in the cache is damaged", self.fleet.agents["web-1"].text())
        self.assertEqual(2, self.fleet.agents["web-1"].text().count("an artifact was fetched"))

    def test_what_the_orchestrator_has_lost_changes_nothing(self):
        name = self.put(b"new\n")
        with open(self.target, "wb") as file:
            file.write(b"old\n")
        rollout = self.fleet.submit(self.plan(name))
        self.fleet.orchestrator.kill()
        os.unlink(os.path.join(self.fleet.data_dir, "artifacts", name.removeprefix("sha256:")))
        self.fleet.start_orchestrator()
        self.start()
        self.fleet.kitsune("watch", rollout)
        shown = self.fleet.kitsune("show", rollout, "--all", check=0).stdout
        self.assertIn("has no artifact " + name, shown)
        self.assert_target(b"old\n")

    def test_a_check_shows_what_it_would_change(self):
        name = self.put(b"one\ntwo\n")
        self.start()
        with open(self.target, "wb") as file:
            file.write(b"one\n")
        shown = self.fleet.kitsune("submit", "--check", self.fleet.plan(self.plan(name)), "--watch").stdout
        self.assertIn("+two", shown)
        self.assert_target(b"one\n")

    def test_an_agent_that_is_killed_in_the_middle_goes_on_where_it_was(self):
        data = content(24 * MIB, 2)
        name = self.put(data)
        tap = self.tap()
        self.start(url=tap.url)
        tap.hold(16 * MIB)
        rollout = self.fleet.submit(self.plan(name))
        self.assertTrue(tap.reached.wait(DEADLINE))
        until(lambda: (self.cached(name, ".part") or 0) > 8 * MIB, "some of it is on the disk")
        self.fleet.agents["web-1"].kill()
        self.assertIsNone(self.cached(name))
        tap.cut()
        tap.hold(None)
        self.fleet.start_agent("web-1", url=tap.url)
        self.fleet.kitsune("watch", rollout, check=0)
        self.assert_target(data)
        self.assertLess(tap.passed, len(data) + 10 * MIB)
        self.assertIsNone(self.cached(name, ".part"))

    def test_an_agent_that_is_stopped_in_the_middle_goes_on_where_it_was(self):
        data = content(24 * MIB, 5)
        name = self.put(data)
        tap = self.tap()
        self.start(url=tap.url, args=["--stop-timeout", "1s"])
        tap.hold(16 * MIB)
        rollout = self.fleet.submit(self.plan(name))
        self.assertTrue(tap.reached.wait(DEADLINE))
        until(lambda: (self.cached(name, ".part") or 0) > 8 * MIB, "some of it is on the disk")
        self.assertEqual(0, self.fleet.agents["web-1"].stop())
        tap.cut()
        tap.hold(None)
        self.fleet.start_agent("web-1", url=tap.url)
        self.fleet.kitsune("watch", rollout, check=0)
        self.assert_target(data)
        self.assertLess(tap.passed, len(data) + 10 * MIB)

    def test_lost_connections_and_an_orchestrator_that_is_killed_are_waited_out(self):
        data = content(24 * MIB, 3)
        name = self.put(data)
        tap = self.tap()
        self.start(url=tap.url)
        tap.hold(8 * MIB)
        rollout = self.fleet.submit(self.plan(name))
        self.assertTrue(tap.reached.wait(DEADLINE))
        tap.cut()
        tap.hold(8 * MIB)
        self.assertTrue(tap.reached.wait(DEADLINE))
        self.fleet.orchestrator.kill()
        tap.hold(None)
        self.fleet.agents["web-1"].wait_line("an artifact is waited for")
        self.fleet.start_orchestrator()
        self.fleet.kitsune("watch", rollout, check=0)
        self.assert_target(data)
        self.assertLess(tap.passed, len(data) + 8 * MIB)

    def test_a_rollout_can_be_cancelled_while_it_is_fetched(self):
        name = self.put(content(24 * MIB, 4))
        tap = self.tap()
        self.start(url=tap.url)
        tap.hold(8 * MIB)
        rollout = self.fleet.submit(self.plan(name))
        self.assertTrue(tap.reached.wait(DEADLINE))
        self.fleet.kitsune("cancel", rollout, check=0)
        self.fleet.kitsune("watch", rollout)
        self.assertFalse(os.path.exists(self.target))
        self.assertTrue(tap.passed < 10 * MIB, tap.passed)


if __name__ == "__main__":
    main()
