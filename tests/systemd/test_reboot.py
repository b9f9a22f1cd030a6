"""Steps that reboot a machine for real: systemd in namespaces of its own, asked over D-Bus by the agent that it runs,
goes down in order, has the kernel reboot what is a machine to it, and is started again with the same disk."""

import os
import signal
import subprocess
import sys
import threading
import unittest

from hosts import BOOT, BUILD, DEADLINE, in_own_network

from fleet import Fleet, by_server, main, program

REBOOTED = 129  # what boot ends with then: its first process was ended by SIGHUP
SKIPPED = 77


class Machine:
    """Is started again each time that it reboots."""

    def __init__(self, fleet):
        self.disk = fleet.path("disk")
        os.mkdir(self.disk)
        self.command = [
            BOOT, "--host", "--keep", self.disk, BUILD, "--", program("kitsune-agent"), "--server-id", "a",
            "--orchestrator", fleet.url, "--data-dir", os.path.join(self.disk, "agent"),
        ]
        self.boots = 0
        self.ends = []
        self.off = False
        self.lock = threading.Lock()
        self.process = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while True:
            with self.lock:
                if self.off:
                    return
                self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
                self.boots += 1
            text, _ = self.process.communicate()
            self.ends.append((self.process.returncode, text))
            if self.process.returncode != REBOOTED:
                return

    def close(self):
        with self.lock:
            self.off = True
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
        self.thread.join(DEADLINE)

    def text(self):
        return "\n".join(f"-- ended with {status}:\n{text}" for status, text in self.ends)


class Reboots(unittest.TestCase):
    def rebooted(self, steps, times):
        """Runs the steps; the lines of the machine's file "log"."""
        with Fleet() as fleet:
            machine = Machine(fleet)
            try:
                log = os.path.join(machine.disk, "log")
                for step in steps:
                    if "inline" in step["params"]:
                        step["params"]["inline"] = step["params"]["inline"].replace("LOG", log)
                rollout = fleet.submit({"servers": ["a"], "steps": steps})
                done = fleet.kitsune("watch", rollout)
                shown = fleet.json("show", rollout, "--all")
                types = [event["type"] for event in fleet.events(rollout)]
            finally:
                machine.close()
            if machine.ends[0][0] == SKIPPED:
                self.skipTest(machine.ends[0][1].strip())
            self.assertEqual(done.returncode, 0, done.stdout + machine.text())
            self.assertEqual([s["attempt"] for s in by_server(shown)["a"]["steps"]], [1] * len(steps))
            self.assertEqual((types.count("step_rebooting"), types.count("step_rebooted")), (times, times))
            self.assertNotIn("execution_unknown", types)
            self.assertEqual(machine.boots, 1 + times)
            with open(log, encoding="ascii") as file:
                return file.read().split()

    def test_the_step_and_the_script_come_back_in_another_boot(self):
        tell = 'cat /proc/sys/kernel/random/boot_id >>LOG\n'
        lines = self.rebooted([
            {"name": "before", "type": "script", "params": {"inline": tell}},
            {"name": "reboot", "type": "reboot", "params": {"message": "because"}},
            {"name": "after", "type": "script",
             "params": {"inline": tell + '[ "$KITSUNE_REBOOTS" -gt 0 ] || exit 194\n'}},
        ], 2)
        self.assertEqual((len(lines), len(set(lines))), (3, 3), lines)


if __name__ == "__main__":
    in_own_network()
    if os.geteuid() != 0:
        sys.exit(SKIPPED)
    main()
