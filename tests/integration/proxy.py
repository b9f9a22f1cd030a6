"""A hostile network on a seed: a proxy between agents and their orchestrator.

    with Proxy(seed, port) as proxy:
        fleet.start_agent("a", url=proxy.url("a"))

Always it delays, and splits what passes into odd pieces. The first connections of each name also suffer: one is cut
in the middle of a frame or of the handshake, another stalls for longer than the keepalive and delivers late, loses
one direction, or loses the answers to what went through. On these, messages are also sent twice, out of order,
or again from an earlier connection. After that many connections the network is merely slow, so that all ends.

What happens to a connection follows from the seed, the name and the connection's number alone; when it happens
follows from what passes.
"""

import asyncio
import json
import random
import threading

STALL = 0.8  # seconds; the fleet's keepalive is shorter
FAULTS = ("cut", "cut in the handshake", "stall", "lost direction", "lost answers", "none")
OPCODE_CONTINUATION, OPCODE_TEXT = 0, 1
# What is sent again on a later connection: any of these can be met twice on a real network's restart.
REPLAYED = ("report", "output", "execute", "rollback", "cancel", "ack")


class Cut(Exception):
    """The connection ends here."""


def unmask(payload, mask):
    return bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


async def read_frame(reader):
    """One WebSocket frame: its bytes as they came, opcode, whether it ends a message, and its payload."""
    raw = await reader.readexactly(2)
    length = raw[1] & 0x7F
    if length >= 126:
        extended = await reader.readexactly(2 if length == 126 else 8)
        raw += extended
        length = int.from_bytes(extended, "big")
    mask = await reader.readexactly(4) if raw[1] & 0x80 else b""
    payload = await reader.readexactly(length)
    return raw + mask + payload, raw[0] & 0x0F, bool(raw[0] & 0x80), unmask(payload, mask) if mask else payload


class Message:
    def __init__(self, raw, text):
        self.raw = raw
        document = json.loads(text) if text else {}
        self.type = document.get("type")
        # Acknowledgements of heartbeats are of no rollout.
        self.replayable = self.type in REPLAYED and "rollout" in document


class Direction:
    """One way of a connection."""

    def __init__(self, connection, reader, writer, name):
        self.connection = connection
        self.reader = reader
        self.writer = writer
        self.name = name  # "up": from the agent
        self.rng = connection.rng_of(name)
        self.messages = 0
        self.held = None  # a message that waits to be overtaken

    async def deliver(self, data):
        """In odd pieces, some of them late."""
        while data:
            piece = data if self.rng.random() < 0.5 else data[: self.rng.choice((1, 2, 3, 7, 61, 1021, 65521))]
            self.writer.write(piece)
            await self.writer.drain()
            data = data[len(piece):]
            if self.rng.random() < 0.3:
                await asyncio.sleep(self.rng.random() * 0.01)

    async def head(self):
        data = await self.reader.readuntil(b"\r\n\r\n")
        if self.connection.due("cut in the handshake", self):
            await self.deliver(data[: self.rng.randrange(len(data))])
            raise Cut
        await self.deliver(data)

    async def message(self):
        """The next message; control frames between its fragments go ahead of it."""
        raw, text = b"", b""
        while True:
            frame, opcode, final, payload = await read_frame(self.reader)
            if opcode not in (OPCODE_CONTINUATION, OPCODE_TEXT):
                await self.deliver(frame)
                continue
            raw, text = raw + frame, text + payload
            if final:
                return Message(raw, text)

    async def suffer(self, message):
        """What the connection's fault makes of this message; False: it is lost."""
        connection = self.connection
        if connection.due("cut", self):
            await self.deliver(message.raw[: self.rng.randrange(len(message.raw))])
            raise Cut
        if connection.due("stall", self):
            await asyncio.sleep(STALL)
        if connection.due("lost direction", self):
            connection.lose(self.name)
        if message.type == "report" and connection.due("lost answers", self):
            connection.lose("down")
        return connection.lost != self.name

    def order(self, message):
        """The messages to send now. One that is held is overtaken by the next, at the latest by a heartbeat."""
        connection = self.connection
        held, self.held = self.held, None
        out = [message] if held is None else [message, held]
        if not connection.faulty or not connection.welcomed or not message.replayable:
            return out
        if held is None and self.rng.random() < 0.15:
            connection.proxy.count("overtaken")
            self.held = message
            return []
        if self.rng.random() < 0.3:
            connection.proxy.count("twice")
            out.append(message)
        if self.rng.random() < 0.5:
            out.extend(connection.earlier(self))
        return out

    async def run(self):
        await self.head()
        while True:
            message = await self.message()
            self.messages += 1
            kept = await self.suffer(message)
            self.connection.remember(self, message)
            if kept:
                for each in self.order(message):
                    await self.deliver(each.raw)
            if message.type == "welcome":
                self.connection.welcomed = True


