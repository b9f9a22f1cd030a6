"""Each of the programs killed at every failpoint, and what comes of the rollout.

KITSUNE_SWEEP=full kills at every pass of every failpoint instead of the first and the last one.
"""

import os
import signal
import unittest

import sweep
from fleet import DEADLINE, Fleet, by_server, echo_step, main, program
from sweep import ORCHESTRATOR, Cancelled, RolledBack, Sweep

# What a rollout that runs through does not pass; each has a test of its own, here or among the unit tests.
APART = {"db.migrate", "dispatch.deadline.before", "agent.resume.before", "agent.expire.between", "file.removed"}
THEIRS = ("journal.", "dispatch.")


def setUpModule():
    if not sweep.failpoints_are_built_in():
        raise unittest.SkipTest("this build has no failpoints (KITSUNE_FAILPOINTS)")


class Kill(unittest.TestCase):
    def sweep(self, scenario, victim, unpassed=frozenset()):
        swept = Sweep(scenario, victim, sweep.FULL)
        total = swept.run()
        self.assertEqual(swept.failures, [], "\n".join(swept.failures))
        # Commits gather what there is, so there can be a few less than in the run that was counted.
        missed = sum(swept.missed.values())
        self.assertLessEqual(missed, 2 + total // 20, swept.missed)
        mine = {p for p in swept.counts if p.startswith(THEIRS) == (victim == ORCHESTRATOR)
                or p.startswith(("writer.", "net."))}
        if victim == ORCHESTRATOR:
            mine -= {p for p in mine if p.startswith(("agent.", "file.", "db."))}
        self.assertEqual({p for p in mine if swept.counts[p] == 0} - APART, set(unpassed))

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
