"""Disks that fail, fill, run out of inodes, become read-only or give back something else."""

import concurrent.futures
import contextlib
import errno
import os
import re
import signal
import subprocess
import unittest
import urllib.error
import urllib.request

from fleet import DEADLINE, Fleet, Process, by_server, echo_step, main, program
import sweep
from sweep import NOTE, ORCHESTRATOR, RolledBack, Sweep


def may_mount():
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


def tmpfs(folder, options):
    """What starts a program with a small file system of its own at `folder`; it goes with the program."""
    os.makedirs(folder, exist_ok=True)
    return ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o {options},mode=700 tmpfs "$0" && exec "$@"', folder]


def inside(process, folder):
    """The folder as the process sees it."""
    return f"/proc/{process.process.pid}/root{folder}"


def fill(folder):
    """Takes all the space; the file to remove again."""
    name = os.path.join(folder, "filler")
    with open(name, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
    return name


@contextlib.contextmanager
def injected(fleet, process, fault, trace="", thread=None):
    """System calls of a program that runs fail as `fault` says (see strace(1), inject); the file that
    they are written to, with those of `trace`. `thread`: of that thread alone."""
    calls = fault.split(":")[0]
    pid = thread or process.process.pid
    file = fleet.path(f"trace-{pid}")
    follow = [] if thread else ["-f"]
    strace = Process(
        ["strace", *follow, "-yy", "-o", file, "-p", str(pid), "-e", f"trace={calls},{trace}", "-e", f"inject={fault}"]
    )
    try:
        strace.wait_line("attached")
        yield file
    finally:
        strace.stop()


def writers_thread(process):
    """The journal's thread: the first that a program begins."""
    return sorted(int(t) for t in os.listdir(f"/proc/{process.process.pid}/task"))[1]


def health(fleet):
    try:
        with urllib.request.urlopen(fleet.url + "/healthz", timeout=DEADLINE) as answer:
            return answer.status
    except urllib.error.HTTPError as red:
        with red:
            return red.code


class Gate:
    """A step that says that it runs, and waits until it is let through."""

    def __init__(self, fleet, then=""):
        self.up, self.go = fleet.path("up"), fleet.path("go")
        os.mkfifo(self.up)
        os.mkfifo(self.go)
        text = f'if [ "$KITSUNE_PHASE" != rollback ]; then echo up >"{self.up}"; read line <"{self.go}"; {then or ":"}; fi'
        self.step = {
            "name": "gate",
            "type": "script",
            "params": {"script": "sh", "args": ["-c", text], "rollback_script": "sh"},
        }

    def wait(self):
        with open(self.up, encoding="ascii") as pipe:
            assert pipe.read() == "up\n"

    def open(self):
        with open(self.go, "w", encoding="ascii") as pipe:
            pipe.write("on\n")


def sweep_all(test, **how):
    """Three sweeps of a few points, side by side: in the orchestrator, and in two agents."""
    sweeps = [Sweep(RolledBack, victim, sweep.FULL, rigs=2, **how) for victim in (ORCHESTRATOR, "s1", "s3")]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in [pool.submit(swept.run) for swept in sweeps]:
            done.result()
    for swept in sweeps:
        test.assertEqual(swept.failures, [], "\n".join(swept.failures))
        test.assertGreater(sum(swept.reached.values()), 0)


class Case(unittest.TestCase):
    def note(self, fleet):
        """A step that leaves a line with each of its runs."""
        self.log = fleet.path("log")
        with open(self.log, "wb"):
            pass
        return {"name": "note", "type": "script", "params": {"script": "sh", "args": ["-c", NOTE, self.log]}}

    @staticmethod
    def write(path, **more):
        return {"name": "write", "type": "file_write", "params": {"path": path, "content": "new"}, **more}

    def notes(self):
        with open(self.log, encoding="ascii") as file:
            return [line.split()[2] for line in file]

    def kinds(self, fleet, rollout):
        return [(e["type"], e.get("step")) for e in fleet.events(rollout)]


class Sync(Case):
    """fsync fails: what it was to make durable may be gone, and no later success brings it back."""

    def test_the_orchestrator_stops_at_once_and_tells_nobody_of_what_is_not_durable(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            gate = Gate(fleet)
            rollout = fleet.submit({"servers": ["a"], "steps": [gate.step, self.note(fleet)]})
            gate.wait()
            first = fleet.orchestrator
            with injected(fleet, first, "fdatasync:error=EIO", "write,writev,sendto,sendmsg") as trace:
                gate.open()
                first.wait_line("cannot be trusted")
                self.assertEqual(first.process.wait(DEADLINE), 1)
            with open(trace, encoding="utf-8", errors="replace") as file:
                calls = file.read()
            failed, after = calls.split("EIO", 1)
            self.assertIn("fdatasync", failed)
            self.assertIsNone(re.search(r"(write|writev|sendto|sendmsg)\(\d+<TCP", after), after)
            fleet.start_orchestrator()
            fleet.kitsune("watch", rollout, check=0)
            kinds = self.kinds(fleet, rollout)
            self.assertEqual(kinds.count(("step_ended", "gate")), 1)
            self.assertEqual(kinds.count(("execution_ended", None)), 1)
            self.assertEqual(self.notes(), ["note"])
            first.stop()

    def test_the_agent_stops_at_once_and_reports_nothing_that_is_not_durable(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            gate = Gate(fleet)
            rollout = fleet.submit({"servers": ["a"], "steps": [gate.step, self.note(fleet)]})
            gate.wait()
            first = fleet.agents["a"]
            with injected(fleet, first, "fdatasync:error=EIO"):
                gate.open()
                first.wait_line("cannot go on")
                self.assertEqual(first.process.wait(DEADLINE), 1)
            self.assertNotIn(("step_ended", "gate"), self.kinds(fleet, rollout))
            self.assertEqual(self.notes(), [])
            fleet.start_agent("a")
            # Whether the gate's end reached the disk all the same decides whether it is in doubt.
            status = fleet.kitsune("watch", rollout).returncode
            self.assertIn(status, (0, 3))
            self.assertEqual(self.notes(), ["note"] if status == 0 else [])
            self.assertEqual(self.kinds(fleet, rollout).count(("step_ended", "gate")), 1)
            first.stop()


    def test_a_copy_of_a_file_whose_fsync_failed_is_not_relied_on(self):
        # ENOSPC: of a file system that reserves space late, or of a quota. What is in the journal waits for space.
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            path = fleet.path("file")
            with open(path, "w", encoding="ascii") as file:
                file.write("old")
            first = fleet.agents["a"]
            with injected(fleet, first, "fsync:error=ENOSPC", thread=writers_thread(first)):
                rollout = fleet.submit({"servers": ["a"], "steps": [self.write(path)]})
                first.wait_line("cannot go on")
                self.assertEqual(first.process.wait(DEADLINE), 1)
            with open(path, encoding="ascii") as file:
                self.assertEqual(file.read(), "old")
            fleet.start_agent("a")
            fleet.kitsune("watch", rollout, check=0)
            first.stop()

    @unittest.skipUnless(sweep.failpoints_are_built_in(), "this build has no failpoints")
    def test_what_a_killed_agent_had_put_in_place_is_synced_by_the_next(self):
        for undo in (False, True):
            with self.subTest(undo=undo), Fleet(agents=["a"], heartbeat="10s") as fleet:
                path = fleet.path("place", "file")
                os.mkdir(os.path.dirname(path))
                with open(path, "w", encoding="ascii") as file:
                    file.write("old")
                steps = [self.write(path)]
                if undo:
                    steps.append({"name": "fail", "type": "script", "params": {"script": "false"}})
                fleet.agents["a"].stop()
                # The first is of the copy, the second of the step, the third of its undoing.
                first = fleet.start_agent("a", env={"KITSUNE_FAILPOINT": f"file.replaced=kill@{3 if undo else 2}"})
                rollout = fleet.submit({"servers": ["a"], "steps": steps})
                self.assertEqual(first.process.wait(DEADLINE), -signal.SIGKILL)
                first.kill()
                with open(path, encoding="ascii") as file:
                    self.assertEqual(file.read(), "old" if undo else "new")
                trace = fleet.path("trace")
                fleet.start_agent("a", prefix=["strace", "-D", "-f", "-yy", "-o", trace, "-e", "trace=fsync"],
                                  env={"ASAN_OPTIONS": "detect_leaks=0"})
                fleet.kitsune("watch", rollout, check=3 if undo else 0)
                fleet.agents["a"].kill()
                with open(trace, encoding="utf-8", errors="replace") as file:
                    self.assertRegex(file.read(), rf"fsync\(\d+<{os.path.dirname(path)}>\) = 0")


@unittest.skipUnless(may_mount(), "needs to make a mount namespace")
class Full(Case):
    """The agent's disk is full."""

    def setUp(self):
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)
        self.fleet.start_orchestrator()
        folder = self.fleet.path("agent-a")
        self.agent = self.fleet.start_agent("a", prefix=tmpfs(folder, "size=2m"))
        self.folder = inside(self.agent, folder)
        self.fleet.run({"servers": ["a"], "steps": [self.note(self.fleet)]})

    def test_nothing_is_begun_and_it_goes_on_with_space(self):
        filler = fill(self.folder)
        rollout = self.fleet.submit({"servers": ["a"], "steps": [self.note(self.fleet)]})
        self.agent.wait_line("cannot be written")
        self.assertEqual(by_server(self.fleet.json("show", rollout))["a"]["state"], "queued")
        self.assertEqual(self.notes(), [])
        os.unlink(filler)
        self.fleet.kitsune("watch", rollout, check=0)
        self.assertEqual(self.notes(), ["note"])
        self.agent.wait_line("can be written again")

    def test_in_the_middle_of_a_rollout_no_further_step_is_begun(self):
        gate = Gate(self.fleet)
        rollout = self.fleet.submit({"servers": ["a"], "steps": [gate.step, self.note(self.fleet)]})
        gate.wait()
        filler = fill(self.folder)
        gate.open()
        self.agent.wait_line("cannot be written")
        self.assertEqual(self.notes(), [])
        self.assertNotIn(("step_ended", "gate"), self.kinds(self.fleet, rollout))
        os.unlink(filler)
        self.fleet.kitsune("watch", rollout, check=0)
        self.assertEqual(self.notes(), ["note"])
        self.assertEqual(self.kinds(self.fleet, rollout).count(("step_ended", "gate")), 1)

    def test_undo_waits_for_space_too(self):
        gate = Gate(self.fleet, then="exit 1")
        path = self.fleet.path("file")
        rollout = self.fleet.submit({"servers": ["a"], "steps": [self.write(path), gate.step]})
        gate.wait()
        filler = fill(self.folder)
        gate.open()
        self.agent.wait_line("cannot be written")
        # That it is being undone is not on record yet.
        self.assertTrue(os.path.exists(path))
        os.unlink(filler)
        self.fleet.kitsune("watch", rollout, check=3)
        self.assertFalse(os.path.exists(path))


@unittest.skipUnless(may_mount(), "needs to make a mount namespace")
class Inodes(Case):
    def test_without_inodes_for_the_copy_the_file_stays_as_it_is_and_the_step_has_failed(self):
        with Fleet() as fleet:
            folder = fleet.path("agent-a")
            agent = fleet.start_agent("a", prefix=tmpfs(folder, "size=4m,nr_inodes=24"))
            path = fleet.path("file")
            with open(path, "w", encoding="ascii") as file:
                file.write("old")
            before = os.stat(path)
            made = []
            with self.assertRaises(OSError) as full:
                for i in range(24):
                    made.append(os.path.join(inside(agent, folder), f"filler-{i}"))
                    os.mkdir(made[-1])
            self.assertEqual(full.exception.errno, errno.ENOSPC)
            plan = {"servers": ["a"], "steps": [self.write(path, retry={"maximumAttempts": 1})]}
            done = fleet.run(plan, check=3)
            self.assertIn("No space left", by_server(done)["a"]["message"])
            after = os.stat(path)
            self.assertEqual((after.st_ino, after.st_mtime_ns), (before.st_ino, before.st_mtime_ns))
            for name in made[:-1]:
                os.rmdir(name)
            fleet.run(plan)
            with open(path, encoding="ascii") as file:
                self.assertEqual(file.read(), "new")


class ReadOnly(Case):
    """A file system that refuses to be written."""

    FAULT = "pwrite64,ftruncate:error=EROFS"

    def test_the_orchestrator_dispatches_nothing_answers_readers_and_goes_on(self):
        with Fleet(agents=["a"]) as fleet:
            gate = Gate(fleet)
            rollout = fleet.submit({"servers": ["a"], "steps": [gate.step, self.note(fleet)]})
            gate.wait()
            self.assertEqual(health(fleet), 200)
            with injected(fleet, fleet.orchestrator, self.FAULT):
                gate.open()
                fleet.orchestrator.wait_line("stalled")
                refused = fleet.kitsune("submit", fleet.plan({"servers": ["a"], "steps": [gate.step]}), check=1)
                self.assertIn("Read-only file system", refused.stderr)
                self.assertEqual(fleet.json("list")["rollouts"][0]["state"], "running")
                self.assertNotIn(("step_ended", "gate"), self.kinds(fleet, rollout))
                self.assertEqual(health(fleet), 503)
            fleet.kitsune("watch", rollout, check=0)
            fleet.orchestrator.wait_line("the journal goes on")
            self.assertEqual(health(fleet), 200)
            self.assertEqual(self.kinds(fleet, rollout).count(("step_ended", "gate")), 1)

    def test_the_agent_begins_nothing_and_goes_on(self):
        with Fleet(agents=["a"]) as fleet:
            gate = Gate(fleet)
            rollout = fleet.submit({"servers": ["a"], "steps": [gate.step, self.note(fleet)]})
            gate.wait()
            with injected(fleet, fleet.agents["a"], self.FAULT):
                gate.open()
                fleet.agents["a"].wait_line("cannot be written")
                self.assertEqual(self.notes(), [])
            fleet.kitsune("watch", rollout, check=0)
            self.assertEqual(self.notes(), ["note"])

    @unittest.skipUnless(may_mount() and os.path.exists("/dev/loop-control"), "needs a loop device and to mount it")
    def test_one_that_the_kernel_made_read_only_stalls_or_ends_the_program_until_it_is_started_anew(self):
        for name in (ORCHESTRATOR, "agent"):
            with self.subTest(name=name):
                self.remounted(name)

    def remounted(self, name):
        fleet = Fleet()
        self.addCleanup(fleet.close)
        folder, image = fleet.path(ORCHESTRATOR if name == ORCHESTRATOR else "agent-a"), fleet.path("image")
        os.mkdir(folder)
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        mounted = ["unshare", "--mount", "sh", "-c",
                   'e2fsck -p "$0" >&2; mount -o loop,errors=remount-ro "$0" "$1" && shift && exec "$@"', image, folder]

        def start(only=None):
            if only != "agent":
                fleet.start_orchestrator(prefix=mounted if name == ORCHESTRATOR else [])
            if only != ORCHESTRATOR:
                fleet.start_agent("a", prefix=mounted if name == "agent" else [])
            return fleet.orchestrator if name == ORCHESTRATOR else fleet.agents["a"]

        victim = start()
        gate = Gate(fleet)
        rollout = fleet.submit({"servers": ["a"], "steps": [gate.step, self.note(fleet)]})
        gate.wait()
        # What the kernel does when it meets an error on the file system.
        subprocess.run(["nsenter", "-t", str(victim.process.pid), "-m", "mount", "-o", "remount,abort", folder], check=True)
        gate.open()
        line = victim.wait_line("journal is stalled", "journal cannot be", "agent cannot go on")
        if name == "agent":
            self.assertEqual(self.notes(), [])
        if "stalled" in line or "cannot be written" in line:
            self.assertEqual(fleet.json("show", rollout)["state"], "running")
            self.assertEqual(health(fleet), 503 if name == ORCHESTRATOR else 200)
        else:
            # What was written last was to be synced, and that failed.
            self.assertEqual(victim.process.wait(DEADLINE), 1)
        victim.kill()
        start(name)
        # An agent that lives has reported how the gate ended; one that was ended can have lost it.
        status = fleet.kitsune("watch", rollout).returncode
        self.assertIn(status, (0,) if name == ORCHESTRATOR else (0, 3))
        self.assertEqual(self.notes(), ["note"] if status == 0 else [])


class Damage(Case):
    """The journal gives back something else than was written."""

    def flip(self, name, place):
        with open(name, "r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 0xFF]))

    def refused(self, argv):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, check=False)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_a_log_damaged_in_its_middle_is_refused_by_both_with_its_place(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            plan = {"servers": ["a"], "steps": [self.note(fleet)]}
            fleet.run(plan)
            fleet.agents["a"].kill()
            fleet.orchestrator.kill()
            commands = {
                fleet.path("orchestrator", "journal.db-wal"):
                    [[program("kitsune-orchestrator"), "--insecure-dev", "--listen", "127.0.0.1:0", "--data-dir",
                      fleet.path("orchestrator")],
                     [program("kitsune-orchestrator"), "--check", "--data-dir", fleet.path("orchestrator")]],
                fleet.path("agent-a", "agent.db-wal"):
                    [[program("kitsune-agent"), "--server-id", "a", "--data-dir", fleet.path("agent-a")]],
            }
            for log, argvs in commands.items():
                frame = 24 + 4096
                middle = os.path.getsize(log) // frame // 2 * frame + 32
                self.flip(log, middle + 500)
                for argv in argvs:
                    self.assertIn(f"{log}: damaged from byte {middle} on", self.refused(argv))
                self.flip(log, middle + 500)
            # Put right again, nothing is missing.
            fleet.start_orchestrator()
            self.assertIn("not closed", fleet.orchestrator.wait_line("the journal was"))
            fleet.start_agent("a").wait_line("the journal was not closed")
            fleet.run(plan)

    def test_a_damaged_record_of_the_agent_is_told_and_nothing_is_undone_by_it(self):
        with Fleet(agents=["a"], heartbeat="10s") as fleet:
            path = fleet.path("file")
            rollout = fleet.run({"servers": ["a"], "steps": [self.write(path)]})["id"]
            self.assertEqual(fleet.agents["a"].stop(), 0)
            journal = fleet.path("agent-a", "agent.db")
            with open(journal, "rb") as file:
                content = file.read()
            # An entry: how far it got is not known any more.
            self.flip(journal, content.index(b"execution_ended" if b"execution_ended" in content else b'"ended"'))
            command = [program("kitsune-agent"), "--server-id", "a", "--data-dir", fleet.path("agent-a")]
            self.assertRegex(self.refused(command), rf"{journal}: damaged; .*execution \d+ of the journal: entry \d+")
            with open(journal, "wb") as file:
                file.write(content)
            # What was captured, which names the file: the agent goes on, and does not undo by it.
            self.flip(journal, content.index(b'/file","kind"') + 1)
            fleet.start_agent("a").wait_line("capture of step 0: damaged")
            refused = fleet.kitsune("rollback", rollout, "--watch", check=4)
            self.assertIn("damaged", refused.stdout + refused.stderr)
            with open(path, encoding="ascii") as file:
                self.assertEqual(file.read(), "new")
            fleet.run({"servers": ["a"], "steps": [echo_step()]})

    @unittest.skipUnless(sweep.failpoints_are_built_in(), "this build has no failpoints")
    def test_a_commit_that_was_torn_is_as_if_it_had_not_been_begun(self):
        sweep_all(self, points={"writer.committed"}, tear=True)


@unittest.skipUnless(sweep.failpoints_are_built_in(), "this build has no failpoints")
class Commit(Case):
    """A commit fails once, for a reason that is no want of space: the program ends, and begins anew."""

    def test_each_of_the_orchestrator_and_of_the_agent_can_fail(self):
        sweep_all(self, points={"writer.commit"}, action="error")


if __name__ == "__main__":
    main()
