"""Limits of the machine and of processes: no descriptors, no fork, children that will not end, endless output, a
restart of the machine in a step, and two agents that say they are the same server."""

import os
import re
import resource
import shutil
import signal
import subprocess
import unittest

from fleet import DEADLINE, Fleet, by_server, echo_step, main
from raw import HONEST_MEMORY, busy, connect, forget_peak, memory


def script(name, text, **more):
    return {"name": name, "type": "script",
            "params": {"script": "sh", "args": ["-c", text], "rollback_script": "true"}, **more}


def gate(fleet, name="gate", **more):
    """A step that waits to be let go."""
    os.mkfifo(fleet.path(name))
    return script(name, f'cat "{fleet.path(name)}"', **more)


def let_go(fleet, name="gate"):
    with open(fleet.path(name), "w", encoding="ascii") as pipe:
        pipe.write("went on\n")


def descriptors(pid):
    return {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}


def limit_descriptors(pid, most):
    """The limit that was there, for when it is over."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    return before


def may_unshare(*namespaces):
    return subprocess.run(["unshare", *namespaces, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0


AGAIN = {"maximumAttempts": 10, "initialIntervalSeconds": 0.5, "backoffCoefficient": 1.0}


class NoDescriptors(unittest.TestCase):
    def test_the_orchestrator_lets_new_connections_wait_and_goes_on_with_those_it_has(self):
        with Fleet(agents=["a"]) as fleet:
            pid = fleet.orchestrator.process.pid
            rollout = fleet.submit({"servers": ["a"], "steps": [gate(fleet), echo_step()]})
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
            reader = connect(fleet.port)
            reader.sendall(f"GET /v1/rollouts/{rollout}/events?follow=true HTTP/1.0\r\n\r\n".encode())
            self.assertIn(b" 200 ", reader.recv(4096))
            before = limit_descriptors(pid, max(descriptors(pid)) + 1)
            # A few find room between the descriptors that are there.
            waiting = [connect(fleet.port) for _ in range(50)]
            for raw in waiting:
                raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            let_go(fleet)
            said = b""
            while b"rollout_ended" not in said:
                piece = reader.recv(65536)
                self.assertNotEqual(piece, b"", "the reader lost its connection")
                said += piece
            self.assertIn(b'"state":"succeeded"', said)
            reader.close()
            self.assertLess(busy(pid), 0.7)
            # Those who waited are served as others go.
            for raw in waiting:
                self.assertIn(b" 200 ", raw.recv(4096))
                raw.close()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            fleet.run({"servers": ["a"], "steps": [echo_step()]})

    def test_an_agent_without_descriptors_waits_and_goes_on_when_it_has_some(self):
        with Fleet(agents=["a"]) as fleet:
            pid = fleet.agents["a"].process.pid
            path = fleet.path("ran")
            fleet.run({"servers": ["a"], "steps": [script("before", "true")]})
            used = descriptors(pid)
            before = limit_descriptors(pid, next(fd for fd in range(1024) if fd not in used))
            rollout = fleet.submit({"servers": ["a"], "steps": [script("run", f'echo ran >>"{path}"')]})
            self.assertIn("oo many open files", fleet.agents["a"].wait_line("executions wait"))
            self.assertFalse(os.path.exists(path))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            fleet.kitsune("watch", rollout, check=0)
            with open(path, encoding="ascii") as file:
                self.assertEqual(file.read(), "ran\n")


class NoStart(unittest.TestCase):
    def test_a_step_whose_program_cannot_be_started_now_is_not_started_and_tried_again(self):
        for calls, failure, said in (
            ("clone,clone3,fork,vfork", "EAGAIN", "cannot start it now: Resource temporarily unavailable"),
            ("pipe2", "EMFILE", "cannot make a pipe: Too many open files"),
        ):
            with self.subTest(calls=calls), Fleet(agents=["a"]) as fleet:
                fleet.run({"servers": ["a"], "steps": [script("before", "true")]})
                path = fleet.path("ran")
                with subprocess.Popen(
                    ["strace", "-f", "-p", str(fleet.agents["a"].process.pid), "-o", "/dev/null",
                     "-e", f"trace={calls}", "-e", f"inject={calls}:error={failure}"],
                    stderr=subprocess.PIPE, text=True,
                ) as tracer:
                    line = tracer.stderr.readline()
                    if "attached" not in line:
                        self.skipTest(f"a process cannot be traced here: {line}")
                    step = script("run", f'echo ran >>"{path}"', retry=AGAIN)
                    try:
                        rollout = fleet.submit({"servers": ["a"], "steps": [step]})
                        event = fleet.wait_event(rollout, lambda e: e["type"] == "step_retrying")
                        self.assertFalse(os.path.exists(path))
                    finally:
                        tracer.terminate()
                        tracer.communicate(timeout=DEADLINE)
                self.assertIn(said, event["message"])
                fleet.kitsune("watch", rollout, check=0)
                with open(path, encoding="ascii") as file:
                    self.assertEqual(file.read(), "ran\n")


def stat_of(pid):
    """State and parent of a process; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            state, parent = file.read().rsplit(")", 1)[1].split()[:2]
        return state, int(parent)
    except (FileNotFoundError, ProcessLookupError):
        return None


