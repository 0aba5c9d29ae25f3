"""What people build on ZooKeeper, each use as a story of several sessions with its assertions."""

import collections
import itertools
import json
import queue
import socket
import threading

import pytest
from kazoo.exceptions import BadVersionError, CancelledError, LockTimeout, NoNodeError, NodeExistsError
from kazoo.recipe.watchers import ChildrenWatch, DataWatch

SECONDS = 20
SESSIONS = 4


def run_all(works):
    """Runs each function in a thread of its own and waits for all; the first failure is raised."""
    failures = queue.Queue()

    def run(work):
        try:
            work()
        except BaseException as failure:
            failures.put(failure)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS * 2)
        assert not thread.is_alive(), "a session is stuck"
    if not failures.empty():
        raise failures.get()


def drop_without_goodbye(client):
    """Ends a session's connection for good, as a crash does: the server must expire the session."""
    client._stopped.set()
    client._connection._socket.shutdown(socket.SHUT_RDWR)


def follow_data(client, path, heard, read):
    """Puts `read(data, stat)` of a node into the queue `heard`, now and after each change."""

    def changed(data, stat):
        heard.put(read(data, stat))

    DataWatch(client, path, changed)


class Occupancy:
    """Counts who is inside a critical section, and the most that ever were, by kind."""

    def __init__(self):
        self.guard = threading.Lock()
        self.inside = collections.Counter()
        self.together = set()
        self.visits = 0

    def visit(self, kind="writer"):
        with self.guard:
            self.inside[kind] += 1
            self.visits += 1
            self.together.add(tuple(sorted(self.inside.elements())))
        with self.guard:
            self.inside[kind] -= 1


def test_publish_subscribe_by_watch(connect):
    publisher = connect()
    publisher.create("/topic", b"0")
    heard = [queue.Queue() for _ in range(SESSIONS)]
    for each in heard:
        follow_data(connect(), "/topic", each, lambda data, stat: (stat.version, int(data)))
        assert each.get(timeout=SECONDS) == (0, 0), "a subscriber begins with what is there"
    for number in range(1, 101):
        publisher.set("/topic", b"%d" % number)
    for each in heard:
        versions = [0]
        while versions[-1] != 100:
            version, value = each.get(timeout=SECONDS)
            assert version == value, "data and version are of one moment"
            versions.append(version)
        # One-shot watches may skip versions between two reads; they never go back or repeat.
        assert versions == sorted(set(versions))


def test_naming_and_unique_ids(connect):
    connect().ensure_path("/ids")
    ids = [[] for _ in range(SESSIONS)]
    sessions = [connect() for _ in range(SESSIONS)]

    def take(client, mine):
        for _ in range(100):
            mine.append(int(client.create("/ids/id-", sequence=True)[-10:]))

    run_all([lambda client=client, mine=mine: take(client, mine) for client, mine in zip(sessions, ids)])
    assert all(mine == sorted(mine) for mine in ids), "a session's ids grow"
    everyone = sorted(itertools.chain(*ids))
    assert everyone == list(range(SESSIONS * 100)), "no id twice, none left out"

    # A name service: one owner a name, whoever asks first.
    owners = queue.Queue()

    def claim(client, number):
        try:
            client.create("/names/db", b"%d" % number, ephemeral=True, makepath=True)
            owners.put(number)
        except NodeExistsError:
            pass

    run_all([lambda pair=pair: claim(pair[1], pair[0]) for pair in enumerate(sessions)])
    assert owners.qsize() == 1
    assert sessions[0].get("/names/db")[0] == b"%d" % owners.get()


def test_configuration_push(connect):
    admin, other = connect(), connect()
    admin.create("/config", json.dumps({"limit": 1}).encode())
    applied = [queue.Queue() for _ in range(SESSIONS)]
    for each in applied:
        follow_data(connect(), "/config", each, lambda data, stat: json.loads(data)["limit"])
        assert each.get(timeout=SECONDS) == 1
    _, read = admin.get("/config")
    other.set("/config", json.dumps({"limit": 2}).encode(), version=read.version)
    with pytest.raises(BadVersionError):
        admin.set("/config", json.dumps({"limit": 3}).encode(), version=read.version)
    for each in applied:
        assert each.get(timeout=SECONDS) == 2, "every server gets the change without asking"

    # Two files change together or not at all.
    admin.create("/config/a", b"1")
    admin.create("/config/b", b"1")
    change = admin.transaction()
    change.set_data("/config/a", b"2")
    change.set_data("/config/b", b"2", version=7)
    assert isinstance(change.commit()[1], BadVersionError)
    assert (other.get("/config/a")[0], other.get("/config/b")[0]) == (b"1", b"1")


