"""Peers that stop reading, and an orchestrator that stops for a while."""

import json
import os
import signal
import subprocess
import threading
import time
import unittest

from fleet import Fleet, echo_step, main, program
from raw import HONEST_MEMORY, WebSocket, connect, forget_peak, memory, read_to_end

MIB = 1024 * 1024


def stop(process):
    os.kill(process.process.pid, signal.SIGSTOP)


def go_on(process):
    os.kill(process.process.pid, signal.SIGCONT)


class Heartbeats(threading.Thread):
    """Keeps a raw agent alive, which reads nothing."""

    def __init__(self, agent):
        super().__init__(daemon=True)
        self.agent = agent
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.2):
            try:
                self.agent.heartbeat()
            except OSError:
                return

    def stop(self):
        self.over.set()
        self.join()


class NotReading(unittest.TestCase):
    def test_an_agent_that_never_reads_is_dropped_past_the_bound_and_harms_nobody(self):
        with Fleet(agents=["a"]) as fleet, WebSocket(fleet.port, receive_buffer=4096) as deaf:
            deaf.hello("deaf")
            fleet.orchestrator.wait_line("server=deaf")
            beats = Heartbeats(deaf)
            # Each rollout's frame is 6 MiB, and waits to be sent.
            path = fleet.plan({
                "servers": ["deaf"],
                "steps": [{"name": f"big-{i}", "type": "file_write",
                           "params": {"path": fleet.path("big"), "content": "x" * MIB}} for i in range(6)],
                "rolloutStrategy": {"type": "Parallel", "startTimeoutSeconds": 0.2},
            })
            for _ in range(8):
                fleet.kitsune("watch", fleet.submit(path), check=3)
                fleet.run({"servers": ["a"], "steps": [echo_step()]})
            line = fleet.orchestrator.wait_line('"agent disconnected" server=deaf')
            self.assertIn("does not read", line)
            beats.stop()
            self.assertLess(len(read_to_end(deaf.raw)), 40 * MIB)
            self.assertEqual(fleet.json("server", "deaf")["connected"], False)

    def test_readers_of_events_that_stop_reading_cost_nothing_and_miss_nothing(self):
        servers = [f"s{i:02}" for i in range(20)]
        fleet = Fleet()
        try:
            fleet.start_orchestrator(env=HONEST_MEMORY)
            # It begins when its agents come.
            rollout = fleet.submit({"servers": servers, "steps": [echo_step(f"say-{i}") for i in range(200)],
                                    "rolloutStrategy": {"type": "Parallel"}})
            readers = [connect(fleet.port, receive_buffer=4096) for _ in range(200)]
            for reader in readers:
                reader.sendall(f"GET /v1/rollouts/{rollout}/events?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            with subprocess.Popen(
                [program("kitsune"), "--orchestrator", fleet.url, "events", rollout, "--follow", "-o", "json"],
                stdout=subprocess.PIPE, text=True,
            ) as follower:
                self.assertIn("rollout_created", follower.stdout.readline())
                os.kill(follower.pid, signal.SIGSTOP)
                before = memory(fleet.orchestrator.process.pid)
                forget_peak(fleet.orchestrator.process.pid)
                fleet.start_agent(servers[0], args=[w for s in servers[1:] for w in ("--server-id", s)])
                fleet.kitsune("watch", rollout, check=0)
                peak = memory(fleet.orchestrator.process.pid, "VmHWM")
                os.kill(follower.pid, signal.SIGCONT)
                seen = [json.loads(line)["seq"] for line in follower.stdout]
            self.assertEqual(seen, list(range(2, 2 + len(seen))))
            self.assertGreater(len(seen), 20 * 200)
            # A queue for each reader would be two hundred times most of a megabyte.
            self.assertLess(peak - before, 60)
            for reader in readers:
                reader.close()
        finally:
            fleet.close()


