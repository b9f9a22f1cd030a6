"""The pages of the step types: each is there, its steps are valid, and the plan that it names is run by a test."""

import json
import os
import re
import unittest

from fleet import SOURCE, Fleet, by_server, main

PLANS = os.path.join(SOURCE, "plans")

# The example plans that other tests run, since they need more than a folder.
RUN_BY = {
    "command-check.json": "systemd/test_plans.py",
    "files.json": "integration/test_files.py",
    "http-check.json": "systemd/test_plans.py",
    "per-server.json": "integration/test_values.py",
    "reboot.json": "integration/test_reboot.py",
    "release.json": "integration/test_release.py",
    "script.json": "integration/test_files.py",
    "service-restart.json": "systemd/test_plans.py",
    "service.json": "systemd/test_plans.py",
    "tcp-check.json": "systemd/test_plans.py",
    "yum-install.json": "integration/test_yum.py",
    "yum-remove.json": "integration/test_yum.py",
    "yum-security.json": "integration/test_yum.py",
    "yum-upgrade.json": "integration/test_yum.py",
}
RUN_HERE = {"canary.json", "hello.json", "parallel-script.json", "retry.json", "rolling-file.json"}


def read(*parts):
    with open(os.path.join(SOURCE, *parts), encoding="utf-8") as file:
        return file.read()


def pages():
    """The page of each step type, by its name."""
    parts = re.split(r"^## ", read("docs", "handlers.md"), flags=re.MULTILINE)[1:]
    return {part.split("\n")[0]: part for part in parts}


def steps_of(text):
    """A step, or a plan's steps."""
    return json.loads("{" + text + "}")["steps"] if text.startswith('"steps"') else [json.loads(text)]


class Pages(unittest.TestCase):
    def test_each_type_has_a_page_with_steps_that_are_valid_and_a_plan_that_has_it(self):
        with Fleet() as fleet:
            types = [x["type"] for x in fleet.json("handlers")["handlers"]]
            self.assertGreater(len(types), 10)
            found = pages()
            for kind in types:
                with self.subTest(kind):
                    page = found[kind]
                    steps = [x for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL) for x in steps_of(text)]
                    self.assertIn(kind, [x["type"] for x in steps])
                    fleet.kitsune("validate", fleet.plan({"servers": ["a"], "steps": steps}), check=0)
                    named = re.findall(r"\]\(\.\./plans/([\w-]+\.json)\)", page)
                    kinds = {x["type"] for name in named for x in json.loads(read("plans", name))["steps"]}
                    self.assertIn(kind, kinds, f"of the plans {named}")

    def test_each_example_plan_is_run_by_a_test(self):
        plans = {x for x in os.listdir(PLANS) if x.endswith(".json")}
        self.assertEqual(plans, RUN_HERE | set(RUN_BY))
        for name, test in RUN_BY.items():
            self.assertIn(f'"{name}"', read("tests", test), "it is there that it is run")


class Plans(unittest.TestCase):
    def run_example(self, fleet, name):
        """Runs an example plan on agents of this test, with its files in a folder of this test."""
        plan = json.loads(read("plans", name).replace("/tmp/", fleet.path("there") + "/"))
        os.makedirs(fleet.path("there"), exist_ok=True)
        if name == "parallel-script.json":
            del plan["servers"][1:]  # all of them would undo by the script that the first one removes
        for server in plan.get("servers", [plan.get("serverID")]):
            if server not in fleet.agents:
                fleet.start_agent(server)
        done = fleet.run(plan)
        self.assertEqual({x["state"] for x in done["executions"]}, {"succeeded"})
        return done

    def undo(self, fleet, done):
        fleet.kitsune("rollback", done["id"], check=0)
        fleet.kitsune("watch", done["id"], check=3)

    def test_they_are_run_and_undone(self):
        with Fleet() as fleet:
            for name in sorted(RUN_HERE - {"retry.json"}):
                with self.subTest(name):
                    done = self.run_example(fleet, name)
                    made = os.listdir(fleet.path("there"))
                    self.assertEqual(made == [], name == "hello.json")
                    self.undo(fleet, done)
                    self.assertEqual(os.listdir(fleet.path("there")), [])

    def test_the_one_that_tries_again_does(self):
        with Fleet() as fleet:
            steps = by_server(self.run_example(fleet, "retry.json"))["web-1"]["steps"]
            self.assertEqual([x["state"] for x in steps], ["succeeded", "failed", "succeeded"])
            self.assertEqual(steps[0]["attempt"], 3)


if __name__ == "__main__":
    main()