def test_membership(connect):
    observer = connect()
    observer.ensure_path("/members")
    seen = queue.Queue()
    ChildrenWatch(observer, "/members", lambda children: seen.put(sorted(children)))

    def await_members(*names):
        expected = sorted(names)
        while (current := seen.get(timeout=SECONDS)) != expected:
            pass
        assert sorted(observer.get_children("/members")) == expected == current

    await_members()
    first, second, third = (connect(timeout=2.0) for _ in range(3))
    for name, member in (("first", first), ("second", second), ("third", third)):
        member.create(f"/members/{name}", name.encode(), ephemeral=True)
    await_members("first", "second", "third")
    second.stop()
    await_members("first", "third")
    drop_without_goodbye(third)
    await_members("first")


def test_master_election(connect):
    led = queue.Queue()
    let_go = {}

    def lead(name):
        led.put(name)
        assert let_go[name].wait(SECONDS)

    elections = []
    for number in range(SESSIONS):
        name = f"candidate-{number}"
        let_go[name] = threading.Event()
        client = connect()
        election = client.Election("/election", name)
        elections.append(threading.Thread(target=election.run, args=(lead, name), daemon=True))
    for election in elections:
        election.start()
    watcher = connect().Election("/election")
    terms = []
    for left in range(SESSIONS, 0, -1):
        leader = led.get(timeout=SECONDS)
        terms.append(leader)
        if left == SESSIONS:
            # Every candidate has queued up once all are contenders.
            while len(watcher.contenders()) < SESSIONS:
                pass
        assert led.empty(), "one leader at a time"
        assert watcher.contenders()[0] == leader, "the leader is the oldest contender"
        assert len(watcher.contenders()) == left
        let_go[leader].set()
    for election in elections:
        election.join(SECONDS)
    assert len(set(terms)) == SESSIONS, "everyone leads once"


def test_a_masters_crash_hands_over(connect):
    master, standby = connect(timeout=2.0), connect()
    master.create("/master", b"one", ephemeral=True)
    with pytest.raises(NodeExistsError):
        standby.create("/master", b"two", ephemeral=True)
    gone = threading.Event()
    assert standby.exists("/master", watch=lambda event: gone.set())
    drop_without_goodbye(master)
    assert gone.wait(SECONDS), "the standby is told that the master is gone"
    standby.create("/master", b"two", ephemeral=True)


def test_write_lock(connect):
    occupancy = Occupancy()

    def work(client):
        lock = client.Lock("/lock/write")
        for _ in range(10):
            with lock:
                occupancy.visit()

    run_all([lambda client=connect(): work(client) for _ in range(SESSIONS)])
    assert occupancy.together == {("writer",)}, "never two holders"
    assert occupancy.visits == SESSIONS * 10

    holder, other = connect(timeout=2.0), connect()
    assert holder.Lock("/lock/write").acquire()
    waiting = other.Lock("/lock/write")
    with pytest.raises(LockTimeout):
        waiting.acquire(timeout=0.2)
    drop_without_goodbye(holder)
    assert waiting.acquire(timeout=SECONDS), "a crashed holder's lock becomes free"
    waiting.release()


def test_read_lock(connect):
    occupancy = Occupancy()
    all_reading = threading.Barrier(SESSIONS)

    def share(client):
        with client.ReadLock("/lock/shared"):
            # Opens only if all readers hold the lock at the same time.
            all_reading.wait(SECONDS)

    def visit(lock, kind):
        for _ in range(10):
            with lock:
                occupancy.visit(kind)

    readers = [connect() for _ in range(SESSIONS)]
    run_all([lambda client=client: share(client) for client in readers])
    mixed = [(client.ReadLock("/lock/shared"), "reader") for client in readers]
    mixed += [(connect().WriteLock("/lock/shared"), "writer") for _ in range(2)]
    run_all([lambda pair=pair: visit(*pair) for pair in mixed])
    assert all("writer" not in inside or inside == ("writer",) for inside in occupancy.together)
    assert occupancy.visits == (SESSIONS + 2) * 10