class StoppedAgent(unittest.TestCase):
    def test_stopped_past_its_steps_limits_it_looks_before_it_acts_and_nothing_is_lost(self):
        with Fleet(agents=["ends", "prints"]) as fleet:
            for server in ("ends", "prints"):
                os.mkfifo(fleet.path(server))
                os.mkfifo(fleet.path(server) + "-over")
            over = f'echo over >"{fleet.dir}/$KITSUNE_SERVER_ID-over"'
            texts = {
                # It ends within its limit, and nobody looks.
                "ends": f'cat "{fleet.path("ends")}"; {over}',
                # It stands still with its agent, which does not take what it prints.
                "prints": f'cat "{fleet.path("prints")}"; {over}; yes 0123456789abcdef | head -c 20M; echo last',
            }
            rollouts = {}
            for server, text in texts.items():
                step = {"name": "talk", "type": "script", "timeoutSeconds": 2 if server == "ends" else 60,
                        "params": {"script": "sh", "args": ["-c", text]}}
                rollouts[server] = fleet.submit({"servers": [server], "steps": [step]})
                fleet.wait_event(rollouts[server], lambda e: e["type"] == "step_started")
            began = time.monotonic()
            for server in texts:
                stop(fleet.agents[server])
                with open(fleet.path(server), "w", encoding="ascii"):
                    pass
                with open(fleet.path(server) + "-over", encoding="ascii") as pipe:
                    pipe.read()
                fleet.orchestrator.wait_line(f'"agent is silent" server={server}')
            time.sleep(max(0.0, began + 3.5 - time.monotonic()))
            for server in texts:
                go_on(fleet.agents[server])
            for server, rollout in rollouts.items():
                fleet.kitsune("watch", rollout, check=0)
                kinds = [e["type"] for e in fleet.events(rollout)]
                self.assertEqual((kinds.count("step_started"), kinds.count("step_ended")), (1, 1))
            printed = fleet.kitsune("logs", rollouts["prints"], check=0).stdout
            self.assertIn("last\n", printed)
            self.assertRegex(printed, r"\[\.\.\. 209\d{5} bytes left out \.\.\.\]")


class StoppedOrchestrator(unittest.TestCase):
    def test_output_that_nobody_takes_is_bounded_in_the_agent_and_the_result_arrives(self):
        with Fleet() as fleet:
            fleet.start_agent("a", env=HONEST_MEMORY)
            fleet.orchestrator.wait_line("server=a ")
            up, over = fleet.path("up"), fleet.path("over")
            os.mkfifo(up)
            os.mkfifo(over)
            text = f'echo first; echo up >"{up}"; cat "{up}"; yes 0123456789abcdef | head -c 400M; echo last; echo over >"{over}"'
            rollout = fleet.submit({"servers": ["a"], "steps": [
                {"name": "talk", "type": "script", "params": {"script": "sh", "args": ["-c", text]}}]})
            with open(up, encoding="ascii") as pipe:
                pipe.read()
            stop(fleet.orchestrator)
            agent = fleet.agents["a"].process.pid
            before = memory(agent)
            forget_peak(agent)
            with open(up, "w", encoding="ascii"):
                pass
            with open(over, encoding="ascii") as pipe:
                pipe.read()
            self.assertLess(memory(agent, "VmHWM") - before, 50)
            go_on(fleet.orchestrator)
            fleet.kitsune("watch", rollout, check=0)
            printed = fleet.kitsune("logs", rollout, check=0).stdout
            self.assertIn("first\n", printed)
            self.assertIn("last\n", printed)
            self.assertRegex(printed, r"\[\.\.\. 419\d{6} bytes left out \.\.\.\]")

    def test_stopped_past_every_deadline_it_looks_before_it_acts(self):
        limits = {"type": "Parallel", "reconnectTimeoutSeconds": 2, "startTimeoutSeconds": 2}
        with Fleet(agents=["reports", "returns"]) as fleet:
            steps = {}
            for server in ("reports", "returns"):
                os.mkfifo(fleet.path(server))
                steps[server] = {"name": "gate", "type": "script",
                                 "params": {"script": "cat", "args": [fleet.path(server)]}, "onInterrupt": "retry"}
            rollouts = [
                fleet.submit({"servers": [s], "steps": [steps[s]], "rolloutStrategy": limits}) for s in steps
            ]
            for rollout in rollouts:
                fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
            # One reports while nobody listens; one that was away comes back; and one comes for the first time.
            fleet.agents["returns"].kill()
            fleet.orchestrator.wait_line('"agent disconnected" server=returns')
            rollouts.append(fleet.submit({"servers": ["comes"], "steps": [echo_step()], "rolloutStrategy": limits}))
            stop(fleet.orchestrator)
            began = time.monotonic()
            with open(fleet.path("reports"), "w", encoding="ascii"):
                pass
            fleet.agents["reports"].wait_line("execution ended")
            fleet.start_agent("returns")
            with open(fleet.path("returns"), "w", encoding="ascii"):
                pass
            fleet.agents["returns"].wait_line("execution ended")
            fleet.start_agent("comes")
            # Past the keepalive (1.5 s) and the limits (2 s).
            time.sleep(max(0.0, began + 4 - time.monotonic()))
            go_on(fleet.orchestrator)
            for rollout in rollouts:
                fleet.kitsune("watch", rollout, check=0)
            self.assertNotIn("agent is silent", fleet.orchestrator.text())


if __name__ == "__main__":
    main()
