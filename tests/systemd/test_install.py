"""kitsune agent install, upgrade and uninstall: real sshds, real systemds, several at once."""

import fcntl
import json
import os
import pty
import select
import shutil
import socket
import subprocess
import tempfile
import termios
import threading
import unittest

from hosts import PASSWORD, Hosts, agent_program, in_own_network, keygen, read, write

from fleet import DEADLINE, Fleet, echo_step, main, program
from secure import SecureFleet

OWN_BINARY = "/usr/local/sbin/kitsune-agent"
STATE = "/var/lib/kitsune-agent"
NAMES = ["web-1", "web-2", "web-3"]


RPM = """
Name: kitsune-agent
Version: {version}
Release: 1
Summary: agent
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
Provides: /bin/sh
%global __os_install_post %{{nil}}
%define _build_id_links none
%define _binaries_in_noarch_packages_terminate_build 0
%description
agent
%install
install -D {agent} %{{buildroot}}/usr/sbin/kitsune-agent
install -D -m 644 {folder}/kitsune-agent.service %{{buildroot}}/usr/lib/systemd/system/kitsune-agent.service
install -D -m 644 {folder}/agent.conf %{{buildroot}}/etc/kitsune/agent.conf
%files
/usr/sbin/kitsune-agent
/usr/lib/systemd/system/kitsune-agent.service
%config(noreplace) /etc/kitsune/agent.conf
%preun
[ "$1" != 0 ] || systemctl disable --now kitsune-agent
"""


def setUpModule():
    global HOSTS
    HOSTS = Hosts(*NAMES)
    unittest.addModuleCleanup(HOSTS.__exit__, None, None, None)
    HOSTS.__enter__()


class Case(unittest.TestCase):
    def setUp(self):
        self.fleet = SecureFleet()
        self.fleet.__enter__()
        self.addCleanup(self.fleet.__exit__, None, None, None)
        self.addCleanup(HOSTS.know_all)

    def clean(self, *names):
        """What the test installs is gone when it ends."""
        for name in names:
            self.addCleanup(
                HOSTS.ssh, name,
                f"systemctl disable --now -q kitsune-agent; rm -rf {OWN_BINARY} {STATE} /etc/kitsune"
                " /etc/systemd/system/kitsune-agent.service; systemctl daemon-reload", check=False,
            )

    def command(self, verb, *words, config=None):
        line = ["agent", verb, "--ssh-config", config or HOSTS.path("config"), *words]
        if verb != "uninstall" and "--package" not in words and "--binary" not in words:
            line += ["--binary", agent_program()]
        return line

    def agent(self, verb, *words, check=0, config=None, env=None):
        return self.fleet.kitsune(*self.command(verb, *words, config=config), check=check, timeout=180, env=env)

    def results(self, verb, *words, check=0, **more):
        said = json.loads(self.agent(verb, "-o", "json", *words, check=check, **more).stdout)
        return {row["server"]: row for row in said["hosts"]}

    def outcome(self, verb, *words, check=0, **more):
        """Of one host: its result and what is said of it."""
        (row,) = self.results(verb, *words, check=check, **more).values()
        return row["result"], row["message"]

    def server(self, name):
        return self.fleet.json("server", name)

    def typed(self, answers, verb, *words, check=0, config=None):
        """The same at a terminal, where a person answers what is asked."""
        master, slave = pty.openpty()
        line = [program("kitsune"), "--orchestrator", self.fleet.url, ]
        line += self.command(verb, "-o", "json", *words, config=config)
        shown = b""
        with subprocess.Popen(
            line, env={**os.environ, **self.fleet.cli_env()}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        ) as process:
            watchdog = threading.Timer(DEADLINE, process.kill)
            watchdog.start()
            ended = os.pidfd_open(process.pid)
            for question, answer in answers:
                while question.encode() not in shown:
                    ready = select.select([master, ended], [], [])[0]
                    if master not in ready:
                        break
                    shown += os.read(master, 1024)
                os.write(master, answer.encode() + b"\n")
            out, err = process.communicate()
            watchdog.cancel()
        for fd in (master, slave, ended):
            os.close(fd)
        self.assertEqual(process.returncode, check, err.decode())
        return json.loads(out)["hosts"], shown.decode()

    def typed_outcome(self, answers, *words, check=0):
        (row,), shown = self.typed(answers, *words, check=check)
        self.assertNotIn(PASSWORD, shown)
        return row["result"], row["message"]


