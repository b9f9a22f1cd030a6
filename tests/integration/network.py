"""A network of its own for a fleet: network namespaces, one for the orchestrator and one for each agent
named, joined by a pair of virtual interfaces each, which a test cuts and joins again.

    with Network(["a", "b"]) as network, Fleet(agents=["a", "b"], network=network) as fleet:
        network.down("a")

Nothing outside of these namespaces is touched, and they are gone with the processes that hold them.
"""

import subprocess
import unittest

NOBODY = "02:00:00:00:00:99"  # no interface here has this address


class Namespace:
    """Lives as long as its process, which lives no longer than this one: it reads until its input ends."""

    def __init__(self):
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && sysctl -qw net.ipv4.conf.all.route_localnet=1"
             " && echo up && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.prefix = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        if self.holder.stdout.readline() != b"up\n":
            why = self.holder.stderr.read().decode().strip()
            self.close()
            raise unittest.SkipTest(f"network namespaces are not to be had here: {why}")

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()
        self.holder.stderr.close()

    def ip(self, *words):
        subprocess.run([*self.prefix, "ip", *words], check=True, timeout=30)


class Network:
    # What is served without TLS is served on a loopback address alone. Here such a one is led through the
    # interfaces as any other is.
    listen = "127.77.0.1"

    def __init__(self, names):
        self.names = list(names)
        self.spaces = []

    def __enter__(self):
        try:
            self.center = self._space()
            self.apart = {name: self._space() for name in self.names}
            for name in self.names:
                self._join(name)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        for space in self.spaces:
            space.close()

    def _space(self):
        self.spaces.append(Namespace())
        return self.spaces[-1]

    def _near(self, name):
        return f"10.77.{self.names.index(name)}.1"

    def _far(self, name):
        return f"10.77.{self.names.index(name)}.2"

    def _device(self, name):
        return f"hub{self.names.index(name)}"

    def _join(self, name):
        space = self.apart[name]
        self.center.ip("link", "add", self._device(name), "type", "veth",
                       "peer", "name", "out", "netns", str(space.holder.pid))
        self.center.ip("address", "add", self._near(name) + "/24", "dev", self._device(name))
        self.center.ip("link", "set", self._device(name), "up")
        space.ip("address", "add", self._far(name) + "/24", "dev", "out")
        space.ip("link", "set", "out", "up")
        space.ip("address", "del", "127.0.0.1/8", "dev", "lo")
        space.ip("address", "add", "127.0.0.1/32", "dev", "lo")
        space.ip("route", "add", self.listen, "via", self._near(name), "dev", "out", "src", self._far(name))

    @property
    def hub(self):
        return self.center.prefix

    def prefix(self, name):
        return self.apart[name].prefix

    def url(self, name, port):
        return f"http://{self.listen}:{port}"

    def down(self, name):
        """Nothing passes, and neither end is told."""
        self.center.ip("link", "set", self._device(name), "down")

    def up(self, name):
        self.center.ip("link", "set", self._device(name), "up")

    def swallow_from(self, name):
        """What the agent sends is lost; what the orchestrator sends arrives."""
        self.apart[name].ip("neighbor", "replace", self._near(name), "lladdr", NOBODY, "nud", "permanent", "dev", "out")

    def swallow_to(self, name):
        self.center.ip("neighbor", "replace", self._far(name), "lladdr", NOBODY, "nud", "permanent",
                       "dev", self._device(name))

    def heal(self, name):
        """Ends either swallowing."""
        self.apart[name].ip("neighbor", "flush", "dev", "out", "nud", "permanent")
        self.center.ip("neighbor", "flush", "dev", self._device(name), "nud", "permanent")
