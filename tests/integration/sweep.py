"""A kill at every failpoint: what the sweeps of test_killed.py share.

A rig is a fleet that lives through many rollouts of one scenario. For each of them its victim, the
orchestrator or one agent, is started anew with one failpoint set, dies there, and is started again
without. What is there afterwards is compared with a run in which nothing died.
"""

import collections
import http.client
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

from fleet import DEADLINE, Fleet, program

FULL = os.environ.get("KITSUNE_SWEEP") == "full"  # every pass of each failpoint, not some of them alone
# Those at which all of a rollout goes by: of these more passes are tried.
BUSY = ("writer.commit", "writer.committed", "net.sent")
SERVERS = ("s1", "s2", "s3", "s4")
ORIGINAL = b"as it was\n"
MODE = 0o640
TIME_NS = 1_500_000_000_123_456_789
ORCHESTRATOR = "orchestrator"
UNREACHED = 5  # exit status of the CLI
# What a step of a script says of itself; one write, so that lines of several do not mix.
NOTE = 'echo "$KITSUNE_ROLLOUT $KITSUNE_SERVER_ID $KITSUNE_STEP $KITSUNE_PHASE $KITSUNE_ATTEMPT" >>"$0"'


def failpoints_are_built_in():
    done = subprocess.run(
        [program("kitsune-agent"), "--version"],
        env={**os.environ, "KITSUNE_FAILPOINT": "no such point"},
        capture_output=True,
        check=False,
    )
    return done.returncode != 0


def wait_first(*processes):
    """Those of these (subprocess.Popen) that have ended, once one has."""
    poll = select.poll()
    fds = {}
    try:
        for process in processes:
            fds[os.pidfd_open(process.pid)] = process
        for fd in fds:
            poll.register(fd, select.POLLIN)
        ready = poll.poll(DEADLINE * 1000)
        assert ready, "none has ended"
        return [fds[fd] for fd, _ in ready]
    finally:
        for fd in fds:
            os.close(fd)


# ---- Scenarios ------------------------------------------------------------------------------------


def script(name, log, then="", **more):
    """A step that notes down each of its runs, and each of its undoings."""
    return {
        "name": name,
        "type": "script",
        "params": {"script": "sh", "args": ["-c", f"{NOTE}; {then or ':'}", log], "rollback_script": "sh"},
        **more,
    }


def run_again(steps, doubt):
    """A step of a type that may safely run again did so."""
    return [(name, state, attempt + 1 if name == doubt else attempt) for name, state, attempt in steps]


def cut_off(steps, doubt):
    """A step whose effect is not known has failed; those after it never began."""
    at = [step[0] for step in steps].index(doubt)
    return steps[: at + 1] + [(name, "pending", None) for name, _, _ in steps[at + 1 :]]


class RolledBack:
    """Two succeed, the third fails and trips the threshold; the fourth is never begun; all is undone."""

    name = "rolled-back"
    status = 3
    touched = ("s1", "s2", "s3")

    @staticmethod
    def plan(log):
        undoing = '[ "$KITSUNE_PHASE" = rollback ]'
        return {
            "servers": list(SERVERS),
            "steps": [
                # Each agent has a folder of its own to work in.
                {"name": "write", "type": "file_write", "params": {"path": "/proc/self/cwd/file", "content": "new\n"}},
                script("count", log),
                script("flaky", log, f'{undoing} || [ "$KITSUNE_ATTEMPT" -ge 2 ]',
                       retry={"maximumAttempts": 2, "initialIntervalSeconds": 0.01}),
                script("check", log, f'{undoing} || [ "$KITSUNE_SERVER_ID" != s3 ]'),
            ],
            # Two, then one at a time: what happens in each batch depends on no race.
            "rolloutStrategy": {"type": "Canary", "canaryPercentage": 50, "batchSize": 1, "maxFailures": 0},
        }

    @staticmethod
    def operate(_rig, _rollout):
        """What a person does meanwhile: nothing."""

    @staticmethod
    def doubted(clean, victim, doubt, is_script, found):
        """The clean run's shape, as the step changes it in the middle of which the agent died."""
        state, servers = clean
        theirs, _, steps = servers[victim]
        if not is_script:
            return state, {**servers, victim: (theirs, servers[victim][1], run_again(steps, doubt))}
        at = [step[0] for step in steps].index(doubt)
        attempts = found[1][victim][2][at][2]
        assert attempts in range(1, steps[at][2] + 1), f"attempt {attempts} of {doubt}"
        steps = cut_off(steps, doubt)
        steps[at] = (doubt, steps[at][1], attempts)
        servers = {**servers, victim: (theirs, "failed", steps)}
        if victim == "s1":
            # It was among the first two, so none comes after them; the other one had got somewhere.
            never = ("skipped", "skipped", [(name, "pending", None) for name, _, _ in steps])
            servers.update({"s2": found[1]["s2"], "s3": never, "s4": never})
            assert found[1]["s2"][:2] in (("rolled_back", "succeeded"), ("rolled_back", "cancelled"), never[:2])
        return state, servers


