"""What nobody should send: each is dropped, costs a bounded amount, and harms nobody else."""

import random
import threading
import time
import unittest

from fleet import Fleet, echo_step, main
from raw import HONEST_MEMORY, PATIENCE, UPGRADE, WebSocket, busy, connect, memory, read_to_end

MIB = 1024 * 1024
TEXT, BINARY, CONTINUATION = 1, 2, 0


def ended(raw):
    """True when the other end has closed; false when it has not within the patience."""
    try:
        read_to_end(raw)
        return True
    except TimeoutError:
        return False
    finally:
        raw.close()


def trickle(raw, pieces, pause):
    """Sends a piece at a time until the other end closes; how long that took."""
    began = time.monotonic()
    raw.settimeout(pause)
    try:
        for piece in pieces:
            raw.sendall(piece)
            try:
                if raw.recv(4096) == b"":
                    break
            except TimeoutError:
                pass
            if time.monotonic() - began > PATIENCE:
                raise AssertionError("it is still listened to")
    except ConnectionError:
        pass
    finally:
        raw.close()
    return time.monotonic() - began


class Garbage(unittest.TestCase):
    """All at once against one orchestrator, while rollouts go on."""

    def setUp(self):
        self.fleet = Fleet(heartbeat="1s")
        self.addCleanup(self.fleet.close)
        self.fleet.start_orchestrator(env=HONEST_MEMORY)
        self.fleet.start_agent("a")
        self.fleet.orchestrator.wait_line("server=a ")
        self.port = self.fleet.port

    # ---- HTTP ----

    def random_bytes(self):
        rng = random.Random(23)
        for _ in range(50):
            raw = connect(self.port)
            try:
                raw.sendall(rng.randbytes(rng.randrange(1, 5000)) + b"\r\n\r\n")
            except ConnectionError:
                pass
            self.assertTrue(ended(raw), "random bytes")

    def a_header_without_end(self):
        raw = connect(self.port)
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        try:
            for _ in range(100):
                raw.sendall(b"y" * 1000)
        except ConnectionError:
            pass
        self.assertTrue(ended(raw), "a header without end")

    def headers_without_number(self):
        raw = connect(self.port)
        raw.sendall(b"GET / HTTP/1.1\r\n")
        try:
            for i in range(20000):
                raw.sendall(b"X-%d: y\r\n" % i)
        except ConnectionError:
            pass
        self.assertTrue(ended(raw), "headers without number")

    def a_slow_head(self):
        took = trickle(connect(self.port), [bytes([b]) for b in UPGRADE], 0.4)
        self.assertLess(took, 20, "a slow head")

    def nothing_at_all(self):
        silent = [connect(self.port) for _ in range(200)]
        for raw in silent:
            self.assertTrue(ended(raw), "nothing at all")

    def a_body_past_the_bound(self):
        raw = connect(self.port)
        raw.sendall(b"POST /v1/rollouts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388609\r\n\r\n")
        self.assertIn(b" 413 ", raw.recv(4096))
        self.assertTrue(ended(raw))
        raw = connect(self.port)
        raw.sendall(b"POST /v1/rollouts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n")
        self.assertIn(b" 400 ", raw.recv(4096))
        self.assertTrue(ended(raw))

    def a_chunked_body_without_end(self):
        raw = connect(self.port)
        raw.sendall(b"POST /v1/rollouts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertIn(b" 411 ", raw.recv(4096))
        took = trickle(raw, [b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 1000, 0.1)
        self.assertLess(took, 20, "a chunked body without end")

    def bodies_that_are_no_plans(self):
        for body in (b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b'{"servers": 7}', b'{"a":' * 1000):
            raw = connect(self.port)
            raw.sendall(b"POST /v1/rollouts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                        % (len(body), body))
            self.assertRegex(read_to_end(raw), b"^HTTP/1.1 4\\d\\d ")
            raw.close()

    # ---- WebSocket ----

    def frames_that_are_too_big(self):
        for announced in (16 * MIB + 1, 2**40, 2**62, 2**63, 2**64 - 1):
            with WebSocket(self.port) as ws:
                ws.hello(f"big-{announced}")
                ws.frame(b"x" * 100, announced=announced)
                self.assertTrue(ended(ws.raw), f"a frame of {announced}")
        with WebSocket(self.port) as ws:
            try:
                ws.frame(b"x" * 65536, final=False)
                for _ in range(2000):
                    ws.frame(b"x" * 65536, opcode=CONTINUATION, final=False)
            except ConnectionError:
                pass
            self.assertTrue(ended(ws.raw), "fragments past the bound")

    def fragments_without_end(self):
        with WebSocket(self.port) as ws:
            ws.hello("fragments")
            began = time.monotonic()
            try:
                ws.frame(b"", final=False)
                while time.monotonic() - began < PATIENCE:
                    ws.frame(b" ", opcode=CONTINUATION, final=False)
                    time.sleep(0.05)
                self.fail("fragments without end are still listened to")
            except ConnectionError:
                pass

    def pings_without_a_message(self):
        """A peer that only pings is not an agent."""
        with WebSocket(self.port) as ws:
            began = time.monotonic()
            try:
                while time.monotonic() - began < PATIENCE:
                    ws.frame(b"", opcode=9)
                    time.sleep(0.05)
                self.fail("pings alone keep a session")
            except ConnectionError:
                pass

    def frames_against_the_protocol(self):
        cases = (
            [{"payload": b"{}", "masked": False}],
            [{"payload": b"{}", "opcode": 5}],
            [{"payload": b"{}", "opcode": CONTINUATION}],
            [{"payload": b"{}", "opcode": BINARY}],
            [{"payload": b"\xff\xfe\xfd"}],
            [{"payload": b'{"v":1,"type":"hello","id":"\xc3\x28"}'}],
            [{"payload": b"x" * 200, "opcode": 9}],
            [{"payload": b"{}", "final": False}, {"payload": b"{}"}],
        )
        sockets = [WebSocket(self.port) for _ in cases]
        for ws, case in zip(sockets, cases):
            for frame in case:
                ws.frame(**frame)
        for ws, case in zip(sockets, cases):
            self.assertTrue(ended(ws.raw), f"{case}")

    def messages_of_the_wrong_kind(self):
        hello = {"v": 1, "type": "hello", "id": "kind", "instance": "i", "version": "0", "handlers": [], "executions": []}
        entry = {"seq": 1, "type": "started", "timeMs": 1, "state": "running"}
        first = [
            [], 7, None, "hello", {}, {"v": 1}, {"v": 2, "type": "hello"}, {"v": 1, "type": "nonsense"},
            {"v": 1, "type": "heartbeat"}, {"v": 1, "type": "welcome"}, {"v": 1, "type": ["hello"]},
            {**hello, "id": 7}, {**hello, "id": "../x"}, {**hello, "handlers": {}}, {**hello, "executions": [7]},
        ]
        then = [
            hello,
            {"v": 1, "type": "execute", "rollout": "r", "epoch": 1, "steps": []},
            {"v": 1, "type": "report", "rollout": "r", "entries": []},
            {"v": 1, "type": "report", "rollout": "r", "entries": [{**entry, "seq": -1}]},
            {"v": 1, "type": "report", "rollout": "r", "entries": [{**entry, "type": "x"}]},
        ]
        for message in first:
            with WebSocket(self.port) as ws:
                ws.say(message)
                self.assertTrue(ended(ws.raw), f"{message}")
        for number, message in enumerate(then):
            with WebSocket(self.port) as ws:
                ws.say({**hello, "id": f"kind-{number}"})
                ws.say(message)
                self.assertTrue(ended(ws.raw), f"{message}")
        # Of a rollout that is not known there can be news after a restore: said in the log, and passed over.
        with WebSocket(self.port) as ws:
            ws.hello("kind-unknown")
            ws.say({"v": 1, "type": "report", "rollout": "nowhere", "entries": [entry]})
            self.fleet.orchestrator.wait_line("not known")

    def hellos_without_end(self):
        for number in range(300):
            with WebSocket(self.port) as ws:
                ws.hello(f"flood-{number}")
        with WebSocket(self.port) as ws, self.assertRaises(ConnectionError):
            for _ in range(200_000):
                ws.hello("flood")

    ATTACKS = (
        random_bytes, a_header_without_end, headers_without_number, a_slow_head, nothing_at_all, a_body_past_the_bound,
        a_chunked_body_without_end, bodies_that_are_no_plans, frames_that_are_too_big, fragments_without_end,
        pings_without_a_message, frames_against_the_protocol, messages_of_the_wrong_kind, hellos_without_end,
    )

    def test_all_of_it_at_once_is_dropped_and_harms_nobody(self):
        failures = []

        def attack(one):
            try:
                one(self)
            except BaseException as error:
                failures.append(f"{one.__name__}: {error!r}")

        orchestrator = self.fleet.orchestrator
        pid = orchestrator.process.pid
        before = memory(pid)
        threads = [threading.Thread(target=attack, args=(one,)) for one in self.ATTACKS]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.fleet.run({"servers": ["a"], "steps": [echo_step()]})
        self.assertEqual(failures, [])
        self.assertLess(memory(pid, "VmHWM") - before, 100)
        # A connection is worth two lines at most, however much came on it.
        self.assertLess(len(orchestrator.lines), 800)
        self.assertEqual(orchestrator.text().count("server=a "), 1)
        # Nothing of it keeps the loop busy.
        self.assertLess(busy(pid), 0.7)


if __name__ == "__main__":
    main()
