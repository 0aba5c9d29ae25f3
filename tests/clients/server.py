"""Starts, stops and kills one standalone server, or an ensemble, for a test.

Two kinds behind one class: `ringkeeper` is the server under test, `zookeeper` is Debian's
ZooKeeper, the original that every test here is validated against. A test never sees which of the
two it talks to.
"""

import collections
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

READY_SECONDS = 30
STOP_SECONDS = 10
KINDS = ("ringkeeper", "zookeeper")
# Which of them this run is about.
KIND = os.environ.get("TEST_SERVER", "ringkeeper")
ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "tests/.cache"
JAVA = pathlib.Path("/usr/share/java")
# Debian's jar names most of its dependencies in its manifest; the rest is the logger's backend and
# what Netty (kazoo's harness asks for its connection factory) needs.
ZOOKEEPER_CLASSPATH = os.pathsep.join(
    str(JAVA / f"{jar}.jar")
    for jar in (
        "zookeeper", "slf4j-simple", "netty-codec", "netty-resolver", "netty-transport-native-unix-common",
    )
)


# UDP sockets on the ports that were given: servers listen over TCP, so the other half of a port
# tells whoever else looks for one that somebody has it in mind. The oldest are those of servers
# that have ended.
_given = collections.deque(maxlen=400)


def free_ports(count):
    """`count` loopback ports that were free a moment ago and that nobody was given before.

    They lie below the range from which the kernel takes the ports of outgoing connections: a
    client that reconnects while its server is down could take the server's own port otherwise.
    """
    below = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = []
    while len(ports) < count:
        port = random.randrange(10_000, below)
        reservation = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reservation.bind(("127.0.0.1", port))
                listener.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
                continue
        _given.append(reservation)
        ports.append(port)
    return ports


def four_letter_word(port, word, seconds=5.0):
    """The whole answer of the server on `port` to one four-letter word."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as link:
        link.sendall(word.encode())
        answer = b""
        while chunk := link.recv(65536):
            answer += chunk
    return answer.decode()


def command_line(kind, config_path, properties):
    """The command and the environment that serve `config_path`.

    `properties` are Java's `-Dname=value` flags; Ringkeeper takes them from SERVER_JVMFLAGS, as
    zkServer.sh does.
    """
    environment = dict(os.environ)
    if kind == "ringkeeper":
        binary = environment.get("RINGKEEPER_BIN", str(ROOT / "target/release/ringkeeper"))
        environment["SERVER_JVMFLAGS"] = " ".join(properties)
        return [binary, "serve", str(config_path)], environment
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    command += ["-cp", ZOOKEEPER_CLASSPATH, *properties]
    return command + ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config_path)], environment


def wait_until_serving(process, port, log_path, seconds=READY_SECONDS):
    """Returns once the server answers `ruok`; raises with the log's end if it dies or hangs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server exited with {process.returncode}:\n{tail(log_path)}")
        try:
            # A server that is still loading its data answers srvr, but does not serve yet.
            if "Mode:" in four_letter_word(port, "srvr"):
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError(f"the server did not answer in {seconds} s:\n{tail(log_path)}")


def tail(log_path, lines=40):
    """The last lines of a server's log, for an error message."""
    path = pathlib.Path(log_path)
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def end(process, how=signal.SIGTERM, seconds=STOP_SECONDS):
    """Ends one process; the exit code, which is negative where a signal ended it."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class Server:
    """One standalone server on a loopback port of its own, its data under `directory`."""

    def __init__(self, kind, directory, config=(), properties=()):
        assert kind in KINDS, f"unknown server {kind!r}: expected one of {', '.join(KINDS)}"
        self.kind = kind
        self.directory = pathlib.Path(directory)
        self.properties = tuple(properties)
        self.port = free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        self.log_path = self.directory / "server.log"
        self.process = None
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config_path = self.directory / "zoo.cfg"
        lines = (
            "tickTime=500",
            f"dataDir={self.directory / 'data'}",
            f"clientPort={self.port}",
            "clientPortAddress=127.0.0.1",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "4lw.commands.whitelist=*",
            *config,
        )
        self.config_path.write_text("\n".join(lines) + "\n")

    def launch(self):
        """Starts the server on whatever its data directory holds."""
        command, environment = command_line(self.kind, self.config_path, self.properties)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def start(self):
        """Starts the server and waits until it serves."""
        self.launch()
        self.wait()
        return self

    def wait(self):
        """Waits until the server serves; kills it if it does not."""
        try:
            wait_until_serving(self.process, self.port, self.log_path)
        except RuntimeError:
            self.kill()
            raise

    def stop(self):
        """Stops the server cleanly."""
        return end(self.process)

    def kill(self):
        """kill -9."""
        return end(self.process, signal.SIGKILL)


class Ensemble:
    """Servers of one kind on loopback ports of their own, all of which vote."""

    def __init__(self, kind, directory, count=3):
        numbers = range(1, count + 1)
        ports = iter(free_ports(2 * count))
        members = [f"server.{number}=127.0.0.1:{next(ports)}:{next(ports)}" for number in numbers]
        config = ("initLimit=20", "syncLimit=10", *members)
        self.servers = [Server(kind, pathlib.Path(directory) / f"server-{number}", config) for number in numbers]
        for number, server in zip(numbers, self.servers):
            (server.directory / "data").mkdir(exist_ok=True)
            (server.directory / "data/myid").write_text(f"{number}\n")

    @property
    def addresses(self):
        """Where clients may connect to."""
        return [server.address for server in self.servers]

    def start(self):
        """Starts all and waits until each serves."""
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait()
        return self

    def leader(self):
        """The server that leads; waits until there is one."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            for server in self.servers:
                try:
                    if "Mode: leader" in four_letter_word(server.port, "srvr"):
                        return server
                except OSError:
                    pass
            time.sleep(0.02)
        raise RuntimeError(f"no server led in {READY_SECONDS} s:\n{tail(self.servers[0].log_path)}")

    def kill(self):
        """kill -9 of all."""
        for server in self.servers:
            if server.process is not None:
                server.kill()