def lives(pid):
    """One that is reaped, or just being reaped, does not."""
    stat = stat_of(pid)
    return stat is not None and stat[0] not in "ZX"


def is_network(pid):
    """Whether it is the part of an agent that speaks to the network, which no step has started."""
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
            return file.read() == "kitsune-network\n"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Children(unittest.TestCase):
    def test_a_tree_that_detaches_ignores_term_and_holds_the_pipe_is_gone_and_leaves_no_zombie(self):
        with Fleet(agents=["a"]) as fleet:
            pids = fleet.path("pids")
            stubborn = f'trap "" TERM HUP; echo $$ >>"{pids}"; while :; do sleep 1000; done'
            detach = f"setsid sh -c '(setsid sh -c '\"'\"'{stubborn}'\"'\"' &) &'; "
            # A step that ends by itself and leaves such a one, and a step that is itself one.
            for text, status, timeout in ((f"{detach}exit 0", 0, 60), (detach + stubborn, 3, 0.5)):
                with self.subTest(status=status):
                    fleet.run({"servers": ["a"], "steps": [script("tree", text, timeoutSeconds=timeout)]}, check=status)
            with open(pids, encoding="ascii") as file:
                started = [int(pid) for pid in file.read().split()]
            self.assertGreaterEqual(len(started), 3)
            for pid in started:
                self.assertFalse(lives(pid), f"{pid} lives")
            agent = fleet.agents["a"].process.pid
            stats = [stat_of(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if not is_network(pid)]
            self.assertEqual([s for s in stats if s is not None and s[1] == agent], [])

    def test_a_gigabyte_of_binary_output_costs_no_memory_and_both_ends_are_kept(self):
        fleet = Fleet()
        try:
            fleet.start_orchestrator(env=HONEST_MEMORY)
            fleet.start_agent("a", env=HONEST_MEMORY)
            processes = [fleet.orchestrator.process.pid, fleet.agents["a"].process.pid]
            before = [memory(pid) for pid in processes]
            for pid in processes:
                forget_peak(pid)
            text = "echo the beginning; head -c 1G /dev/zero; head -c 50M /dev/urandom; echo; echo the end"
            rollout = fleet.run({"servers": ["a"], "steps": [script("talk", text)]}, timeout=300)["id"]
            for pid, start in zip(processes, before):
                self.assertLess(memory(pid, "VmHWM") - start, 50)
            printed = fleet.kitsune("logs", rollout, check=0).stdout
            self.assertIn("the beginning\n", printed)
            self.assertIn("the end\n", printed)
            # 1 GiB and 50 MiB and the lines, less the first and the last 32 KiB.
            missing = 2**30 + 50 * 2**20 + len("the beginning\n\nthe end\n") - 2 * 32768
            self.assertIn(f"[... {missing} bytes left out ...]", printed)
            self.assertLess(len(printed), 300_000)
        finally:
            fleet.close()


class Reboot(unittest.TestCase):
    """A machine for the agent: namespaces of processes and mounts, so that a restart gives another boot id and the
    same process numbers to others."""

    INNOCENTS = 60

    def boot(self, fleet, number, innocents):
        boot_id = fleet.path(f"boot-{number}")
        with open(boot_id, "w", encoding="ascii") as file:
            file.write(f"{number:08}-0000-4000-8000-000000000000\n")
        up = (
            'mount --bind "$0" /proc/sys/kernel/random/boot_id && n=$1 && shift && '
            'while [ "$n" -gt 0 ]; do sleep 1000 >/dev/null 2>&1 & n=$((n - 1)); done; exec "$@"'
        )
        return fleet.start_agent("a", prefix=[
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", up, boot_id, str(innocents),
        ])

    def inside(self, process):
        """The machine's processes, by their numbers here."""
        pid = process.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            first = int(file.read())
        with open(f"/proc/{first}/task/{first}/children", encoding="ascii") as file:
            return first, [int(child) for child in file.read().split()]

    def shut_down(self, process):
        first, _ = self.inside(process)
        os.kill(first, signal.SIGTERM)
        self.assertEqual(process.process.wait(DEADLINE), 0, process.text())

    def test_a_step_that_was_cut_off_by_a_restart_is_in_doubt_and_nothing_of_before_is_looked_for(self):
        if not may_unshare("--mount", "--pid", "--fork", "--mount-proc"):
            self.skipTest("namespaces of processes are not allowed here")
        for policy, status in (("fail", 3), ("retry", 0)):
            with self.subTest(onInterrupt=policy), Fleet() as fleet:
                machine = self.boot(fleet, 1, 0)
                try:
                    rollout = self.cut_off(fleet, policy)
                    machine.kill()
                    machine = self.boot(fleet, 2, self.INNOCENTS)
                    fleet.kitsune("watch", rollout, check=status)
                    self.check(fleet, rollout, policy)
                    _, children = self.inside(machine)
                    alive = [c for c in children if lives(c) and not is_network(c)]
                    self.assertEqual(len(alive), self.INNOCENTS)
                    self.shut_down(machine)
                finally:
                    machine.kill()

    def cut_off(self, fleet, policy):
        """A rollout in mid-step, after another step."""
        text = f'echo ran >>"{fleet.path("runs")}"; test "$KITSUNE_ATTEMPT" -gt 1 || sleep 1000'
        write = {"name": "write", "type": "file_write", "params": {"path": fleet.path("f"), "content": "new"}}
        rollout = fleet.submit({"servers": ["a"], "steps": [write, script("cut", text, onInterrupt=policy)]})
        fleet.wait_event(rollout, lambda e: e["type"] == "step_started" and e["step"] == "cut")
        return rollout

    def check(self, fleet, rollout, policy):
        done = by_server(fleet.json("show", rollout))["a"]
        said = [e["message"] for e in fleet.events(rollout) if e["type"] == "step_ended" and e["step"] == "cut"]
        if policy == "fail":
            self.assertEqual((done["state"], done["outcome"]), ("rolled_back", "failed"))
            self.assertIn("whether it took effect is not known", said[0])
        else:
            self.assertEqual(done["steps"][1]["attempt"], 2)
        self.assertEqual(os.path.exists(fleet.path("f")), policy == "retry")


class Identity(unittest.TestCase):
    """Two agents that say they are the same server. Who ran a step tells the environment of its agent."""

    def who(self, fleet):
        return script("who", f'echo "$WHO" >>"{fleet.path("who")}"')

    def seen(self, fleet):
        with open(fleet.path("who"), encoding="ascii") as file:
            return file.read().split()

    def start_other(self, fleet, who, data_dir, prefix=()):
        """Another agent with the id "a"."""
        first = fleet.agents.pop("a")
        other = fleet.start_agent("a", args=["--data-dir", data_dir], env={"WHO": who}, prefix=prefix)
        fleet.agents = {"a": first, who: other}
        return other

    def test_one_that_was_silent_is_refused_when_another_has_taken_its_place(self):
        with Fleet() as fleet:
            fleet.start_agent("a", env={"WHO": "first"})
            fleet.orchestrator.wait_line("server=a ")
            plan = {"servers": ["a"], "steps": [self.who(fleet)]}
            fleet.run(plan)
            os.kill(fleet.agents["a"].process.pid, signal.SIGSTOP)
            fleet.orchestrator.wait_line('"agent is silent" server=a')
            self.start_other(fleet, "second", fleet.path("other"))
            fleet.agents["second"].wait_line("msg=connected")
            fleet.run(plan)
            os.kill(fleet.agents["a"].process.pid, signal.SIGCONT)
            fleet.orchestrator.wait_line("a second agent with this id was refused")
            fleet.agents["a"].wait_line("another agent with this id is connected")
            fleet.run(plan)
            self.assertEqual(self.seen(fleet), ["first", "second", "second"])

    def test_a_copy_of_an_agents_data_directory_is_refused_while_the_first_is_about(self):
        if not may_unshare("--mount"):
            self.skipTest("mount namespaces are not allowed here")
        with Fleet(agents=["a"]) as fleet:
            self.assertEqual(fleet.agents["a"].stop(), 0)
            shutil.copytree(fleet.path("agent-a"), fleet.path("copy"))
            fleet.start_agent("a", env={"WHO": "first"})
            fleet.agents["a"].wait_line("msg=connected")
            # On another machine the boot is another one.
            boot_id = fleet.path("boot")
            with open(boot_id, "w", encoding="ascii") as file:
                file.write("00000000-0000-4000-8000-000000000000\n")
            mount = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
            self.start_other(fleet, "copy", fleet.path("copy"), prefix=["unshare", "--mount", "sh", "-c", mount, boot_id])
            self.assertIn("server=a", fleet.orchestrator.wait_line("a second agent with this id was refused"))
            fleet.agents["copy"].wait_line("another agent with this id is connected")
            plan = {"servers": ["a"], "steps": [self.who(fleet)]}
            for _ in range(5):
                fleet.run(plan)
            self.assertEqual(self.seen(fleet), ["first"] * 5)


if __name__ == "__main__":
    main()
