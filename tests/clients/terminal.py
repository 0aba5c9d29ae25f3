"""A scripted session with an interactive command-line client: type a line, await an answer."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time

ANSWER_SECONDS = 20


class Terminal:
    """One running command-line client, its standard output and error read as one stream."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A client may be a shell script that starts another process: they end as one group.
            start_new_session=True,
            **options,
        )
        self.output = ""
        self.position = 0
        self.more = threading.Condition()
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            with self.more:
                self.output += chunk.decode(errors="replace")
                self.more.notify_all()
        with self.more:
            self.ended = True
            self.more.notify_all()

    def expect(self, pattern, seconds=ANSWER_SECONDS):
        """Waits until the output since the last match contains `pattern`; returns the match."""
        deadline = time.monotonic() + seconds
        with self.more:
            while True:
                match = re.compile(pattern, re.M | re.S).search(self.output, self.position)
                if match:
                    self.position = match.end()
                    return match
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    raise AssertionError(f"no {pattern!r} in:\n{self.output[self.position:]}")
                self.more.wait(left)

    def send(self, line):
        """Types one line."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, line, pattern):
        """Types one line and waits for its answer."""
        self.send(line)
        return self.expect(pattern)

    def quit(self, line="quit"):
        """Types the client's own way to leave; its exit code."""
        self.send(line)
        self.process.stdin.close()
        return self.process.wait(ANSWER_SECONDS)

    def end(self):
        """Leaves no process behind, whatever happened."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