class Cancelled:
    """Both are in the middle of a long step when the rollout is cancelled at once; all is undone."""

    name = "cancelled"
    status = 3
    touched = ("s1", "s2")

    @staticmethod
    def plan(_log):
        return {
            "servers": list(SERVERS[:2]),
            "steps": [
                {"name": "write", "type": "file_write", "params": {"path": "/proc/self/cwd/file", "content": "new\n"}},
                {"name": "hold", "type": "sleep", "params": {"duration": 300}},
            ],
            "rolloutStrategy": {"type": "Parallel"},
        }

    @staticmethod
    def operate(rig, rollout):
        held = set()

        def follow():
            argv = [program("kitsune"), "--orchestrator", rig.fleet.url, "events", rollout, "--follow", "-o", "json"]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as follower:
                for line in follower.stdout:
                    event = json.loads(line)
                    if event["type"] == "step_started" and event["step"] == "hold":
                        held.add(event["server"])
                    if len(held) == 2:
                        break
                follower.kill()
            return len(held) == 2

        while True:
            seen = rig.restarts
            if follow():
                break
            rig.wait_restart(seen)  # it found nobody at its start
        # A cancel whose answer was lost is asked for again: it is done already then.
        code, text = rig.insist("POST", f"/v1/rollouts/{rollout}/cancel", {"now": True, "rollback": True})
        assert code in (202, 409), text

    @staticmethod
    def doubted(clean, victim, doubt, _is_script, _found):
        state, servers = clean
        theirs, outcome, steps = servers[victim]
        return state, {**servers, victim: (theirs, outcome, run_again(steps, doubt))}


# ---- The rig --------------------------------------------------------------------------------------


