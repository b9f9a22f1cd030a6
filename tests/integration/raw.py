"""Peers that keep to no rule: plain sockets to the orchestrator, and a WebSocket that sends what it is told."""

import json
import os
import re
import socket
import struct
import time

PATIENCE = 30.0  # seconds for what the orchestrator must do


def connect(port, receive_buffer=None):
    """A connection; with a small receive buffer what is not read soon waits at the other end."""
    raw = socket.socket()
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.settimeout(PATIENCE)
    raw.connect(("127.0.0.1", port))
    return raw


def read_to_end(raw):
    """What comes until the other end closes; it must within the patience."""
    data = b""
    try:
        while piece := raw.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


UPGRADE = (
    b"GET /v1/agent HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: kitsune.v1\r\n\r\n"
)


class WebSocket:
    def __init__(self, port, receive_buffer=None, raw=None):
        """`raw`: a connection that is made already, such as one over TLS."""
        self.raw = raw or connect(port, receive_buffer)
        self.raw.sendall(UPGRADE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.raw.recv(1)
            assert piece, f"the connection ended after {head!r}"
            head += piece
        assert b" 101 " in head, head

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.raw.close()

    def frame(self, payload, opcode=1, final=True, announced=None, masked=True):
        """One frame; `announced`: a length that is not the payload's."""
        length = len(payload) if announced is None else announced
        bit = 0x80 if masked else 0
        head = bytes([(0x80 if final else 0) | opcode])
        if length < 126:
            head += bytes([bit | length])
        elif length < 65536:
            head += bytes([bit | 126]) + struct.pack(">H", length)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", length)
        # A mask of zeros changes nothing.
        self.raw.sendall(head + (bytes(4) if masked else b"") + payload)

    def read(self):
        """The next message: a document, or of a closing frame its code and reason; None at the end."""
        head = self._exactly(2)
        if head is None:
            return None
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack(">H", self._exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._exactly(8))[0]
        payload = self._exactly(length)
        if head[0] & 0x0F == 8:
            return struct.unpack(">H", payload[:2])[0], payload[2:].decode()
        return json.loads(payload)

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            try:
                piece = self.raw.recv(length - len(data))
            except ConnectionError:
                piece = b""
            if not piece:
                return None
            data += piece
        return data

    def say(self, document):
        self.frame(json.dumps(document).encode())

    def hello(self, server, instance="raw"):
        self.say({"v": 1, "type": "hello", "id": server, "instance": instance, "version": "0",
                  "handlers": [], "executions": []})

    def heartbeat(self):
        self.say({"v": 1, "type": "heartbeat"})


def memory(pid, what="VmRSS"):
    """In MiB; VmHWM: the most so far."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(rf"{what}:\s+(\d+)", file.read()).group(1)) / 1024


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def busy(pid, seconds=1.0):
    """The share of a time in which the process's first thread ran or waited for a processor: a loop that spins has
    all of it, however busy the machine is."""

    def runnable():
        with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as file:
            ran, waited, _ = map(int, file.read().split())
        return (ran + waited) / 1e9

    began, before = time.monotonic(), runnable()
    time.sleep(seconds)
    return (runnable() - before) / (time.monotonic() - began)


# AddressSanitizer keeps freed memory for a while, which hides what is really held.
HONEST_MEMORY = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"}