class Looking(Case):
    """Nothing is installed: one fleet is enough for all, and each has a folder of its own."""

    @classmethod
    def setUpClass(cls):
        cls.fleet = SecureFleet()
        cls.fleet.__enter__()
        cls.addClassCleanup(cls.fleet.__exit__, None, None, None)

    def setUp(self):
        self.addCleanup(HOSTS.know_all)
        self.dir = tempfile.mkdtemp(dir=self.fleet.dir)

    def path(self, name):
        return os.path.join(self.dir, name)


class Install(Case):
    def test_three_hosts_get_agents_by_one_command_and_lose_them_again(self):
        self.clean(*NAMES)
        planned = self.results("install", "--dry-run", *NAMES)
        self.assertEqual({r["result"] for r in planned.values()}, {"planned"})
        self.assertIn("would do: upload, enrol, configure, start", planned["web-1"]["message"])
        self.assertEqual(HOSTS.ssh("web-1", f"ls -d {OWN_BINARY} {STATE} /etc/kitsune", check=False), "")

        done = self.results("install", *NAMES)
        self.assertEqual({r["result"] for r in done.values()}, {"installed"}, done)
        self.assertEqual({a["server"] for a in self.fleet.json("agent", "list")["agents"] if a["connected"]}, set(NAMES))
        self.assertEqual(HOSTS.ssh("web-1", f"ls {STATE}/enrol-token", check=False), "", "the ticket is used and gone")
        network = HOSTS.ssh("web-1", "ps -eo user:20,args | grep '[k]itsune-agent: network'")
        self.assertTrue(network.startswith("kitsune-agent "), network)
        rollout = self.fleet.run({"servers": NAMES, "steps": [echo_step()]})
        self.assertEqual(rollout["counts"]["succeeded"], 3)
        self.assertEqual(HOSTS.ssh("web-1", f"ls {STATE}/install").split(), ["installed"])

        since = [self.server(name)["since"] for name in NAMES]
        again = self.results("install", *NAMES)
        self.assertEqual({r["result"] for r in again.values()}, {"unchanged"}, again)
        self.assertEqual([self.server(name)["since"] for name in NAMES], since, "nothing was restarted")

        gone = self.results("uninstall", *NAMES)
        self.assertEqual({r["result"] for r in gone.values()}, {"uninstalled"}, gone)
        kept = HOSTS.ssh("web-1", f"ls {OWN_BINARY} /etc/systemd/system/kitsune-agent.service; ls {STATE}", check=False)
        self.assertIn(".db", kept)
        self.assertNotIn("kitsune-agent\n", kept)
        self.assertFalse(self.server("web-1")["connected"])
        self.assertEqual(self.fleet.json("agent", "list")["agents"], [])
        self.assertTrue(self.fleet.audited("agent.revoke", target="web-1"))
        self.assertEqual(self.outcome("uninstall", "--purge", "web-1")[0], "unchanged")
        self.assertEqual(HOSTS.ssh("web-1", f"ls -d {STATE} /etc/kitsune", check=False), "")

    def test_what_differs_is_changed_and_an_operator_s_own_settings_stay(self):
        self.clean("web-1")
        self.assertEqual(self.outcome("install", "web-1")[0], "installed")
        HOSTS.ssh("web-1", "echo 'undo-retention = 7d' >>/etc/kitsune/agent.conf; systemctl stop kitsune-agent")
        self.assertEqual(self.outcome("install", "web-1")[0], "upgraded")
        self.assertTrue(self.server("web-1")["connected"])
        self.assertIn("undo-retention = 7d", HOSTS.ssh("web-1", "cat /etc/kitsune/agent.conf"))

    def test_a_host_that_is_another_server_already_is_left_alone(self):
        self.clean("web-1")
        self.assertEqual(self.outcome("install", "web-1")[0], "installed")
        result, message = self.outcome("install", "db-1=web-1", check=2)
        self.assertEqual(result, "failed")
        self.assertIn("its agent is the server web-1 already, not db-1", message)
        result, message = self.outcome("uninstall", "db-1=web-1", check=2)
        self.assertIn("its agent is the server web-1, not db-1", message)
        self.assertTrue(self.server("web-1")["connected"])

    def test_a_server_that_has_an_agent_elsewhere_gets_another_only_with_replace(self):
        self.clean("web-1", "web-2")
        self.assertEqual(self.outcome("install", "web-1")[0], "installed")
        result, message = self.outcome("install", "web-1=web-2", check=2)
        self.assertEqual(result, "failed")
        self.assertIn("the orchestrator refuses it", message)
        self.assertIn("it is removed again", message)
        HOSTS.ssh("web-1", "systemctl stop kitsune-agent")
        result, message = self.outcome("install", "--replace", "web-1=web-2")
        self.assertEqual(result, "installed", message)
        self.assertTrue(self.server("web-1")["connected"])

    def test_hosts_come_from_an_inventory_and_by_ipv6(self):
        self.clean("web-2", "web-3")
        write(
            self.fleet.path("hosts.ini"),
            "web-1\n[six]\nsix-[2:2] ansible_host=::1\n[six:vars]\nansible_port=%d\nansible_user=quick\n[all:vars]\n"
            "ansible_ssh_private_key_file=%s\n" % (HOSTS["web-2"].port, HOSTS.path("key")),
        )
        write(HOSTS.path("known_hosts"), HOSTS["web-2"].known_as(f"[::1]:{HOSTS['web-2'].port}")
              + HOSTS["web-3"].known_as(f"[::1]:{HOSTS['web-3'].port}"))
        done = self.results(
            "install", "--inventory", self.fleet.path("hosts.ini"), "--group", "six",
            f"six-3=root@[::1]:{HOSTS['web-3'].port}",
        )
        self.assertEqual({s: r["result"] for s, r in done.items()}, {"six-2": "installed", "six-3": "installed"}, done)

    def test_a_host_is_reached_through_another(self):
        config = self.fleet.path("jump")
        write(config, f"Host far\n HostName localhost\n Port {HOSTS['web-2'].port}\n ProxyJump web-1\n"
              + read(HOSTS.path("config")))
        write(HOSTS.path("known_hosts"), HOSTS["web-1"].known_as()
              + HOSTS["web-2"].known_as(f"[localhost]:{HOSTS['web-2'].port}"))
        result, message = self.outcome("install", "--dry-run", "far", config=config)
        self.assertEqual(result, "planned", message)


    def test_hosts_under_way_are_drawn_on_a_terminal(self):
        """And what is printed in the end stands above them."""
        line = [program("kitsune"), "--orchestrator", self.fleet.url, *self.command("install", "--dry-run", *NAMES)]
        master, slave = pty.openpty()
        env = {**os.environ, **self.fleet.cli_env(), "TERM": "xterm", "LANG": "C.UTF-8"}
        with subprocess.Popen(line, env=env, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave) as process:
            os.close(slave)
            shown = b""
            try:
                while more := os.read(master, 4096):
                    shown += more
            except OSError:
                pass  # how a terminal tells that nobody writes to it any more
        os.close(master)
        self.assertEqual(process.returncode, 0, shown)
        text = shown.decode()
        self.assertRegex(text, r"web-1  connect \u2026  upload +enrol +start +verify ")
        self.assertRegex(text.split("\x1b[J")[-1], r"3 hosts: 3 planned")

    def test_what_is_wrongly_typed_reaches_no_host(self):
        for words, message in (
            ([], "no host is named"),
            (["web-1", "web-1"], "the server web-1 is named twice"),
            (["--", "-oProxyCommand=x"], "is no server id"),
            (["--group", "web", "web-1"], "--group wants an --inventory"),
            (["web-1", "--timeout", "soon"], "--timeout"),
            (["web-1", "--parallel", "1000"], "--parallel is at most 256"),
            (["web-1", "--package", HOSTS.path("key")], "is not a package"),
            (["web-1", "--agent-url", "unix:///run/x"], "agents cannot connect to unix:///run/x"),
        ):
            with self.subTest(words=words):
                self.assertIn(message, self.agent("install", *words, check=1).stderr)


