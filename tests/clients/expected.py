"""Holds another project's own test suite to what it is expected to do, test by test.

A pytest session that registers a `Comparison` fails if a test stops passing, starts passing, or
slips in or out of the run, and skips only what the file of expectations skips, with its reason.
"""

import typing

import pytest
from kazoo.exceptions import UnimplementedError

from server import KIND


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
    """`test_lock.py::Class::test` of a test's id, wherever its package is installed."""
    return item_id.rsplit("/", 1)[-1]


class Comparison:
    """Skips what the expectations skip, and holds every other outcome against them."""

    def __init__(self, path):
        self.expected = read_expectations(path)
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
