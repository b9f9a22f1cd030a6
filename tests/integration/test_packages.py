"""The packages: installed for real, used, upgraded, removed, in a copy of this machine's root that
is thrown away (an overlay in a mount namespace of its own); and what the programs are hardened with.

KITSUNE_PACKAGES names the folder with the packages; without it they are built first.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ.get("KITSUNE_SOURCE", os.path.join(os.path.dirname(__file__), "..", ".."))
DEADLINE = 300

# Runs as the first process of the namespaces: $1 the packages, $2 what is to be run in the new root.
SETUP = r"""
set -eu
top=$(mktemp -d)
mount --make-rprivate /
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
mount -t proc proc "$top/root/proc"
mount --rbind /dev "$top/root/dev"
mount -t tmpfs tmpfs "$top/root/run"
mount -t tmpfs tmpfs "$top/root/tmp"
ip link set lo up
mkdir "$top/root/tmp/packages"
cp "$1"/* "$top/root/tmp/packages/"
printf '%s\n' "$2" >"$top/root/tmp/what"
exec chroot "$top/root" sh -eu /tmp/what
"""


def packages():
    folder = os.environ.get("KITSUNE_PACKAGES")
    if folder:
        return folder
    folder = tempfile.mkdtemp(prefix="kitsune-packages-")
    unittest.addModuleCleanup(subprocess.run, ["rm", "-rf", folder], check=True)
    subprocess.run([os.path.join(SOURCE, "dev", "package"), folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def setUpModule():
    global FOLDER
    FOLDER = packages()


def in_new_root(what):
    """Runs shell commands in the copy; what they print."""
    # SETUP's folder is made by mktemp below TMPDIR, and gone with the namespace but for its name.
    with tempfile.TemporaryDirectory(prefix="kitsune-root-") as folder:
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", SETUP, "sh", FOLDER, what],
            capture_output=True, text=True, timeout=DEADLINE, check=False, env={**os.environ, "TMPDIR": folder},
        )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


ROLLOUT = r"""
cat >/etc/kitsune/orchestrator.conf <<END
listen = 127.0.0.1:7300
END
cat >/etc/kitsune/agent.conf <<END
server-id = here
orchestrator = http://127.0.0.1:7300
END
mkfifo /tmp/ready
setpriv --reuid kitsune --regid kitsune --clear-groups \
    /usr/sbin/kitsune-orchestrator --insecure-dev --config /etc/kitsune/orchestrator.conf 2>/tmp/ready &
orchestrator=$!
exec 3</tmp/ready
grep -q -m1 "^ready " <&3
cat <&3 >/tmp/orchestrator.log &
/usr/sbin/kitsune-agent --config /etc/kitsune/agent.conf 2>/tmp/agent.log &
agent=$!
cat >/tmp/plan.json <<END
{"servers":["here"],"steps":[{"name":"w","type":"file_write","params":{"path":"/tmp/written","content":"x"}}]}
END
kitsune --orchestrator http://127.0.0.1:7300 submit /tmp/plan.json --watch
cat /tmp/written
kill "$agent" "$orchestrator"
wait "$agent"
wait "$orchestrator"
"""


# As the manual says, with the configuration that comes with it: root initialises, the unit's user serves, and
# root is known on the socket. The groups are those that systemd gives to the unit.
SECURED = r"""
kitsune-orchestrator init --host localhost --token-file /root/token >/tmp/said
stat -c '%U %a' /var/lib/kitsune-orchestrator/pki/ca.key /var/lib/kitsune-orchestrator/access.db /root/token
install -d -o kitsune -g kitsune -m 755 /run/kitsune-orchestrator
mkfifo /tmp/secured
setpriv --reuid kitsune --regid kitsune --init-groups \
    /usr/sbin/kitsune-orchestrator --config /etc/kitsune/orchestrator.conf 2>/tmp/secured &
orchestrator=$!
exec 4</tmp/secured
grep -q -m1 "^ready .* tls=1.3 " <&4
cat <&4 >/dev/null &
stat -c '%G %a' /run/kitsune-orchestrator/api.sock
curl -s --unix-socket /run/kitsune-orchestrator/api.sock http://localhost/v1/whoami
kill "$orchestrator"
wait "$orchestrator"
rm -r /var/lib/kitsune-orchestrator/*
"""


class Debian(unittest.TestCase):
    def test_initialised_and_served_as_the_manual_says(self):
        said = in_new_root("dpkg -i /tmp/packages/*.deb >/dev/null\n" + SECURED)
        self.assertIn("kitsune 600\nkitsune 600\nroot 600\n", said)
        self.assertIn("kitsune-operators 660\n", said)
        self.assertIn('{"name":"uid 0","role":"admin"}', said)

    def test_installed_used_upgraded_and_removed(self):
        said = in_new_root(
            "dpkg -i /tmp/packages/*.deb >/dev/null\n"
            "stat -c '%U %a %n' /var/lib/kitsune-orchestrator /var/lib/kitsune-agent\n"
            "kitsune version\n"
            + ROLLOUT
            + "echo '-- again'\n"
            "dpkg -i /tmp/packages/*.deb >/dev/null\n"
            "grep server-id /etc/kitsune/agent.conf\n"
            "echo '-- removed'\n"
            "dpkg -r kitsune kitsune-agent kitsune-orchestrator >/dev/null\n"
            "ls /usr/bin/kitsune /usr/sbin/kitsune-agent 2>/dev/null || true\n"
            "ls /etc/kitsune\n"
            "echo '-- purged'\n"
            "dpkg -P kitsune kitsune-agent kitsune-orchestrator >/dev/null\n"
            "test ! -e /etc/kitsune && test ! -e /usr/lib/systemd/system/kitsune-agent.service\n"
            "ls /var/lib/kitsune-agent/*.db\n"
        )
        self.assertIn("kitsune 700 /var/lib/kitsune-orchestrator\nroot 700 /var/lib/kitsune-agent\n", said)
        self.assertIn("\nx", said)
        self.assertIn("-- again\nserver-id = here\n-- removed\nagent.conf\norchestrator.conf\n-- purged\n", said)
        self.assertTrue(said.rstrip().endswith(".db"), said)

    def test_the_units_are_sound_and_the_orchestrator_is_shut_in(self):
        in_new_root(
            "dpkg -i /tmp/packages/*.deb >/dev/null\n"
            "systemd-analyze verify kitsune-orchestrator.service kitsune-agent.service\n"
            "systemd-analyze security --offline=true --threshold=20 kitsune-orchestrator.service >/dev/null\n"
        )


class Rpm(unittest.TestCase):
    def test_installed_used_and_removed(self):
        # Debian's libraries are not in the RPM database: what a package needs is not looked for.
        said = in_new_root(
            "rpm --initdb\n"
            "rpm -i --nodeps /tmp/packages/*.rpm\n"
            "rpm -V --nodeps --nogroup --nouser kitsune kitsune-agent kitsune-orchestrator\n"
            "stat -c '%U %a %n' /var/lib/kitsune-orchestrator\n"
            + ROLLOUT
            + "echo '-- again'\n"
            "rpm -U --nodeps --replacepkgs /tmp/packages/*.rpm\n"
            "grep server-id /etc/kitsune/agent.conf\n"
            "rpm -e kitsune kitsune-agent kitsune-orchestrator\n"
            "test ! -e /usr/sbin/kitsune-agent && test ! -e /usr/lib/systemd/system/kitsune-agent.service\n"
            "ls /etc/kitsune /var/lib/kitsune-agent\n"
        )
        self.assertIn("kitsune 700 /var/lib/kitsune-orchestrator\n", said)
        self.assertIn("\nx", said)
        self.assertIn("-- again\nserver-id = here\n", said)
        self.assertIn("agent.conf.rpmsave\n", said)


class Hardening(unittest.TestCase):
    def test_the_programs_that_are_shipped_are_hardened(self):
        with tempfile.TemporaryDirectory(prefix="kitsune-packages-") as folder:
            for package in glob.glob(os.path.join(FOLDER, "*.deb")):
                subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
            for name in ("usr/bin/kitsune", "usr/sbin/kitsune-orchestrator", "usr/sbin/kitsune-agent"):
                with self.subTest(program=name):
                    self.check(os.path.join(folder, name))

    def check(self, path):
        def readelf(*flags):
            return subprocess.run(["readelf", "-W", *flags, path], capture_output=True, text=True, check=True).stdout

        self.assertRegex(readelf("-h"), r"Type:\s+DYN \(Position-Independent Executable", "position independent")
        segments = readelf("-l")
        self.assertIn("GNU_RELRO", segments, "relocations are read-only")
        self.assertRegex(segments, r"GNU_STACK\s+\S+ \S+ \S+ \S+ \S+ RW ", "the stack is not executable")
        self.assertNotRegex(segments, r"LOAD.* RWE ", "nothing is writable and executable")
        dynamic = readelf("-d")
        self.assertIn("BIND_NOW", dynamic, "all symbols are bound at the start")
        self.assertNotRegex(dynamic, r"R(UN)?PATH", "no search path of its own")
        symbols = readelf("--dyn-syms")
        self.assertIn("__stack_chk_fail", symbols, "stack protector")
        self.assertTrue(re.search(r"__\w+_chk@", symbols), "fortified calls")


if __name__ == "__main__":
    if subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], check=False).returncode != 0:
        print("namespaces are not allowed here")
        sys.exit(77)
    unittest.main(verbosity=2)
