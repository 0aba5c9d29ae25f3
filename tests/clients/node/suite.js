// Node's client: node-zookeeper-client, every call of its interface with what it must answer.
//
// Prints one line `ok NAME` or `not ok NAME: WHY` a check.

"use strict";

const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const path = require("node:path");

const [, , address, modules] = process.argv;
const zookeeper = createRequire(path.join(modules, "package.json"))("node-zookeeper-client");
const { ACL, CreateMode, Event, Exception, Permission, Id, State } = zookeeper;
const SECONDS = 20;

/** Rejects with `law` where `promise` does not settle in time. */
function within(promise, law) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`not in ${SECONDS} s: ${law}`)), SECONDS * 1000);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** One connected session; calls take their arguments without the callback and give a promise. */
async function session() {
    const client = zookeeper.createClient(address, { sessionTimeout: 5000, spinDelay: 100 });
    const connected = new Promise((resolve) => client.once("connected", resolve));
    client.connect();
    await within(connected, "connected");
    return client;
}

/** The values that a call's callback gets: one value alone, or a list of several. */
function call(client, method, ...values) {
    return within(new Promise((resolve, reject) => {
        client[method](...values, (error, ...answer) => {
            if (error) {
                reject(error);
            } else {
                resolve(answer.length > 1 ? answer : answer[0]);
            }
        });
    }), method);
}

/** A watcher, and the promise of the one event that it is told. */
function watch() {
    let told;
    const event = new Promise((resolve) => { told = resolve; });
    return { watcher: told, event: within(event, "a watch event") };
}

async function fails(promise, code) {
    await assert.rejects(promise, (error) => error.getCode() === code);
}

