"""Signed plans: the three programs for real, and an orchestrator that tries every forgery it can."""

import copy
import json
import os
import signal
import unittest

from fleet import Fleet, by_server, main
from hostile import Hostile, execute, sha256, statement
from test_clock import LIBRARY, Clock

ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group, RFC 8032


class Keys:
    """Private keys by name, and the file of those that agents trust."""

    def __init__(self, fleet, names, trusted, threshold):
        self.fleet = fleet
        for name in names:
            fleet.kitsune("key", "new", fleet.path(name), check=0)
        self.trusted = fleet.path("trusted-keys")
        with open(self.trusted, "w", encoding="ascii") as file:
            file.write(f"# who may\nthreshold {threshold}\n")
            for name in trusted:
                with open(fleet.path(name + ".pub"), encoding="ascii") as public:
                    file.write(public.read())
        os.chmod(self.trusted, 0o644)

    def id(self, name):
        return self.fleet.json("key", "show", self.fleet.path(name + ".pub"))["keys"][0]["id"]

    def sign(self, plan, *names, options=(), env=None):
        """The path of the plan with signatures by these."""
        path = plan if isinstance(plan, str) else self.fleet.plan(plan)
        for name in names:
            self.fleet.kitsune("sign", path, "--key", self.fleet.path(name), "--out", path, *options, check=0, env=env)
            options = ()
        return path

    def signed(self, plan, *names, **more):
        with open(self.sign(plan, *names, **more), encoding="utf-8") as file:
            return json.load(file)


def plan_of(marker, servers=("a", "b", "c"), **more):
    """Its step leaves a mark, each time that it is run."""
    script = {"script": "sh", "args": ["-c", f"echo {more.pop('mark', 'ran')} >>'{marker}'"]}
    steps = [
        {"name": "say", "type": "echo", "params": {"message": "first"}},
        {"name": "mark", "type": "script", "params": script, "retry": {"nonRetryableExitCodes": [9]}},
    ]
    return {"name": "patch", "servers": list(servers), "steps": steps, **more}


def kill(process):
    process.process.send_signal(signal.SIGKILL)
    process.process.wait()
    process.stop()


class Gate:
    """A FIFO at which steps wait for a line. It is held open, so that neither side waits for the other."""

    def __init__(self, test, path):
        os.mkfifo(path)
        self.file = os.open(path, os.O_RDWR)
        test.addCleanup(os.close, self.file)

    def let_pass(self, count=1):
        os.write(self.file, b"go\n" * count)


class Marked(unittest.TestCase):
    def marks(self):
        try:
            with open(self.marker, encoding="ascii") as file:
                return file.read().split()
        except FileNotFoundError:
            return []


