"""Partitions: links that go down, and links that carry one way only."""

import os
import unittest

from fleet import Fleet, by_server, echo_step, main
from network import Network


def gated_step(fleet, servers):
    """A step that waits on each server to be let go; it counts its runs and those of its undo."""
    for server in servers:
        os.mkfifo(fleet.path(f"go-{server}"))
    script = (
        f'echo "$KITSUNE_PHASE" >>"{fleet.path("runs")}-$KITSUNE_SERVER_ID"; '
        f'test "$KITSUNE_PHASE" = rollback || cat "{fleet.path("go")}-$KITSUNE_SERVER_ID"'
    )
    return {"name": "gate", "type": "script",
            "params": {"script": "sh", "args": ["-c", script], "rollback_script": "sh"}}


def let_go(fleet, server):
    """To open a pipe waits for its reader, so this is never too early."""
    with open(fleet.path(f"go-{server}"), "w", encoding="ascii") as gate:
        gate.write("went on\n")


def runs(fleet, server):
    with open(f"{fleet.path('runs')}-{server}", encoding="ascii") as lines:
        return lines.read().split()


def running(fleet, rollout, server):
    """Returns when the gated step of that server runs."""
    fleet.wait_event(rollout, lambda e: e["type"] == "step_started" and e["server"] == server and e["step"] == "gate")


class Partitions(unittest.TestCase):
    def test_a_step_ends_in_the_partition_and_its_result_is_recorded_once_on_healing(self):
        with Network(["a"]) as network, Fleet(agents=["a"], network=network) as fleet:
            rollout = fleet.submit({"servers": ["a"], "steps": [gated_step(fleet, "a"), echo_step()]})
            running(fleet, rollout, "a")
            network.down("a")
            fleet.orchestrator.wait_line("agent is silent")
            let_go(fleet, "a")
            fleet.agents["a"].wait_line("execution ended")
            self.assertEqual(by_server(fleet.json("show", rollout))["a"]["state"], "running")
            network.up("a")
            fleet.kitsune("watch", rollout, check=0)
            kinds = [e["type"] for e in fleet.events(rollout)]
            self.assertEqual(kinds.count("execution_started"), 1)
            self.assertEqual(kinds.count("step_ended"), 2)
            self.assertEqual(kinds.count("execution_ended"), 1)
            self.assertEqual(runs(fleet, "a"), ["execute"])
            self.assertIn("went on", fleet.kitsune("logs", rollout, check=0).stdout)

    def batch(self, fleet, strategy):
        """Two batches, with the first one at the gate."""
        rollout = fleet.submit(
            {
                "servers": ["a", "b", "c"],
                "steps": [gated_step(fleet, "abc")],
                "rolloutStrategy": {"type": "Rolling", "batchSize": 2, "reconnectTimeoutSeconds": 0.5, **strategy},
            }
        )
        running(fleet, rollout, "a")
        running(fleet, rollout, "b")
        return rollout

    def test_a_server_lost_in_mid_batch_stops_the_rollout_and_is_undone_on_its_return(self):
        with Network(["a"]) as network, Fleet(agents=["a", "b", "c"], network=network) as fleet:
            rollout = self.batch(fleet, {})
            network.down("a")
            fleet.wait_event(rollout, lambda e: e["type"] == "execution_unknown" and e["server"] == "a")
            let_go(fleet, "a")
            let_go(fleet, "b")
            fleet.agents["a"].wait_line("execution ended")
            fleet.kitsune("watch", rollout, check=4)
            done = by_server(fleet.json("show", rollout))
            self.assertEqual(done["a"]["outcome"], "unknown")
            self.assertEqual(done["b"]["state"], "rolled_back")
            self.assertEqual(done["c"]["state"], "skipped")
            self.assertEqual(runs(fleet, "a"), ["execute"])
            end = fleet.events(rollout)[-1]["seq"]
            network.up("a")
            fleet.wait_event(rollout, lambda e: e["type"] == "execution_rolled_back", after=end)
            self.assertEqual(by_server(fleet.json("show", rollout))["a"]["state"], "rolled_back")
            self.assertEqual(runs(fleet, "a"), ["execute", "rollback"])
            fleet.run({"servers": ["a"], "steps": [echo_step()]})

    def test_a_server_lost_in_mid_batch_within_the_threshold_is_reconciled_on_its_return(self):
        with Network(["a"]) as network, Fleet(agents=["a", "b", "c"], network=network) as fleet:
            rollout = self.batch(fleet, {"maxFailures": 1})
            network.down("a")
            fleet.wait_event(rollout, lambda e: e["type"] == "execution_unknown" and e["server"] == "a")
            let_go(fleet, "a")
            let_go(fleet, "b")
            # The second batch begins without it, and holds the rollout open.
            running(fleet, rollout, "c")
            network.up("a")
            fleet.wait_event(rollout, lambda e: e["type"] == "execution_ended" and e["server"] == "a")
            let_go(fleet, "c")
            fleet.kitsune("watch", rollout, check=0)
            done = by_server(fleet.json("show", rollout))
            self.assertEqual([done[s]["state"] for s in "abc"], ["succeeded"] * 3)
            self.assertEqual([runs(fleet, s) for s in "abc"], [["execute"]] * 3)

    def test_a_link_that_carries_one_way_only_is_found_at_both_ends(self):
        # The end that hears nothing more finds out, and its goodbye may still reach the other one first.
        for swallow, far in (("swallow_from", "silent"), ("swallow_to", "the orchestrator is silent")):
            with self.subTest(lost=swallow), Network(["a"]) as network, \
                    Fleet(agents=["a", "b"], network=network) as fleet:
                rollout = fleet.submit(
                    {"servers": ["a", "b"], "steps": [gated_step(fleet, "ab")], "rolloutStrategy": {"type": "Parallel"}}
                )
                running(fleet, rollout, "a")
                running(fleet, rollout, "b")
                getattr(network, swallow)("a")
                # TCP alone would take a quarter of an hour.
                fleet.orchestrator.wait_line('"agent is silent" server=a', '"agent disconnected" server=a')
                fleet.agents["a"].wait_line(far)
                let_go(fleet, "a")
                let_go(fleet, "b")
                fleet.agents["a"].wait_line("execution ended")
                fleet.wait_event(rollout, lambda e: e["type"] == "execution_ended" and e["server"] == "b")
                self.assertEqual(by_server(fleet.json("show", rollout))["a"]["state"], "running")
                network.heal("a")
                fleet.kitsune("watch", rollout, check=0)
                self.assertEqual(runs(fleet, "a"), ["execute"])
                self.assertEqual(fleet.orchestrator.text().count("server=b"), 1, fleet.orchestrator.text())


if __name__ == "__main__":
    main()