class HostKeys(Looking):
    def test_an_unknown_host_is_refused_until_new_ones_are_accepted(self):
        write(HOSTS.path("known_hosts"), "")
        result, message = self.outcome("install", "--dry-run", "web-1", check=2)
        self.assertEqual(result, "failed")
        self.assertIn(f"the host key of [127.0.0.1]:{HOSTS['web-1'].port} is not known", message)
        self.assertEqual(self.outcome("install", "--dry-run", "--accept-new", "web-1")[0], "planned")
        self.assertEqual(read(HOSTS.path("known_hosts")), HOSTS["web-1"].known_as())
        self.assertEqual(self.outcome("install", "--dry-run", "web-1")[0], "planned")

    def test_a_changed_key_is_refused_with_its_place_whatever_is_accepted(self):
        other = HOSTS["web-2"].known_as(f"[127.0.0.1]:{HOSTS['web-1'].port}")
        write(HOSTS.path("known_hosts"), "# a comment\n" + other)
        for words in ([], ["--accept-new"]):
            result, message = self.outcome("install", "--dry-run", *words, "web-1", check=2)
            self.assertEqual(result, "failed")
            self.assertIn(f"another than the one known from {HOSTS.path('known_hosts')} line 2", message)

    def test_a_host_known_by_a_key_of_another_type_is_no_new_one(self):
        keygen(self.path("other"), kind="ecdsa")
        kind, key = read(self.path("other.pub")).split()[:2]
        write(HOSTS.path("known_hosts"), f"[127.0.0.1]:{HOSTS['web-1'].port} {kind} {key}\n")
        message = self.outcome("install", "--dry-run", "--accept-new", "web-1", check=2)[1]
        self.assertTrue("another than the one known" in message or "no SSH connection" in message, message)

    def test_hashed_names_are_known_and_revoked_keys_are_not(self):
        known = HOSTS.path("known_hosts")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
        os.unlink(known + ".old")
        self.assertTrue(read(known).startswith("|1|"))
        self.assertEqual(self.outcome("install", "--dry-run", "web-1")[0], "planned")
        write(known, HOSTS["web-1"].known_as() + "@revoked " + HOSTS["web-1"].known_as())
        self.assertIn("revoked", self.outcome("install", "--dry-run", "web-1", check=2)[1])


