"""Patroni's PostgreSQL cluster while servers of the ensemble, and then the primary itself, are killed.

Who is primary is an ephemeral node's owner, so a lost session demotes it: the loss of a ZooKeeper server
must not. The loss of the primary must, and what was committed at two is at the one that is left.
"""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

import pytest
from kazoo.client import KazooClient

import server as servers

SECONDS = 90
PAUSE = 0.1
PATRONI = shutil.which("patroni")
BINARIES = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))
# PostgreSQL does not run as root.
USER = "postgres" if os.geteuid() == 0 else None

CONFIG = """
scope: house
name: {name}
restapi: {{listen: 127.0.0.1:{rest}, connect_address: 127.0.0.1:{rest}}}
zookeeper: {{hosts: {hosts}}}
bootstrap:
  dcs:
    ttl: 10
    loop_wait: 1
    retry_timeout: 4
    synchronous_mode: true
    postgresql: {{use_pg_rewind: true, parameters: {{fsync: "off", wal_log_hints: "on"}}}}
  initdb: [{{encoding: UTF8}}, {{auth-host: trust}}, {{auth-local: trust}}]
  pg_hba: [host replication all 127.0.0.1/32 trust, host all all 127.0.0.1/32 trust]
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {directory}/data
  bin_dir: {binaries}
  pgpass: {directory}/pgpass
  authentication:
    superuser: {{username: house, password: house}}
    replication: {{username: copy, password: copy}}
  parameters: {{unix_socket_directories: "{directory}"}}
"""


class Node:
    """One PostgreSQL and the Patroni that decides what it is."""

    def __init__(self, directory, name, rest, port, addresses):
        self.directory, self.name, self.rest, self.port = directory, name, rest, port
        self.process = None
        directory.mkdir()
        self.config = directory / "patroni.yml"
        self.config.write_text(
            CONFIG.format(
                name=name, rest=rest, port=port, hosts=json.dumps(addresses), directory=directory, binaries=BINARIES
            )
        )
        if USER:
            shutil.chown(directory, USER)

    def launch(self):
        """Starts Patroni, which starts PostgreSQL."""
        environment = {**os.environ, "HOME": str(self.directory)}
        # The suites' modules are not Patroni's.
        environment.pop("PYTHONPATH", None)
        with open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                [PATRONI, self.config], cwd=self.directory, env=environment, user=USER,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )

    def cluster(self):
        """What Patroni says of each node, by name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/cluster", timeout=10) as answer:
            return {member["name"]: member for member in json.load(answer)["members"]}

    def query(self, text):
        """The answer to a query; raises `OSError` where there is none."""
        command = [BINARIES / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "house", "-d", "postgres", "-Atqc", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode != 0:
            raise OSError(done.stderr)
        return done.stdout.strip()

    def kill(self):
        """kill -9 of Patroni and of PostgreSQL, whose processes end with their first."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.directory / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def until(says, what):
    """What `says()` returns, once that is true; what it cannot ask is asked again."""
    deadline = time.monotonic() + SECONDS
    last = None
    while time.monotonic() < deadline:
        try:
            if told := says():
                return told
            last = None
        except (OSError, KeyError) as error:
            last = error
        time.sleep(PAUSE)
    pytest.fail(f"not in {SECONDS} s: {what}; the last error: {last}")


def roles(node):
    """The role of each node that is in order, by its name, as one of them sees it."""
    well = ("running", "streaming")
    return {name: member["role"] for name, member in node.cluster().items() if member["state"] in well}


def status(ensemble):
    """What the primary's Patroni has written to ZooKeeper last."""
    client = KazooClient(",".join(ensemble.addresses))
    try:
        client.start(timeout=SECONDS)
        return json.loads(client.get("/service/house/status")[0])
    finally:
        client.stop()
        client.close()


@pytest.fixture
def house(tmp_path):
    """Two nodes on an ensemble of three, and the ensemble."""
    if PATRONI is None or BINARIES is None:
        pytest.skip("no patroni and postgresql (their packages start services, so they are not installed here)")
    ensemble = servers.Ensemble(servers.KIND, tmp_path)
    # PostgreSQL's user may not look into pytest's directories, and a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="patroni-") as directory:
        os.chmod(directory, 0o755)
        ports = servers.free_ports(4)
        nodes = [
            Node(pathlib.Path(directory) / name, name, rest, port, ensemble.addresses)
            for name, rest, port in (("a", *ports[:2]), ("b", *ports[2:]))
        ]
        try:
            ensemble.start()
            for node in nodes:
                node.launch()
            yield {node.name: node for node in nodes}, ensemble
        finally:
            for node in nodes:
                node.kill()
            ensemble.kill()


def test_the_primary_stays_while_zookeepers_go_and_goes_when_it_dies(house):
    nodes, ensemble = house
    any_node = next(iter(nodes.values()))
    whole = {"leader", "sync_standby"}
    both = until(lambda: set((seen := roles(any_node)).values()) == whole and seen, "a primary and a copy")
    name = next(name for name, role in both.items() if role == "leader")
    primary, copy = nodes.pop(name), *nodes.values()
    timeline = primary.cluster()[name]["timeline"]
    primary.query("CREATE TABLE t (k int PRIMARY KEY)")
    written = 0
    for _ in range(3):
        leader = ensemble.leader()
        leader.kill()
        for written in range(written + 1, written + 101):
            primary.query(f"INSERT INTO t VALUES ({written})")
        # Patroni has been to ZooKeeper since, to say how far the primary is.
        lsn = int(primary.query("SELECT pg_current_wal_lsn() - '0/0'"))
        until(lambda: status(ensemble)["optime"] >= lsn, "a Patroni that goes on beside two servers")
        leader.start()
    assert roles(primary)[name] == "leader", "the loss of a ZooKeeper server cost the primary its role"
    assert primary.cluster()[name]["timeline"] == timeline, "it was primary anew"
    until(lambda: set(roles(copy).values()) == whole, "a copy that is in step")
    primary.kill()
    until(lambda: roles(copy).get(copy.name) == "leader", "another primary")
    until(lambda: copy.query("SELECT pg_is_in_recovery()") == "f", "a primary that writes")
    assert copy.query("SELECT count(*), max(k) FROM t") == f"{written}|{written}"
    until(lambda: copy.cluster()[copy.name]["timeline"] > timeline, "a timeline of its own")
    primary.launch()
    until(lambda: set(roles(copy).values()) == whole, "the old primary back as a copy")
    copy.query("INSERT INTO t VALUES (0)")
    until(lambda: primary.query("SELECT count(*) FROM t") == str(written + 1), "what it missed")
