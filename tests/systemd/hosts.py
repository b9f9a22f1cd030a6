"""Hosts to install agents on: each a systemd of its own (see boot) with a real sshd, all on this machine's loopback.

    with Hosts("web-1", "web-2") as hosts:
        hosts.kitsune(fleet, "agent", "install", "web-1", "web-2")

Users there: root; quick, whom sudo asks nothing; ops, whom it asks for PASSWORD; guest, who has no sudo; typed, who
has no key and logs in with PASSWORD; asked, the same by keyboard-interactive. The caller has a network of its own (see in_own_network), so that the ports are
free and nobody else's.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = os.environ["KITSUNE_SOURCE"]
BUILD = os.environ["KITSUNE_BIN"]
sys.path.insert(0, os.path.join(SOURCE, "tests", "integration"))

from fleet import DEADLINE, program  # noqa: E402

BOOT = os.path.join(SOURCE, "tests", "systemd", "boot")
PASSWORD = "correct horse"

# $1: the host's folder.
HOST = r"""
set -eu
mkdir -p /run/sshd /etc/pam.d /home
sed -i '/^\(quick\|ops\|guest\|typed\|asked\):/d' /etc/passwd
echo 'root:*:19000:0:99999:7:::' >/etc/shadow
number=3001
for user in quick ops guest typed asked; do
    echo "$user:x:$number:$number::/home/$user:/bin/sh" >>/etc/passwd
    echo "$user:$(cat "$1/hash"):19000:0:99999:7:::" >>/etc/shadow
    mkdir "/home/$user"
    chown "$number" "/home/$user"
    number=$((number + 1))
done
chmod 600 /etc/shadow
printf 'auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n' >/etc/pam.d/sudo
printf 'auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n' >/etc/pam.d/sshd
printf 'quick ALL=(ALL) NOPASSWD: ALL\nops ALL=(ALL) ALL\n' >/etc/sudoers
chmod 440 /etc/sudoers
mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/triggers /etc/apt/apt.conf.d /etc/apt/preferences.d \
    /var/lib/apt/lists/partial /var/cache/apt/archives/partial /var/log/apt
: >/var/lib/dpkg/status
: >/var/lib/dpkg/available
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"""

SSHD = """
Port {port}
ListenAddress 127.0.0.1
ListenAddress ::1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_%u
StrictModes no
UsePAM yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
PidFile none
Match User asked
    PasswordAuthentication no
    KbdInteractiveAuthentication yes
"""

ALIAS = """
Host {name}
    HostName 127.0.0.1
    Port {port}
"""

ALL = """
Host *
    User root
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    ConnectTimeout 10
"""


def in_own_network():
    """Begins this program again in a network namespace of its own."""
    if os.environ.get("KITSUNE_OWN_NETWORK"):
        return
    os.environ["KITSUNE_OWN_NETWORK"] = "yes"
    if os.geteuid() != 0 or subprocess.run(["unshare", "--net", "true"], check=False).returncode != 0:
        print("skipped: a network of its own is not to be had here")
        sys.exit(77)
    script = 'ip link set lo up && exec "$@"'
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-B", *sys.argv])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def keygen(path, kind="ed25519", passphrase=""):
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


class Host:
    def __init__(self, name, folder, key):
        self.name = name
        self.folder = folder
        self.port = free_port()
        os.mkdir(folder)
        keygen(os.path.join(folder, "host_key"))
        for user in ("root", "quick", "ops", "guest"):
            shutil.copy(key + ".pub", os.path.join(folder, "authorized_" + user))
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, capture_output=True, text=True, check=True
        )
        write(os.path.join(folder, "hash"), hashed.stdout.strip())
        write(os.path.join(folder, "sshd_config"), SSHD.format(port=self.port, folder=folder))
        write(os.path.join(folder, "host.sh"), HOST)
        # The agent's program comes over SSH; of the build its libraries alone are looked for in /usr.
        self.process = subprocess.Popen(
            [BOOT, "--host", folder, "--", "/bin/sh", os.path.join(folder, "host.sh"), folder],
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self):
        """Until its sshd takes connections; a port has no event to wait for."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE).close()
                return
            except ConnectionRefusedError:
                status = self.process.poll()
                if status == 77:
                    raise unittest.SkipTest(self.process.stdout.read().strip()) from None
                if status is not None or time.monotonic() > end:
                    raise AssertionError(f"{self.name} does not come up (status {status})") from None
                time.sleep(0.05)

    def known_as(self, host=None):
        kind, key = read(os.path.join(self.folder, "host_key.pub")).split()[:2]
        return f"{host or f'[127.0.0.1]:{self.port}'} {kind} {key}\n"

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=DEADLINE)


class Hosts:
    def __init__(self, *names):
        self.names = names
        self.dir = tempfile.mkdtemp(prefix="kitsune-hosts-")
        self.hosts = {}

    def __enter__(self):
        try:
            keygen(self.path("key"))
            for name in self.names:
                self.hosts[name] = Host(name, self.path(name), self.path("key"))
            for host in self.hosts.values():
                host.wait()
            self.know_all()
            aliases = "".join(ALIAS.format(name=host.name, port=host.port) for host in self.hosts.values())
            write(self.path("config"), aliases + ALL.format(folder=self.dir))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        for host in self.hosts.values():
            host.close()
        shutil.rmtree(self.dir)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def __getitem__(self, name):
        return self.hosts[name]

    def know_all(self):
        write(self.path("known_hosts"), "".join(host.known_as() for host in self.hosts.values()))

    def ssh(self, name, command, check=True, user="root"):
        """Runs a command there with OpenSSH's own client; what it prints."""
        done = subprocess.run(
            ["ssh", "-q", "-F", self.path("config"), "-l", user, "-o", "BatchMode=yes",
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", name, command],
            capture_output=True, text=True, timeout=DEADLINE, check=False, stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{name}: {command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout


def agent_program():
    return program("kitsune-agent")
