"""The three real programs on this machine: free ports, temporary folders, ended by pid.

    with Fleet(agents=["web-1", "web-2"]) as fleet:
        done = fleet.kitsune("submit", fleet.plan({...}), "--watch")

The programs' folder comes from KITSUNE_BIN, which CTest sets.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

BIN = os.environ.get("KITSUNE_BIN", "")
SOURCE = os.environ.get("KITSUNE_SOURCE", "")
DEADLINE = 60.0  # seconds for anything that is waited for


def program(name):
    for sub in ("", "agent", "orchestrator"):
        path = os.path.join(BIN, sub, name)
        if os.path.exists(path):
            return path
    raise FileNotFoundError(f"{name} is not in {BIN}")


class Process:
    """A program whose standard error is read line by line as it comes."""

    def __init__(self, argv, env=None, preexec=None, cwd=None):
        self.argv = argv
        self.lines = []
        self.news = queue.Queue()
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            preexec_fn=preexec,
            cwd=cwd,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            self.news.put(line)
        self.news.put(None)

    def wait_line(self, *parts, timeout=DEADLINE):
        """The first line, past or to come, that has one of `parts` in it."""
        part = " or ".join(parts)
        end = time.monotonic() + timeout
        seen = 0
        while True:
            while seen < len(self.lines):
                if any(p in self.lines[seen] for p in parts):
                    return self.lines[seen]
                seen += 1
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"{self.argv[0]}: no line with {part!r}:\n" + self.text())
            try:
                if self.news.get(timeout=left) is None and seen >= len(self.lines):
                    raise AssertionError(f"{self.argv[0]} ended without {part!r}:\n" + self.text())
            except queue.Empty:
                pass

    def text(self):
        return "\n".join(self.lines)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)
        self.reader.join(DEADLINE)
        self.process.stderr.close()

    def stop(self):
        """TERM, and the exit status; a sanitizer's finding shows in it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE)
        self.reader.join(DEADLINE)
        self.process.stderr.close()
        return status