class Fleets(Marked):
    def setUp(self):
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)
        self.keys = Keys(self.fleet, ["alice", "bob", "carol", "eve"], ["alice", "bob", "carol"], threshold=2)
        self.marker = self.fleet.path("marker")
        self.fleet.start_orchestrator()
        for agent in ("a", "b", "c"):
            self.fleet.start_agent(agent, args=["--trusted-keys", self.keys.trusted])
            self.fleet.orchestrator.wait_line(f"server={agent} ")

    def message(self, rollout):
        ends = [e for e in self.fleet.events(rollout) if e["type"] == "execution_ended"]
        return ends[0].get("message", "")

    def test_what_enough_keys_have_signed_runs_and_nothing_else(self):
        self.assertIn('keys="2 of 3"', self.fleet.agents["a"].text())
        plan = plan_of(self.marker, rolloutStrategy={"type": "Parallel", "maxFailures": 0})
        for names, why in [
            ((), "the plan is not signed"),
            (("alice",), "signed by 1 of the trusted keys, and 2 must have signed it"),
            (("alice", "eve"), "signed by 1 of the trusted keys, and 2 must have signed it"),
        ]:
            path = self.keys.sign(plan, *names)
            document = self.fleet.run(path, check=3)
            self.assertIn(why, self.message(document["id"]))
            self.assertEqual(by_server(document)["a"]["state"], "rolled_back")
            self.fleet.agents["a"].wait_line('msg="execution refused"')
        self.assertEqual(self.marks(), [])
        path = self.keys.sign(plan, "carol", "alice")
        self.fleet.kitsune("verify", path, "--trusted-keys", self.keys.trusted, check=0)
        document = self.fleet.run(path)
        self.assertEqual([x["state"] for x in document["executions"]], ["succeeded"] * 3)
        self.assertEqual(self.marks(), ["ran"] * 3)
        # Once more, under another id, it has been run: sign it anew.
        again = self.fleet.run(path, check=3)
        self.assertIn(f"was run on this server already, by rollout {document['id']}", self.message(again["id"]))
        self.assertEqual(self.marks(), ["ran"] * 3)
        self.fleet.run(self.keys.sign(path, "alice", "bob", options=["--anew"]))
        self.assertEqual(self.marks(), ["ran"] * 6)

    def test_the_orchestrator_takes_nothing_that_no_agent_would_run(self):
        plan = plan_of(self.marker)
        path = self.keys.sign(plan, "alice", "bob", options=["--not-before", "1h", "--expires", "2h"])
        self.assertIn("is not to begin before", self.fleet.kitsune("submit", path, check=1).stderr)
        path = self.keys.sign(plan, "alice", "bob")
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        document["steps"][0]["params"]["message"] = "second"
        refused = self.fleet.kitsune("submit", self.fleet.plan(document), check=1).stderr
        self.assertIn("the plan is not what was signed", refused)
        self.assertEqual(self.fleet.json("list")["rollouts"], [])

    @unittest.skipUnless(os.path.exists(LIBRARY), "libfaketime is not installed")
    def test_a_plan_that_has_expired_is_refused_at_once(self):
        clock = Clock(self.fleet.path("clock"))
        clock.jump("-9h")
        path = self.keys.sign(plan_of(self.marker), "alice", env=clock.env)
        self.assertIn("the signed plan expired at", self.fleet.kitsune("submit", path, check=1).stderr)
        refused = self.fleet.kitsune("verify", path, "--trusted-keys", self.fleet.path("alice.pub"), check=1).stderr
        self.assertIn("expired", refused)

    def test_a_signed_plan_is_not_retried_but_signed_anew(self):
        plan = plan_of(self.marker)
        plan["steps"].append({"name": "fail", "type": "script", "params": {"script": "sh", "args": ["-c", "exit 1"]}})
        rollout = self.fleet.run(self.keys.sign(plan, "alice", "bob"), check=3)["id"]
        refused = self.fleet.kitsune("retry", rollout, check=1).stderr
        self.assertIn("kitsune sign --anew", refused)

    def test_after_restarts_of_both_what_was_submitted_goes_on_and_can_be_undone(self):
        target = self.fleet.path("target")
        path = self.fleet.path("gate")
        gate = Gate(self, path)
        steps = [
            {"name": "write", "type": "file_write", "params": {"path": target, "content": "new"}},
            {"name": "wait", "type": "script", "params": {"script": "sh", "args": ["-c", f"read x <'{path}'"]},
             "onInterrupt": "retry"},
        ]
        plan = {"servers": ["a", "b"], "steps": steps, "rollback": {"scope": "all"}}
        rollout = self.fleet.submit(self.keys.sign(plan, "alice", "bob"))
        self.fleet.wait_event(rollout, lambda e: e["type"] == "step_started" and e["step"] == "wait")
        kill(self.fleet.agents["a"])
        self.fleet.end_orphans()  # the other agents are killed with them
        for process in (self.fleet.agents["b"], self.fleet.agents["c"], self.fleet.orchestrator):
            kill(process)
        self.fleet.start_orchestrator()
        for agent in ("a", "b"):
            self.fleet.start_agent(agent, args=["--trusted-keys", self.keys.trusted])
        gate.let_pass(2)
        self.fleet.kitsune("watch", rollout, check=0)
        with open(target, encoding="ascii") as file:
            self.assertEqual(file.read(), "new")
        self.fleet.kitsune("rollback", rollout, "--watch", "--reason", "test", check=0)
        self.assertFalse(os.path.exists(target))


