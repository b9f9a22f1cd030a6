"""One plan, other values on each server: labels, facts, vars, conditions, and what steps put out."""

import json
import os
import unittest

from fleet import SOURCE, Fleet, by_server, main


def write_step(path, content, name="write", **more):
    return {"name": name, "type": "file_write", "params": {"path": path, "content": content}, **more}


def script_step(line, name, *args, **more):
    return {"name": name, "type": "script", "params": {"script": "sh", "args": ["-c", line, name, *args]}, **more}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def steps_of(document, server):
    return {s["name"]: s for s in by_server(document)[server]["steps"]}


class LabelledFleet(Fleet):
    """Agents with labels: {"web-1": ["tier=front"]}."""

    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def __enter__(self):
        super().__enter__()
        for agent in self.labels:
            self.start(agent)
        return self

    def start(self, agent):
        args = [word for label in self.labels[agent] for word in ("--label", label)]
        seen = len(self.orchestrator.lines)
        self.start_agent(agent, args=args)
        while not any(f"server={agent} " in line for line in self.orchestrator.lines[seen:]):
            self.orchestrator.news.get(timeout=60)


class Values(unittest.TestCase):
    def test_labels_and_facts_are_shown(self):
        with LabelledFleet({"web-1": ["tier=front", "zone=a \"b\""], "web-2": ["tier=back"]}) as fleet:
            shown = fleet.json("server", "web-1")
            self.assertEqual(shown["labels"], {"tier": "front", "zone": "a \"b\""})
            self.assertEqual(shown["facts"]["kernel"], os.uname().release)
            self.assertGreater(shown["facts"]["memory.mb"], 0)
            text = fleet.kitsune("server", "web-1", check=0).stdout
            self.assertIn("labels     tier=front\n           zone=a \"b\"\n", text)
            self.assertIn("kernel=" + os.uname().release, text)
            for label, wanted in (("tier=front", ["web-1"]), ("tier=back", ["web-2"]), ("zone=a \"b\"", ["web-1"]),
                                  ("tier=fro", []), ("ier=front", [])):
                listed = fleet.json("servers", "--label", label)
                self.assertEqual([s["id"] for s in listed["servers"]], wanted, label)

    def test_one_plan_gives_each_server_what_is_its_own(self):
        labels = {"web-1": ["tier=front", "port=80"], "web-2": ["tier=back", "port=81"], "web-3": ["tier=front"]}
        with LabelledFleet(labels) as fleet:
            host = fleet.path("host")
            os.mkdir(host)
            plan = {
                "servers": list(labels),
                "vars": {"site": {"name": "shop"}, "pause": 0.01, "tiers": ["front", "edge"]},
                "steps": [
                    write_step(host + "/${server.id}.conf", "${vars.site.name} on ${facts.arch}, $${server.id}\n"),
                    write_step(host + "/front-${server.id}", "${server.labels.tier}", "front",
                               when="server.labels.tier in vars.tiers"),
                    {"name": "rest", "type": "sleep", "params": {"duration": "${vars.pause}"}},
                    write_step(host + "/port-${server.id}", "${server.labels.port}", "port",
                               when="not (server.labels.tier == 'back')"),
                ],
                "rolloutStrategy": {"type": "Parallel", "maxFailures": -1},
                "rollback": {"scope": "failed"},
            }
            shown = fleet.run(plan, "--id", "values", check=None)
            arch = os.uname().machine
            for server in ("web-1", "web-2"):
                self.assertEqual(read(f"{host}/{server}.conf"), f"shop on {arch}, ${{server.id}}\n")
            self.assertEqual(read(host + "/front-web-1"), "front")
            self.assertEqual(read(host + "/port-web-1"), "80")
            back = steps_of(shown, "web-2")
            self.assertEqual({n: s["state"] for n, s in back.items()},
                             {"write": "succeeded", "front": "skipped", "rest": "succeeded", "port": "skipped"})
            self.assertIn("server.labels.tier in vars.tiers", back["front"]["message"])
            self.assertEqual(by_server(shown)["web-2"]["state"], "succeeded")
            self.assertFalse(os.path.exists(host + "/front-web-2"))
            # The third has no port: it fails there, and what it did before is undone.
            failed = by_server(shown)["web-3"]
            self.assertEqual(failed["state"], "rolled_back")
            self.assertIn("server.labels.port is not defined", failed["message"])
            self.assertIn("--label", failed["message"])
            self.assertEqual(sorted(n for n in os.listdir(host) if "web-3" in n), [])

    def test_undo_uses_what_was_found_when_the_step_was_prepared(self):
        with LabelledFleet({"web-1": ["name=old"]}) as fleet:
            host = fleet.path("host")
            os.mkdir(host)
            with open(host + "/old", "w", encoding="utf-8") as file:
                file.write("before\n")
            undo = fleet.path("undo")
            steps = [write_step(host + "/${server.labels.name}", "after\n", when="server.labels.name == 'old'"),
                     {"name": "note", "type": "script",
                      "params": {"script": "sh", "args": ["-c", ": > " + undo + "-${server.labels.name}"],
                                 "rollback_script": "sh"}},
                     {"name": "say", "type": "echo", "params": {"message": "${server.labels.name}"}}]
            fleet.run({"servers": ["web-1"], "steps": steps}, "--id", "first")
            self.assertEqual(read(host + "/old"), "after\n")
            os.remove(undo + "-old")
            fleet.agents["web-1"].stop()
            fleet.labels["web-1"] = ["name=new"]
            fleet.start("web-1")
            fleet.kitsune("rollback", "first", "--watch", check=0)
            self.assertEqual(read(host + "/old"), "before\n")
            self.assertEqual(os.listdir(host), ["old"])
            self.assertTrue(os.path.exists(undo + "-old"))  # the rollback_script had the same args
            self.assertFalse(os.path.exists(undo + "-new"))

    def test_a_check_evaluates_as_a_run_does(self):
        with LabelledFleet({"web-1": ["tier=front"], "web-2": ["tier=back"]}) as fleet:
            host = fleet.path("host")
            os.mkdir(host)
            steps = [write_step(host + "/${server.id}", "${server.labels.tier}\n",
                                when="server.labels.tier == 'front'")]
            plan = fleet.plan({"servers": ["web-1", "web-2"], "steps": steps})
            done = fleet.kitsune("submit", plan, "--check", "--watch", "--id", "look", check=0)
            self.assertIn("+front\n", done.stdout)
            self.assertIn("its condition is false", done.stdout)
            self.assertEqual(os.listdir(host), [])
            shown = fleet.json("show", "look")
            self.assertEqual(steps_of(shown, "web-2")["write"]["state"], "skipped")
            self.assertTrue(steps_of(shown, "web-1")["write"]["changed"])

    def test_what_a_step_puts_out_later_ones_use(self):
        with LabelledFleet({"web-1": []}) as fleet:
            out = fleet.path("out")
            steps = [script_step("echo version=1.4 >> $KITSUNE_OUTPUT; echo 'note=a = b' >> $KITSUNE_OUTPUT; "
                                 "echo pause=0.9 >> $KITSUNE_OUTPUT; echo $KITSUNE_OUTPUT > " + fleet.path("where"),
                                 "make"),
                     {"name": "wait", "type": "sleep", "params": {"duration": "${steps.make.outputs.pause}"}},
                     write_step(out, "${steps.make.outputs.version}: ${steps.make.outputs.note}\n",
                                when="steps.make.outputs.version >= '1.3'")]
            rollout = fleet.submit({"servers": ["web-1"], "steps": steps})
            fleet.wait_event(rollout, lambda e: e["type"] == "step_started" and e["step"] == "wait")
            # What was put out is on record with the step's end: the next agent has it.
            fleet.agents["web-1"].kill()
            fleet.start("web-1")
            fleet.kitsune("watch", rollout, check=0)
            self.assertEqual(read(out), "1.4: a = b\n")
            self.assertFalse(os.path.exists(read(fleet.path("where")).strip()))

            looked = fleet.kitsune("submit", fleet.plan({"servers": ["web-1"], "steps": steps}), "--check", "--watch",
                                   check=0).stdout
            self.assertIn("depends on a change of step 1 (make)", looked)

            wrong = {"servers": ["web-1"], "steps": [script_step("echo 'no name' >> $KITSUNE_OUTPUT", "wrong")]}
            shown = fleet.run(wrong, check=3)
            self.assertIn("line 1: must be NAME=VALUE", by_server(shown)["web-1"]["message"])

    def test_a_label_that_reads_as_a_number_is_one_where_a_number_is_wanted(self):
        with LabelledFleet({"web-1": ["pause=0.01"], "web-2": ["pause=long"]}) as fleet:
            step = {"name": "rest", "type": "sleep", "params": {"duration": "${server.labels.pause}"}}
            plan = {"servers": ["web-1", "web-2"], "steps": [step], "rolloutStrategy":
                    {"type": "Parallel", "maxFailures": -1}, "rollback": {"scope": "none"}}
            shown = by_server(fleet.run(plan, check=None))
            self.assertEqual(shown["web-1"]["state"], "succeeded")
            self.assertEqual(shown["web-2"]["state"], "failed")
            self.assertIn("params.duration", shown["web-2"]["message"])

    def test_a_signed_plan_is_signed_as_it_is_written(self):
        with LabelledFleet({}) as fleet:
            fleet.kitsune("key", "new", fleet.path("key"), check=0)
            fleet.labels["web-1"] = ["tier=front"]
            os.chmod(fleet.path("key.pub"), 0o644)
            fleet.agent_args = ["--trusted-keys", fleet.path("key.pub")]
            fleet.start("web-1")
            out = fleet.path("out")
            plan = {"servers": ["web-1"], "vars": {"word": "right"}, "steps": [
                write_step(out, "${server.labels.tier} ${vars.word}", when="vars.word in ['right', 'wrong']")]}
            path = fleet.plan(plan)
            fleet.kitsune("sign", path, "--key", fleet.path("key"), "--out", path, check=0)
            fleet.run(path)
            self.assertEqual(read(out), "front right")
            with open(path, encoding="utf-8") as file:
                signed = json.load(file)
            signed["vars"]["word"] = "wrong"
            refused = fleet.kitsune("submit", fleet.plan(signed))
            self.assertEqual(refused.returncode, 1)
            self.assertIn("not what was signed", refused.stderr)

    def test_the_plan_of_the_documentation_runs(self):
        with LabelledFleet({"web-1": ["role=web"], "web-2": ["role=web"], "db-1": ["role=db"]}) as fleet:
            with open(os.path.join(SOURCE, "plans", "per-server.json"), encoding="utf-8") as file:
                plan = json.load(file)
            root = plan["vars"]["site"]["root"] = fleet.path("conf")
            shown = fleet.run(plan, "--id", "documented")
            workers = 2 * os.cpu_count()
            self.assertEqual(read(root + "-db-1.conf"), f"name shop\nrole db\nworkers {workers}\n")
            self.assertEqual(steps_of(shown, "db-1")["cache"]["state"], "skipped")
            self.assertEqual(sorted(os.path.basename(p) for p in os.listdir(fleet.dir) if p.startswith("conf")),
                             ["conf-db-1.conf", "conf-web-1.cache", "conf-web-1.conf", "conf-web-2.cache",
                              "conf-web-2.conf"])

    def test_what_can_be_known_at_submit_is(self):
        with Fleet() as fleet:
            plan = {
                "servers": ["a"],
                "vars": {"port": 80, "word": "many", "list": ["a", "b"]},
                "steps": [
                    {"name": "one", "type": "sleep", "params": {"duration": "${vars.word}"}},
                    {"name": "two", "type": "sleep", "params": {"duration": "${vars.pause}"}},
                    {"name": "three", "type": "echo", "params": {"message": "all: ${vars.list}"}},
                    {"name": "four", "type": "echo", "params": {"message": "x"}, "when": "vars.port = 80"},
                    {"name": "five", "type": "echo", "params": {"message": "${steps.six.outputs.x}"}},
                    {"name": "six", "type": "echo", "params": {"message": "x"}, "when": "vars.nothing == 1"},
                    {"name": "seven", "type": "tcp_check",
                     "params": {"port": "${server.labels.port}", "hots": "x"}},
                ],
            }
            done = fleet.kitsune("validate", fleet.plan(plan), check=1)
            for part in ("steps[0].params.duration: ", "steps[1].params.duration: vars.pause is not defined",
                         "steps[2].params.message: vars.list is a list", "steps[3].when: ",
                         "steps[4].params.message: steps.six.outputs.x: no step before this one",
                         "steps[5].when: vars.nothing is not defined", "steps[6].params.hots: unknown parameter"):
                self.assertIn(part, done.stdout + done.stderr)
            self.assertNotIn("steps[6].params.port", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
