"""A network that delays, splits, cuts, loses, repeats and reorders: the end is that of a run without it.

KITSUNE_SEED=N runs one seed, KITSUNE_SEEDS=N so many from the first on. The seed of a failure is printed.
"""

import concurrent.futures
import json
import os
import unittest

from fleet import Fleet, by_server, echo_step, main
from proxy import Proxy

SERVERS = ["s1", "s2", "s3", "s4", "s5"]
SEEDS = range(1, 1 + int(os.environ.get("KITSUNE_SEEDS", 3)))
if "KITSUNE_SEED" in os.environ:
    SEEDS = [int(os.environ["KITSUNE_SEED"])]


def script(name, text, **more):
    return {"name": name, "type": "script",
            "params": {"script": "sh", "args": ["-c", text], "rollback_script": "sh"}, **more}


def plan(fleet, good):
    """Effects that can be counted, much output, a step that needs a second attempt, and one that fails for good."""
    count = f'echo "$KITSUNE_STEP $KITSUNE_PHASE $KITSUNE_ATTEMPT" >>"{fleet.path("runs")}-$KITSUNE_SERVER_ID"'
    return {
        "name": "good" if good else "bad",
        "servers": SERVERS,
        "steps": [
            {"name": "write", "type": "file_write", "params": {"path": fleet.path("etc", "app.conf"), "content": "new\n"}},
            script("talk", f"{count}; seq 1 60000"),
            script("again", f'{count}; test "$KITSUNE_PHASE" = rollback || test "$KITSUNE_ATTEMPT" -gt 1',
                   retry={"maximumAttempts": 2, "initialIntervalSeconds": 0.05}),
            echo_step(),
            script("verify", f'{count}; test "$KITSUNE_PHASE" = rollback || test "$KITSUNE_SERVER_ID" != '
                             + ("nobody" if good else "s5")),
        ],
        "rolloutStrategy": {"type": "Rolling", "batchSize": 2},
    }


def start_agents(fleet, url):
    """Each in a mount namespace, where the folder that is written to is its own."""
    os.mkdir(fleet.path("etc"))
    for server in SERVERS:
        own = fleet.path(f"etc-{server}")
        os.mkdir(own)
        mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
        fleet.start_agent(server, url=url(server),
                          prefix=["unshare", "--mount", "sh", "-c", mount, own, fleet.path("etc")])


def read(path):
    if not os.path.exists(path):
        return None
    with open(path, encoding="ascii") as file:
        return file.read()


# What a run leaves behind, without times, and with each server's events in their order.
SAID = ("type", "step", "attempt", "state", "exitCode", "changed", "agentSeq")


def outcome(fleet, rollout, status):
    fleet.kitsune("watch", rollout, check=status, timeout=120)
    document = fleet.json("show", rollout, "--all")
    events = fleet.events(rollout)
    left = {"state": document["state"], "counts": document["counts"], "servers": {}}
    for server, x in by_server(document).items():
        left["servers"][server] = {
            "state": (x["state"], x["outcome"]),
            "steps": [(s["state"], s.get("attempt")) for s in x["steps"]],
            "events": [[e.get(f) for f in SAID] for e in events if e.get("server") == server],
            "file": read(fleet.path(f"etc-{server}", "app.conf")),
            "runs": read(f"{fleet.path('runs')}-{server}"),
            "output": fleet.kitsune("logs", rollout, "--server", server, check=0).stdout,
        }
    return left


def run(fleet):
    """A rollout that is undone, and one that succeeds; what the first one said comes again in the second."""
    return [
        outcome(fleet, fleet.submit(plan(fleet, good=False), "--id", "r1"), 3),
        outcome(fleet, fleet.submit(plan(fleet, good=True), "--id", "r2"), 0),
    ]


def run_clean():
    fleet = Fleet(heartbeat="200ms")
    try:
        fleet.start_orchestrator()
        start_agents(fleet, lambda server: None)
        return run(fleet)
    finally:
        fleet.close()


def run_seed(seed):
    fleet = Fleet(heartbeat="200ms")
    try:
        fleet.start_orchestrator()
        with Proxy(seed, fleet.port) as proxy:
            start_agents(fleet, proxy.url)
            left = run(fleet)
            agents = [fleet.agents[s].stop() for s in SERVERS]
        assert set(agents) == {0}, agents
        return left, proxy.counts
    except BaseException as error:
        logs = "\n".join(f"-- {p.argv[0]}\n{p.text()}" for p in [fleet.orchestrator, *fleet.agents.values()])
        raise AssertionError(f"seed {seed}: {error}\n{logs}") from error
    finally:
        fleet.close(check=False)


class HostileNetwork(unittest.TestCase):
    maxDiff = 4000

    def test_the_end_is_that_of_a_run_without_faults(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            clean = pool.submit(run_clean)
            seeds = {seed: pool.submit(run_seed, seed) for seed in SEEDS}
        clean = clean.result()
        self.assertEqual([r["state"] for r in clean], ["rolled_back", "succeeded"])
        totals = {}
        for seed, future in seeds.items():
            left, counts = future.result()
            for what, count in counts.items():
                totals[what] = totals.get(what, 0) + count
            for mine, wanted in zip(left, clean):
                with self.subTest(seed=seed, state=wanted["state"]):
                    self.assertEqual(json.dumps(mine, indent=1), json.dumps(wanted, indent=1))
        print(f"faults of {len(seeds)} seeds: {totals}")


class LostAnswer(unittest.TestCase):
    def test_a_submit_whose_answer_was_lost_starts_nothing_twice(self):
        with Fleet(agents=["a"]) as fleet, Proxy(1, fleet.port) as proxy:
            path = fleet.plan({"servers": ["a"], "steps": [echo_step()]})
            port, fleet.port = fleet.port, int(proxy.url("cli", proxy.serve_request).split(":")[2])
            submitted = fleet.kitsune("submit", path, check=0)
            self.assertEqual(proxy.counts, {"cli": 2})
            self.assertIn("was submitted before", submitted.stderr)
            fleet.port = port
            rollout = submitted.stdout.strip()
            fleet.kitsune("watch", rollout, check=0)
            self.assertEqual([r["id"] for r in fleet.json("list")["rollouts"]], [rollout])
            starts = [e for e in fleet.events(rollout) if e["type"] == "execution_started"]
            self.assertEqual(len(starts), 1)


if __name__ == "__main__":
    main()
