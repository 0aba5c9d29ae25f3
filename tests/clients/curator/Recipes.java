// Java's client through Curator: one check a recipe, each with several sessions of its own.
//
// Prints one line `ok NAME` or `not ok NAME: WHY` a check. Nothing here sleeps: what must happen is
// awaited with a deadline, and what must not happen is asked after something that comes later.

import java.io.Closeable;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;

/** Runs every recipe, or those that the command line names, against one server. */
public final class Recipes {
    private static final int SECONDS = 20;
    private static final int SESSIONS = 4;
    private static final int ROUNDS = 10;

    private interface Check {
        void run(Recipes recipes) throws Exception;
    }

    private final String address;
    private final List<CuratorFramework> sessions = new ArrayList<>();
    private final ExecutorService threads = Executors.newCachedThreadPool();

    private Recipes(String address) {
        this.address = address;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("mutex", Recipes::mutex);
        checks.put("read_write_lock", Recipes::readWriteLock);
        checks.put("semaphore", Recipes::semaphore);
        checks.put("leader_latch", Recipes::leaderLatch);
        checks.put("leader_selector", Recipes::leaderSelector);
        checks.put("barrier", Recipes::barrier);
        checks.put("double_barrier", Recipes::doubleBarrier);
        checks.put("queue", Recipes::queue);
        checks.put("simple_queue", Recipes::simpleQueue);
        checks.put("shared_count", Recipes::sharedCount);
        checks.put("atomic_long", Recipes::atomicLong);
        checks.put("path_cache", Recipes::pathCache);
        checks.put("curator_cache", Recipes::curatorCache);
        checks.put("persistent_node", Recipes::persistentNode);
        checks.put("group_member", Recipes::groupMember);
        checks.put("transaction", Recipes::transaction);
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            if (arguments.length > 1 && !List.of(arguments).contains(check.getKey())) {
                continue;
            }
            Recipes recipes = new Recipes(arguments[0]);
            try {
                recipes.threads.submit(() -> {
                    check.getValue().run(recipes);
                    return null;
                }).get(3 * SECONDS, TimeUnit.SECONDS);
                System.out.println("ok " + check.getKey());
            } catch (Exception | AssertionError failure) {
                Throwable cause = failure.getCause() == null ? failure : failure.getCause();
                System.out.println("not ok " + check.getKey() + ": " + cause);
                cause.printStackTrace();
            } finally {
                recipes.end();
            }
        }
        // Curator leaves threads of its recipes behind that are no daemons.
        System.exit(0);
    }

    private CuratorFramework session() throws Exception {
        CuratorFramework session = CuratorFrameworkFactory.builder()
            .connectString(address)
            .sessionTimeoutMs(10_000)
            .connectionTimeoutMs(10_000)
            .retryPolicy(new RetryOneTime(100))
            .build();
        session.start();
        sessions.add(session);
        require(session.blockUntilConnected(SECONDS, TimeUnit.SECONDS), "a session connects");
        return session;
    }

    private void end() {
        sessions.forEach(CuratorFramework::close);
        threads.shutdownNow();
    }

    private static void require(boolean holds, String law) {
        if (!holds) {
            throw new AssertionError(law);
        }
    }

    private static void requireEqual(Object expected, Object seen, String what) {
        require(expected.equals(seen), what + ": expected " + expected + ", got " + seen);
    }

    /** Asks until `holds` answers true. */
    private static void await(String law, Callable<Boolean> holds) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (!holds.call()) {
            require(System.nanoTime() < deadline, law);
            Thread.yield();
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] data) {
        return new String(data, StandardCharsets.UTF_8);
    }

    /** Runs `work` in `count` threads, each with a session of its own, and waits for all. */
    private void inSessions(int count, SessionWork work) throws Exception {
        List<Future<?>> running = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int number = i;
            CuratorFramework session = session();
            running.add(threads.submit((Callable<Void>) () -> {
                work.run(session, number);
                return null;
            }));
        }
        for (Future<?> each : running) {
            each.get(SECONDS, TimeUnit.SECONDS);
        }
    }

    private interface SessionWork {
        void run(CuratorFramework session, int number) throws Exception;
    }

    /** Counts who is inside a critical section, and the most that ever were. */
    private static final class Occupancy {
        private final AtomicInteger inside = new AtomicInteger();
        private final AtomicInteger most = new AtomicInteger();
        private final AtomicInteger visits = new AtomicInteger();

        void visit() {
            most.accumulateAndGet(inside.incrementAndGet(), Math::max);
            visits.incrementAndGet();
            Thread.yield();
            inside.decrementAndGet();
        }
    }

    private void mutex() throws Exception {
        Occupancy occupancy = new Occupancy();
        inSessions(SESSIONS, (session, number) -> {
            InterProcessMutex mutex = new InterProcessMutex(session, "/mutex");
            for (int round = 0; round < ROUNDS; round++) {
                require(mutex.acquire(SECONDS, TimeUnit.SECONDS), "the mutex is acquired");
                require(mutex.acquire(0, TimeUnit.SECONDS), "the mutex is re-entrant");
                occupancy.visit();
                mutex.release();
                mutex.release();
            }
        });
        requireEqual(1, occupancy.most.get(), "most holders of the mutex");
        requireEqual(SESSIONS * ROUNDS, occupancy.visits.get(), "visits");

        InterProcessMutex held = new InterProcessMutex(session(), "/mutex");
        held.acquire();
        InterProcessMutex other = new InterProcessMutex(session(), "/mutex");
        require(!threads.submit(() -> other.acquire(100, TimeUnit.MILLISECONDS)).get(),
            "a held mutex is refused after its time-out");
        held.release();
        require(other.acquire(SECONDS, TimeUnit.SECONDS), "a released mutex is free");
        other.release();
    }

    private void readWriteLock() throws Exception {
        CuratorFramework first = session();
        CuratorFramework second = session();
        CuratorFramework third = session();
        InterProcessReadWriteLock one = new InterProcessReadWriteLock(first, "/rw");
        InterProcessReadWriteLock two = new InterProcessReadWriteLock(second, "/rw");
        InterProcessReadWriteLock three = new InterProcessReadWriteLock(third, "/rw");
        ExecutorService reader = Executors.newSingleThreadExecutor();
        ExecutorService writer = Executors.newSingleThreadExecutor();
        one.readLock().acquire();
        require(reader.submit(() -> two.readLock().acquire(SECONDS, TimeUnit.SECONDS)).get(),
            "readers share the lock");
        Future<Boolean> waiting =
            writer.submit(() -> three.writeLock().acquire(SECONDS, TimeUnit.SECONDS));
        require(!threads.submit(() -> new InterProcessReadWriteLock(first, "/rw").writeLock()
            .acquire(100, TimeUnit.MILLISECONDS)).get(), "a writer waits for the readers");
        require(!waiting.isDone(), "the first writer still waits");
        one.readLock().release();
        reader.submit(() -> {
            two.readLock().release();
            return null;
        }).get();
        require(waiting.get(), "the last reader lets the writer in");
        require(!one.readLock().acquire(100, TimeUnit.MILLISECONDS), "a reader waits for the writer");
        writer.submit(() -> {
            three.readLock().acquire();
            three.writeLock().release();
            return null;
        }).get();
        require(one.readLock().acquire(SECONDS, TimeUnit.SECONDS), "a downgraded writer lets readers in");
        reader.shutdownNow();
        writer.shutdownNow();
    }

    private void semaphore() throws Exception {
        int leases = 2;
        Occupancy occupancy = new Occupancy();
        inSessions(SESSIONS, (session, number) -> {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(session, "/semaphore", leases);
            for (int round = 0; round < ROUNDS; round++) {
                Lease lease = semaphore.acquire(SECONDS, TimeUnit.SECONDS);
                require(lease != null, "a lease is acquired");
                occupancy.visit();
                semaphore.returnLease(lease);
            }
        });
        require(occupancy.most.get() <= leases, "never more holders than leases");
        requireEqual(SESSIONS * ROUNDS, occupancy.visits.get(), "visits");
        InterProcessSemaphoreV2 all = new InterProcessSemaphoreV2(session(), "/semaphore", leases);
        require(all.acquire(leases, SECONDS, TimeUnit.SECONDS) != null, "all leases at once");
        InterProcessSemaphoreV2 none = new InterProcessSemaphoreV2(session(), "/semaphore", leases);
        require(none.acquire(100, TimeUnit.MILLISECONDS) == null, "no lease is left");
    }

    private void leaderLatch() throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        for (int i = 0; i < SESSIONS; i++) {
            LeaderLatch latch = new LeaderLatch(session(), "/latch", "candidate-" + i);
            latch.start();
            latches.add(latch);
        }
        // A latch takes its place in the line some time after its start.
        await("everyone is in the line", () -> latches.get(0).getParticipants().size() == SESSIONS);
        for (int left = SESSIONS; left > 0; left--) {
            BlockingQueue<LeaderLatch> leaders = new LinkedBlockingQueue<>();
            for (LeaderLatch latch : latches) {
                threads.submit(() -> {
                    latch.await();
                    return leaders.add(latch);
                });
            }
            LeaderLatch leader = leaders.poll(SECONDS, TimeUnit.SECONDS);
            require(leader != null, "a leader is elected");
            requireEqual(1L, latches.stream().filter(LeaderLatch::hasLeadership).count(), "leaders");
            for (LeaderLatch latch : latches) {
                requireEqual(leader.getId(), latch.getLeader().getId(), "the leader everyone names");
                requireEqual(left, latch.getParticipants().size(), "participants");
            }
            latches.remove(leader);
            leader.close();
        }
    }

    private void leaderSelector() throws Exception {
        Occupancy occupancy = new Occupancy();
        CountDownLatch terms = new CountDownLatch(SESSIONS * 3);
        List<Closeable> selectors = new ArrayList<>();
        for (int i = 0; i < SESSIONS; i++) {
            LeaderSelector selector = new LeaderSelector(session(), "/selector", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework session) {
                    occupancy.visit();
                    terms.countDown();
                }
            });
            selector.autoRequeue();
            selector.start();
            selectors.add(selector);
        }
        require(terms.await(SECONDS, TimeUnit.SECONDS), "the leadership goes round");
        for (Closeable selector : selectors) {
            selector.close();
        }
        requireEqual(1, occupancy.most.get(), "leaders at a time");
    }

    private void barrier() throws Exception {
        DistributedBarrier owner = new DistributedBarrier(session(), "/barrier");
        owner.setBarrier();
        AtomicInteger passed = new AtomicInteger();
        List<Future<Boolean>> waiting = new ArrayList<>();
        for (int i = 0; i < SESSIONS; i++) {
            DistributedBarrier barrier = new DistributedBarrier(session(), "/barrier");
            waiting.add(threads.submit(() -> {
                boolean open = barrier.waitOnBarrier(SECONDS, TimeUnit.SECONDS);
                passed.incrementAndGet();
                return open;
            }));
        }
        require(!new DistributedBarrier(session(), "/barrier").waitOnBarrier(100, TimeUnit.MILLISECONDS),
            "a set barrier holds");
        requireEqual(0, passed.get(), "sessions past a set barrier");
        owner.removeBarrier();
        for (Future<Boolean> each : waiting) {
            require(each.get(SECONDS, TimeUnit.SECONDS), "a removed barrier lets everyone pass");
        }
    }

    private void doubleBarrier() throws Exception {
        AtomicInteger arrived = new AtomicInteger();
        AtomicInteger leaving = new AtomicInteger();
        inSessions(SESSIONS, (session, number) -> {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(session, "/double", SESSIONS);
            arrived.incrementAndGet();
            require(barrier.enter(SECONDS, TimeUnit.SECONDS), "the barrier opens");
            requireEqual(SESSIONS, arrived.get(), "sessions that arrived before the first enters");
            leaving.incrementAndGet();
            require(barrier.leave(SECONDS, TimeUnit.SECONDS), "the barrier lets go");
            requireEqual(SESSIONS, leaving.get(), "sessions ready to leave before the first left");
        });
    }

    private void queue() throws Exception {
        int items = 50;
        BlockingQueue<String> consumed = new LinkedBlockingQueue<>();
        QueueSerializer<String> serializer = new QueueSerializer<>() {
            @Override
            public byte[] serialize(String item) {
                return bytes(item);
            }

            @Override
            public String deserialize(byte[] item) {
                return text(item);
            }
        };
        QueueConsumer<String> consumer = new QueueConsumer<>() {
            @Override
            public void consumeMessage(String item) {
                consumed.add(item);
            }

            @Override
            public void stateChanged(CuratorFramework session, ConnectionState state) { }
        };
        try (DistributedQueue<String> producer =
                 QueueBuilder.builder(session(), null, serializer, "/queue").buildQueue();
             DistributedQueue<String> taker =
                 QueueBuilder.builder(session(), consumer, serializer, "/queue").buildQueue()) {
            producer.start();
            for (int i = 0; i < items; i++) {
                producer.put("item-" + i);
            }
            require(producer.flushPuts(SECONDS, TimeUnit.SECONDS), "the puts are done");
            taker.start();
            for (int i = 0; i < items; i++) {
                requireEqual("item-" + i, String.valueOf(consumed.poll(SECONDS, TimeUnit.SECONDS)), "the next item");
            }
        }
        require(consumed.isEmpty(), "nothing is consumed twice");
    }

    private void simpleQueue() throws Exception {
        SimpleDistributedQueue producer = new SimpleDistributedQueue(session(), "/simple");
        SimpleDistributedQueue consumer = new SimpleDistributedQueue(session(), "/simple");
        require(consumer.poll() == null, "an empty queue has nothing");
        Future<byte[]> waiting = threads.submit(() -> consumer.take());
        producer.offer(bytes("first"));
        requireEqual("first", text(waiting.get(SECONDS, TimeUnit.SECONDS)), "what a waiting taker gets");
        for (int i = 0; i < ROUNDS; i++) {
            producer.offer(bytes("item-" + i));
        }
        for (int i = 0; i < ROUNDS; i++) {
            requireEqual("item-" + i, text(consumer.peek()), "the head");
            requireEqual("item-" + i, text(consumer.poll()), "the next item");
        }
    }

    private void sharedCount() throws Exception {
        SharedCount one = new SharedCount(session(), "/count", 7);
        SharedCount two = new SharedCount(session(), "/count", 7);
        CompletableFuture<Integer> told = new CompletableFuture<>();
        two.addListener(new SharedCountListener() {
            @Override
            public void countHasChanged(SharedCountReader count, int value) {
                told.complete(value);
            }

            @Override
            public void stateChanged(CuratorFramework session, ConnectionState state) { }
        });
        one.start();
        two.start();
        requireEqual(7, two.getCount(), "the seed value");
        var stale = one.getVersionedValue();
        require(one.trySetCount(stale, 8), "an up-to-date set succeeds");
        requireEqual(8, told.get(SECONDS, TimeUnit.SECONDS), "what the other is told");
        require(!one.trySetCount(stale, 9), "a set with a stale version fails");
        requireEqual(8, one.getCount(), "the value after a stale set");
        one.close();
        two.close();
    }

    private void atomicLong() throws Exception {
        inSessions(SESSIONS, (session, number) -> {
            DistributedAtomicLong counter =
                new DistributedAtomicLong(session, "/atomic", new RetryOneTime(1));
            for (int done = 0; done < ROUNDS;) {
                done += counter.increment().succeeded() ? 1 : 0;
            }
        });
        DistributedAtomicLong counter = new DistributedAtomicLong(session(), "/atomic", new RetryOneTime(1));
        requireEqual((long) SESSIONS * ROUNDS, counter.get().postValue(), "the sum of all increments");
        AtomicValue<Long> swapped = counter.compareAndSet((long) SESSIONS * ROUNDS, -1L);
        require(swapped.succeeded() && swapped.postValue() == -1L, "compare and set");
        require(!counter.compareAndSet(5L, 6L).succeeded(), "a compare that does not hold sets nothing");
    }

    private void pathCache() throws Exception {
        CuratorFramework writer = session();
        writer.create().forPath("/cached");
        writer.create().forPath("/cached/before", bytes("0"));
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        PathChildrenCache cache = new PathChildrenCache(session(), "/cached", true);
        cache.getListenable().addListener((session, event) -> {
            // Curator may or may not tell of what was there when the cache began.
            if (event.getData() != null && event.getData().getPath().equals("/cached/child")) {
                events.add(event.getType() + " " + event.getData().getPath() + " " + text(event.getData().getData()));
            }
        });
        cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        requireEqual("0", text(cache.getCurrentData("/cached/before").getData()), "what the cache begins with");
        writer.create().forPath("/cached/child", bytes("1"));
        requireEqual("CHILD_ADDED /cached/child 1", String.valueOf(events.poll(SECONDS, TimeUnit.SECONDS)), "event");
        writer.setData().forPath("/cached/child", bytes("2"));
        requireEqual("CHILD_UPDATED /cached/child 2", String.valueOf(events.poll(SECONDS, TimeUnit.SECONDS)), "event");
        writer.delete().forPath("/cached/child");
        requireEqual("CHILD_REMOVED /cached/child 2", String.valueOf(events.poll(SECONDS, TimeUnit.SECONDS)), "event");
        requireEqual(1, cache.getCurrentData().size(), "children in the cache");
        cache.close();
    }

    private void curatorCache() throws Exception {
        CuratorFramework writer = session();
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        // Curator's cache of a whole subtree stands on one persistent recursive watch.
        CuratorCache cache = CuratorCache.build(session(), "/subtree");
        CountDownLatch ready = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder()
            .forInitialized(ready::countDown)
            .forCreates(node -> events.add("created " + node.getPath()))
            .forChanges((old, node) -> events.add("changed " + node.getPath() + " " + text(node.getData())))
            .forDeletes(node -> events.add("deleted " + node.getPath()))
            .build());
        cache.start();
        require(ready.await(SECONDS, TimeUnit.SECONDS), "the cache is initialised");
        writer.create().forPath("/subtree", bytes("root"));
        requireEqual("created /subtree", String.valueOf(events.poll(SECONDS, TimeUnit.SECONDS)), "event");
        writer.create().creatingParentsIfNeeded().forPath("/subtree/a/b", bytes("leaf"));
        List<String> created = new ArrayList<>();
        created.add(String.valueOf(events.poll(SECONDS, TimeUnit.SECONDS)));
        created.add(String.valueOf(events.poll(SECONDS, TimeUnit.SECONDS)));
        require(created.containsAll(List.of("created /subtree/a", "created /subtree/a/b")), "both creations: " + created);
        writer.setData().forPath("/subtree/a/b", bytes("new"));
        requireEqual("changed /subtree/a/b new", String.valueOf(events.poll(SECONDS, TimeUnit.SECONDS)), "event");
        writer.delete().forPath("/subtree/a/b");
        requireEqual("deleted /subtree/a/b", String.valueOf(events.poll(SECONDS, TimeUnit.SECONDS)), "event");
        cache.close();
    }

    private void persistentNode() throws Exception {
        CuratorFramework owner = session();
        CuratorFramework other = session();
        PersistentNode node = new PersistentNode(owner, CreateMode.EPHEMERAL, false, "/persistent", bytes("here"));
        node.start();
        require(node.waitForInitialCreate(SECONDS, TimeUnit.SECONDS), "the node is created");
        long created = other.checkExists().forPath("/persistent").getCzxid();
        BlockingQueue<String> again = new LinkedBlockingQueue<>();
        node.getListenable().addListener(again::add);
        other.delete().forPath("/persistent");
        Stat newer = null;
        // The listener may be told of the first creation, too.
        while (newer == null || newer.getCzxid() <= created) {
            require(again.poll(SECONDS, TimeUnit.SECONDS) != null, "a deleted node is created again");
            newer = other.checkExists().forPath("/persistent");
        }
        requireEqual("here", text(other.getData().forPath("/persistent")), "its data");
        node.close();
        require(other.checkExists().forPath("/persistent") == null, "a closed node is gone");
    }

    private void groupMember() throws Exception {
        List<GroupMember> members = new ArrayList<>();
        for (int i = 0; i < SESSIONS; i++) {
            GroupMember member = new GroupMember(session(), "/group", "member-" + i, bytes("data-" + i));
            member.start();
            members.add(member);
        }
        for (GroupMember member : members) {
            await("everyone sees everyone", () -> member.getCurrentMembers().size() == SESSIONS);
            requireEqual("data-1", text(member.getCurrentMembers().get("member-1")), "a member's data");
        }
        members.forEach(GroupMember::close);
    }

    private void transaction() throws Exception {
        CuratorFramework session = session();
        session.create().forPath("/multi", bytes("old"));
        try {
            session.transaction().forOperations(
                session.transactionOp().setData().forPath("/multi", bytes("new")),
                session.transactionOp().create().forPath("/multi/child"),
                session.transactionOp().check().withVersion(9).forPath("/multi"));
            throw new AssertionError("a transaction with a failing check succeeded");
        } catch (org.apache.zookeeper.KeeperException.BadVersionException expected) {
            requireEqual("old", text(session.getData().forPath("/multi")), "data after a failed transaction");
            require(session.checkExists().forPath("/multi/child") == null, "no part of a failed transaction is left");
        }
        session.transaction().forOperations(
            session.transactionOp().setData().withVersion(0).forPath("/multi", bytes("new")),
            session.transactionOp().create().withMode(CreateMode.EPHEMERAL).forPath("/multi/child"));
        long child = session.checkExists().forPath("/multi/child").getCzxid();
        requireEqual(child, session.checkExists().forPath("/multi").getMzxid(), "one zxid for the whole transaction");
    }
}