class LogIn(Looking):
    def test_a_key_that_the_host_does_not_want_is_told(self):
        keygen(self.path("wrong"))
        config = read(HOSTS.path("config")).replace(HOSTS.path("key"), self.path("wrong"))
        write(self.path("config"), config)
        HOSTS.ssh("web-1", "true")
        result, message = self.outcome("install", "--dry-run", "web-1", check=2, config=self.path("config"))
        self.assertEqual(result, "failed")
        self.assertIn("cannot log in as root: the host wants none of 1 key", message)
        config = config.replace(self.path("wrong"), self.path("none"))
        write(self.path("config"), config)
        result, message = self.outcome("install", "--dry-run", "web-1", check=2, config=self.path("config"))
        self.assertIn("SSH password of root is wanted, and there is no terminal", message)

    def test_rsa_keys_that_would_be_signed_with_sha_1_are_told(self):
        keygen(self.path("rsa"), kind="rsa")
        write(self.path("config"), read(HOSTS.path("config")).replace(HOSTS.path("key"), self.path("rsa")))
        message = self.outcome("install", "--dry-run", "web-1", check=2, config=self.path("config"))[1]
        self.assertIn("RSA keys were left out", message)

    def test_a_key_s_passphrase_is_asked_for_once(self):
        shutil.copy(HOSTS.path("key"), self.path("mine"))
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", self.path("mine")],
            check=True, capture_output=True,
        )
        config = read(HOSTS.path("config")).replace(HOSTS.path("key"), self.path("mine"))
        write(self.path("config"), config)
        rows, shown = self.typed(
            [(f"passphrase of {self.path('mine')}: ", "open sesame")],
            "install", "--dry-run", *NAMES, config=self.path("config"),
        )
        self.assertEqual({row["result"] for row in rows}, {"planned"}, rows)
        self.assertNotIn("open sesame", shown)

    def test_the_ssh_agent_s_keys_are_used(self):
        config = read(HOSTS.path("config")).replace(HOSTS.path("key"), self.path("none"))
        config = config.replace("IdentitiesOnly yes", "IdentitiesOnly no")
        write(self.path("config"), config)
        agent = subprocess.run(["ssh-agent", "-s", "-a", self.path("agent")], capture_output=True, text=True, check=True)
        pid = int(agent.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])
        try:
            env = {"SSH_AUTH_SOCK": self.path("agent")}
            subprocess.run(["ssh-add", "-q", HOSTS.path("key")], env={**os.environ, **env}, check=True)
            result, message = self.outcome(
                "install", "--dry-run", "web-1", config=self.path("config"), env=env)
            self.assertEqual(result, "planned", message)
        finally:
            os.kill(pid, 15)

    def test_a_password_is_asked_for(self):
        """One that a host refuses is not tried on the next: accounts are locked by less."""
        for user in ("typed", "asked"):
            answers = [(f"SSH password of {user}: ", PASSWORD), (f"sudo password of {user}: ", PASSWORD)]
            result, message = self.typed_outcome(answers, "install", "--dry-run", f"{user}@web-1", check=2)
            self.assertEqual(result, "failed")
            self.assertIn(f"{user} cannot become root", message)
        hosts = [f"typed@{name}" for name in NAMES]
        rows, _ = self.typed(
            [("SSH password of typed: ", "wrong")], "install", "--dry-run", "--parallel", "1", *hosts, check=2)
        messages = [row["message"] for row in rows]
        self.assertIn("the host refuses the SSH password of typed", messages[0])
        self.assertEqual([m for m in messages[1:] if "was refused, and is not tried again" in m], messages[1:])


