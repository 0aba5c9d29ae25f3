"""kill -9 under a write load, again and again, on one data directory.

Several sessions write in deep pipelines. Session S's write number i is, in turn, a multi that sets
two nodes to i, a node named after i, and a sequential node that holds i. So what a crash left of a
session can be read off the tree: it must be all writes up to some number, that number no smaller
than the last acknowledged one, and nothing of any write behind it.

A crash of the process alone is the subject here: what a crash of the machine may take from the disk
is the subject of the simulator.
"""

import os
import random
import subprocess
import threading
import time

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.retry import KazooRetry

import server as servers

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "50"))
SEED = int(os.environ.get("CRASH_SEED", random.randrange(1 << 32)))
SESSIONS = 3
PIPELINE = 100
LOAD_SECONDS_MAX = 0.4
WAIT_SECONDS = 20
MULTI, NAMED, SEQUENTIAL = range(3)


def kind_of(number):
    """What a session's write of this number does."""
    return number % 3


class Writer:
    """One session that writes in a pipeline until its connection breaks."""

    def __init__(self, address, name, first):
        # No retry: a write whose fate is unknown must stay unknown.
        once = KazooRetry(max_tries=0)
        self.client = KazooClient(address, timeout=10.0, connection_retry=once, command_retry=once)
        self.name = name
        self.next = first
        self.acknowledged = []
        self.paths = {}
        self.problems = []
        self.free = threading.Semaphore(PIPELINE)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.stopping.is_set():
            self.free.acquire()
            number, self.next = self.next, self.next + 1
            self._submit(number).rawlink(lambda result, number=number: self._done(number, result))

    def _submit(self, number):
        data = b"%d" % number
        if kind_of(number) == MULTI:
            pair = self.client.transaction()
            pair.set_data(f"/crash/{self.name}/a", data)
            pair.set_data(f"/crash/{self.name}/b", data)
            return pair.commit_async()
        if kind_of(number) == NAMED:
            return self.client.create_async(f"/crash/{self.name}/named/{number}", data)
        return self.client.create_async("/crash/sequential/n-", f"{self.name}:{number}".encode(), sequence=True)

    def _done(self, number, result):
        if result.successful():
            answers = result.value if isinstance(result.value, list) else [result.value]
            failures = [answer for answer in answers if isinstance(answer, Exception)]
            if failures:
                self.problems.append(f"write {number} was refused: {failures}")
            self.acknowledged.append(number)
            if kind_of(number) == SEQUENTIAL:
                self.paths[number] = result.value
        elif type(result.exception).__name__ not in ("ConnectionLoss", "SessionExpiredError", "ConnectionClosedError"):
            self.problems.append(f"write {number} failed with {result.exception!r}")
        else:
            self.stopping.set()
        self.free.release()

    def end(self):
        """Waits for the pipeline's end; what was acknowledged is final then."""
        self.stopping.set()
        self.client.stop()
        self.client.close()
        self.thread.join(WAIT_SECONDS)
        assert not self.thread.is_alive(), "a writer is stuck"
        # kazoo may call back out of order, even though the answers came in order.
        self.acknowledged.sort()