class Forgeries(Marked):
    def setUp(self):
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)
        self.keys = Keys(self.fleet, ["alice", "bob", "carol", "eve"], ["alice", "bob", "carol"], threshold=2)
        self.marker = self.fleet.path("marker")
        self.hostile = self.enterContext(Hostile())
        self.start()
        self.rollouts = 0

    def start(self, **more):
        """The agent's hello."""
        self.fleet.start_agent("b", args=["--trusted-keys", self.keys.trusted], url=self.hostile.url, **more)
        return self.hostile.connected()

    def stop(self):
        kill(self.fleet.agents["b"])

    def send(self, frame):
        """Sends it as a rollout of its own, and gives how that ended."""
        self.rollouts += 1
        rollout = f"r{self.rollouts}"
        self.hostile.say({**frame, "rollout": rollout})
        return self.hostile.ended(rollout)

    def assert_refused(self, frame, why):
        end = self.send(frame)
        self.assertEqual((end["state"], self.marks()), ("failed", []), end)
        self.assertIn("refused: ", end["message"])
        self.assertIn(why, end["message"])

    def test_the_description_of_what_is_signed_is_what_is_signed(self):
        plans = [
            plan_of(self.marker),
            plan_of(self.marker, servers=[f"s{i}" for i in range(7)], rollback={"confirmTimeoutSeconds": 2.5},
                    rolloutStrategy={"type": "Canary", "batchSize": [1, "12.5%"], "maxUnreachable": -1,
                                     "maxFailures": "3%", "canaryPercentage": 20, "maxParallel": 3}),
            {"servers": ["a"], "steps": [{"name": "é", "type": "sleep", "params": {"duration": "90s"}}]},
            plan_of(self.marker, vars={"b": 1, "a": ["x"]}),
            plan_of(self.marker, secrets={"t": {"file": "/etc/t"}, "s": {"env": "S"}}),
        ]
        for plan in plans:
            signed = self.keys.signed(plan, "alice")
            self.assertEqual(sha256(statement(signed)).hex(), signed["signing"]["digest"])

    def test_no_forgery_runs_and_what_was_forged_runs_once(self):
        plan = self.keys.signed(plan_of(self.marker, servers=["a", "b", "c", "d", "e"]), "alice", "bob")
        other = self.keys.signed(plan_of(self.marker, servers=["b"], mark="other"), "alice", "bob")
        unfit = "does not fit: the plan is not what was signed"
        honest = execute("x", plan, "b")

        def forged(change):
            frame = copy.deepcopy(honest)
            change(frame, frame["signed"], frame["signed"]["signing"])
            return frame

        # What is to be done.
        evil = {"script": "sh", "args": ["-c", f"echo evil >>'{self.marker}'"]}
        self.assert_refused(forged(lambda f, s, g: f["steps"][1].update(params=evil)), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"].append({**f["steps"][1], "name": "more"})), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"].pop(0)), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"].reverse()), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"][1].update(type="command_check")), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"][1].update(name="another")), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"][1].update(required=False)), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"][1].update(continueOnFailure=True)), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"][1].update(timeoutSeconds=1)), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"][1].update(onInterrupt="retry")), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"][1]["retry"].update(maximumAttempts=9)), unfit)
        self.assert_refused(forged(lambda f, s, g: f["steps"][1]["retry"].update(nonRetryableExitCodes=[])), unfit)
        self.assert_refused({**execute("x", other, "b"), "steps": plan["steps"]}, unfit)
        self.assert_refused(forged(lambda f, s, g: f.update(vars={"x": 1})), unfit)
        self.assert_refused(forged(lambda f, s, g: f.update(secrets={"x": {"env": "HOME"}})), unfit)
        secret = execute("x", self.keys.signed(plan_of(self.marker, servers=["b"], secrets={"x": {"env": "X"}}),
                                               "alice", "bob"), "b")
        self.assert_refused({**secret, "secrets": {"x": {"env": "HOME"}}}, unfit)
        self.assert_refused({**secret, "secrets": {"x": {"file": "/X"}}}, unfit)
        # What happens on failure.
        self.assert_refused(forged(lambda f, s, g: f.update(rollbackOnFailure=False)), "what is to happen on failure")
        self.assert_refused(forged(lambda f, s, g: (f.update(rollbackOnFailure=False), s.update(scope="none"))), unfit)
        self.assert_refused(forged(lambda f, s, g: s.update(scope="failed")), unfit)
        self.assert_refused(forged(lambda f, s, g: f.update(confirmMs=1000)), unfit)
        # Which plan it is of.
        self.assert_refused(forged(lambda f, s, g: s.update(plan="another")), unfit)
        self.assert_refused(forged(lambda f, s, g: s.pop("plan")), unfit)
        self.assert_refused(forged(lambda f, s, g: s.update(strategy="00" * 32)), unfit)
        # For whom.
        self.assert_refused(execute("x", plan, "c"), "server b is not among those of the signed plan")
        for index in (0, 2, 4):
            self.assert_refused(forged(lambda f, s, g, i=index: s.update(index=i)), "is not among those")
        self.assert_refused(forged(lambda f, s, g: s.update(index=5)), "the proof that this server is in")
        self.assert_refused(forged(lambda f, s, g: s.update(servers=1, index=0, path=[])), "is not among those")
        self.assert_refused(forged(lambda f, s, g: s.update(path=s["path"][:-1])), "is not among those")
        self.assert_refused(forged(lambda f, s, g: s.update(path=s["path"] * 6)), "is not among those")
        self.assert_refused(forged(lambda f, s, g: s.update(path=s["path"] * 10)), "the proof that this server is in")
        alone = execute("x", {**plan, "servers": ["b"]}, "b")
        self.assert_refused(alone, unfit)
        # When, and how often.
        self.assert_refused(forged(lambda f, s, g: g.update(expires="2099-01-01T00:00:00.000Z")), unfit)
        self.assert_refused(forged(lambda f, s, g: g.update(notBefore="2000-01-01T00:00:00.000Z")), unfit)
        self.assert_refused(forged(lambda f, s, g: g.update(nonce="00" * 16)), unfit)
        # By whom.
        def by(*signatures):
            return forged(lambda f, s, g: g.update(signatures=list(signatures)))

        alice, bob = plan["signing"]["signatures"]
        few = "signed by 1 of the trusted keys, and 2 must have signed it"
        self.assert_refused(forged(lambda f, s, g: f.pop("signed")), "the plan is not signed")
        self.assert_refused(by(alice), few)
        self.assert_refused(by(alice, alice), few)
        self.assert_refused(by(alice, {**alice, "key": bob["key"]}), unfit)
        self.assert_refused(by(alice, {**bob, "key": "00" * 8}), few)
        self.assert_refused(by(alice, {**bob, "signature": "00" * 64}), unfit)
        self.assert_refused(by(alice, {**bob, "signature": other["signing"]["signatures"][1]["signature"]}), unfit)
        point, scalar = bob["signature"][:64], int.from_bytes(bytes.fromhex(bob["signature"][64:]), "little")
        malleable = point + (scalar + ORDER).to_bytes(32, "little").hex()
        self.assert_refused(by(alice, {**bob, "signature": malleable}), unfit)
        with_eve = self.keys.signed(copy.deepcopy(plan), "eve")
        self.assert_refused(by(alice, with_eve["signing"]["signatures"][2]), few)
        self.assert_refused(forged(lambda f, s, g: g.update(version=2)), "signed in form 2, and only form 1 is known")
        # Nothing of it was right but this; signatures that say nothing do no harm.
        self.assertEqual(self.send(by({**bob, "signature": malleable}, alice, bob))["state"], "succeeded")
        self.assertEqual(self.marks(), ["ran"])

    def test_what_was_run_is_not_run_again_by_whatever_name_and_after_whatever_death(self):
        plan = self.keys.signed(plan_of(self.marker), "alice", "bob")
        frame = execute("x", plan, "b")
        self.assertEqual(self.send(frame)["state"], "succeeded")
        spent = "was run on this server already, by rollout r1"
        for _ in range(2):
            end = self.send(frame)
            self.assertEqual(end["state"], "failed")
            self.assertIn(spent, end["message"])
            # Under its own name it is a repeat: how it ended is told once more.
            self.hostile.entries.pop("r1")
            self.hostile.say({**frame, "rollout": "r1"})
            self.assertEqual(self.hostile.ended("r1")["state"], "succeeded")
            self.stop()
            self.start()
        self.assertEqual(self.marks(), ["ran"])

    def test_two_at_once_are_one(self):
        plan = self.keys.signed(plan_of(self.marker), "alice", "bob")
        frame = execute("x", plan, "b")
        for rollout in ("one", "two", "three"):
            self.hostile.say({**frame, "rollout": rollout})
        ends = [self.hostile.ended(rollout)["state"] for rollout in ("one", "two", "three")]
        self.assertEqual(sorted(ends), ["failed", "failed", "succeeded"])
        self.assertEqual(self.marks(), ["ran"])

    def test_frames_that_break_the_form_end_the_connection_and_run_nothing(self):
        plan = self.keys.signed(plan_of(self.marker), "alice", "bob")
        frame = execute("x", plan, "b")
        text = json.dumps({"v": 1, "epoch": 1, **frame})
        evil = json.dumps([{**plan["steps"][1], "params": {"script": "sh", "args": ["-c", f"touch '{self.marker}'"]}}])
        giant = {**frame, "signed": {**frame["signed"], "path": ["00" * 32] * 33}}
        unknown = {**frame, "steps": [{**step, "alsoRun": "rm -rf /"} for step in frame["steps"]]}
        downgraded = {**frame, "signed": {**frame["signed"], "signing": {**plan["signing"], "version": 0}}}
        empty = {**frame, "signed": {**frame["signed"], "signing": {**plan["signing"], "signatures": []}}}
        for broken in [
            text[:-1] + f', "steps": {evil}}}',
            text.replace('"v": 1', '"v": 0'),
            giant, unknown, downgraded, empty,
            {**frame, "signed": "yes"},
            {**frame, "signed": {**frame["signed"], "root": frame["signed"]["root"].upper()}},
        ]:
            self.hostile.say(broken)
            self.fleet.agents["b"].wait_line("the orchestrator's message is refused", 'msg="not connected"')
            self.stop()  # which spares waiting for it to come again
            self.assertEqual(self.start()["executions"], [])
        self.assertEqual(self.marks(), [])
        self.assertEqual(self.send(frame)["state"], "succeeded")

    def test_an_orchestrator_may_still_cancel_and_undo_but_throws_nothing_away(self):
        target = self.fleet.path("target")
        plan = {"servers": ["b"], "steps": [
            {"name": "write", "type": "file_write", "params": {"path": target, "content": "signed"}}]}
        with open(target, "w", encoding="ascii") as file:
            file.write("before")
        first = self.keys.signed(plan, "alice", "bob")
        # What is cancelled before it came is not run, though it is signed.
        self.hostile.say({"type": "cancel", "rollout": "early", "now": True})
        self.assertEqual(self.hostile.ended("early")["state"], "cancelled")
        self.hostile.say(execute("early", first, "b"))
        self.assertEqual(self.send(execute("x", first, "b"))["state"], "succeeded")
        self.assertEqual(self.hostile.ended("early")["state"], "cancelled")
        with open(target, "w", encoding="ascii") as file:
            file.write("somebody's")
        self.hostile.say({"type": "rollback", "rollout": "r1", "round": 1, "force": True})
        self.assertEqual(self.hostile.await_entry("r1", "rolled_back")["state"], "rollback_failed")
        self.assertTrue(self.hostile.await_entry("r1", "step_rolled_back")["conflict"])
        with open(target, encoding="ascii") as file:
            self.assertEqual(file.read(), "somebody's")
        with open(target, "w", encoding="ascii") as file:
            file.write("signed")
        self.hostile.entries.pop("r1")
        self.hostile.say({"type": "rollback", "rollout": "r1", "round": 2})
        self.fleet.agents["b"].wait_line("state=rolled_back")
        with open(target, encoding="ascii") as file:
            self.assertEqual(file.read(), "before")

    @unittest.skipUnless(os.path.exists(LIBRARY), "libfaketime is not installed")
    def test_nothing_begins_outside_its_time_and_what_has_begun_goes_on(self):
        clock = Clock(self.fleet.path("clock"))
        path = self.fleet.path("gate")
        gate = Gate(self, path)
        wait = {"name": "wait", "type": "script", "onInterrupt": "retry",
                "params": {"script": "sh", "args": ["-c", f"echo began >>'{self.marker}'; read x <'{path}'"]}}
        plan = plan_of(self.marker, servers=["b"])
        later = execute("x", self.keys.signed(plan, "alice", "bob", options=["--not-before", "1h"]), "b")
        now = execute("x", self.keys.signed({**plan, "steps": [wait]}, "alice", "bob"), "b")
        queued = execute("x", self.keys.signed(plan, "alice", "bob", options=["--expires", "1h"]), "b")
        self.assert_refused(later, "is not to begin before")
        self.stop()
        clock.jump("+9h")
        self.start(env=clock.env)
        self.assert_refused(now, "expired at")
        self.stop()
        clock.jump("+0")
        self.start(env=clock.env)
        self.hostile.say({**now, "rollout": "now"})
        self.hostile.await_entry("now", "step_started")
        # One waits behind it, and its time passes.
        self.hostile.say({**queued, "rollout": "queued"})
        clock.jump("+9h")
        self.stop()
        self.fleet.end_orphans()
        self.start(env=clock.env)
        self.hostile.say({**queued, "rollout": "queued"})
        self.assertIn("expired at", self.hostile.ended("queued")["message"])
        gate.let_pass()
        self.assertEqual(self.hostile.ended("now")["state"], "succeeded")
        self.assertEqual(set(self.marks()), {"began"})


class TrustedKeys(unittest.TestCase):
    def test_a_file_that_others_may_change_is_refused(self):
        fleet = Fleet()
        self.addCleanup(fleet.close)
        keys = Keys(fleet, ["alice"], ["alice"], threshold=1)

        def refused():
            with self.assertRaises(AssertionError) as caught:
                fleet.start_agent("a", args=["--trusted-keys", keys.trusted], url="http://127.0.0.1:9")
            fleet.agents.pop("a").stop()
            return str(caught.exception)

        os.chmod(keys.trusted, 0o664)
        self.assertIn("may be written by others (mode 0664)", refused())
        os.chmod(keys.trusted, 0o644)
        os.chmod(fleet.dir, 0o770)
        self.assertIn("may be written by others (mode 0770)", refused())
        os.chmod(fleet.dir, 0o700)
        with open(keys.trusted, "a", encoding="ascii") as file:
            file.write("ed25519 nonsense\n")
        self.assertIn("line 4: a key is", refused())


if __name__ == "__main__":
    main()