class Rig:
    def __init__(self, scenario, victim, action="kill"):
        self.scenario = scenario
        self.victim = victim
        # The victim's status after its failpoint. One that ends by itself may be told to meanwhile.
        self.dead = (-signal.SIGKILL,) if action == "kill" else (1, -signal.SIGTERM)
        self.fleet = Fleet(heartbeat="10s")
        self.log = self.fleet.path("log")
        self.restarts = 0
        self.restarted = threading.Condition()
        self.over = False
        try:
            self.open()
        except BaseException:
            self.fleet.close(check=False)
            raise

    def open(self):
        self.fleet.start_orchestrator()
        for server in self.scenario.plan("")["servers"]:
            os.mkdir(self.place(server))
            with open(self.file(server), "wb") as file:
                file.write(ORIGINAL)
            os.chmod(self.file(server), MODE)
            os.utime(self.file(server), ns=(TIME_NS, TIME_NS))
            self.start(server)
        with open(self.log, "wb"):
            pass

    def close(self, check=True):
        self.fleet.close(check)

    def place(self, server):
        return self.fleet.path("place-" + server)

    def file(self, server):
        return os.path.join(self.place(server), "file")

    def process(self, name):
        return self.fleet.orchestrator if name == ORCHESTRATOR else self.fleet.agents[name]

    def start(self, name, failpoint=None):
        """False when it died, by its failpoint, before it served."""
        env = {"KITSUNE_FAILPOINT": failpoint} if failpoint else None
        try:
            if name == ORCHESTRATOR:
                self.fleet.start_orchestrator(env=env)
            else:
                self.fleet.start_agent(name, env=env, cwd=self.place(name))
        except AssertionError:
            if not failpoint or self.process(name).process.wait(DEADLINE) not in self.dead:
                raise
            return False
        with self.restarted:
            self.restarts += 1
            self.restarted.notify_all()
        return True

    def insist(self, method, path, document=None):
        """Asks until there is an answer: again with each start of the orchestrator."""
        body = json.dumps(document).encode() if document is not None else None
        while True:
            seen = self.restarts
            request = urllib.request.Request(self.fleet.url + path, body, method=method)
            try:
                with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code, refused.read()
            except (OSError, http.client.HTTPException):
                self.wait_restart(seen)

    def wait_restart(self, seen):
        """Until something was started since `seen` starts."""
        with self.restarted:
            assert self.restarted.wait_for(lambda: self.restarts > seen or self.over, DEADLINE), "no restart"
            assert self.restarts > seen, "nobody answers"

    def get(self, path):
        code, text = self.insist("GET", path)
        assert code == 200, (path, code, text)
        return json.loads(text)

    # ---- One rollout ------------------------------------------------------------------------------

    def begin(self, failpoint, died):
        """Starts the victim with the failpoint; False when it has died of it already."""
        others = list(self.fleet.agents) if self.victim == ORCHESTRATOR else []
        for name in (*others, self.victim):
            status = self.process(name).stop()
            assert status == 0, f"{name} ended with {status}:\n{self.text()}"
        lives = self.start(self.victim, failpoint)
        if not lives:
            self.back_up(died)
        # Agents that were just started connect at once; those that lost a connection wait a while.
        for name in others:
            self.start(name)
        return lives

    def back_up(self, died):
        """The victim dies, or has died: what it left is looked at, and it is started again."""
        process = self.process(self.victim)
        assert process.process.wait(DEADLINE) in self.dead, process.text()
        died()
        process.kill()
        self.start(self.victim)

    def submit(self, rollout):
        """True when it was answered that the rollout exists."""
        url = f"{self.fleet.url}/v1/rollouts?id={rollout}"
        body = json.dumps(self.scenario.plan(self.log)).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=DEADLINE) as answer:
                return answer.status in (200, 201)
        except urllib.error.HTTPError as refused:
            with refused:
                raise AssertionError(f"submitting was refused: {refused.read()}") from refused
        except (OSError, http.client.HTTPException):
            return False

    def watch_and_operate(self, rollout, pending, died):
        """Until the end of the rollout. True while the failpoint is still to come."""
        self.over = False
        self.read = []
        others = [threading.Thread(target=self.scenario.operate, args=(self, rollout))]
        if self.victim == ORCHESTRATOR:
            others.append(threading.Thread(target=self.follow, args=(rollout,)))
        watch = self.watch(rollout)
        try:
            for thread in others:
                thread.start()
            if pending and watch not in wait_first(watch, self.process(self.victim).process):
                self.back_up(died)
                pending = False
            said, _ = watch.communicate(timeout=DEADLINE)
            # One that finds nobody at its start gives up; one that loses a connection does not.
            if watch.returncode == UNREACHED and self.victim == ORCHESTRATOR:
                if pending:
                    self.back_up(died)
                pending = False
                watch = self.watch(rollout)
                said, _ = watch.communicate(timeout=DEADLINE)
        finally:
            watch.kill()
            watch.communicate()
            self.over = True
            with self.restarted:
                self.restarted.notify_all()
            for thread in others:
                thread.join(DEADLINE)
        assert watch.returncode == self.scenario.status, f"watch ended with {watch.returncode}:\n{said}\n{self.text()}"
        return pending

    def follow(self, rollout):
        """Keeps what a reader of the events is told while the orchestrator lives, dies and comes back."""
        argv = [program("kitsune"), "--orchestrator", self.fleet.url, "events", rollout, "--follow", "-o", "json"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as reader:
            self.read = [json.loads(line) for line in reader.stdout]

    def watch(self, rollout):
        return subprocess.Popen(
            [program("kitsune"), "--orchestrator", self.fleet.url, "watch", rollout],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, rollout, failpoint, died):
        """Runs one rollout in which the victim dies at the failpoint; calls `died` when it is dead.
        Gives the rollout's document and events, and whether the failpoint was reached."""
        pending = self.begin(failpoint, died)
        if not self.submit(rollout):
            assert self.victim == ORCHESTRATOR and pending, "nobody answers"
            self.back_up(died)
            pending = False
            assert self.submit(rollout), "nobody answers"
        pending = self.watch_and_operate(rollout, pending, died)
        if not pending:
            return *self.outcome(rollout), True
        # It lives: what it passes after a rollout's end, or in stopping, is still to come.
        document, events = self.outcome(rollout)
        status = self.process(self.victim).stop()
        if status == 0:
            return document, events, False
        self.back_up(died)
        return *self.outcome(rollout), True

    def text(self):
        parts = [("orchestrator", self.fleet.orchestrator), *self.fleet.agents.items()]
        return "\n".join(f"-- {name}\n{process.text()}" for name, process in parts)

    # ---- What is there afterwards -----------------------------------------------------------------

    def outcome(self, rollout):
        return self.get(f"/v1/rollouts/{rollout}"), self.get(f"/v1/rollouts/{rollout}/events?limit=1000")["events"]

    def notes(self, rollout):
        """(server, step, phase, attempt) of each run that the scripts noted down, in order."""
        with open(self.log, encoding="ascii") as file:
            lines = [line.split() for line in file]
        return [tuple(line[1:]) for line in lines if line[0] == rollout]

    def check_files(self):
        for server in self.scenario.plan("")["servers"]:
            with open(self.file(server), "rb") as file:
                assert file.read() == ORIGINAL, f"{server}: the file is not as it was"
            st = os.stat(self.file(server))
            assert (st.st_mode & 0o7777, st.st_mtime_ns) == (MODE, TIME_NS), f"{server}: {st}"
            assert os.listdir(self.place(server)) == ["file"], os.listdir(self.place(server))

    def tear_log(self):
        """The victim's last commit did not reach the disk whole."""
        if self.victim == ORCHESTRATOR:
            name = self.fleet.path("orchestrator", "journal.db-wal")
        else:
            name = self.fleet.path("agent-" + self.victim, "agent.db-wal")
        os.truncate(name, os.path.getsize(name) - 100)

    def check_journal(self):
        done = subprocess.run(
            [program("kitsune-orchestrator"), "--check", "--data-dir", self.fleet.path("orchestrator")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def open_step(self, server, rollout):
        """The step that the dead agent's journal has as begun and not as ended."""
        with tempfile.TemporaryDirectory(dir=self.fleet.dir) as folder:
            for end in ("", "-wal"):
                name = self.fleet.path("agent-" + server, "agent.db" + end)
                if os.path.exists(name):
                    shutil.copy(name, os.path.join(folder, "agent.db" + end))
            db = sqlite3.connect(os.path.join(folder, "agent.db"))
            try:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                rows = db.execute(
                    "SELECT entry FROM entries JOIN executions ON id = execution WHERE rollout = ? ORDER BY seq",
                    (rollout,),
                ).fetchall()
            finally:
                db.close()
        entries = [json.loads(row[0]) for row in rows]
        assert [e["seq"] for e in entries] == list(range(1, len(entries) + 1))
        begun = None
        for entry in entries:
            if entry["type"] == "step_started":
                begun = entry["step"]
            elif entry["type"] in ("step_retrying", "step_ended"):
                begun = None
        return None if begun is None else self.scenario.plan("")["steps"][begun]["name"]


def shape(document):
    """What must be the same in every run: states, outcomes, attempts."""
    servers = {
        x["server"]: (x["state"], x.get("outcome"), [(s["name"], s["state"], s.get("attempt")) for s in x["steps"]])
        for x in document["executions"]
    }
    return document["state"], servers


def check_record(events, notes, plan, victim):
    """What holds of every rollout, whatever died in it."""
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)), "the numbers have a gap"
    once = collections.Counter()
    begun = set()
    for e in events:
        key = (e["type"], e.get("server"), e.get("step"))
        if e["type"] == "step_started":
            assert (*key, e["attempt"]) not in begun, f"begun twice: {e}"
            begun.add((*key, e["attempt"]))
        elif e["type"] in ("execution_started", "step_ended", "execution_ended", "step_rolled_back",
                           "execution_rolled_back", "rollout_ended"):
            once[key] += 1
    assert max(once.values()) == 1, f"ended twice: {once.most_common(3)}"
    assert once[("rollout_ended", None, None)] == 1
    runs = collections.Counter(n for n in notes if n[2] == "execute")
    for (server, step, _, attempt), times in runs.items():
        assert times == 1, f"{server} ran attempt {attempt} of {step} {times} times"
        assert ("step_started", server, step, int(attempt)) in begun, f"{server} ran {step} off the record"
    steps = [s["name"] for s in plan["steps"]]
    for server in plan["servers"]:
        changed = {e["step"] for e in events if e["type"] == "step_started" and e["server"] == server}
        # What is known to have changed nothing is left alone.
        changed -= {e["step"] for e in events if e["type"] == "step_ended" and e["server"] == server
                    and e["state"] == "succeeded" and not e.get("changed")}
        changed -= {s["name"] for s in plan["steps"] if s["type"] == "sleep"}
        undone = [e["step"] for e in events if e["type"] == "step_rolled_back" and e["server"] == server]
        assert undone == sorted(changed, key=steps.index, reverse=True), f"{server}: {undone}"
        again = [n[1] for n in notes if n[0] == server and n[2] == "rollback"]
        # One that died in undoing a step has undone it once more.
        if server == victim:
            again = [step for i, step in enumerate(again) if i == 0 or again[i - 1] != step]
        scripts = [s["name"] for s in plan["steps"] if s["type"] == "script"]
        assert again == [step for step in undone if step in scripts], f"{server}: {again}"


# ---- The sweep ------------------------------------------------------------------------------------


class Sweep:
    """Every failpoint of a scenario in one victim, `rigs` of them side by side. With `points` these
    alone; `action`: kill, or error; `tear`: the dead victim's last commit is torn."""

    def __init__(self, scenario, victim, full, points=None, action="kill", tear=False, rigs=6):
        self.scenario = scenario
        self.victim = victim
        self.full = full
        self.points = points
        self.action = action
        self.tear = tear
        self.rigs = rigs
        self.lock = threading.Lock()
        self.todo = collections.deque()
        self.failures = []
        self.reached = collections.Counter()
        self.missed = collections.Counter()
        self.clean = None
        self.counts = {}

    def count(self):
        """The clean run, which all others are compared with: how often each failpoint is passed."""
        rig = Rig(self.scenario, self.victim)
        path = rig.fleet.path("counts")
        try:
            document, events, reached = rig.run("clean", "count:" + path, lambda: None)
            assert not reached
            self.clean = shape(document)
            check_record(events, rig.notes("clean"), document["plan"], None)
            rig.check_files()
            with open(path, encoding="ascii") as file:
                self.counts = {name: int(times) for name, times in (line.split() for line in file)}
        finally:
            rig.close()

    def choose(self):
        for name, times in self.counts.items():
            if self.points and name not in self.points:
                continue
            # The first commit is of a look for what is old: there is nothing in it to tear.
            first = 2 if self.tear else 1
            self.todo.extend((name, n) for n in self.passes(name, times) if n >= first)

    def passes(self, name, times):
        """Those that are tried: with few of them, all; else the first, the last, and some between."""
        if self.full or times <= 5:
            return range(1, times + 1)
        parts = 5 if name in BUSY else 1
        return sorted({1 + i * (times - 1) // parts for i in range(parts + 1)})

    def one(self, rig, name, n):
        rollout = f"{name}-{n}"
        doubts = []

        def died():
            if self.tear:
                rig.tear_log()
            if self.victim == ORCHESTRATOR:
                rig.check_journal()
            else:
                doubts.append(rig.open_step(self.victim, rollout))

        document, events, reached = rig.run(rollout, f"{name}={self.action}@{n}", died)
        # What was told once stays so.
        assert rig.read == events[: len(rig.read)], f"told:\n{rig.read}\nrecorded:\n{events}"
        check_record(events, rig.notes(rollout), document["plan"], self.victim)
        rig.check_files()
        self.compare(document, doubts[0] if doubts else None)
        with self.lock:
            (self.reached if reached else self.missed)[name] += 1

    def compare(self, document, doubt):
        found, expected = shape(document), self.clean
        if doubt is not None:
            kinds = {s["name"]: s["type"] for s in document["plan"]["steps"]}
            expected = self.scenario.doubted(self.clean, self.victim, doubt, kinds[doubt] == "script", found)
        assert found == expected, f"in doubt: {doubt}\nfound\n{found}\nexpected\n{expected}"

    def work(self):
        rig = None
        while True:
            with self.lock:
                if not self.todo:
                    break
                name, n = self.todo.popleft()
            try:
                rig = rig or Rig(self.scenario, self.victim, self.action)
                self.one(rig, name, n)
            except Exception as error:  # told of at the end, with all the others
                with self.lock:
                    self.failures.append(f"== {name}={self.action}@{n}: {type(error).__name__}: {error}")
                if rig:
                    rig.close(check=False)
                rig = None
        if rig:
            rig.close()

    def run(self):
        self.count()
        self.choose()
        total = len(self.todo)
        threads = [threading.Thread(target=self.work) for _ in range(self.rigs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return total