class Ledger:
    """What earlier rounds proved to be in the tree, and what a new round must add to it."""

    def __init__(self, names):
        self.applied = {name: 0 for name in names}
        self.sequential = {}

    def check(self, client, writers):
        """Holds the tree after a restart against what the writers were told before the crash."""
        # A sync is a write: it comes back behind everything that recovery brought.
        client.sync("/crash")
        self._read_new_sequential_nodes(client)
        for writer in writers:
            self._check_writer(client, writer)

    def _read_new_sequential_nodes(self, client):
        present = set(client.get_children("/crash/sequential"))
        lost = self.sequential.keys() - present
        assert not lost, f"nodes of earlier rounds are gone: {sorted(lost)[:5]}"
        new = sorted(present - self.sequential.keys())
        answers = [client.get_async(f"/crash/sequential/{name}") for name in new]
        czxid_before = 0
        for name, answer in zip(new, answers):
            data, stat = answer.get(timeout=WAIT_SECONDS)
            assert stat.czxid > czxid_before, f"{name} is older than the number before it"
            czxid_before = stat.czxid
            session, number = data.decode().split(":")
            self.sequential[name] = (session, int(number), stat.czxid)

    def _check_writer(self, client, writer):
        name, acknowledged = writer.name, writer.acknowledged
        assert not writer.problems, writer.problems
        expected = list(range(self.applied[name] + 1, self.applied[name] + 1 + len(acknowledged)))
        assert acknowledged == expected, f"session {name}: an answer came before an earlier write's"
        (a, stat_a), (b, stat_b) = client.get(f"/crash/{name}/a"), client.get(f"/crash/{name}/b")
        assert a == b and stat_a.mzxid == stat_b.mzxid, f"half a multi: {a} and {b}"
        pair = int(a)
        assert stat_a.version == stat_b.version == pair // 3, "a multi was applied twice or never"

        named = {int(child) for child in client.get_children(f"/crash/{name}/named")}
        placed = {number: czxid for session, number, czxid in self.sequential.values() if session == name}
        assert len(placed) == sum(session == name for session, _, _ in self.sequential.values()), "a write twice"
        applied = max([pair, *named, *placed])
        behind = set(range(1, applied + 1))
        assert named == {n for n in behind if kind_of(n) == NAMED}, f"session {name}: a gap before {applied}"
        assert placed.keys() == {n for n in behind if kind_of(n) == SEQUENTIAL}, f"session {name}: a gap before {applied}"
        assert pair == applied - applied % 3, f"session {name}: multi {pair} does not belong to {applied}"
        newest = acknowledged[-1] if acknowledged else 0
        assert applied >= newest, f"session {name}: write {newest} was acknowledged, {applied} is the last there"
        for number, path in writer.paths.items():
            assert self.sequential[path.rsplit("/", 1)[1]][1] == number, f"{path} is not write {number}"
        self._check_order(client, name, placed, range(self.applied[name] + 1, applied + 1))
        self.applied[name] = applied

    @staticmethod
    def _check_order(client, name, placed, numbers):
        """The zxids of a session's new nodes grow in the order in which it wrote them."""
        answers = {n: client.get_async(f"/crash/{name}/named/{n}") for n in numbers if kind_of(n) == NAMED}
        czxid_before = 0
        for number in numbers:
            if kind_of(number) == NAMED:
                data, stat = answers[number].get(timeout=WAIT_SECONDS)
                assert int(data) == number
                czxid = stat.czxid
            elif kind_of(number) == SEQUENTIAL:
                czxid = placed[number]
            else:
                continue
            assert czxid > czxid_before, f"session {name}: write {number} is older than the one before"
            czxid_before = czxid


def crash_while_recovering(server, moment):
    """Starts the server and kills it before it has finished, or just after."""
    command, environment = servers.command_line(server.kind, server.config_path, server.properties)
    with open(server.log_path, "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        # A moment, not a condition: the kill must be able to come at any.
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def load_and_kill(server, ledger, chance):
    """Lets every session write for a random while, kills the server, and returns the writers."""
    writers = [Writer(server.address, name, done + 1) for name, done in ledger.applied.items()]
    for writer in writers:
        writer.client.start(timeout=WAIT_SECONDS)
    for writer in writers:
        writer.thread.start()
    time.sleep(chance.uniform(0, LOAD_SECONDS_MAX))
    server.kill()
    for writer in writers:
        writer.end()
    return writers


def test_every_acknowledged_write_survives_kill_9(tmp_path):
    print(f"CRASH_SEED={SEED} CRASH_ROUNDS={ROUNDS}")
    chance = random.Random(SEED)
    # Few transactions a checkpoint: crashes fall into checkpoints and log rolls too.
    server = servers.Server(servers.KIND, tmp_path, config=("snapCount=500",))
    names = [f"s{number}" for number in range(SESSIONS)]
    serving = threading.Event()
    # Its next try comes when the server serves: a server that is still recovering may let it wait.
    handler = SequentialThreadingHandler()
    handler.sleep_func = lambda delay: serving.wait(WAIT_SECONDS)
    when_serving = KazooRetry(max_tries=-1, sleep_func=handler.sleep_func)
    survivor = KazooClient(server.address, timeout=9.0, handler=handler, connection_retry=when_serving)
    try:
        server.start()
        survivor.start(timeout=WAIT_SECONDS)
        for name in names:
            survivor.create(f"/crash/{name}/named", makepath=True)
            survivor.create(f"/crash/{name}/a", b"0")
            survivor.create(f"/crash/{name}/b", b"0")
        survivor.create("/crash/sequential")
        survivor.create("/crash/alive", ephemeral=True)
        owner = survivor.client_id[0]
        ledger = Ledger(names)
        answered = 0
        for _ in range(ROUNDS):
            serving.clear()
            writers = load_and_kill(server, ledger, chance)
            answered += sum(len(writer.acknowledged) for writer in writers)
            if chance.random() < 0.2:
                crash_while_recovering(server, chance.uniform(0, 0.3))
            server.start()
            serving.set()
            ledger.check(survivor, writers)
            alive = survivor.exists("/crash/alive")
            assert alive and alive.ephemeralOwner == owner, "a session did not survive the restart"
        # A run that wrote next to nothing would have proved nothing.
        assert answered > ROUNDS * 20, f"only {answered} writes were acknowledged"
        print(f"{answered} acknowledged writes, {sum(ledger.applied.values())} in the tree")
    finally:
        serving.set()
        survivor.stop()
        survivor.close()
        server.kill()
