"""What the client suites share: a running server and kazoo sessions to it.

Every suite gets a server of its own, which lives as long as the suite's module.
"""

import os
import pathlib
import subprocess

import pytest
from kazoo.client import KazooClient

from server import Server

KIND = os.environ.get("TEST_SERVER", "ringkeeper")
CACHE = pathlib.Path(__file__).resolve().parents[1] / ".cache"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One standalone server on a free port, with every node type enabled."""
    running = Server(
        KIND,
        tmp_path_factory.mktemp("server"),
        config=("extendedTypesEnabled=true",),
        # ZooKeeper 3.8.0 takes this one as a system property only.
        properties=("-Dzookeeper.extendedTypesEnabled=true",),
    ).start()
    yield running
    running.stop()


@pytest.fixture
def connect(server):
    """A function that opens one more kazoo session; all are closed when the test ends."""
    opened = []

    def open_session(**options):
        client = KazooClient(server.address, **{"timeout": 5.0, **options})
        opened.append(client)
        client.start(timeout=15)
        return client

    yield open_session
    for client in opened:
        client.stop()
        client.close()


def run_tap(command, **options):
    """Runs a program that prints one line `ok NAME` or `not ok NAME: WHY` a check, by name.

    A client suite in another language is one such program, so that its runtime starts once.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, **options)
    results = {}
    for line in done.stdout.splitlines():
        if line.startswith("ok "):
            results[line.removeprefix("ok ")] = ""
        elif line.startswith("not ok "):
            name, _, why = line.removeprefix("not ok ").partition(": ")
            results[name] = why or "no reason given"
    assert results, f"{command[0]} ran no check:\n{done.stdout}\n{done.stderr[-4000:]}"
    return results, done
