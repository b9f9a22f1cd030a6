"""An orchestrator that lies: it speaks the agents' protocol, and sends what it is told; and what is signed of a plan,
worked out from docs/signing.md alone, so that it forges as well as one can.

    with Hostile() as hostile:
        fleet.start_agent("a", url=hostile.url)
        hostile.connected()
        hostile.say(execute("r1", plan, "a"))
        hostile.ended("r1")
"""

import base64
import hashlib
import json
import queue
import socket
import struct
import threading
from datetime import datetime, timezone

PATIENCE = 60.0
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class Hostile:
    def __init__(self, epoch=1):
        self.epoch = epoch
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connection = None
        self.hellos = queue.Queue()
        self.entries = {}  # by rollout: the entries reported, in the order of their numbers
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()
        self.thread.join(PATIENCE)

    def hang_up(self):
        if self.connection:
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # ---- The protocol

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._talk(connection)
                except (OSError, EOFError):
                    pass

    def _talk(self, connection):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = connection.recv(1)
            if not piece:
                raise EOFError
            head += piece
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
        key = {name.lower(): value for name, value in fields.items()}[b"sec-websocket-key"]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: kitsune.v1\r\n\r\n"
        )
        self.connection = connection
        while True:
            opcode, text = self._frame(connection)
            if opcode == 9:
                self._send(connection, text, opcode=10)
            elif opcode == 8:
                return
            elif opcode == 1:
                self._take(connection, json.loads(text))

    @staticmethod
    def _exactly(connection, count):
        data = b""
        while len(data) < count:
            piece = connection.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _frame(self, connection):
        payload, opcode, final = b"", 0, False
        while not final:
            first, second = self._exactly(connection, 2)
            final = bool(first & 0x80)
            opcode = first & 15 or opcode
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self._exactly(connection, 2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._exactly(connection, 8))
            mask = self._exactly(connection, 4)
            piece = self._exactly(connection, length)
            payload += bytes(b ^ mask[i % 4] for i, b in enumerate(piece))
        return opcode, payload

    @staticmethod
    def _send(connection, payload, opcode=1):
        length = len(payload)
        head = bytes([0x80 | opcode])
        if length < 126:
            head += bytes([length])
        elif length < 65536:
            head += bytes([126]) + struct.pack(">H", length)
        else:
            head += bytes([127]) + struct.pack(">Q", length)
        connection.sendall(head + payload)

    def _take(self, connection, frame):
        def answer(document):
            self._send(connection, json.dumps({"v": 1, **document}).encode())

        if frame["type"] == "hello":
            answer({"type": "welcome", "orchestrator": "hostile", "epoch": self.epoch, "heartbeatMs": 60000})
            self.hellos.put(frame)
        elif frame["type"] == "heartbeat":
            answer({"type": "ack", "seq": 0})
        elif frame["type"] == "report":
            with self.news:
                known = self.entries.setdefault(frame["rollout"], [])
                known += [e for e in frame["entries"] if e["seq"] > len(known)]
                self.news.notify_all()
            answer({"type": "ack", "rollout": frame["rollout"], "seq": frame["entries"][-1]["seq"]})

    # ---- For tests

    def connected(self):
        """Waits for the agent's next hello, and gives it."""
        return self.hellos.get(timeout=PATIENCE)

    def say(self, document):
        text = document if isinstance(document, str) else json.dumps({"v": 1, "epoch": self.epoch, **document})
        self._send(self.connection, text.encode())

    def await_entry(self, rollout, kind):
        """The newest entry of that kind that was reported of the rollout."""

        def found():
            return [e for e in self.entries.get(rollout, []) if e["type"] == kind]

        with self.news:
            assert self.news.wait_for(found, PATIENCE), f"no {kind} of {rollout}: {self.entries}"
            return found()[-1]

    def ended(self, rollout):
        return self.await_entry(rollout, "ended")


# ---- What is signed, by the description in docs/signing.md


def sha256(data):
    return hashlib.sha256(data).digest()


def number(value, size=8):
    return value.to_bytes(size, "big", signed=size == 8)


def flag(value):
    return number(int(value), 1)


def real(value):
    return struct.pack(">d", value)


def text(value):
    data = value.encode()
    return number(len(data), 4) + data


def milliseconds(seconds):
    return number(round(seconds * 1000))


def time_ms(value):
    moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)


def size(value):
    if isinstance(value, str):
        return flag(True) + real(float(value.rstrip("%")))
    return flag(False) + real(float(value))