class Sudo(Case):
    def test_sudo_that_asks_nothing(self):
        self.clean("web-1")
        self.assertEqual(self.outcome("install", "quick@web-1")[0], "installed")

    def test_sudo_s_password_is_asked_for_once_for_all_hosts(self):
        self.clean(*NAMES)
        rows, shown = self.typed(
            [("sudo password of ops: ", PASSWORD)], "install", *[f"ops@{name}" for name in NAMES])
        self.assertEqual({row["result"] for row in rows}, {"installed"}, rows)
        self.assertEqual(shown.count("sudo password"), 1)
        self.assertNotIn(PASSWORD, shown)

    def test_a_wrong_password_is_told(self):
        result, message = self.typed_outcome(
            [("sudo password of ops: ", "guess")], "install", "--dry-run", "ops@web-1", check=2)
        self.assertEqual(result, "failed")
        self.assertIn("sudo refuses the password of ops", message)

    def test_a_user_without_sudo_is_told(self):
        result, message = self.typed_outcome(
            [("sudo password of guest: ", PASSWORD)], "install", "--dry-run", "guest@web-1", check=2)
        self.assertEqual(result, "failed")
        self.assertIn("guest cannot become root", message)


class Packages(Case):
    """As a program alone, but that the host's package manager does it."""

    def deb(self, version, agent=None):
        """What dev/package makes, without what it needs: that is there, but not as packages."""
        root = self.fleet.path("deb-" + version)
        files = {"usr/sbin/kitsune-agent": agent or agent_program(),
                 "usr/lib/systemd/system/kitsune-agent.service": self.source("kitsune-agent.service"),
                 "etc/kitsune/agent.conf": self.source("agent.conf")}
        for name, source in files.items():
            os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
            shutil.copy(source, os.path.join(root, name))
        os.mkdir(os.path.join(root, "DEBIAN"))
        write(os.path.join(root, "DEBIAN", "control"), f"Package: kitsune-agent\nVersion: {version}\n"
              "Architecture: all\nMaintainer: nobody\nDescription: agent\n")
        write(os.path.join(root, "DEBIAN", "conffiles"), "/etc/kitsune/agent.conf\n")
        write(os.path.join(root, "DEBIAN", "prerm"), "#!/bin/sh\n[ \"$1\" != remove ] || "
              "systemctl disable --now kitsune-agent\n", 0o755)
        path = self.fleet.path(f"kitsune-agent_{version}_all.deb")
        subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", root, path], check=True, capture_output=True)
        return path

    def rpm(self, version, agent=None):
        top = self.fleet.path("rpm-" + version)
        os.mkdir(top)
        write(os.path.join(top, "agent.spec"), RPM.format(
            version=version, agent=agent or agent_program(), folder=os.path.dirname(self.source("x"))))
        subprocess.run(
            ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {top}", os.path.join(top, "agent.spec")],
            check=True, capture_output=True,
        )
        return os.path.join(top, "RPMS", "noarch", f"kitsune-agent-{version}-1.noarch.rpm")

    def source(self, name):
        return os.path.join(os.environ["KITSUNE_SOURCE"], "agent", "package", name)

    def version(self):
        return HOSTS.ssh("web-1", "dpkg-query -W -f '${Version}' kitsune-agent")

    def test_installed_upgraded_put_back_and_removed(self):
        self.clean("web-1")
        self.addCleanup(HOSTS.ssh, "web-1", "dpkg -P kitsune-agent", check=False)
        one, two = self.deb("1.0"), self.deb("2.0")
        self.assertEqual(self.outcome("install", "--package", one, "web-1")[0], "installed")
        self.assertEqual(self.outcome("install", "--package", one, "web-1")[0], "unchanged")
        result, message = self.outcome("install", "web-1", check=2)
        self.assertIn("its agent is of a package (deb 1.0): --package upgrades it", message)

        self.assertEqual(self.outcome("upgrade", "--package", two, "web-1")[0], "upgraded")
        self.assertEqual(self.version(), "2.0")
        bad = self.deb("3.0", "/usr/bin/true")
        message = self.outcome("upgrade", "--package", bad, "--timeout", "1s", "web-1", check=2)[1]
        self.assertIn("what was there before is back", message)
        self.assertEqual(self.version(), "2.0")
        self.assertEqual(self.outcome("upgrade", "--package", two, "web-1")[0], "unchanged")

        self.assertEqual(self.outcome("uninstall", "--purge", "web-1")[0], "uninstalled")
        self.assertEqual(HOSTS.ssh("web-1", f"ls -d {STATE} /etc/kitsune /usr/sbin/kitsune-agent", check=False), "")


    def test_the_same_with_rpm(self):
        self.clean("web-2")
        self.addCleanup(HOSTS.ssh, "web-2", "rpm -e kitsune-agent", check=False)
        one, two = self.rpm("1.0"), self.rpm("2.0")
        self.assertEqual(self.outcome("install", "--package", one, "web-2")[0], "installed")
        self.assertEqual(self.outcome("upgrade", "--package", two, "web-2")[0], "upgraded")
        bad = self.rpm("3.0", "/usr/bin/true")
        message = self.outcome("upgrade", "--package", bad, "--timeout", "1s", "web-2", check=2)[1]
        self.assertIn("what was there before is back", message)
        self.assertEqual(HOSTS.ssh("web-2", "rpm -q --qf %{VERSION} kitsune-agent"), "2.0")
        self.assertEqual(self.outcome("upgrade", "--package", two, "web-2")[0], "unchanged")
        self.assertEqual(self.outcome("uninstall", "--purge", "web-2")[0], "uninstalled")
        self.assertEqual(HOSTS.ssh("web-2", f"ls -d {STATE} /etc/kitsune /usr/sbin/kitsune-agent", check=False), "")


