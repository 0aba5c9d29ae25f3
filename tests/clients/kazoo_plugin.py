"""Runs kazoo's own test suite, unchanged, against one standalone server of ours.

kazoo's harness writes a zoo.cfg and starts a Java server with it. This pytest plugin replaces only
that start: the same zoo.cfg and the same Java properties go to the server under test. Every test's
outcome is then compared with kazoo_expected.txt, so that a test that stops passing, starts passing
or slips out of the run fails the suite.
"""

import os
import pathlib
import subprocess
import types

import kazoo.testing.common as common
import kazoo.testing.harness as harness
import pytest

import server
from expected import Comparison

os.environ.update(
    # One standalone server: kazoo's harness itself knows the size 1.
    ZOOKEEPER_CLUSTER_SIZE="1",
    ZOOKEEPER_VERSION="3.8.0",
    ZOOKEEPER_CLASSPATH=server.ZOOKEEPER_CLASSPATH,
)
# Under CI kazoo waits 15 s in one test and checks its own build machine in another.
os.environ.pop("CI", None)


class ManagedServer(common.ManagedZooKeeper):
    """kazoo's managed server with the start replaced, and ports of its own."""

    def __init__(self, software_path, server_info, *rest, **options):
        ports = server.free_ports(5)
        super().__init__(software_path, common.ServerInfo(server_info.server_id, *ports, "participant"), *rest, **options)

    def run(self):
        """Lets kazoo write its configuration, and starts the server under test with it."""
        if self.running:
            return
        log_path = os.path.join(self.working_path, "zookeeper.log")

        def start(args):
            properties = [arg for arg in args if arg.startswith("-D")]
            command, environment = server.command_line(server.KIND, args[-1], properties)
            with open(log_path, "ab") as log:
                return subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
                )

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(common, "subprocess", types.SimpleNamespace(Popen=start))
            super().run()
        server.wait_until_serving(self.process, self.client_port, log_path)


class Cluster(common.ZookeeperCluster):
    """kazoo's cluster without the pause that stands for waiting."""

    def start(self):
        """Starts every server; each `run` returns once it serves."""
        for each in self:
            each.run()


common.ManagedZooKeeper = ManagedServer
harness.ZookeeperCluster = Cluster


def pytest_configure(config):
    """Registers the comparison."""
    config.pluginmanager.register(Comparison(pathlib.Path(__file__).with_name("kazoo_expected.txt")))