def limit(value):
    if value is None:
        return text("absent")
    return text("none") if value == -1 else text("size") + size(value)


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def hash_steps(plan):
    steps, given, secrets = plan["steps"], plan.get("vars"), plan.get("secrets")
    values = given is not None or secrets is not None or any("when" in step for step in steps)
    kind = " with secrets" if secrets else " with values" if values else ""
    data = text("kitsune plan steps 1" + kind)
    if values:
        data += flag(given is not None) + text(compact(given) if given is not None else "")
    if secrets:
        data += text(compact(secrets))
    data += number(len(steps), 4)
    for step in steps:
        retry = step["retry"]
        codes = retry.get("nonRetryableExitCodes", [])
        data += text(step["name"]) + text(step["type"]) + text(compact(step["params"]))
        data += flag(step["required"]) + flag(step["continueOnFailure"]) + milliseconds(step["timeoutSeconds"])
        data += number(retry.get("maximumAttempts", 0)) + milliseconds(retry["initialIntervalSeconds"])
        data += real(float(retry["backoffCoefficient"])) + milliseconds(retry["maximumIntervalSeconds"])
        data += number(len(codes), 4) + b"".join(number(code) for code in codes)
        data += text(step["onInterrupt"])
        if values:
            data += flag("when" in step) + text(step.get("when", ""))
    return sha256(data)


def hash_strategy(strategy):
    sizes = strategy.get("batchSize", [])
    sizes = sizes if isinstance(sizes, list) else [sizes]
    data = text("kitsune plan strategy 1") + text(strategy["type"])
    data += number(len(sizes), 4) + b"".join(size(value) for value in sizes)
    data += milliseconds(strategy.get("batchDelaySeconds", 0))
    data += limit(strategy.get("maxFailures")) + limit(strategy.get("maxUnreachable"))
    data += real(float(strategy.get("canaryPercentage", 0)))
    data += number(strategy.get("maxParallel", 0)) + number(strategy.get("maxTouched", 0))
    data += milliseconds(strategy["startTimeoutSeconds"]) + milliseconds(strategy["reconnectTimeoutSeconds"])
    return sha256(data)


def tree(servers):
    """RFC 9162, section 2.1.1, as it is written there: the root."""
    if len(servers) == 1:
        return sha256(b"\0" + servers[0].encode())
    left = 1 << (len(servers) - 1).bit_length() - 1
    return sha256(b"\1" + tree(servers[:left]) + tree(servers[left:]))


def proof(servers, index):
    """RFC 9162, section 2.1.3.1."""
    if len(servers) == 1:
        return []
    left = 1 << (len(servers) - 1).bit_length() - 1
    if index < left:
        return proof(servers[:left], index) + [tree(servers[left:])]
    return proof(servers[left:], index - left) + [tree(servers[:left])]


def statement(plan):
    signing = plan["signing"]
    data = text("kitsune plan statement 1") + flag("name" in plan) + text(plan.get("name", ""))
    data += hash_steps(plan) + hash_strategy(plan["rolloutStrategy"])
    data += text(plan["rollback"]["scope"]) + milliseconds(plan["rollback"].get("confirmTimeoutSeconds", 0))
    data += number(len(plan["servers"]), 4) + tree(plan["servers"])
    data += number(time_ms(signing["notBefore"])) + number(time_ms(signing["expires"]))
    return data + bytes.fromhex(signing["nonce"])


def execute(rollout, plan, server):
    """The frame that an honest orchestrator sends."""
    index = plan["servers"].index(server)
    seal = {
        "strategy": hash_strategy(plan["rolloutStrategy"]).hex(),
        "scope": plan["rollback"]["scope"],
        "servers": len(plan["servers"]),
        "root": tree(plan["servers"]).hex(),
        "index": index,
        "path": [step.hex() for step in proof(plan["servers"], index)],
        "signing": plan["signing"],
    }
    if "name" in plan:
        seal["plan"] = plan["name"]
    frame = {
        "type": "execute",
        "rollout": rollout,
        "rollbackOnFailure": plan["rollback"]["scope"] != "none",
        "signed": seal,
        "steps": plan["steps"],
    }
    frame.update({name: plan[name] for name in ("vars", "secrets") if name in plan})
    if "confirmTimeoutSeconds" in plan["rollback"]:
        frame["confirmMs"] = round(plan["rollback"]["confirmTimeoutSeconds"] * 1000)
    return frame
