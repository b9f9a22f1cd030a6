"""Artifacts with the real programs: stored, gone on with, listed, fetched, deleted, and by whom."""

import contextlib
import hashlib
import http.client
import os
import socket
import subprocess
import threading
import unittest

from fleet import DEADLINE, Fleet, echo_step, main, program
from secure import SecureFleet
from test_storage_faults import may_mount, tmpfs

MIB = 1024 * 1024
PIECE = 4 * MIB


def content(size, seed=1):
    """Bytes that do not repeat."""
    out = bytearray()
    block = hashlib.sha256(str(seed).encode()).digest()
    while len(out) < size:
        block = hashlib.sha256(block).digest()
        out += block * 32
    return bytes(out[:size])


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def sleep_plan(*servers, names=()):
    """One that does not end by itself, and names artifacts in passing."""
    return {"servers": list(servers), "vars": {"names": list(names) or ["none"]},
            "steps": [{"name": "wait", "type": "sleep", "params": {"duration": 600}}]}


class Relay:
    """Between a client and the orchestrator; when so many bytes have come from the one, something happens first."""

    def __init__(self, port, after, happen):
        self.port = port
        self.passed = 0
        self.after, self.happen = after, happen
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for end in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(DEADLINE)
        for end in (self.listener, *self.sockets):
            end.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.sockets.append(client)
                with contextlib.suppress(ConnectionError):
                    server = socket.create_connection(("127.0.0.1", self.port))
                    self.sockets.append(server)
                    for way in ((client, server, True), (server, client, False)):
                        self.threads.append(threading.Thread(target=self.carry, args=way))
                        self.threads[-1].start()
                    continue
                client.shutdown(socket.SHUT_RDWR)

    def carry(self, source, sink, counted):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.passed += len(data) if counted else 0
                if counted and self.happen and self.passed > self.after:
                    happen, self.happen = self.happen, None
                    happen()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Artifacts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = SecureFleet()
        cls.fleet.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.fleet.close()

    def file(self, name, data):
        path = self.fleet.path(name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def put(self, name, data, *args):
        done = self.fleet.kitsune("artifact", "put", self.file(name, data), *args, check=0)
        self.assertEqual(f"sha256:{digest_of(data)}\n", done.stdout)
        self.assertEqual("", done.stderr)
        return digest_of(data)

    def begin(self, data, size=None, status=200):
        return self.fleet.asks("POST", "/v1/artifacts", {
            "sha256": digest_of(data), "size": len(data) if size is None else size}, status=status)

    def piece(self, digest, offset, data, status=200):
        return self.fleet.asks("PUT", f"/v1/artifacts/{digest}/content?offset={offset}", body=data, status=status)

    def read(self, path, status=200, headers=None, token=None, identity=None):
        """The answer's head and its bytes."""
        fleet = self.fleet
        connection = http.client.HTTPSConnection(
            "localhost", fleet.port, timeout=DEADLINE, context=fleet.tls(identity))
        headers = dict(headers or {})
        if identity is None:
            headers["Authorization"] = f"Bearer {token or fleet.admin}"
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            self.assertEqual(status, answer.status, body[:300])
            return answer.headers, body
        finally:
            connection.close()

    # ---- kitsune artifact

    def test_a_file_is_put_listed_got_and_deleted(self):
        data = content(9 * MIB + 7)
        digest = self.put("app.tar", data, "--name", "app 1.4.2")
        self.put("app.tar", data)  # again: nothing is sent
        listed = self.fleet.json("artifact", "list")
        mine = [a for a in listed["artifacts"] if a["sha256"] == digest]
        self.assertEqual([(len(data), True, "app 1.4.2", "admin")],
                         [(a["size"], a["whole"], a["name"], a["by"]) for a in mine])
        self.assertGreaterEqual(listed["bytes"], len(data))
        table = self.fleet.kitsune("artifact", "list", check=0).stdout
        self.assertIn(f"sha256:{digest}", table)
        self.assertIn("9.0 MiB", table)
        back = self.fleet.path("back.tar")
        self.fleet.kitsune("artifact", "get", digest[:12], back, check=0)
        with open(back, "rb") as file:
            self.assertEqual(data, file.read())
        self.assertIn("exists already", self.fleet.kitsune("artifact", "get", digest, back, check=1).stderr)
        self.fleet.kitsune("artifact", "get", "sha256:" + digest, back, "--force", check=0)
        said = self.fleet.kitsune("artifact", "delete", digest[:12], check=0).stdout
        self.assertIn(f"sha256:{digest} is deleted: app 1.4.2", said)
        self.assertIn("there is no artifact", self.fleet.kitsune("artifact", "delete", digest, check=1).stderr)
        self.assertIn("there is no artifact", self.fleet.kitsune("artifact", "get", digest, back, check=1).stderr)
        for action in ("artifact.put", "artifact.content", "artifact.delete"):
            self.assertTrue(self.fleet.audited(action, who="admin", target=digest), action)

    def test_a_put_goes_on_when_the_orchestrator_is_killed_in_the_middle_of_it(self):
        data = content(24 * MIB, seed=2)
        digest = digest_of(data)
        part = os.path.join(self.fleet.data_dir, "artifacts", digest + ".part")
        reached = []

        def kill():
            self.fleet.orchestrator.kill()
            reached.append(os.path.getsize(part))
            self.fleet.start_orchestrator()

        with Relay(self.fleet.port, 12 * MIB, kill) as relay:
            done = self.fleet.kitsune("artifact", "put", self.file("large.tar", data), check=0, url=relay.url)
        self.assertEqual(f"sha256:{digest}\n", done.stdout)
        self.assertTrue(4 * MIB < reached[0] < 12 * MIB, reached)
        # What was there was not sent again, but for a piece.
        self.assertLess(relay.passed, len(data) + 2 * PIECE)
        self.assertEqual(digest, digest_of(self.read(f"/v1/artifacts/{digest}/content")[1]))
        self.assertEqual([digest], [a["sha256"] for a in self.fleet.json("artifact", "list")["artifacts"]
                                    if a["sha256"] == digest and a["whole"]])

    def test_a_put_that_was_ended_goes_on_where_it_was(self):
        data = content(3 * MIB, seed=3)
        digest = digest_of(data)
        self.begin(data)
        self.piece(digest, 0, data[:2 * MIB])
        self.fleet.orchestrator.kill()
        self.fleet.start_orchestrator()
        self.assertEqual((2 * MIB, False), (self.begin(data)["offset"], self.begin(data)["whole"]))
        self.assertIn("2.0 MiB of 3.0 MiB", self.fleet.kitsune("artifact", "list", check=0).stdout)
        self.put("ended.tar", data)

    def test_a_plain_file_is_wanted_and_an_orchestrator(self):
        self.assertIn("no regular file", self.fleet.kitsune("artifact", "put", self.fleet.dir, check=1).stderr)
        self.assertIn("No such file", self.fleet.kitsune("artifact", "put", self.fleet.path("none"), check=1).stderr)
        away = self.fleet.kitsune("artifact", "put", self.file("x", b"x"), url="https://localhost:1", check=5)
        self.assertEqual("", away.stdout)

    def test_what_is_damaged_in_the_store_is_not_handed_on(self):
        data = content(MIB, seed=4)
        digest = self.put("damaged.tar", data)
        with open(os.path.join(self.fleet.data_dir, "artifacts", digest), "r+b") as file:
            file.seek(1000)
            file.write(b"????")
        self.fleet.orchestrator.stop()
        checked = subprocess.run(
            [program("kitsune-orchestrator"), "--check", "--data-dir", self.fleet.data_dir],
            capture_output=True, text=True, timeout=DEADLINE, check=False)
        self.fleet.start_orchestrator()
        self.assertEqual(1, checked.returncode, checked)
        self.assertIn(f"/artifacts/{digest}: is damaged", checked.stdout)
        self.assertIn(": 1 finding\n", checked.stdout)
        out = self.fleet.path("damaged.out")
        self.assertIn("damaged", self.fleet.kitsune("artifact", "get", digest, out, check=1).stderr)
        self.assertFalse(os.path.exists(out))
        self.assertEqual([], [name for name in os.listdir(self.fleet.dir) if name.startswith("damaged.out")])
        self.fleet.kitsune("artifact", "delete", digest, check=0)
        self.put("damaged.tar", data)

    # ---- The API

    def test_pieces_come_in_order_and_what_is_wrong_is_told(self):
        data = content(100000, seed=5)
        digest = digest_of(data)
        self.assertEqual(404, self.fleet.ask("PUT", f"/v1/artifacts/{digest}/content?offset=0", body=data,
                                             token=self.fleet.admin).status)
        self.assertEqual(0, self.begin(data)["offset"])
        self.piece(digest, 0, data[:60000])
        self.assertEqual(60000, self.piece(digest, 0, data[:60000], status=409)["offset"])
        self.assertEqual(60000, self.begin(data, size=5, status=409)["offset"])
        self.piece(digest, 60000, data, status=400)
        self.assertIn("still being uploaded", self.fleet.asks("GET", f"/v1/artifacts/{digest}/content", status=404)["detail"])
        wrong = self.piece(digest, 60000, b"x" * 40000, status=422)
        self.assertIn("what came is not", wrong["detail"])
        self.assertEqual(404, self.fleet.ask("GET", f"/v1/artifacts/{digest}", token=self.fleet.admin).status)
        self.assertTrue(self.fleet.audited("artifact.content", "corrupt", target=digest))
        with self.fleet.connect() as raw:  # what is too large is not even waited for
            raw.sendall(f"PUT /v1/artifacts/{digest}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                        f"{self.fleet.admin}\r\nContent-Length: {PIECE + 1}\r\n\r\n".encode())
            self.assertIn(b" 413 ", raw.recv(4096))

    def test_two_who_put_the_same_at_once_both_succeed(self):
        data = content(12 * MIB, seed=6)
        path = self.file("both.tar", data)
        done = [None, None]

        def put(i):
            done[i] = self.fleet.kitsune("artifact", "put", path, check=0).stdout

        threads = [threading.Thread(target=put, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([f"sha256:{digest_of(data)}\n"] * 2, done)
        _, got = self.read(f"/v1/artifacts/{digest_of(data)}/content")
        self.assertEqual(digest_of(data), digest_of(got))

    def test_any_part_of_it_can_be_read(self):
        data = content(700001, seed=7)
        path = f"/v1/artifacts/{self.put('part.tar', data)}/content"
        head, got = self.read(path)
        self.assertEqual((str(len(data)), "bytes", data), (head["Content-Length"], head["Accept-Ranges"], got))
        for asked, first, last in (("0-", 0, 700000), ("5-9", 5, 9), ("131072-", 131072, 700000),
                                   ("700000-", 700000, 700000), ("10-9999999", 10, 700000)):
            head, got = self.read(path, 206, {"Range": f"bytes={asked}"})
            self.assertEqual(data[first:last + 1], got, asked)
            self.assertEqual(f"bytes {first}-{last}/{len(data)}", head["Content-Range"])
            self.assertEqual(str(last + 1 - first), head["Content-Length"])
        head, _ = self.read(path, 416, {"Range": "bytes=700001-"})
        self.assertEqual("bytes */700001", head["Content-Range"])
        for other in ("bytes=9-5", "bytes=-5", "bytes=0-1,3-4", "lines=1-2", "bytes=x-", "bytes=99999999999999999999-"):
            self.assertEqual(data, self.read(path, 200, {"Range": other})[1], other)
        asked = self.fleet.ask("HEAD", path, token=self.fleet.admin)
        self.assertEqual((200, str(len(data)), ""), (asked.status, asked.headers["Content-Length"], asked.body))

    def test_the_room_is_bounded_and_what_does_not_fit_is_refused_before_it_is_sent(self):
        small = SecureFleet(orchestrator_options=["--artifact-max-size", "1M"])
        with small:
            one, large = small.path("one"), small.path("large")
            for path, size in ((one, 600 * 1024), (large, MIB + 1)):
                with open(path, "wb") as file:
                    file.write(content(size, seed=8))
            self.assertIn("--artifact-max-size", small.kitsune("artifact", "put", large, check=1).stderr)
            name = small.kitsune("artifact", "put", one, check=0).stdout.strip()
            with open(one, "ab") as file:
                file.write(b"other")
            self.assertIn("kitsune artifact delete", small.kitsune("artifact", "put", one, check=1).stderr)
            refused = small.ask("POST", "/v1/artifacts", {"sha256": "0" * 64, "size": 600000}, token=small.admin)
            self.assertEqual(507, refused.status)
            refused = small.ask("POST", "/v1/artifacts", {"sha256": "0" * 64, "size": MIB + 1}, token=small.admin)
            self.assertEqual(413, refused.status)
            metrics = small.ask("GET", "/metrics", token=small.admin).body
            self.assertIn(f"\nkitsune_artifact_bytes {600 * 1024}\n", metrics)
            self.assertIn(f"\nkitsune_artifact_max_bytes {MIB}\n", metrics)
            small.kitsune("artifact", "delete", name, check=0)
            small.kitsune("artifact", "put", one, check=0)

    # ---- Who may have it, and who needs it

    def test_what_a_rollout_needs_cannot_be_deleted_until_it_has_ended(self):
        data = content(1000, seed=9)
        digest = self.put("needed.tar", data)
        rollout = self.fleet.submit(sleep_plan("far-1", names=["sha256:" + digest]))
        said = self.fleet.kitsune("artifact", "delete", digest, check=1).stderr
        self.assertIn(rollout, said)
        self.assertTrue(self.fleet.audited("artifact.delete", "conflict", target=digest))
        self.fleet.orchestrator.kill()
        self.fleet.start_orchestrator()
        self.fleet.kitsune("artifact", "delete", digest, check=1)
        self.fleet.kitsune("cancel", rollout, check=0)
        self.fleet.kitsune("artifact", "delete", digest, check=0)

    def test_an_agent_has_what_a_rollout_of_its_server_names_and_nothing_else(self):
        data = content(300000, seed=10)
        digest = self.put("mine.tar", data)
        other = self.put("other.tar", content(1000, seed=11))
        mine = self.fleet.submit(sleep_plan("web-1", "web-2", names=[f"sha256:{digest}", "sha256:" + "0" * 64]))
        theirs = self.fleet.submit(sleep_plan("db-1", names=["sha256:" + other]))
        agent = self.fleet.enrol("web-1")

        def fetch(what, rollout, status, headers=None):
            return self.read(f"/v1/agent/artifacts/{what}?rollout={rollout}", status, headers, identity=agent)

        head, got = fetch(digest, mine, 200)
        self.assertEqual((data, str(len(data))), (got, head["Content-Length"]))
        head, got = fetch(digest, mine, 206, {"Range": "bytes=299990-"})
        self.assertEqual((data[299990:], "bytes 299990-299999/300000"), (got, head["Content-Range"]))
        fetch(digest, mine, 416, {"Range": "bytes=300000-"})
        # Not what its rollout does not name, nor what another server's does, nor what is not there.
        told = {fetch(*wanted, 404)[1] for wanted in ((other, mine), ("1" * 64, mine))}
        self.assertEqual(2, len(told))
        for what, rollout in ((other, theirs), (digest, theirs), (digest, "no-such"), ("0" * 64, mine)):
            fetch(what, rollout, 404)
        answer = self.fleet.ask("GET", f"/v1/agent/artifacts/{digest}", identity=agent)
        self.assertEqual(400, answer.status)
        # Neither do people's routes let it in, nor its own one people.
        for method, path in (("GET", f"/v1/artifacts/{digest}/content"), ("GET", "/v1/artifacts"),
                             ("DELETE", f"/v1/artifacts/{digest}"), ("PUT", f"/v1/artifacts/{digest}/content")):
            self.assertEqual(403, self.fleet.ask(method, path, identity=agent).status, path)
        self.assertEqual(403, self.fleet.ask("GET", f"/v1/agent/artifacts/{digest}?rollout={mine}",
                                             token=self.fleet.admin).status)
        # It may still be at work on it when the others are done, and the orchestrator was started anew.
        self.fleet.kitsune("cancel", mine, check=0)
        self.fleet.orchestrator.kill()
        self.fleet.start_orchestrator()
        self.assertEqual(data, fetch(digest, mine, 200)[1])
        self.fleet.asks("POST", "/v1/agents/web-1/revoke", {})
        self.assertEqual(401, self.fleet.ask("GET", f"/v1/agent/artifacts/{digest}?rollout={mine}",
                                             identity=agent).status)
        self.fleet.kitsune("cancel", theirs, check=0)

    def test_a_viewer_reads_and_a_confined_operator_stores_and_deletes_nothing(self):
        data = content(1000, seed=12)
        digest = self.put("roles.tar", data)
        viewer = self.fleet.token("vic", "viewer")
        confined = self.fleet.token("conny", "operator", servers=["web-*"])
        self.assertEqual(data, self.read(f"/v1/artifacts/{digest}/content", token=viewer)[1])
        asked = {"sha256": digest_of(b"more"), "size": 4}
        self.assertEqual(403, self.fleet.ask("POST", "/v1/artifacts", asked, token=viewer).status)
        self.assertEqual(403, self.fleet.ask("DELETE", f"/v1/artifacts/{digest}", token=viewer).status)
        self.assertEqual(200, self.fleet.ask("POST", "/v1/artifacts", asked, token=confined).status)
        self.assertEqual(200, self.fleet.ask("PUT", f"/v1/artifacts/{asked['sha256']}/content", body=b"more",
                                             token=confined).status)
        self.assertEqual(403, self.fleet.ask("DELETE", f"/v1/artifacts/{digest}", token=confined).status)

    def test_who_loses_his_access_in_the_middle_of_it_gets_no_more(self):
        size = 32 * MIB  # far more than is on its way at once
        digest = self.put("revoked.tar", content(size, seed=14))
        token = self.fleet.token("rita", "viewer")
        with self.fleet.connect() as raw:
            raw.sendall(f"GET /v1/artifacts/{digest}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                        f"{token}\r\n\r\n".encode())
            got = len(raw.recv(4096))
            self.fleet.asks("POST", "/v1/tokens/rita/revoke", {})
            with contextlib.suppress(ConnectionError):
                while piece := raw.recv(MIB):
                    got += len(piece)
        self.assertLess(got, size)

    def test_who_reads_slowly_or_goes_away_holds_up_nobody(self):
        data = content(12 * MIB, seed=13)
        digest = self.put("slow.tar", data)
        request = (f"GET /v1/artifacts/{digest}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                   f"{self.fleet.admin}\r\n\r\n").encode()
        readers = [self.fleet.connect() for _ in range(6)]
        for raw in readers:
            raw.sendall(request)
            self.assertIn(b" 200 ", raw.recv(4096))
        for raw in readers[:3]:
            raw.close()
        self.assertEqual(digest, digest_of(self.read(f"/v1/artifacts/{digest}/content")[1]))
        self.fleet.kitsune("artifact", "delete", digest, check=0)  # they read on
        got = readers[3].recv(65536)
        while got:
            got = readers[3].recv(65536) if len(got) > 0 and readers[3].pending() else b""
        for raw in readers[3:]:
            raw.close()
        self.assertEqual(200, self.fleet.ask("GET", "/healthz").status)


class Plans(unittest.TestCase):
    """file_write stands for every step type with a parameter that names an artifact."""

    def test_a_plan_is_refused_while_what_it_names_is_not_there(self):
        with SecureFleet() as fleet:
            if "source" not in fleet.json("handlers", "file_write")["params"]["properties"]:
                self.skipTest("no step type takes an artifact")
            data = content(1000, seed=20)
            name = "sha256:" + digest_of(data)
            write = {"name": "write", "type": "file_write", "params": {"path": "/tmp/x", "source": "${vars.file}"}}
            plan = {"servers": ["far-1"], "vars": {"file": name}, "steps": [echo_step(), write]}
            refused = fleet.kitsune("submit", fleet.plan(plan), "--id", "r1", check=1)
            self.assertIn(f"steps[1].params.source: there is no artifact {name}; kitsune artifact put FILE stores it",
                          refused.stderr)
            fault = fleet.asks("POST", "/v1/plans/validate", plan, status=422)["errors"]
            self.assertEqual(["steps[1].params.source"], [each["path"] for each in fault])
            fleet.asks("POST", "/v1/artifacts", {"sha256": digest_of(data), "size": len(data)})
            fleet.asks("PUT", f"/v1/artifacts/{digest_of(data)}/content", body=data[:400])
            self.assertIn("still being uploaded: 400 of its 1000 bytes",
                          fleet.kitsune("submit", fleet.plan(plan), "--id", "r1", check=1).stderr)
            self.assertEqual(404, fleet.ask("GET", "/v1/rollouts/r1", token=fleet.admin).status)
            path = fleet.path("file")
            with open(path, "wb") as file:
                file.write(data)
            fleet.kitsune("artifact", "put", path, check=0)
            fleet.asks("POST", "/v1/plans/validate", plan, status=200)
            fleet.submit(plan, "--id", "r1")
            fleet.kitsune("artifact", "delete", name, check=1)
            fleet.kitsune("cancel", "r1", check=0)
            fleet.kitsune("artifact", "delete", name, check=0)
            # What was taken on is known without it; what would begin anew is not begun.
            self.assertEqual("r1", fleet.submit(plan, "--id", "r1"))
            self.assertIn("there is no artifact", fleet.kitsune("retry", "r1", check=1).stderr)
            fleet.kitsune("artifact", "put", path, check=0)
            fleet.kitsune("retry", "r1", check=0)


@unittest.skipUnless(may_mount(), "needs root, and namespaces")
class FullDisk(unittest.TestCase):
    def test_what_the_disk_has_no_room_for_is_refused_and_the_journal_goes_on(self):
        fleet = Fleet()
        try:
            fleet.start_orchestrator(prefix=tmpfs(fleet.path("orchestrator"), "size=72m"))
            small, large = fleet.path("small"), fleet.path("large")
            for path, size in ((small, MIB), (large, 10 * MIB)):
                with open(path, "wb") as file:
                    file.write(content(size, seed=30))
            name = fleet.kitsune("artifact", "put", small, check=0).stdout.strip()
            self.assertIn("67108864 stay free", fleet.kitsune("artifact", "put", large, check=1).stderr)
            status, told = fleet.post("/v1/artifacts", {"sha256": "0" * 64, "size": 10 * MIB})
            self.assertEqual((507, "No space left"), (status, told["title"]))
            self.assertEqual([name], ["sha256:" + a["sha256"] for a in fleet.json("artifact", "list")["artifacts"]])
            fleet.submit({"servers": ["far-1"], "steps": [echo_step()]})
        finally:
            fleet.close(check=False)


class Unchanged(unittest.TestCase):
    def test_a_plan_that_names_an_artifact_where_none_is_wanted_runs(self):
        with SecureFleet(agents=["web-1"]) as fleet:
            plan = {"servers": ["web-1"], "steps": [echo_step(message="sha256:" + "0" * 64)]}
            self.assertEqual("succeeded", fleet.run(plan)["state"])


if __name__ == "__main__":
    main()
