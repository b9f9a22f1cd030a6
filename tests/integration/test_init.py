"""kitsune-orchestrator init, what it takes to start, and its own certificate."""

import http.client
import os
import unittest

from fleet import DEADLINE, Process, main, program
from secure import SecureFleet, init


class Starting(unittest.TestCase):
    def refused(self, *args, status=1):
        process = Process([program("kitsune-orchestrator"), "--listen", "127.0.0.1:0", *args])
        self.assertEqual(process.process.wait(DEADLINE), status)
        process.reader.join(DEADLINE)
        process.process.stderr.close()
        return process.text()

    def test_without_init_it_does_not_start_and_says_what_to_do(self):
        with SecureFleet() as fleet:
            os.mkdir(fleet.path("empty"))
            said = self.refused("--data-dir", fleet.path("empty"), status=78)
            self.assertIn("kitsune-orchestrator init --data-dir " + fleet.path("empty"), said)
            self.assertEqual(os.listdir(fleet.path("empty")), [])

    def test_insecure_dev_is_for_loopback_alone_and_says_so_loudly(self):
        with SecureFleet() as fleet:
            for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0"):
                said = self.refused("--data-dir", fleet.path("dev"), "--insecure-dev", "--listen", address)
                self.assertIn("loopback", said)
            os.mkdir(fleet.path("dev"), 0o700)
            dev = Process([program("kitsune-orchestrator"), "--data-dir", fleet.path("dev"), "--insecure-dev",
                           "--listen", "127.0.0.1:0"])
            ready = dev.wait_line("ready ")
            self.assertIn("INSECURE", ready)
            self.assertIn("level=warn", dev.wait_line("INSECURE: "))
            port = int(ready.split("listen=127.0.0.1:")[1].split()[0])
            self.assertEqual([self.asked(port, how) for how in (
                {}, {"Origin": f"http://127.0.0.1:{port}"},
                # Pages from elsewhere, which a browser on this machine shows.
                {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"},
                {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"},
                {"Host": "127.0.0.1.evil.example"},
            )], [404, 404, 403, 403, 403, 403, 403])
            self.assertEqual(dev.stop(), 0)

    @staticmethod
    def asked(port, headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        try:
            connection.request("POST", "/v1/rollouts/none/cancel", body=b"", headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def test_a_key_that_others_can_read_is_not_used(self):
        with SecureFleet() as fleet:
            fleet.orchestrator.stop()
            os.chmod(os.path.join(fleet.data_dir, "pki", "ca.key"), 0o644)
            said = self.refused("--data-dir", fleet.data_dir)
            self.assertIn("chmod 600", said)
            fleet.orchestrator = None

    def test_init_is_for_once_and_leaves_nothing_open(self):
        with SecureFleet() as fleet:
            again = init(fleet.data_dir, check=1)
            self.assertIn("initialised already", again["stderr"])
            self.assertEqual(fleet.ask("GET", "/v1/whoami", token=fleet.admin).status, 200)
            for folder, _, names in os.walk(fleet.data_dir):
                self.assertEqual(os.stat(folder).st_mode & 0o077, 0)
                for name in names:
                    mode = os.stat(os.path.join(folder, name)).st_mode & 0o777
                    self.assertIn(mode, (0o600, 0o644) if name in ("ca.crt", "hosts") else (0o600,), name)
            said = init(fleet.path("second"), "--host", "kitsune.example", "--token-file", fleet.path("first"))
            with open(fleet.path("first"), encoding="ascii") as token:
                self.assertTrue(token.read().startswith("kit_"))
            self.assertEqual(os.stat(fleet.path("first")).st_mode & 0o777, 0o600)
            self.assertNotIn("kit_", said["stdout"])
            self.assertIn("https://kitsune.example:7233", said["stdout"])
            self.assertIn("DNS name", init(fleet.path("third"), "--host", "a b", check=1)["stderr"])
            init(fleet.path("third"), "--host", "right")  # and nothing of the failure stands in the way

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_init_by_root_gives_the_files_to_the_directorys_owner(self):
        with SecureFleet() as fleet:
            os.chmod(fleet.dir, 0o755)
            os.mkdir(fleet.path("theirs"), 0o700)
            os.chown(fleet.path("theirs"), 65534, 65534)
            init(fleet.path("theirs"))
            for folder, _, names in os.walk(fleet.path("theirs")):
                for name in names:
                    self.assertEqual(os.stat(os.path.join(folder, name)).st_uid, 65534, name)

    def test_the_servers_certificate_is_renewed_while_it_runs(self):
        with SecureFleet(orchestrator_options=["--server-certificate", "6s"]) as fleet:
            init(fleet.data_dir, "--renew", "--server-certificate", "6s")
            fleet.orchestrator.stop()
            fleet.start_orchestrator()

            def serial():
                with fleet.connect() as raw:
                    return raw.getpeercert()["serialNumber"]

            before = serial()
            fleet.orchestrator.wait_line("the server's certificate was renewed")
            self.assertNotEqual(serial(), before)

    def test_other_hosts_are_for_init_renew(self):
        with SecureFleet() as fleet:
            init(fleet.data_dir, "--renew", "--host", "other.example")
            fleet.orchestrator.stop()
            fleet.start_orchestrator()
            with fleet.connect() as raw:
                names = [value for _, value in raw.getpeercert()["subjectAltName"]]
            self.assertIn("other.example", names)
            self.assertIn("localhost", names)


if __name__ == "__main__":
    main()
