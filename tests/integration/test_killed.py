"""Each of the programs killed at every failpoint, and what comes of the rollout.

KITSUNE_SWEEP=full (dev/sweep) kills at every pass of every failpoint, not at some of them.
"""

import unittest

import sweep
from fleet import main
from sweep import ORCHESTRATOR, Cancelled, RolledBack, Sweep

# What a rollout that runs through does not pass: see test_deaths.py.
APART = {"db.migrate", "dispatch.deadline.before", "agent.resume.before", "agent.expire.between", "file.removed"}
OF_ORCHESTRATOR = ("writer.", "net.", "journal.", "dispatch.")
OF_AGENT = ("writer.", "net.", "agent.", "file.")


def setUpModule():
    if not sweep.failpoints_are_built_in():
        raise unittest.SkipTest("this build has no failpoints (KITSUNE_FAILPOINTS)")


class Kill(unittest.TestCase):
    def sweep(self, scenario, victim, unpassed=frozenset()):
        swept = Sweep(scenario, victim, sweep.FULL)
        total = swept.run()
        self.assertEqual(swept.failures, [], "\n".join(swept.failures))
        # Commits and reports gather what there is: there can be less of them than in the run that was counted.
        self.assertLessEqual(sum(swept.missed.values()), 2 + total // 8, swept.missed)
        own = OF_ORCHESTRATOR if victim == ORCHESTRATOR else OF_AGENT
        never = {name for name, times in swept.counts.items() if times == 0 and name.startswith(own)}
        self.assertEqual(never - APART, set(unpassed))

    def test_the_orchestrator_in_a_rollout_that_is_undone(self):
        self.sweep(RolledBack, ORCHESTRATOR, {"dispatch.cancel.before", "dispatch.cancel.after"})

    def test_the_orchestrator_in_a_rollout_that_is_cancelled(self):
        self.sweep(Cancelled, ORCHESTRATOR)

    def test_the_agent_of_a_server_that_succeeds_and_is_undone(self):
        self.sweep(RolledBack, "s1", {"agent.epoch.before", "agent.epoch.after"})

    def test_the_agent_of_a_server_that_fails_and_undoes_itself(self):
        self.sweep(RolledBack, "s3", {"agent.epoch.before", "agent.epoch.after"})

    def test_the_agent_of_a_server_that_is_cancelled(self):
        self.sweep(Cancelled, "s1", {"agent.epoch.before", "agent.epoch.after"})


if __name__ == "__main__":
    main()
