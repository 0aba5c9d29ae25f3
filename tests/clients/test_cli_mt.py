"""Debian's cli_mt: ZooKeeper's C client, in scripted sessions.

cli_mt answers `PATH: rc = CODE`, the code being the C client's number for the server's error.
"""

import pytest

from terminal import Terminal

CLI_MT = "/usr/lib/zookeeper/bin/cli_mt"
OK, NO_NODE, BAD_ARGUMENTS, NO_AUTH, NODE_EXISTS, NOT_EMPTY = 0, -101, -8, -102, -110, -111
RECONFIG_DISABLED, NO_CHILDREN_FOR_EPHEMERALS = -123, -108


def answered(path, code):
    """The pattern of an answer that carries a code."""
    return rf"\[?{path}\]?: rc = {code}\b"


@pytest.fixture
def cli(server):
    """A function that opens one more cli_mt session and waits until it is connected."""
    opened = []

    def open_session(*options):
        terminal = Terminal([CLI_MT, "-h", server.address, *options])
        opened.append(terminal)
        terminal.expect(r"Watcher SESSION_EVENT state = CONNECTED_STATE")
        return terminal

    yield open_session
    for terminal in opened:
        terminal.end()


def test_create_get_set_delete(cli):
    shell = cli()
    shell.ask("create /c", answered("/c", OK))
    shell.expect(r"name = /c\n")
    shell.ask("get /c", answered("/c", OK) + r".*value_len = 3\nnew.*version=0\taversion=0\n\tephemeralOwner = 0\n")
    shell.ask("set /c other", answered("/c", OK) + r" Stat:.*version=1\b")
    shell.ask("get /c", answered("/c", OK) + r".*value_len = 5\nother")
    shell.ask("create /c/child", answered("/c/child", OK))
    shell.ask("ls /c", answered("/c", OK) + r"\n\tchild\n")
    shell.ask("ls2 /c", answered("/c", OK) + r"\n\tchild\n.*version=1\b")
    shell.ask("delete /c/child", answered("/c/child", OK))
    shell.ask("delete /c", answered("/c", OK))
    assert shell.quit() == 0


def test_error_codes(cli):
    shell = cli()
    shell.ask("get /none", answered("/none", NO_NODE))
    shell.ask("set /none x", answered("/none", NO_NODE))
    shell.ask("ls /none", answered("/none", NO_NODE))
    shell.ask("delete /none", answered("/none", NO_NODE))
    shell.ask("create /none/child", answered("/none/child", NO_NODE))
    shell.ask("exists /none", rf"Error {NO_NODE} for /none")
    shell.ask("create /e", answered("/e", OK))
    shell.ask("create /e", answered("/e", NODE_EXISTS))
    shell.ask("create /e/f", answered("/e/f", OK))
    shell.ask("delete /e", answered("/e", NOT_EMPTY))
    shell.ask("create +e /e/g", answered("/e/g", OK))
    shell.ask("create /e/g/h", answered("/e/g/h", NO_CHILDREN_FOR_EPHEMERALS))
    shell.ask("create /bad//path", rf"Error {BAD_ARGUMENTS} for /bad//path")
    assert shell.quit() == 0


def test_every_create_mode(cli):
    shell = cli()
    shell.ask("create /modes", answered("/modes", OK))
    shell.ask("create +e /modes/e", answered("/modes/e", OK))
    shell.ask("get /modes/e", answered("/modes/e", OK) + r".*ephemeralOwner = (?!0\n)[0-9a-f]+\n")
    for counter in (1, 2):
        shell.ask("create +s /modes/s", answered("/modes/s", OK) + rf"\n\tname = /modes/s{counter:010}\n")
    shell.ask("create +es /modes/es", answered("/modes/es", OK) + r"\n\tname = /modes/es0000000003\n")
    shell.ask("create +c /modes/c", answered("/modes/c", OK))
    # What marks a container or a TTL node stays inside the server.
    shell.ask("get /modes/c", answered("/modes/c", OK) + r".*ephemeralOwner = 0\n")
    shell.ask("create +t=600000 /modes/t", answered("/modes/t", OK))
    shell.ask("get /modes/t", answered("/modes/t", OK) + r".*ephemeralOwner = 0\n")
    shell.ask("create +st=600000 /modes/st", answered("/modes/st", OK) + r"\n\tname = /modes/st0000000006\n")
    shell.ask("create2 /modes/two", answered("/modes/two", OK) + r".*name = /modes/two\n.*version=0\b")
    assert shell.quit() == 0


def test_watches_fire_once(cli):
    watcher, writer = cli(), cli()
    writer.ask("create /w", answered("/w", OK))
    watcher.ask("get /w", answered("/w", OK))
    writer.ask("set /w 1", answered("/w", OK))
    watcher.expect(r"Watcher CHANGED_EVENT state = CONNECTED_STATE for path /w\n")
    writer.ask("set /w 2", answered("/w", OK))
    watcher.ask("ls /w", answered("/w", OK))
    writer.ask("create /w/child", answered("/w/child", OK))
    watcher.expect(r"Watcher CHILD_EVENT state = CONNECTED_STATE for path /w\n")
    watcher.ask("exists /w/later", rf"Error {NO_NODE} for /w/later")
    writer.ask("create /w/later", answered("/w/later", OK))
    watcher.expect(r"Watcher CREATED_EVENT state = CONNECTED_STATE for path /w/later\n")
    watcher.ask("get /w/later", answered("/w/later", OK))
    writer.ask("delete /w/later", answered("/w/later", OK))
    watcher.expect(r"Watcher DELETED_EVENT state = CONNECTED_STATE for path /w/later\n")
    assert watcher.output.count("Watcher CHANGED_EVENT") == 1


def test_a_closed_session_takes_its_ephemerals(cli):
    owner, other = cli(), cli()
    owner.ask("create +e /mine", answered("/mine", OK))
    other.ask("get /mine", answered("/mine", OK))
    assert owner.quit() == 0
    other.expect(r"Watcher DELETED_EVENT state = CONNECTED_STATE for path /mine\n")
    other.ask("get /mine", answered("/mine", NO_NODE))


def test_sync_config_and_reconfig(cli):
    shell = cli()
    shell.ask("sync /", answered("/", OK) + r"\n\tname = /\n")
    shell.ask("config", answered("/zookeeper/config", OK) + r".*value_len = 0\n")
    shell.ask("reconfig -remove 3", answered("-remove 3", RECONFIG_DISABLED))


def test_two_hundred_pipelined_writes_and_reads(cli):
    shell = cli()
    shell.ask("create /od", answered("/od", OK))
    shell.ask("od", r"od command response: rc = 0")
    shell.expect(r"Recvd 200 responses for 200 requests sent")
    assert shell.output.count("Data completion /od rc = 0") == 200


def test_batch_mode(server):
    done = Terminal([CLI_MT, "-h", server.address, "-c", "ls /zookeeper"])
    done.expect(answered("/zookeeper", OK) + r"\n(?=.*\tconfig\n)(?=.*\tquota\n)")
    assert done.process.wait(20) == 0
