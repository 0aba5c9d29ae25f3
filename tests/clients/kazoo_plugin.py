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
import typing

import kazoo.testing.common as common
import kazoo.testing.harness as harness
import pytest
from kazoo.exceptions import UnimplementedError

import server

KIND = os.environ.get("TEST_SERVER", "ringkeeper")
EXPECTED_PATH = pathlib.Path(__file__).with_name("kazoo_expected.txt")
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
            command, environment = server.command_line(KIND, args[-1], properties)
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


class Expectation(typing.NamedTuple):
    """What one test does, for each kind of server, and why where it does not pass."""

    outcomes: dict
    reason: str


def read_expectations(path):
    """The lines `ZOOKEEPER RINGKEEPER TEST [# reason]` of the expected outcomes by test."""
    expectations = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields, _, reason = line.partition(" # ")
        fields = fields.split()
        if not fields or line.startswith("#"):
            continue
        outcomes = dict(zip(("zookeeper", "ringkeeper"), fields[:2]))
        known = set(outcomes.values()) <= {"passed", "skip", "unimplemented"}
        assert len(fields) == 3 and known, f"{path}:{number}: expected 'OUTCOME OUTCOME TEST', got {line!r}"
        assert reason or set(outcomes.values()) == {"passed"}, f"{path}:{number}: needs a reason"
        expectations[fields[2]] = Expectation(outcomes, reason)
    return expectations


def name_of(item_id):
    """`test_lock.py::Class::test` of a test's id, wherever kazoo is installed."""
    return item_id.rsplit("/", 1)[-1]


class Comparison:
    """Skips what the expectations skip, and holds every other outcome against them."""

    def __init__(self):
        self.expected = read_expectations(EXPECTED_PATH)
        self.seen = {}
        self.whole = True

    def outcome_expected(self, name):
        """What this kind of server is expected to do with one test."""
        return self.expected[name].outcomes[KIND] if name in self.expected else "not listed"

    def pytest_collection_modifyitems(self, config, items):
        """Marks the tests that the expectations skip, with their reason."""
        self.whole = not config.getoption("keyword")
        for item in items:
            name = name_of(item.nodeid)
            if self.outcome_expected(name) == "skip":
                item.add_marker(pytest.mark.skip(reason=self.expected[name].reason))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Turns a test that must end in UnimplementedError into one that passes if it does."""
        report = yield
        name = name_of(item.nodeid)
        if call.when == "call" and self.outcome_expected(name) == "unimplemented":
            if call.excinfo and call.excinfo.errisinstance(UnimplementedError):
                self.seen[name] = "unimplemented"
                report.outcome, report.longrepr = "passed", None
            else:
                report.outcome = "failed"
        return report

    def pytest_runtest_logreport(self, report):
        """Notes a test's outcome: of its call, or of its set-up where that did not pass."""
        name = name_of(report.nodeid)
        if report.outcome == "skipped":
            self.seen[name] = "skip"
        elif report.outcome == "failed":
            self.seen[name] = "failed"
        elif report.when == "call":
            self.seen.setdefault(name, "passed")

    def differences(self):
        """One line a test that did not do what is expected of it."""
        for name in sorted(self.expected.keys() | self.seen.keys()):
            expected = self.outcome_expected(name)
            seen = self.seen.get(name, "not run")
            if seen != expected and (self.whole or seen != "not run"):
                yield f"{name}: expected {expected}, got {seen}"

    def pytest_sessionfinish(self, session):
        """A difference fails the session, even if kazoo's own tests are content."""
        if any(self.differences()) and session.exitstatus == 0:
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter):
        """Lists the differences."""
        for line in self.differences():
            terminalreporter.write_line(f"DIFFERENCE {line}", red=True)


def pytest_configure(config):
    """Registers the comparison."""
    config.pluginmanager.register(Comparison())
