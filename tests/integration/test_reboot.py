"""Steps that reboot their server. A machine is an agent in namespaces of its own, with a boot id of its own, that
--reboot-command has the test end and start again."""

import json
import os
import subprocess
import threading
import unittest

from fleet import DEADLINE, SOURCE, Fleet, by_server, main


IMPATIENT = {"type": "Parallel", "reconnectTimeoutSeconds": 1}


def may_unshare():
    return subprocess.run(["unshare", "--mount", "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0


def boot_id(number):
    return f"{number:08}-0000-4000-8000-000000000000"


def reboot(name="reboot", **params):
    return {"name": name, "type": "reboot", "params": params}


def script(name, text, **more):
    return {"name": name, "type": "script", "params": {"inline": text}, **more}


def write(name, path):
    return {"name": name, "type": "file_write", "params": {"path": path, "content": name}}


def plan(*steps, servers=("a",), **more):
    return {"servers": list(servers), "steps": list(steps), **more}


class Machine:
    """It reboots when it is told so, or stays down until `up` is called."""

    def __init__(self, fleet, servers=("a",), command=None):
        self.fleet = fleet
        self.servers = servers
        self.boots = 0
        self.asked = fleet.path("asked")
        os.mkfifo(self.asked)
        self.command = command or f"echo reboot >{self.asked}"
        self.up()

    def up(self, same=False):
        self.boots += 0 if same else 1
        path = self.fleet.path(f"boot-{self.boots}")
        with open(path, "w", encoding="ascii") as file:
            file.write(boot_id(self.boots) + "\n")
        mount = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
        args = ["--reboot-command", self.command]
        for other in self.servers[1:]:
            args += ["--server-id", other]
        self.agent = self.fleet.start_agent(
            self.servers[0], args=args, prefix=["unshare", "--mount", "sh", "-c", mount, path])
        return self.agent

    def wait_asked(self):
        """Blocks until its agent wants it to be rebooted."""
        seen = []

        def read():
            with open(self.asked, encoding="ascii") as file:
                seen.append(file.read())

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(DEADLINE)
        if not seen:
            raise AssertionError("no reboot was asked for:\n" + self.agent.text())

    def down(self):
        self.wait_asked()
        self.agent.kill()

    def power_cycle(self):
        self.down()
        self.up()


@unittest.skipUnless(may_unshare(), "mount namespaces are not allowed here")
class Reboots(unittest.TestCase):
    def types(self, fleet, rollout):
        return [e["type"] for e in fleet.events(rollout)]

    def hang(self, fleet):
        """Server b in a step of a rollout that waits as shortly as the ones that are looked at."""
        fleet.start_agent("b")
        rollout = fleet.submit(plan(script("hang", "sleep 1000"), servers=["b"], rolloutStrategy=IMPATIENT))
        fleet.wait_event(rollout, lambda e: e["type"] == "step_started")
        return rollout

    def outlast(self, fleet, other):
        """Server b goes after the one that is looked at, and is missed."""
        fleet.wait_event(other, lambda e: e["type"] == "execution_unknown")

    def test_a_rollout_goes_on_after_a_reboot_and_can_be_undone(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            other = self.hang(fleet)
            before, after = fleet.path("before"), fleet.path("after")
            rollout = fleet.submit(plan(
                write("before", before), reboot(message="a new kernel", timeout=300), write("after", after),
                rolloutStrategy=IMPATIENT))
            machine.down()
            event = [e for e in fleet.events(rollout) if e["type"] == "step_rebooting"][0]
            self.assertEqual((event["awayMs"], event["message"]), (300_000, "a new kernel"))
            # Longer than others may be silent.
            fleet.orchestrator.wait_line('"agent disconnected" server=a')
            fleet.agents["b"].kill()
            self.outlast(fleet, other)
            shown = by_server(fleet.json("show", rollout, "--all"))["a"]
            self.assertEqual((shown["state"], shown["rebooting"]), ("running", True))
            self.assertIn("running, rebooting", fleet.kitsune("show", rollout, "--all", check=0).stdout)
            self.assertFalse(os.path.exists(after))
            machine.up()
            watched = fleet.kitsune("watch", rollout, check=0)
            self.assertNotIn("execution_unknown", self.types(fleet, rollout))
            shown = by_server(fleet.json("show", rollout))["a"]
            self.assertNotIn("rebooting", shown)
            self.assertEqual([s["attempt"] for s in shown["steps"]], [1, 1, 1], watched.stdout)
            self.assertTrue(shown["steps"][1]["changed"])
            self.assertEqual(self.types(fleet, rollout).count("step_rebooted"), 1)
            self.assertTrue(os.path.exists(after))
            fleet.kitsune("rollback", rollout, "--watch", check=0)
            self.assertFalse(os.path.exists(before) or os.path.exists(after))
            self.assertEqual(machine.boots, 2)

    def test_a_script_that_exits_with_194_goes_on_after_each_reboot(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            text = f'echo "run $KITSUNE_REBOOTS"; echo "$KITSUNE_REBOOTS" >>{fleet.path("runs")}; [ "$KITSUNE_REBOOTS" -ge 2 ] || exit 194'
            rollout = fleet.submit(plan(script("migrate", text, onInterrupt="fail")))
            machine.power_cycle()
            machine.power_cycle()
            fleet.kitsune("watch", rollout, check=0)
            with open(fleet.path("runs"), encoding="ascii") as file:
                self.assertEqual(file.read().split(), ["0", "1", "2"])
            step = by_server(fleet.json("show", rollout, "--all"))["a"]["steps"][0]
            self.assertEqual((step["attempt"], step["exitCode"], step["changed"]), (1, 0, True))
            logs = fleet.kitsune("logs", rollout, check=0).stdout
            self.assertIn("run 0\n[rebooted]\nrun 1\n[rebooted]\nrun 2\n", logs)

    def test_194_among_the_exit_codes_of_success_reboots_nothing(self):
        with Fleet() as fleet:
            Machine(fleet)
            step = script("done", "exit 194")
            step["params"]["successExitCodes"] = [194]
            rollout = fleet.run(plan(step))
            self.assertNotIn("step_rebooting", self.types(fleet, rollout["id"]))

    def test_a_server_that_is_not_back_in_time_is_unknown_and_undone_when_it_comes(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            before = fleet.path("before")
            rollout = fleet.submit(plan(write("before", before), reboot(timeout=1),
                                        rolloutStrategy=IMPATIENT))
            machine.down()
            unknown = fleet.wait_event(rollout, lambda e: e["type"] == "execution_unknown")
            self.assertIn("not back from its reboot within 1s", unknown["message"])
            fleet.kitsune("watch", rollout)
            last = fleet.events(rollout)[-1]["seq"]
            machine.up()
            fleet.wait_late_event(rollout, lambda e: e.get("type") == "execution_rolled_back", last)
            self.assertFalse(os.path.exists(before))

    def test_after_a_cancel_while_it_is_away_no_further_step_begins(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            after = fleet.path("after")
            rollout = fleet.submit(plan(reboot(), write("after", after)))
            machine.down()
            fleet.kitsune("cancel", rollout, check=0)
            machine.up()
            fleet.kitsune("watch", rollout, check=2)
            self.assertFalse(os.path.exists(after))
            shown = by_server(fleet.json("show", rollout))["a"]
            self.assertEqual(shown["state"], "cancelled")
            self.assertEqual([s["state"] for s in shown["steps"]], ["succeeded", "pending"])

    def test_an_undo_that_is_ordered_while_it_is_away_is_made_after_the_return(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            before, after = fleet.path("before"), fleet.path("after")
            rollout = fleet.submit(plan(write("before", before), reboot(), write("after", after)))
            machine.down()
            fleet.kitsune("rollback", rollout, check=0)
            machine.up()
            fleet.kitsune("watch", rollout, check=3)
            self.assertFalse(os.path.exists(before) or os.path.exists(after))

    def test_an_orchestrator_that_is_restarted_meanwhile_waits_as_long(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            other = self.hang(fleet)
            rollout = fleet.submit(plan(reboot(timeout=300), write("after", fleet.path("after")),
                                        rolloutStrategy=IMPATIENT))
            machine.down()
            fleet.orchestrator.kill()
            fleet.agents["b"].kill()
            fleet.start_orchestrator()
            self.outlast(fleet, other)
            self.assertTrue(by_server(fleet.json("show", rollout, "--all"))["a"]["rebooting"])
            machine.up()
            fleet.kitsune("watch", rollout, check=0)

    def test_an_agent_that_is_started_in_the_same_boot_asks_again(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            rollout = fleet.submit(plan(reboot()))
            machine.down()
            machine.up(same=True)
            machine.power_cycle()
            fleet.kitsune("watch", rollout, check=0)
            self.assertEqual(self.types(fleet, rollout).count("step_rebooting"), 1)

    def test_no_orchestrator_is_needed_for_it(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            go = fleet.path("go")
            os.mkfifo(go)
            rollout = fleet.submit(plan(script("wait", f"cat {go}"), reboot(), write("after", fleet.path("after"))))
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started" and e["step"] == "wait")
            fleet.orchestrator.kill()
            with open(go, "w", encoding="ascii"):
                pass
            machine.down()
            fleet.start_orchestrator()
            machine.up()
            fleet.kitsune("watch", rollout, check=0)

    def test_other_agents_of_the_host_end_what_they_are_at_and_begin_nothing(self):
        with Fleet() as fleet:
            machine = Machine(fleet, servers=("a", "b"))
            go, log = fleet.path("go"), fleet.path("log")
            os.mkfifo(go)
            other = fleet.submit(plan(
                script("first", f"cat {go}; echo first >>{log}"), script("second", f"echo second >>{log}"),
                servers=["b"]))
            fleet.wait_event(other, lambda e: e["type"] == "step_started" and e["step"] == "first")
            rollout = fleet.submit(plan(reboot()))
            fleet.wait_event(rollout, lambda e: e["type"] == "step_rebooting")
            with open(go, "w", encoding="ascii"):
                pass
            machine.down()
            with open(log, encoding="ascii") as file:
                self.assertEqual(file.read().split(), ["first"])
            machine.up()
            fleet.kitsune("watch", rollout, check=0)
            fleet.kitsune("watch", other, check=0)
            with open(log, encoding="ascii") as file:
                self.assertEqual(file.read().split(), ["first", "second"])

    def test_a_later_step_sees_that_a_reboot_is_required_by_now(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            mark = os.path.join(fleet.path("agent-a"), "reboot-required")
            need = script("patch", f"[ -e {fleet.path('patched')} ] || echo '{boot_id(1)}\nglibc' >{mark}; "
                                   f"touch {fleet.path('patched')}")
            steps = [
                {"name": "ask", "type": "echo", "params": {"message": "${facts.rebootRequired}"}},
                need,
                {"name": "tell", "type": "echo", "params": {"message": "so it is"},
                 "when": "facts.rebootRequired and 'glibc' in facts.rebootReasons"},
                reboot(onlyIfRequired=True),
                {"name": "again", "type": "echo", "params": {"message": "still"}, "when": "facts.rebootRequired"},
                reboot("once", onlyIfRequired=True),
            ]
            rollout = fleet.submit(plan(*steps))
            machine.power_cycle()
            fleet.kitsune("watch", rollout, check=0)
            got = by_server(fleet.json("show", rollout, "--all"))["a"]["steps"]
            self.assertEqual([s["state"] for s in got],
                             ["succeeded", "succeeded", "succeeded", "succeeded", "skipped", "succeeded"])
            self.assertEqual(got[5]["message"], "no reboot is required")
            self.assertFalse(got[5].get("changed", False))
            facts = fleet.json("server", "a")["facts"]
            self.assertIs(facts["rebootRequired"], False)

    def test_the_plan_of_the_documentation_runs(self):
        with Fleet() as fleet:
            machine = Machine(fleet, servers=("web-1",))
            os.mkdir(fleet.path("etc"))
            with open(os.path.join(SOURCE, "plans", "reboot.json"), encoding="utf-8") as file:
                document = json.loads(file.read().replace("/etc/modprobe.d", fleet.path("etc")))
            document["servers"] = ["web-1"]
            rollout = fleet.submit(document)
            machine.power_cycle()
            fleet.kitsune("watch", rollout, check=0)
            self.assertTrue(os.path.exists(fleet.path("etc", "no-floppy.conf")))
            previewed = fleet.json("preview", fleet.plan(document))
            self.assertEqual([s["undo"] for s in previewed["steps"]], ["yes", "nothing", "nothing"])

    def test_the_script_of_the_documentation_runs(self):
        with open(os.path.join(SOURCE, "docs", "handlers.md"), encoding="utf-8") as file:
            blocks = file.read().split("```json\n")[1:]
        step = [json.loads(block) for text in blocks if '"name": "resize"' in (block := text.split("```")[0])][0]
        with Fleet() as fleet:
            machine = Machine(fleet)
            for name in ("prepare", "resize", "verify"):
                with open(fleet.path(name), "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o755)) as file:
                    file.write(f"#!/bin/sh\necho {name} >>{fleet.path('did')}\n")
            step["params"]["inline"] = step["params"]["inline"].replace("/opt/disk", fleet.dir)
            rollout = fleet.submit(plan(step))
            machine.power_cycle()
            machine.power_cycle()
            fleet.kitsune("watch", rollout, check=0)
            with open(fleet.path("did"), encoding="ascii") as file:
                self.assertEqual(file.read().split(), ["prepare", "resize", "verify"])

    def test_a_check_says_that_it_would(self):
        with Fleet() as fleet:
            machine = Machine(fleet)
            done = fleet.run(plan(reboot(), reboot("if", onlyIfRequired=True)), "--check")
            messages = [s.get("message") for s in by_server(done)["a"]["steps"]]
            self.assertEqual(messages[0], "would reboot the server")
            self.assertIn("would reboot the server if step reboot", messages[1])
            self.assertEqual(machine.boots, 1)


if __name__ == "__main__":
    main()