class Fleet:
    """`network`: see network.py; the agents named there live apart from the orchestrator and the CLI."""

    def __init__(self, agents=(), agent_args=(), heartbeat="500ms", network=None):
        self.network = network
        self.host = network.listen if network else "127.0.0.1"
        self.hub = network.hub if network else ()  # what starts a program beside the orchestrator
        self.agent_ids = list(agents)
        self.agent_args = list(agent_args)
        self.heartbeat = heartbeat
        self.dir = tempfile.mkdtemp(prefix="kitsune-it-")
        self.port = 0
        self.orchestrator = None
        self.agents = {}
        self.plans = 0

    def __enter__(self):
        try:
            self.start_orchestrator()
            for agent in self.agent_ids:
                self.start_agent(agent)
            for agent in self.agent_ids:
                self.orchestrator.wait_line(f"server={agent} ")
        except BaseException:
            self.close(check=False)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.close(check=kind is None)

    def close(self, check=True):
        running = [p for p in [*self.agents.values(), self.orchestrator] if p is not None]
        statuses = [(p, p.stop()) for p in running]
        self.end_orphans()
        shutil.rmtree(self.dir, ignore_errors=True)
        if check:
            for process, status in statuses:
                # -9: a test killed it itself.
                assert status in (0, -signal.SIGKILL), f"{process.argv[0]} ended with {status}:\n{process.text()}"

    def end_orphans(self):
        """Ends what agents that were killed for good left running; it carries this fleet's mark."""
        mark = f"KITSUNE_TEST_FLEET={self.dir}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        os.kill(int(pid), signal.SIGKILL)
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                pass

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    # What secure.py does otherwise.

    def orchestrator_args(self):
        return ["--insecure-dev"]

    def agent_identity(self, agent):
        """What an agent is told to be known by."""
        return []

    def cli_env(self):
        return {}

    def start_orchestrator(self, args=(), prefix=(), env=None):
        """`prefix`: a program that starts it, such as unshare(1)."""
        self.orchestrator = Process(
            [
                *self.hub,
                *prefix,
                program("kitsune-orchestrator"),
                *self.orchestrator_args(),
                "--listen", f"{self.host}:{self.port}",
                "--data-dir", self.path("orchestrator"),
                "--heartbeat", self.heartbeat,
                *args,
            ],
            env=env,
        )
        ready = self.orchestrator.wait_line("ready ")
        self.port = int(ready.split(f"listen={self.host}:")[1].split()[0])
        return self.orchestrator

    def start_agent(self, agent, args=(), preexec=None, prefix=(), url=None, env=None, cwd=None):
        """`url`: another way to the orchestrator."""
        apart = self.network and agent in self.network.names
        self.agents[agent] = Process(
            [
                *(self.network.prefix(agent) if apart else self.hub),
                *prefix,
                program("kitsune-agent"),
                "--server-id", agent,
                "--orchestrator", url or (self.network.url(agent, self.port) if apart else self.url),
                "--data-dir", self.path("agent-" + agent),
                *self.agent_identity(agent),
                *self.agent_args,
                *args,
            ],
            env={"KITSUNE_TEST_FLEET": self.dir, **(env or {})},
            preexec=preexec,
            cwd=cwd,
        )
        self.agents[agent].wait_line("ready ")
        return self.agents[agent]

    def kitsune(self, *args, timeout=DEADLINE, check=None, stdin=None, env=None, url=None):
        """Runs the CLI; with `check` the exit status must be that. `url`: another way to the orchestrator."""
        done = subprocess.run(
            [*self.hub, program("kitsune"), "--orchestrator", url or self.url, *args],
            capture_output=True,
            timeout=timeout,
            input=stdin,
            env={**os.environ, **self.cli_env(), **(env or {})},
        )
        done.stdout = done.stdout.decode("utf-8", "replace")
        done.stderr = done.stderr.decode("utf-8", "replace")
        if check is not None:
            assert done.returncode == check, (
                f"kitsune {' '.join(args)}: exit {done.returncode}, not {check}\n"
                f"{done.stdout}\n{done.stderr}\n-- orchestrator\n{self.orchestrator.text()}"
            )
        return done

    def json(self, *args, check=0):
        return json.loads(self.kitsune(*args, "-o", "json", check=check).stdout)

    def plan(self, plan):
        self.plans += 1
        path = self.path(f"plan-{self.plans}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(plan, file)
        return path

    def submit(self, plan, *args):
        """Submits without watching; the rollout's id."""
        path = plan if isinstance(plan, str) else self.plan(plan)
        return self.json("submit", path, *args)["id"]

    def run(self, plan, *args, check=0, timeout=DEADLINE):
        """Submits and watches to the end; the rollout's document."""
        rollout = self.submit(plan, *args)
        self.kitsune("watch", rollout, check=check, timeout=timeout)
        return self.json("show", rollout, "--all")

    def events(self, rollout):
        return self.json("events", rollout)["events"]

    def wait_event(self, rollout, wanted, timeout=DEADLINE, after=0):
        """Follows the rollout's events until `wanted(event)`; that event. With `after` the end of a rollout is
        none: servers that return report to it."""
        command = [program("kitsune"), "--orchestrator", self.url, "events", rollout, "--follow", "-o", "json"]
        if after:
            command = ["curl", "-sN", f"{self.url}/v1/rollouts/{rollout}/events?follow=true&after={after}"]
        with subprocess.Popen(
            [*self.hub, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **self.cli_env()},
        ) as follower:
            watchdog = threading.Timer(timeout, follower.kill)
            watchdog.start()
            try:
                for line in follower.stdout:
                    text = line.removeprefix("data: ")
                    if text.startswith("{") and wanted({"type": "output", **json.loads(text)}):
                        return json.loads(text)
            finally:
                watchdog.cancel()
                follower.kill()
        raise AssertionError(f"the awaited event did not come:\n{self.events(rollout)}")


    def wait_late_event(self, rollout, wanted, after, timeout=DEADLINE):
        """The same behind a rollout's end, where the CLI stops following and the API goes on."""
        url = f"{self.url}/v1/rollouts/{rollout}/events?follow=true&after={after}"
        with urllib.request.urlopen(url, timeout=timeout) as stream:
            for line in stream:
                if line.startswith(b"data: ") and wanted(event := json.loads(line[6:])):
                    return event
        raise AssertionError(f"the awaited event did not come:\n{self.events(rollout)}")

    def post(self, path, document=None):
        """Asks the API; the status and the answer."""
        data = b"" if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.url + path, data=data, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)


def by_server(document):
    return {x["server"]: x for x in document["executions"]}


def echo_step(name="say", message="hello"):
    return {"name": name, "type": "echo", "params": {"message": message}}


def main():
    unittest.main(verbosity=2)
