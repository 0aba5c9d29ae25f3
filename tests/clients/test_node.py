"""Node's client, npm's node-zookeeper-client: one test a check of node/suite.js."""

import re

import pytest
from server import CACHE, ROOT
from tap import run_tap

SUITE = ROOT / "tests/clients/node/suite.js"
CHECKS = re.findall(r"^    async (\w+)\(", SUITE.read_text(), re.M)


@pytest.fixture(scope="module")
def results(server):
    """The outcome of every check: one node runs them all."""
    return run_tap(["node", SUITE, server.address, CACHE / "node"])


@pytest.mark.parametrize("check", CHECKS)
def test_check(results, check):
    outcomes, done = results
    assert outcomes.get(check, "it did not run") == "", done.stderr[-4000:]
