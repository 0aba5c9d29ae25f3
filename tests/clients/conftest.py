"""What the client suites share: a running server and kazoo sessions to it.

Every suite gets a server of its own, which lives as long as the suite's module.
"""

import pytest
from kazoo.client import KazooClient

from server import KIND, Server


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
    # Java ends with the signal's own code even where it stops cleanly.
    assert running.stop() == (0 if KIND == "ringkeeper" else 143), "SIGTERM stops the server cleanly"


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
