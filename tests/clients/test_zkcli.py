"""Debian's zkCli.sh: ZooKeeper's Java client, in scripted sessions.

zkCli runs its lines in order and prints nothing for some of them, so the answer to the line after
a silent one shows what the silent one did.
"""

import os

import pytest

from terminal import Terminal

ZKCLI = "/usr/share/zookeeper/bin/zkCli.sh"
# A short life and two cores: neither the second compiler nor a parallel collector pays.
JAVA_OPTIONS = "-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@pytest.fixture
def cli(server):
    """A function that opens one more zkCli session and waits until it is connected."""
    opened = []

    def open_session():
        terminal = Terminal(
            [ZKCLI, "-server", server.address], env={**os.environ, "CLIENT_JVMFLAGS": JAVA_OPTIONS}
        )
        opened.append(terminal)
        terminal.expect(r"WatchedEvent state:SyncConnected type:None path:null")
        return terminal

    yield open_session
    for terminal in opened:
        terminal.end()


def test_nodes_and_their_stat(cli):
    shell = cli()
    shell.ask("create /z first", r"Created /z\n")
    shell.ask("get /z", r"^first\n")
    shell.ask("create /z/a 1", r"Created /z/a\n")
    shell.ask("create -s /z/s 2", r"Created /z/s0000000001\n")
    shell.ask("create -e /z/e 3", r"Created /z/e\n")
    shell.ask("create -e -s /z/es 4", r"Created /z/es0000000003\n")
    shell.ask("create -c /z/c", r"Created /z/c\n")
    shell.ask("create -t 600000 /z/t 5", r"Created /z/t\n")
    shell.ask("ls /z", r"^\[a, c, e, es0000000003, s0000000001, t\]\n")
    shell.ask("ls -R /z", r"^/z\n/z/a\n/z/c\n/z/e\n/z/es0000000003\n/z/s0000000001\n/z/t\n")
    shell.ask("getAllChildrenNumber /z", r"^6\n")
    shell.ask("getEphemerals /z", r"^\[/z/e, /z/es0000000003\]\n|^\[/z/es0000000003, /z/e\]\n")
    shell.send("set /z second")
    stat = shell.ask("get -s /z", r"^second\n(cZxid.*?numChildren = \d+\n)").group(1)
    fields = dict(line.split(" = ", 1) for line in stat.splitlines())
    assert fields["dataVersion"] == "1" and fields["aclVersion"] == "0" and fields["cversion"] == "6"
    assert fields["dataLength"] == "6" and fields["numChildren"] == "6" and fields["ephemeralOwner"] == "0x0"
    created, modified, children = (int(fields[name], 16) for name in ("cZxid", "mZxid", "pZxid"))
    assert created < children < modified
    shell.ask("sync /z", r"Sync is OK\n")
    shell.send("set -v 7 /z third")
    shell.expect(r"version No is not valid : /z")
    shell.ask("delete /z", r"Node not empty: /z")
    shell.send("delete /z/a")
    shell.ask("get /z/a", r"Node does not exist: /z/a")
    shell.send("deleteall /z")
    shell.ask("ls /z", r"Node does not exist: /z")
    assert shell.quit() == 1  # zkCli leaves with the code of its last command


def test_watches(cli):
    watcher, writer = cli(), cli()
    writer.ask("create /w 0", r"Created /w\n")
    watcher.ask("get -w /w", r"^0\n")
    writer.send("set /w 1")
    watcher.expect(r"WatchedEvent state:SyncConnected type:NodeDataChanged path:/w\n")
    watcher.ask("ls -w /w", r"^\[\]\n")
    writer.send("create /w/a")
    watcher.expect(r"type:NodeChildrenChanged path:/w\n")
    watcher.send("addWatch -m PERSISTENT_RECURSIVE /w")
    watcher.ask("sync /w", r"Sync is OK\n")
    writer.send("create /w/a/b")
    watcher.expect(r"type:NodeCreated path:/w/a/b\n")
    writer.send("set /w/a/b x")
    watcher.expect(r"type:NodeDataChanged path:/w/a/b\n")
    writer.send("delete /w/a/b")
    watcher.expect(r"type:NodeDeleted path:/w/a/b\n")
    watcher.send("removewatches /w")
    watcher.expect(r"type:PersistentWatchRemoved path:/w\n")
    writer.send("create /w/unseen")
    writer.ask("ls /w", r"^\[a, unseen\]\n")
    watcher.ask("ls /w", r"^\[a, unseen\]\n")
    assert "path:/w/unseen" not in watcher.output


def test_access_control(cli):
    owner, stranger = cli(), cli()
    owner.send("addauth digest alice:secret")
    owner.ask("create /private x auth::cdrwa", r"Created /private\n")
    owner.ask("getAcl /private", r"^'digest,'alice:[A-Za-z0-9+/]{27}=\n: cdrwa\n")
    # The server holds a session's identities in a hash table: their order says nothing.
    identities = owner.ask("whoami", r"Auth scheme: User\n(\S+: \S+\n\S+: \S+\n)").group(1)
    assert sorted(identities.splitlines()) == ["digest: alice", "ip: 127.0.0.1"]
    stranger.ask("get /private", r"Insufficient permission : /private\n")
    owner.ask("setAcl -s /private world:anyone:r", r"aclVersion = 1\n")
    stranger.ask("get /private", r"^x\n")
    stranger.send("set /private y")
    stranger.expect(r"Insufficient permission : /private\n")


def test_quota(cli):
    shell = cli()
    shell.ask("create /q", r"Created /q\n")
    shell.send("setquota -n 3 /q")
    shell.ask("create /q/a data", r"Created /q/a\n")
    shell.ask("listquota /q", r"Output quota for /q count=3,bytes=-1.*Output stat for /q count=2,bytes=4\n")
    shell.send("delquota -n /q")
    shell.ask("listquota /q", r"Output quota for /q count=-1,bytes=-1")


def test_config_and_reconfig_of_a_standalone_server(cli):
    shell = cli()
    shell.send("config")
    shell.ask("reconfig -remove 3", r"KeeperErrorCode = Reconfig is disabled\n")


def test_a_closed_session_takes_its_ephemerals(cli):
    owner, other = cli(), cli()
    owner.ask("create -e /mine", r"Created /mine\n")
    other.ask("stat -w /mine", r"ephemeralOwner = 0x[1-9a-f]")
    assert owner.quit() == 0
    other.expect(r"type:NodeDeleted path:/mine\n")