class Connection:
    def __init__(self, proxy, name, number):
        self.proxy = proxy
        self.name = name
        self.number = number
        self.faulty = number < proxy.faulty
        rng = self.rng_of("fault")
        self.fault = rng.choice(FAULTS) if self.faulty else "none"
        self.way = "up" if self.fault == "lost answers" else rng.choice(("up", "down"))
        self.after = rng.randrange(1, 8)  # messages that way before the fault
        self.lost = None
        self.welcomed = False
        self.ended = asyncio.Event()

    def rng_of(self, use):
        return random.Random(f"{self.proxy.seed}/{self.name}/{self.number}/{use}")

    def due(self, fault, direction):
        if self.fault != fault or self.way != direction.name:
            return False
        if direction.messages < self.after and fault in ("cut", "stall", "lost direction"):
            return False
        self.fault = "none"
        self.proxy.count(fault)
        return True

    def lose(self, way):
        """From now on that way delivers nothing, and soon the connection ends."""
        self.lost = way
        asyncio.get_running_loop().call_later(self.rng_of("lose").random() * STALL, self.ended.set)

    def remember(self, direction, message):
        if message.replayable:
            self.proxy.seen.setdefault((self.name, direction.name), []).append((self.number, message))

    def earlier(self, direction):
        old = [m for n, m in self.proxy.seen.get((self.name, direction.name), ()) if n < self.number]
        picked = direction.rng.sample(old, min(len(old), 3))
        self.proxy.count("replay", len(picked))
        return picked

    async def run(self, near, far):
        up = Direction(self, near[0], far[1], "up")
        down = Direction(self, far[0], near[1], "down")
        tasks = [asyncio.create_task(x) for x in (up.run(), down.run(), self.ended.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # What the one that ended had sent still arrives; a cut takes all of it away.
            if not self.ended.is_set() and not any(isinstance(t.exception(), Cut) for t in done):
                await asyncio.wait(tasks[:2], timeout=2 * STALL)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            reset = self.rng_of("end").random() < 0.5
            for _, writer in (near, far):
                if reset:
                    writer.transport.abort()
                else:
                    writer.close()


class Proxy:
    def __init__(self, seed, port, faulty=4):
        self.seed = seed
        self.port = port
        self.faulty = faulty  # connections of each name that suffer
        self.seen = {}  # (name, direction): [(connection, message)]
        self.counts = {}
        self.numbers = {}
        self.servers = []
        self.tasks = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()

    def count(self, what, by=1):
        self.counts[what] = self.counts.get(what, 0) + by

    def url(self, name, serve=None):
        """A way to the orchestrator; `serve`: what handles its connections, else one that speaks WebSocket."""
        handler = serve or self._serve
        future = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(lambda r, w: handler(name, r, w), "127.0.0.1", 0), self.loop
        )
        server = future.result(30)
        self.servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _close(self):
        for server in self.servers:
            server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, name, reader, writer):
        self.tasks.add(asyncio.current_task())
        number = self.numbers.get(name, 0)
        self.numbers[name] = number + 1
        try:
            far = await asyncio.open_connection("127.0.0.1", self.port)
            await Connection(self, name, number).run((reader, writer), far)
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self.tasks.discard(asyncio.current_task())

    async def serve_request(self, name, reader, writer):
        """Takes one HTTP request of each connection through; the answer to the first one is lost."""
        self.tasks.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = await reader.readuntil(b"\r\n\r\n")
        length = [int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")]
        far_writer.write(head + await reader.readexactly(length[0] if length else 0))
        answer = await far_reader.readuntil(b"\r\n\r\n")
        self.count(name)
        if self.counts[name] > 1:
            writer.write(answer)
            while data := await far_reader.read(4096):
                writer.write(data)
            await writer.drain()
            writer.close()
        else:
            writer.transport.abort()
        far_writer.transport.abort()
        self.tasks.discard(asyncio.current_task())
