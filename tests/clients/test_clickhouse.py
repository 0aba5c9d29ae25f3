"""ClickHouse's replicated tables while servers of the ensemble are killed.

Two replicas find each other, the parts of the table and what to merge through ZooKeeper alone, by
transactions of a dozen operations, sequential and ephemeral nodes and watches.
"""

import itertools
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

import server as servers

SECONDS = 90
ROWS = 200
# Between two attempts; what is waited for is the answer, or what a query says.
PAUSE = 0.1
BINARY = shutil.which("clickhouse-server", path="/usr/sbin:/usr/bin:/usr/local/bin")

CONFIG = """<?xml version="1.0"?>
<yandex>
  <logger><level>information</level><log>{directory}/log</log><errorlog>{directory}/errors</errorlog></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port>
  <interserver_http_host>127.0.0.1</interserver_http_host><interserver_http_port>{replication}</interserver_http_port>
  <path>{directory}/data/</path><tmp_path>{directory}/tmp/</tmp_path>
  <users_config>users.xml</users_config>
  <default_profile>default</default_profile><default_database>default</default_database>
  <mark_cache_size>5242880</mark_cache_size>
  <zookeeper>{nodes}<session_timeout_ms>4000</session_timeout_ms></zookeeper>
  <macros><replica>{name}</replica></macros>
  <remote_servers><both><shard><internal_replication>true</internal_replication>{both}</shard></both></remote_servers>
  <distributed_ddl><path>/clickhouse/ddl</path></distributed_ddl>
  <merge_tree><zookeeper_session_expiration_check_period>1</zookeeper_session_expiration_check_period></merge_tree>
</yandex>
"""
USERS = """<?xml version="1.0"?>
<yandex>
  <profiles><default></default></profiles>
  <users><default><password></password><networks><ip>127.0.0.1</ip></networks>
    <profile>default</profile><quota>default</quota></default></users>
  <quotas><default></default></quotas>
</yandex>
"""


class Replica:
    """One ClickHouse server on loopback ports of its own."""

    def __init__(self, directory, name, ports, tcp_ports, addresses):
        self.directory = directory
        directory.mkdir()
        self.http, self.process = ports[0], None
        hosts = [address.split(":") for address in addresses]
        nodes = "".join(f"<node><host>{host}</host><port>{port}</port></node>" for host, port in hosts)
        both = "".join(f"<replica><host>127.0.0.1</host><port>{port}</port></replica>" for port in tcp_ports)
        (directory / "users.xml").write_text(USERS)
        (directory / "config.xml").write_text(
            CONFIG.format(
                directory=directory, name=name, http=ports[0], replication=ports[1], tcp=ports[2], nodes=nodes, both=both
            )
        )

    def launch(self):
        """Starts it on whatever its directory holds."""
        with open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                [BINARY, "--config-file=config.xml"],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )

    def query(self, text):
        """The answer to one query; raises `OSError` where there is none and where it says an error."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/", data=text.encode())
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            raise OSError(error.read().decode(errors="replace")) from error

    def kill(self):
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def until(says, what):
    """Returns when `says()` is true; errors of its queries are tried again."""
    deadline = time.monotonic() + SECONDS
    last = None
    while time.monotonic() < deadline:
        try:
            if says():
                return
            last = None
        except OSError as error:
            last = error
        time.sleep(PAUSE)
    pytest.fail(f"not in {SECONDS} s: {what}; the last error: {last}")


class Inserter:
    """Inserts blocks of rows at one replica, each until it is taken."""

    def __init__(self, replica, first_key):
        self.replica, self.first_key = replica, first_key
        self.taken, self.retried = 0, 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        for number in itertools.count():
            if self.stopping.is_set():
                return
            first = self.first_key + number * ROWS
            rows = f"SELECT toDate('2026-01-01'), number + {first} FROM system.numbers LIMIT {ROWS}"
            while True:
                try:
                    self.replica.query(f"INSERT INTO t {rows}")
                    break
                except OSError:
                    self.retried += 1
                    time.sleep(PAUSE)
            self.taken += 1

    def wait_for(self, more):
        """Until `more` blocks were taken from now on."""
        enough = self.taken + more
        until(lambda: self.taken >= enough, f"{more} more blocks at one replica")

    def end(self):
        """Ends behind the block that is under way."""
        self.stopping.set()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), "a block is never taken"


@pytest.fixture
def replicas(tmp_path):
    """Two ClickHouse servers on an ensemble of three, and the ensemble."""
    if BINARY is None:
        pytest.skip("no clickhouse-server (its package starts a service, so it is not installed here)")
    ensemble = servers.Ensemble(servers.KIND, tmp_path)
    ports = servers.free_ports(6)
    pairs = list(zip("ab", (ports[:3], ports[3:])))
    tcp_ports = [three[2] for _, three in pairs]
    replicas = [
        Replica(tmp_path / f"clickhouse-{name}", name, three, tcp_ports, ensemble.addresses) for name, three in pairs
    ]
    try:
        ensemble.start()
        for replica in replicas:
            replica.launch()
        for replica in replicas:
            until(lambda: replica.query("SELECT 1") == "1", "a ClickHouse that answers")
        yield replicas, ensemble
    finally:
        for replica in replicas:
            replica.kill()
        ensemble.kill()


def is_whole(replica, active):
    """Whether a replica has done all that it knows of, and how many it sees."""
    state = replica.query("SELECT active_replicas, queue_size, is_readonly FROM system.replicas")
    return state == f"{active}\t0\t0"


def keys_of(replica):
    """How many different keys a replica has, and their sum."""
    return replica.query("SELECT count(), sum(k) FROM (SELECT DISTINCT k FROM t)")


def test_every_block_is_in_both_replicas_whoever_is_killed(replicas):
    (a, b), ensemble = replicas
    a.query(
        "CREATE TABLE t ON CLUSTER both (d Date, k UInt64)"
        " ENGINE = ReplicatedMergeTree('/clickhouse/tables/t', '{replica}', d, k, 8192)"
    )
    inserters = [Inserter(a, 0), Inserter(b, 1 << 32)]
    try:
        for inserter in inserters:
            inserter.wait_for(5)
        for _ in range(2):
            leader = ensemble.leader()
            leader.kill()
            for inserter in inserters:
                inserter.wait_for(5)
            leader.start()
        for server in ensemble.servers:
            server.stop()
            server.start()
            for inserter in inserters:
                inserter.wait_for(2)
    finally:
        for inserter in inserters:
            inserter.end()
    blocks = [inserter.taken for inserter in inserters]
    keys = [first + number for first, taken in zip((0, 1 << 32), blocks) for number in range(taken * ROWS)]
    for replica in (a, b):
        until(lambda: is_whole(replica, 2), "a replica that has done all")
        # A block whose first attempt nobody knows the end of may lie there twice for a while: ClickHouse looks
        # for such parts every few minutes.
        until(lambda: keys_of(replica) == f"{len(keys)}\t{sum(keys)}", "each key that was taken, and no other")
    b.kill()
    until(lambda: is_whole(a, 1), "a session of a killed replica that ends")
    more = Inserter(a, 1 << 33)
    more.wait_for(5)
    more.end()
    b.launch()
    keys += range(1 << 33, (1 << 33) + more.taken * ROWS)
    until(lambda: is_whole(b, 2), "the killed replica back")
    until(lambda: keys_of(b) == f"{len(keys)}\t{sum(keys)}", "what it missed")
    print(f"{blocks} blocks, {[inserter.retried for inserter in inserters]} attempts that failed")
