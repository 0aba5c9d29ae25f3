#!/usr/bin/env python3
"""Import, export and the tools on large files of ZooKeeper: time and peak memory.

    tests/size.py [--binary target/release/ringkeeper] [--rounds 3] [--directory DIR]

It makes a snapshot of 1,000,000 nodes of 100 bytes and a log of more than 1 GB, once, in DIR (3 GB). Each
command is run beside a plain read of the same file, in turn; what counts is the median of the ratios.
"""

import argparse
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib

NODES, FOLDERS, DATA_BYTES = 1_000_000, 1000, 100
TRANSACTIONS, VALUE_BYTES, PADDING_BYTES = 1_100_000, 1000, 16 << 20
FLUSH_BYTES = 1 << 20
TIME_MS = 1_700_000_000_000
SESSION = 0x100000000000001


def buffer(data):
    return struct.pack(">i", len(data)) + data


OPEN_ACL = struct.pack(">ii", 1, 31) + buffer(b"world") + buffer(b"anyone")


def make_snapshot(path):
    """The format is that of FileSnap.java and DataTree.java; the seal is an Adler-32 of all before it."""
    with open(path, "wb") as file:
        pending, checksum = bytearray(struct.pack(">4siqii", b"ZKSN", 2, -1, 0, 0)), 1

        def flush():
            nonlocal checksum
            checksum = zlib.adler32(pending, checksum)
            file.write(pending)
            pending.clear()

        def node(name, data, zxid, time_ms=TIME_MS):
            pending.extend(buffer(name.encode()) + buffer(data))
            stat = (zxid, zxid, time_ms, time_ms, 0, 0, 0, 0, zxid)
            pending.extend(struct.pack(">qqqqqiiiqq", -1, *stat))
            if len(pending) > FLUSH_BYTES:
                flush()

        for name in ["", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"]:
            node(name, b"", 0, 0)
        zxid = 0
        for folder in range(FOLDERS):
            zxid += 1
            node(f"/d{folder:04}", b"", zxid)
            for number in range(NODES // FOLDERS):
                zxid += 1
                node(f"/d{folder:04}/node-{number:07}", b"x" * DATA_BYTES, zxid)
        pending.extend(buffer(b"/"))
        flush()
        file.write(struct.pack(">q", checksum) + buffer(b"/"))


def make_log(path):
    """The format is that of FileTxnLog.java: checksum, length, transaction, `B`; zeros behind the last."""
    with open(path, "wb") as file:
        pending = bytearray(struct.pack(">4siq", b"ZKLG", 2, 0))
        for zxid in range(1, TRANSACTIONS + 1):
            header = struct.pack(">qiqq", SESSION, zxid, zxid, TIME_MS)
            name = buffer(b"/n%04d" % (zxid % 1000))
            if zxid == 1:
                body = struct.pack(">ii", -10, 30000)
            elif zxid < 1002:
                parent_cversion = struct.pack(">?i", False, zxid - 1)
                body = struct.pack(">i", 1) + name + buffer(b"data") + OPEN_ACL + parent_cversion
            else:
                body = struct.pack(">i", 5) + name + buffer(b"y" * VALUE_BYTES) + struct.pack(">i", zxid)
            transaction = header + body
            pending.extend(struct.pack(">q", zlib.adler32(transaction)) + buffer(transaction) + b"B")
            if len(pending) > FLUSH_BYTES:
                file.write(pending)
                pending.clear()
        file.write(pending + bytes(PADDING_BYTES))


def run(words):
    """Seconds, of them on the processor, and MiB of resident memory at its peak."""
    began = time.monotonic()
    with open(os.devnull, "wb") as nothing, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(words, stdout=nothing, stderr=errors, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            errors.seek(0)
            sys.exit(f"{words} ended with {child.returncode}: {errors.read().decode()}")
    processor = usage.ru_utime + usage.ru_stime
    return time.monotonic() - began, processor, usage.ru_maxrss / 1024


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--binary", default="target/release/ringkeeper")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--directory", default="tests/.cache/size")
    given = words.parse_args()
    binary, here = os.path.abspath(given.binary), os.path.abspath(given.directory)
    places = {name: os.path.join(here, name) for name in ["snap", "log", "own", "own-log", "back", "back-log"]}
    snapshot = f"{places['snap']}/version-2/snapshot.{NODES + FOLDERS:x}"
    log = f"{places['log']}/version-2/log.1"
    for path, make in [(snapshot, make_snapshot), (log, make_log)]:
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            make(path + ".part")
            os.rename(path + ".part", path)
    rows = [
        ("import, a snapshot", snapshot, ["import", places["snap"], "--to", places["own"]], "own"),
        ("export of it", snapshot, ["export", places["own"], "--to", places["back"]], "back"),
        ("snapshot verify", snapshot, ["snapshot", "verify", snapshot], None),
        ("snapshot summary", snapshot, ["snapshot", "summary", snapshot], None),
        ("snapshot compare", snapshot, ["snapshot", "compare", snapshot, places["own"]], None),
        ("log verify", log, ["log", "verify", log], None),
        ("import, a log", log, ["import", places["log"], "--to", places["own-log"]], "own-log"),
    ]
    print("| command | file, MB | plain read, s | command, s | processor, s | ratio | peak memory, MiB |")
    print("|---|---|---|---|---|---|---|")
    for name, file, command, makes in rows:
        rounds = []
        for _ in range(given.rounds):
            if makes:
                shutil.rmtree(places[makes], ignore_errors=True)
            rounds.append((run(["cat", file])[0], *run([binary, *command])))
        read, took, processor, peak = (statistics.median(column) for column in zip(*rounds))
        ratio = statistics.median(took / read for read, took, *_ in rounds)
        size = os.path.getsize(file) / 1e6
        print(f"| {name} | {size:.0f} | {read:.2f} | {took:.2f} | {processor:.2f} | {ratio:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
