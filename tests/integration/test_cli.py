"""The command line as a person meets it: errors, exit statuses, what is printed where."""

import json
import os
import tempfile
import unittest

from fleet import Fleet, echo_step, main


class Validation(unittest.TestCase):
    def setUp(self):
        self.fleet = Fleet()

    def tearDown(self):
        self.fleet.close()

    def refuse(self, text, *wanted):
        path = self.fleet.path("plan.json")
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        done = self.fleet.kitsune("validate", path, check=1)
        for part in wanted:
            self.assertIn(part, done.stderr)
        return done.stderr

    def test_all_faults_are_told_at_once_with_their_paths(self):
        plan = {
            "servers": ["a", "b", "a", "-x"],
            "steps": [
                {"name": "one", "type": "sleep", "params": {"duraton": 1}},
                {"name": "one", "type": "eccho", "params": {}},
            ],
            "rolloutStrategy": {"type": "rolling"},
            "servrs": [],
        }
        self.refuse(
            json.dumps(plan),
            "servers[2]",
            "servers[3]",
            'steps[0].params.duraton: unknown parameter (did you mean "duration"?)',
            "steps[1].name",
            'did you mean "echo"?',
            "rolloutStrategy.type",
            "servrs",
        )

    def test_hostile_texts_are_refused(self):
        self.refuse("[" * 10_000 + "]" * 10_000, "nested")
        self.refuse(b'{"name":"\xff\xfe"}', "UTF-8")
        self.refuse('{"servers":["a"],"steps":[{"name":"s","type":"echo","params":{"message":"m"},'
                    '"timeoutSeconds":1e400}]}')
        self.refuse("", "plan.json")
        self.refuse("{")

    def test_a_plan_over_the_limit_is_refused_and_one_below_is_taken(self):
        step = echo_step()
        servers = [f"server-{i:06}-{'x' * 60}" for i in range(100_000)]
        text = json.dumps({"servers": servers, "steps": [step]})
        self.assertLess(len(text), 8 * 1024 * 1024)
        path = self.fleet.path("large.json")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        self.fleet.kitsune("validate", path, check=0)
        self.refuse(text + " " * (8 * 1024 * 1024), "8")

    def test_a_plan_comes_from_standard_input_too(self):
        text = json.dumps({"servers": ["a"], "steps": [echo_step()]}).encode()
        self.fleet.kitsune("validate", "-", stdin=text, check=0)


class Statuses(unittest.TestCase):
    def test_an_orchestrator_that_is_not_there_gives_5(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "plan.json")
            with open(path, "w", encoding="ascii") as file:
                json.dump({"servers": ["a"], "steps": [echo_step()]}, file)
            fleet = Fleet()
            try:
                fleet.port = 1
                done = fleet.kitsune("submit", path, check=5)
                self.assertIn("127.0.0.1:1", done.stderr)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1)
            finally:
                fleet.close()

    def test_usage_faults_give_1(self):
        fleet = Fleet()
        try:
            self.assertIn("submit", fleet.kitsune("sumbit", check=1).stderr)
            fleet.kitsune("show", check=1)
            fleet.kitsune("list", "--nonsense", check=1)
        finally:
            fleet.close()


class Printing(unittest.TestCase):
    def test_every_command_prints_a_table_and_json(self):
        with Fleet(agents=["web-1"]) as fleet:
            done = fleet.run({"name": "first", "servers": ["web-1"], "steps": [echo_step()]})
            rollout = done["id"]
            for words in (
                ["list"], ["show", rollout], ["events", rollout], ["servers"], ["server", "web-1"],
                ["handlers"], ["handlers", "echo"],
            ):
                with self.subTest(words=words):
                    table = fleet.kitsune(*words, check=0).stdout
                    self.assertNotIn("\x1b", table)
                    self.assertGreater(len(table.splitlines()), 1)
                    json.loads(fleet.kitsune(*words, "-o", "json", check=0).stdout)
            self.assertIn("web-1", fleet.kitsune("servers", check=0).stdout)
            self.assertEqual(fleet.json("servers")["servers"][0]["connected"], True)
            schema = json.loads(fleet.kitsune("schema", check=0).stdout)
            self.assertIn("2020-12", schema["$schema"])
            missing = fleet.kitsune("show", "no-such-rollout", check=1)
            self.assertIn("no-such-rollout", missing.stderr)

    def test_watch_prints_plain_lines_when_it_is_not_a_terminal(self):
        with Fleet(agents=["a", "b"]) as fleet:
            plan = fleet.plan(
                {"servers": ["a", "b"], "steps": [echo_step()], "rolloutStrategy": {"type": "Rolling", "batchSize": 1}}
            )
            done = fleet.kitsune("submit", plan, "--watch", check=0)
            self.assertNotIn("\x1b", done.stdout + done.stderr)
            self.assertNotIn("\r", done.stdout + done.stderr)
            self.assertIn("succeeded", done.stdout + done.stderr)


class Schema(unittest.TestCase):
    def test_the_schema_accepts_good_plans_and_refuses_bad_ones(self):
        import jsonschema

        fleet = Fleet()
        try:
            schema = json.loads(fleet.kitsune("schema", check=0).stdout)
        finally:
            fleet.close()
        validator = jsonschema.validators.validator_for(schema)
        validator.check_schema(schema)
        good = {"servers": ["a"], "steps": [echo_step()], "rolloutStrategy": {"type": "Rolling", "batchSize": [1, "50%"]}}
        validator(schema).validate(good)
        validator(schema).validate({"serverID": "a", "steps": [echo_step()]})
        for bad in (
            {"servers": [], "steps": [echo_step()]},
            {**good, "nonsense": 1},
            {**good, "steps": [{"name": "x", "type": "echo", "params": {"mesage": "m"}}]},
            {**good, "rolloutStrategy": {"type": "rolling"}},
        ):
            with self.subTest(bad=bad), self.assertRaises(jsonschema.ValidationError):
                validator(schema).validate(bad)


if __name__ == "__main__":
    main()