def test_fair_lock(connect):
    """Who queues first is served first, and each waiter wakes for its predecessor alone."""
    observer = connect()
    served = queue.Queue()
    sessions = [connect() for _ in range(SESSIONS)]
    observer.ensure_path("/fair")
    keys = [client.create("/fair/lock-", ephemeral=True, sequence=True) for client in sessions]
    wakes = collections.Counter()

    def wait_turn(client, key):
        mine = key.rsplit("/", 1)[1]
        while True:
            line = sorted(client.get_children("/fair"))
            position = line.index(mine)
            if position == 0:
                break
            gone = threading.Event()
            if client.exists(f"/fair/{line[position - 1]}", watch=lambda event: gone.set()):
                assert gone.wait(SECONDS)
                wakes[key] += 1
        served.put(key)
        client.delete(key)

    # The last in line asks first: only its number, not its haste, counts.
    run_all([lambda pair=pair: wait_turn(*pair) for pair in reversed(list(zip(sessions, keys)))])
    assert [served.get() for _ in keys] == keys
    assert all(count == 1 for count in wakes.values()), "no herd: one wake-up a waiter"

    # A waiter that gives up does not hold up the line.
    first, second, third = (client.Lock("/fair-recipe") for client in sessions[:3])
    assert first.acquire()
    given_up = queue.Queue()

    def give_up():
        try:
            second.acquire()
        except CancelledError:
            given_up.put(True)

    waiter = threading.Thread(target=give_up, daemon=True)
    waiter.start()
    while len(observer.get_children("/fair-recipe")) < 2:
        pass
    last = threading.Thread(target=third.acquire, daemon=True)
    last.start()
    while len(observer.get_children("/fair-recipe")) < 3:
        pass
    second.cancel()
    assert given_up.get(timeout=SECONDS)
    first.release()
    last.join(SECONDS)
    assert third.is_acquired


def test_barrier(connect):
    owner = connect()
    gate = owner.Barrier("/gate")
    gate.create()
    passed = queue.Queue()
    sessions = [connect() for _ in range(SESSIONS)]
    assert not sessions[0].Barrier("/gate").wait(0.2), "a closed barrier holds"
    waiters = [
        threading.Thread(target=lambda c=client: passed.put(c.Barrier("/gate").wait(SECONDS)), daemon=True)
        for client in sessions
    ]
    for waiter in waiters:
        waiter.start()
    assert passed.empty()
    gate.remove()
    assert all(passed.get(timeout=SECONDS) for _ in sessions), "an opened barrier lets everyone pass"

    arrived, left = itertools.count(1), itertools.count(1)
    counts = collections.Counter()
    guard = threading.Lock()

    def meet(client):
        barrier = client.DoubleBarrier("/rendezvous", SESSIONS)
        with guard:
            counts["arrived"] = next(arrived)
        barrier.enter()
        assert counts["arrived"] == SESSIONS, "nobody enters before everyone arrived"
        with guard:
            counts["leaving"] = next(left)
        barrier.leave()
        assert counts["leaving"] == SESSIONS, "nobody leaves before everyone is ready"

    run_all([lambda client=client: meet(client) for client in sessions])


def test_fifo_queue(connect):
    producer = connect().Queue("/queue")
    for number in range(100):
        producer.put(b"%03d" % number)
    taken = [[] for _ in range(SESSIONS)]

    def consume(client, mine):
        items = client.Queue("/queue")
        while (item := items.get()) is not None:
            mine.append(int(item))

    sessions = [connect() for _ in range(SESSIONS)]
    run_all([lambda pair=pair: consume(*pair) for pair in zip(sessions, taken)])
    assert sorted(itertools.chain(*taken)) == list(range(100)), "every item once"
    assert all(mine == sorted(mine) for mine in taken), "each consumer takes from the head"

    # A locking queue gives an item of a crashed consumer back.
    crashing, other = connect(timeout=2.0), connect()
    crashing.LockingQueue("/jobs").put(b"job")
    assert crashing.LockingQueue("/jobs").get(timeout=SECONDS) == b"job"
    drop_without_goodbye(crashing)
    jobs = other.LockingQueue("/jobs")
    assert jobs.get(timeout=SECONDS) == b"job"
    assert jobs.consume()
    assert len(jobs) == 0


def test_round_robin_load_balancing(connect):
    """Clients pick servers in turn by a shared counter; a dead server drops out of the turn."""
    servers = {name: connect(timeout=2.0) for name in ("a", "b", "c")}
    for name, client in servers.items():
        client.create(f"/servers/{name}", name.encode(), ephemeral=True, makepath=True)
    sessions = [connect() for _ in range(SESSIONS)]
    sessions[0].create("/turn", b"0")
    guard, load = threading.Lock(), collections.Counter()

    def pick(client):
        while True:
            alive = sorted(client.get_children("/servers"))
            turn, stat = client.get("/turn")
            try:
                client.set("/turn", b"%d" % (int(turn) + 1), version=stat.version)
                return alive[int(turn) % len(alive)]
            except BadVersionError:
                continue

    def call(client, count):
        for _ in range(count):
            chosen = pick(client)
            with guard:
                load[chosen] += 1

    run_all([lambda client=client: call(client, 15) for client in sessions])
    assert load == {"a": 20, "b": 20, "c": 20}, "the load is even to one call"

    gone = threading.Event()
    assert sessions[0].exists("/servers/b", watch=lambda event: gone.set())
    drop_without_goodbye(servers["b"])
    assert gone.wait(SECONDS)
    load.clear()
    run_all([lambda client=client: call(client, 15) for client in sessions])
    assert load == {"a": 30, "c": 30}
    with pytest.raises(NoNodeError):
        sessions[0].get("/servers/b")