class Faults(Case):
    def test_hosts_that_fail_stop_no_other(self):
        self.clean(*NAMES)
        with socket.socket() as mute, socket.socket() as closed:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            closed.bind(("127.0.0.1", 0))
            config = self.fleet.path("config")
            write(config, "Host mute closed\n HostName 127.0.0.1\n ConnectTimeout 1\n"
                  f"Host mute\n Port {mute.getsockname()[1]}\nHost closed\n Port {closed.getsockname()[1]}\n"
                  "Host nowhere\n HostName 192.0.2.1\n" + read(HOSTS.path("config")))
            HOSTS.ssh("web-2", f"mkdir -p {STATE} && mount -t tmpfs -o size=1m tmpfs {STATE}")
            self.addCleanup(HOSTS.ssh, "web-2", f"umount {STATE}")
            done = self.results("install", "web-1", "mute", "closed", "nowhere", "guest@web-3", "web-2", check=2,
                                config=config)
        said = {server: (row["result"], row["stage"], row["message"]) for server, row in done.items()}
        self.assertEqual(said["web-1"][0], "installed", said)
        self.assertEqual({said[s][0] for s in said if s != "web-1"}, {"failed"}, said)
        self.assertIn("the host does not answer", said["mute"][2])
        self.assertIn("Connection refused", said["closed"][2])
        self.assertIn("cannot connect to 192.0.2.1", said["nowhere"][2])
        self.assertEqual(said["web-2"][1], "upload")
        self.assertIn("No space left on device", said["web-2"][2])
        self.assertEqual(HOSTS.ssh("web-2", f"ls {OWN_BINARY} /etc/kitsune; ls {STATE}", check=False), "")

    def test_a_version_that_does_not_connect_is_taken_back(self):
        self.clean("web-1")
        self.assertEqual(self.outcome("install", "web-1")[0], "installed")
        before = HOSTS.ssh("web-1", f"sha256sum {OWN_BINARY} /etc/kitsune/agent.conf")
        # It starts, says its version as any program does, and never connects.
        result, message = self.outcome(
            "upgrade", "--binary", "/usr/bin/true", "--timeout", "2s", "web-1", check=2)
        self.assertEqual(result, "failed")
        self.assertIn("the orchestrator did not see it within 2s; what was there before is back", message)
        self.assertEqual(HOSTS.ssh("web-1", f"sha256sum {OWN_BINARY} /etc/kitsune/agent.conf"), before)
        self.assertEqual(HOSTS.ssh("web-1", f"ls {STATE}/install").split(), ["installed"])
        self.assertEqual(self.outcome("upgrade", "web-1")[0], "unchanged")

    def test_a_new_agent_that_does_not_connect_is_removed_again(self):
        result, message = self.outcome("install", "--binary", "/usr/bin/true", "--timeout", "1s", "web-1", check=2)
        self.assertEqual(result, "failed")
        self.assertIn("it is removed again", message)
        left = f"ls -d {OWN_BINARY} {STATE} /etc/kitsune/agent.conf /etc/systemd/system/kitsune-agent.service"
        self.assertEqual(HOSTS.ssh("web-1", left, check=False), "")

    def test_a_run_that_was_cut_off_is_finished_by_the_next(self):
        self.clean("web-1")
        self.assertEqual(self.outcome("install", "web-1")[0], "installed")
        first = HOSTS.ssh("web-1", f"sha256sum <{OWN_BINARY}")
        # What a run leaves that was ended behind its change: what was there before is kept, once.
        HOSTS.ssh(
            "web-1", f"mkdir -p {STATE}/install/undo && cd {STATE}/install/undo && touch begun active enabled "
            f"token.absent && cp -p {OWN_BINARY} binary && cp -p /etc/kitsune/agent.conf conf && "
            "cp -p /etc/systemd/system/kitsune-agent.service unit && systemctl stop kitsune-agent && "
            f"echo broken >{OWN_BINARY}",
        )
        result, message = self.outcome(
            "upgrade", "--binary", "/usr/bin/true", "--timeout", "1s", "web-1", check=2)
        self.assertIn("what was there before is back", message)
        self.assertEqual(HOSTS.ssh("web-1", f"sha256sum <{OWN_BINARY}"), first)
        self.assertEqual(self.outcome("upgrade", "web-1")[0], "unchanged")

    def test_without_a_start_it_is_installed_and_no_more(self):
        self.clean("web-1")
        self.assertEqual(self.outcome("install", "--no-start", "web-1")[0], "installed")
        self.assertEqual(HOSTS.ssh("web-1", "systemctl is-active kitsune-agent", check=False).strip(), "inactive")
        self.assertEqual(self.outcome("install", "web-1")[0], "upgraded")
        self.assertTrue(self.server("web-1")["connected"])

    def test_who_may_let_no_agent_in_touches_no_host(self):
        token = self.fleet.secret_file("op.token", self.fleet.token("op", "operator"))
        said = self.agent("install", "web-1", check=1, env={"KITSUNE_TOKEN_FILE": token}).stderr
        self.assertIn("op is operator, and agents are let in and out by an admin", said)
        self.assertEqual(HOSTS.ssh("web-1", f"ls -d {STATE}", check=False), "")

    def test_what_arrives_in_part_is_not_kept(self):
        remote = read(os.path.join(os.environ["KITSUNE_SOURCE"], "orchestrator", "cli", "install", "remote.sh"))
        said = HOSTS.ssh("web-1", f"want_payload=00\n{remote}\n(echo half | upload) 2>&1 || true; ls -A {STATE}/install")
        self.addCleanup(HOSTS.ssh, "web-1", f"rm -r {STATE}")
        self.assertEqual(said, "what arrived is not what was sent\n")

    def test_an_upgrade_over_the_socket_needs_not_know_where_agents_connect_to(self):
        self.clean("web-1")
        self.assertEqual(self.outcome("install", "web-1")[0], "installed")
        over = ("--orchestrator", "unix://" + self.fleet.socket, "-o", "json", "web-1")
        command = [program("kitsune"), *self.command("upgrade", *over)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        self.assertEqual(json.loads(done.stdout)["hosts"][0]["result"], "unchanged", done)
        done = subprocess.run([*command[:2], "install", *command[3:]], capture_output=True, text=True,
                              timeout=DEADLINE, check=False)
        self.assertIn("say where they do, with --agent-url", done.stderr)

    def test_what_cannot_run_there_is_not_uploaded(self):
        with open(agent_program(), "rb") as file:
            data = bytearray(file.read(4096))
        data[18:20] = (243).to_bytes(2, "little")  # e_machine: RISC-V
        with open(self.fleet.path("riscv"), "wb") as file:
            file.write(data)
        message = self.outcome("install", "--binary", self.fleet.path("riscv"), "web-1", check=2)[1]
        self.assertIn("is for riscv64", message)
        self.assertIn("no agent is installed there", self.outcome("upgrade", "web-1", check=2)[1])
        self.agent("install", "--binary", HOSTS.path("config"), "web-1", check=1)

    def test_without_the_orchestrator_no_host_is_touched(self):
        self.fleet.orchestrator.kill()
        self.agent("install", "web-1", check=5)
        self.assertEqual(HOSTS.ssh("web-1", f"ls -d {OWN_BINARY} {STATE}", check=False), "")


if __name__ == "__main__":
    in_own_network()
    main()
