"""Runs aiozk's own test suite (an asyncio client), unchanged, against one standalone server of ours.

aiozk's tests take a running server from ZK_HOST and ZK_PORT; this pytest plugin starts it, and
holds every outcome against aiozk_expected.txt.
"""

import os
import pathlib
import tempfile

from expected import Comparison
from server import KIND, Server


def pytest_configure(config):
    """Starts the server before aiozk's fixtures read its address."""
    directory = tempfile.TemporaryDirectory(prefix="aiozk-")
    running = Server(KIND, directory.name).start()
    config.add_cleanup(directory.cleanup)
    config.add_cleanup(running.stop)
    os.environ.update(ZK_HOST="127.0.0.1", ZK_PORT=str(running.port))
    config.pluginmanager.register(Comparison(pathlib.Path(__file__).with_name("aiozk_expected.txt")))
