"""A fleet over TLS: an orchestrator that was initialised, and everything that one needs to be let in.

    with SecureFleet(agents=["web-1"]) as fleet:
        fleet.run({...})                                    # the CLI, as the admin
        answer = fleet.ask("GET", "/v1/servers", token=fleet.token("eve", "viewer"))

As Fleet, but that the real agents are told of the CA and get a ticket each, and the CLI of the CA and of the
first admin's token. Where a test is an agent itself, `enrol` gives it an identity, and `websocket` a connection.
"""

import http.client
import json
import os
import socket
import ssl
import subprocess
import time

from fleet import DEADLINE, Fleet, program
from raw import WebSocket


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]}"


class Identity:
    """A key and its certificate, in one file."""

    def __init__(self, server, path):
        self.server = server
        self.path = path


def until(condition, what):
    """For what has no event to wait for, such as the passing of time in another process."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"it did not come to pass: {what}")
        time.sleep(0.05)


def new_key(path):
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path], check=True)


def new_csr(key, name="/CN=whatever"):
    """A request for a certificate; what it is called says nothing."""
    made = subprocess.run(["openssl", "req", "-new", "-key", key, "-subj", name], check=True, capture_output=True)
    return made.stdout.decode()


def init(directory, *args, check=0):
    """kitsune-orchestrator init; what it says, by name."""
    done = subprocess.run(
        [program("kitsune-orchestrator"), "init", "--data-dir", directory, *args],
        capture_output=True, text=True, timeout=DEADLINE,
    )
    assert done.returncode == check, f"init: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line and line[0] != " ")
    return {**said, "stderr": done.stderr, "stdout": done.stdout}


class SecureFleet(Fleet):
    def __init__(self, agents=(), orchestrator_options=(), **kwargs):
        super().__init__(agents, **kwargs)
        self.options = list(orchestrator_options)
        self.data_dir = self.path("orchestrator")
        said = init(self.data_dir, "--host", "localhost")
        self.fingerprint = said["ca-fingerprint"]
        self.admin = said["admin-token"]
        self.ca = self.path("ca.crt")
        with open(os.path.join(self.data_dir, "pki", "ca.crt"), "rb") as ca, open(self.ca, "wb") as copy:
            copy.write(ca.read())
        self.token_file = self.secret_file("admin.token", self.admin)
        self.socket = self.path("api.sock")

    def orchestrator_args(self):
        return ["--socket", self.socket, *self.options]

    def secret_file(self, name, secret):
        path = self.path(name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(secret + "\n")
        return path

    def agent_identity(self, agent):
        ca = ["--ca", self.ca]
        if os.path.exists(self.path("agent-" + agent, "identity", agent + ".pem")):
            return ca
        ticket = self.ticket(agent)
        return [*ca, "--enrol-token-file", self.secret_file(f"{agent}.ticket", ticket)]

    def cli_env(self):
        return {"KITSUNE_CA": self.ca, "KITSUNE_TOKEN_FILE": self.token_file, "HOME": self.dir}

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    # ---- As a client of the API

    def tls(self, identity=None):
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if identity:
            context.load_cert_chain(identity.path if isinstance(identity, Identity) else identity)
        return context

    def ask(self, method, path, document=None, token=None, identity=None, headers=None, body=None):
        """One request on a connection of its own. `token`: None shows none."""
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=DEADLINE, context=self.tls(identity)
        )
        return self._ask(connection, method, path, document, token, headers, body)

    def ask_locally(self, method, path, document=None, token=None, headers=None):
        """Over the Unix socket."""
        connection = http.client.HTTPConnection("localhost", timeout=DEADLINE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(DEADLINE)
        connection.sock.connect(self.socket)
        return self._ask(connection, method, path, document, token, headers, None)

    @staticmethod
    def _ask(connection, method, path, document, token, headers, body):
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is None:
            body = b"" if document is None else json.dumps(document).encode()
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
        finally:
            connection.close()

    def asks(self, method, path, document=None, status=None, **how):
        """As the admin; what was answered, which must be as expected."""
        answer = self.ask(method, path, document, token=self.admin, **how)
        assert answer.status in ((200, 201, 202) if status is None else (status,)), answer
        return answer.json

    def token(self, name, role, **more):
        """A new token's secret; `servers`, `steps`, `ttlSeconds`."""
        return self.asks("POST", "/v1/tokens", {"name": name, "role": role, **more})["token"]

    def ticket(self, server, **more):
        return self.asks("POST", f"/v1/agents/{server}/ticket", more)["token"]

    def audit(self, after=0):
        return self.asks("GET", f"/v1/audit?after={after}&limit=999")["entries"]

    def audited(self, action, result="ok", **what):
        """Entries of that action and result, and with what else is wanted. Nobody waits for a refusal to be on the
        disk, so it may come a moment later than its answer."""
        end = time.monotonic() + DEADLINE
        while True:
            found = [e for e in self.audit() if e["action"] == action and e["result"] == result
                     and all(e.get(k) == v for k, v in what.items())]
            if found or time.monotonic() > end:
                return found
            time.sleep(0.02)

    # ---- As an agent

    def identity_of(self, server, key, certificate):
        path = self.path(f"identity-{len(os.listdir(self.dir))}.pem")
        with open(key, encoding="ascii") as file:
            text = file.read()
        with open(path, "w", encoding="ascii") as file:
            file.write(text + certificate)
        return Identity(server, path)

    def enrol(self, server, ticket=None, key=None):
        """An identity as an agent gets it."""
        if key is None:
            key = self.path(f"{server}-{len(os.listdir(self.dir))}.key")
            new_key(key)
        document = {"token": ticket or self.ticket(server), "server": server, "csr": new_csr(key)}
        answer = self.ask("POST", "/v1/enrol", document)
        assert answer.status == 200, answer
        return self.identity_of(server, key, answer.json["certificate"])

    def connect(self, identity=None):
        """A TLS connection and nothing more."""
        return self.connect_with(self.tls(identity))

    def connect_with(self, context):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        try:
            return context.wrap_socket(raw, server_hostname="localhost")
        except BaseException:
            raw.close()
            raise

    def websocket(self, identity=None):
        raw = self.connect(identity)
        try:
            return WebSocket(self.port, raw=raw)
        except BaseException:
            raw.close()
            raise
