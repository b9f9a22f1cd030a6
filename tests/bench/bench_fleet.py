"""Rollouts over many agents with real sockets: servers/s, fsyncs and CPU per server, memory per agent.

    python3 tests/bench/bench_fleet.py [--bin build/release] [--agents 5000] [--rounds 3]

One orchestrator and one process with all the agents, on loopback, each with its journal on the disk
below --dir. Everything is durable on both sides, as always. Figures are reported, nothing is asserted.
"""

import argparse
import datetime
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

TICKS = os.sysconf("SC_CLK_TCK")
STEPS = [{"name": f"step-{i}", "type": "echo", "params": {"message": f"step {i} of three"}} for i in (1, 2, 3)]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def metrics(url):
    with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {k: float(v) for k, v in (line.split() for line in lines if not line.startswith("#"))}


def when(event):
    return datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00"))


class SyncCounter:
    """Counts fsync and fdatasync of a process and its threads, by strace; slows it down a little."""

    def __init__(self, pid, folder, name):
        self.path = os.path.join(folder, name)
        self.process = subprocess.Popen(
            ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-p", str(pid), "-o", self.path],
            stderr=subprocess.PIPE, text=True,
        )
        self.process.stderr.readline()  # "attached"

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        with open(self.path, encoding="utf-8") as file:
            rows = [line.split() for line in file if re.search(r"f(data)?sync$", line.strip())]
        return sum(int(row[3]) for row in rows)


def run_round(fleet, ids, strategy, label):
    orchestrator, agents = fleet.orchestrator.process.pid, fleet.agents["all"].process.pid
    before, cpu_o, cpu_a = metrics(fleet.url), cpu_seconds(orchestrator), cpu_seconds(agents)
    rollout = fleet.submit({"servers": ids, "steps": STEPS, "rolloutStrategy": strategy})
    fleet.wait_event(rollout, lambda e: e["type"] == "rollout_ended", timeout=600)
    after = metrics(fleet.url)
    shown = fleet.json("show", rollout)
    assert shown["counts"]["succeeded"] == len(ids), shown["counts"]
    begin, end = (datetime.datetime.fromisoformat(shown[k].replace("Z", "+00:00")) for k in ("created", "ended"))
    seconds = (end - begin).total_seconds()
    commits = after["kitsune_journal_transactions_total"] - before["kitsune_journal_transactions_total"]
    print(
        f"{label:28} {len(ids) / seconds:9.0f} servers/s  {seconds:6.2f} s  "
        f"{commits / len(ids):.4f} commits/server  "
        f"{(cpu_seconds(orchestrator) - cpu_o) / len(ids) * 1e6:6.0f} us CPU/server (orchestrator)  "
        f"{(cpu_seconds(agents) - cpu_a) / len(ids) * 1e6:6.0f} us (agents)",
        flush=True,
    )
    return len(ids) / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser.add_argument("--bin", default=os.path.join(root, "build", "release"))
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None, help="where the journals go (default: the temporary folder)")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ["KITSUNE_BIN"] = options.bin
    tempfile.tempdir = options.dir
    import fleet as programs

    programs.BIN = options.bin
    ids = [f"server-{i:05}" for i in range(options.agents)]
    fleet = programs.Fleet(heartbeat="15s")
    try:
        fleet.start_orchestrator()
        idle = rss_kib(fleet.orchestrator.process.pid)
        arguments = [word for server in ids for word in ("--server-id", server)]
        fleet.agents["all"] = programs.Process(
            [programs.program("kitsune-agent"), *arguments, "--orchestrator", fleet.url, "--data-dir",
             fleet.path("agents"), "--log-level", "warn", "--one-process"]
        )
        agents = fleet.agents["all"]
        agents.wait_line("ready ")
        while metrics(fleet.url)["kitsune_agents_connected"] < len(ids):
            fleet.orchestrator.news.get(timeout=60)  # each agent that connects is a log line
        print(f"{len(ids)} agents connected; memory per idle agent: "
              f"{rss_kib(agents.process.pid) / len(ids):.1f} KiB in the agents' process, "
              f"{(rss_kib(fleet.orchestrator.process.pid) - idle) / len(ids):.1f} KiB in the orchestrator")
        best = 0.0
        for number in range(options.rounds):
            best = max(best, run_round(fleet, ids, {"type": "Parallel"}, f"Parallel, round {number + 1}"))
        run_round(fleet, ids, {"type": "Rolling", "batchSize": "10%"}, "Rolling, 10% a batch")
        run_round(fleet, ids, {"type": "Parallel", "maxParallel": 100}, "Parallel, 100 at once")
        if shutil.which("strace"):
            counters = [SyncCounter(p.process.pid, fleet.dir, n)
                        for p, n in ((fleet.orchestrator, "o.strace"), (agents, "a.strace"))]
            run_round(fleet, ids, {"type": "Parallel"}, "Parallel, under strace")
            syncs = [counter.stop() for counter in counters]
            print(f"fsyncs per server: {syncs[0] / len(ids):.4f} orchestrator, {syncs[1] / len(ids):.4f} agents")
        print(f"best: {best:.0f} servers/s, durable on both sides, aim 5000: {best / 5000:.2f}x")
    finally:
        fleet.close(check=False)


if __name__ == "__main__":
    main()