const checks = {
    async create_get_set_remove(one) {
        assert.equal(await call(one, "create", "/crud", Buffer.from("0")), "/crud");
        const [data, stat] = await call(one, "getData", "/crud");
        assert.equal(data.toString(), "0");
        assert.equal(stat.version, 0);
        assert.equal(stat.dataLength, 1);
        assert.deepEqual(stat.czxid, stat.mzxid);
        const changed = await call(one, "setData", "/crud", Buffer.from("two"), 0);
        assert.equal(changed.version, 1);
        assert.equal(changed.dataLength, 3);
        await fails(call(one, "setData", "/crud", Buffer.from("x"), 0), Exception.BAD_VERSION);
        await fails(call(one, "remove", "/crud", 0), Exception.BAD_VERSION);
        await call(one, "remove", "/crud", 1);
        assert.equal(await call(one, "exists", "/crud"), null);
        await fails(call(one, "getData", "/crud"), Exception.NO_NODE);
    },

    async children_and_their_errors(one) {
        await call(one, "create", "/tree");
        await fails(call(one, "create", "/tree"), Exception.NODE_EXISTS);
        await fails(call(one, "create", "/tree/a/b"), Exception.NO_NODE);
        for (const name of ["a", "b", "c"]) {
            await call(one, "create", `/tree/${name}`);
        }
        const [children, stat] = await call(one, "getChildren", "/tree");
        assert.deepEqual(children.sort(), ["a", "b", "c"]);
        assert.equal(stat.numChildren, 3);
        assert.equal(stat.cversion, 3);
        await fails(call(one, "remove", "/tree"), Exception.NOT_EMPTY);
        await call(one, "create", "/tree/e", CreateMode.EPHEMERAL);
        await fails(call(one, "create", "/tree/e/f"), Exception.NO_CHILDREN_FOR_EPHEMERALS);
        await call(one, "removeRecursive", "/tree");
        assert.equal(await call(one, "exists", "/tree"), null);
        await call(one, "mkdirp", "/deep/x/y/z");
        assert.equal((await call(one, "exists", "/deep/x")).numChildren, 1);
    },

    async every_create_mode(one) {
        await call(one, "create", "/modes");
        const s = await call(one, "create", "/modes/s-", CreateMode.PERSISTENT_SEQUENTIAL);
        assert.equal(s, "/modes/s-0000000000");
        const e = await call(one, "create", "/modes/e-", CreateMode.EPHEMERAL_SEQUENTIAL);
        assert.equal(e, "/modes/e-0000000001");
        const stat = await call(one, "exists", e);
        assert.deepEqual(stat.ephemeralOwner, one.getSessionId());
    },

    async a_closed_session_takes_its_ephemerals(one) {
        const two = await session();
        await call(two, "create", "/mine", CreateMode.EPHEMERAL);
        const { watcher, event } = watch();
        assert.notEqual(await call(one, "exists", "/mine", watcher), null);
        two.close();
        assert.equal((await event).getType(), Event.NODE_DELETED);
    },

    async watches_of_every_kind(one, two) {
        const created = watch();
        assert.equal(await call(one, "exists", "/watched", created.watcher), null);
        await call(two, "create", "/watched", Buffer.from("0"));
        assert.equal((await created.event).getType(), Event.NODE_CREATED);
        const changed = watch();
        await call(one, "getData", "/watched", changed.watcher);
        await call(two, "setData", "/watched", Buffer.from("1"));
        assert.equal((await changed.event).getType(), Event.NODE_DATA_CHANGED);
        const children = watch();
        await call(one, "getChildren", "/watched", children.watcher);
        await call(two, "create", "/watched/child");
        assert.equal((await children.event).getType(), Event.NODE_CHILDREN_CHANGED);
        const removed = watch();
        await call(one, "getData", "/watched/child", removed.watcher);
        await call(two, "remove", "/watched/child");
        const event = await removed.event;
        assert.equal(event.getType(), Event.NODE_DELETED);
        assert.equal(event.getPath(), "/watched/child");
    },

    async transactions_are_all_or_nothing(one) {
        await call(one, "create", "/multi", Buffer.from("0"));
        const good = one.transaction()
            .check("/multi", 0)
            .create("/multi/a", Buffer.from("a"))
            .setData("/multi", Buffer.from("1"))
            .remove("/multi/a");
        const results = await call(good, "commit");
        assert.equal(results.length, 4);
        assert.equal(results[1].path, "/multi/a");
        assert.equal(results[2].stat.version, 1);
        const bad = one.transaction().setData("/multi", Buffer.from("2")).remove("/multi/none").create("/multi/b");
        await fails(call(bad, "commit"), Exception.NO_NODE);
        const [data] = await call(one, "getData", "/multi");
        assert.equal(data.toString(), "1");
        const [children] = await call(one, "getChildren", "/multi");
        assert.deepEqual(children, []);
    },

    async access_control(one, two) {
        const owner = new ACL(Permission.ALL, new Id("auth", ""));
        one.addAuthInfo("digest", Buffer.from("alice:secret"));
        await call(one, "create", "/private", Buffer.from("x"), [owner], CreateMode.PERSISTENT);
        await fails(call(two, "getData", "/private"), Exception.NO_AUTH);
        const [acls] = await call(one, "getACL", "/private");
        assert.equal(acls[0].id.scheme, "digest");
        assert.match(acls[0].id.id, /^alice:.{27}=$/);
        await call(one, "setACL", "/private", ACL.READ_ACL_UNSAFE, 0);
        const [data] = await call(two, "getData", "/private");
        assert.equal(data.toString(), "x");
        await fails(call(two, "setData", "/private", Buffer.from("y")), Exception.NO_AUTH);
    },

    async a_lost_connection_keeps_its_session_and_watches(one, two) {
        const before = one.getSessionId().toString("hex");
        await call(one, "create", "/kept", CreateMode.EPHEMERAL);
        const { watcher, event } = watch();
        await call(one, "getData", "/kept", watcher);
        const again = new Promise((resolve) => {
            one.on("state", (state) => state === State.SYNC_CONNECTED && resolve());
        });
        one.connectionManager.socket.destroy();
        await within(again, "connected again");
        assert.equal(one.getSessionId().toString("hex"), before);
        await call(two, "setData", "/kept", Buffer.from("1"));
        assert.equal((await event).getType(), Event.NODE_DATA_CHANGED);
    },

    async a_thousand_pipelined_requests_answer_in_order(one) {
        await call(one, "create", "/pipeline");
        const order = [];
        await within(Promise.all(Array.from({ length: 1000 }, (_, number) =>
            call(one, "create", "/pipeline/n-", CreateMode.PERSISTENT_SEQUENTIAL).then((created) => {
                order.push(number);
                assert.equal(created, `/pipeline/n-${String(number).padStart(10, "0")}`);
            }))), "all answers");
        assert.deepEqual(order, [...order].sort((left, right) => left - right));
        assert.equal((await call(one, "getChildren", "/pipeline"))[0].length, 1000);
    },
};

async function main() {
    let failed = 0;
    for (const [name, check] of Object.entries(checks)) {
        const sessions = [await session(), await session()];
        try {
            await check(...sessions);
            console.log(`ok ${name}`);
        } catch (error) {
            failed += 1;
            console.log(`not ok ${name}: ${String(error.message || error).split("\n")[0]}`);
            console.error(error);
        }
        sessions.forEach((each) => each.close());
    }
    process.exit(failed ? 1 : 0);
}

main();
