#!/usr/bin/env python3
"""Runs client suites against one kind of server.

    launch.py [--server ringkeeper|zookeeper] [--counts FILE] SUITE...

Each suite is a pytest run of its own, in a process group of its own: what it leaves behind is
ended and counted as a failure. A suite's output goes to tests/.cache/logs and is shown if it
fails. `--server zookeeper` runs the same suites against Debian's ZooKeeper, which shows whether
a failure is the server's or the suite's.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"
# Each takes under three minutes; one that hangs must not take the whole run with it.
SUITE_SECONDS = 600
SUITES = {
    "cli_mt": [HERE / "test_cli_mt.py"],
    "zkcli": [HERE / "test_zkcli.py"],
    "node": [HERE / "test_node.py"],
    "curator": [HERE / "test_curator.py"],
    "scenarios": [HERE / "test_scenarios.py"],
    "aiozk": ["-p", "aiozk_plugin", "--pyargs", "aiozk.test"],
    "kazoo": ["-p", "kazoo_plugin", "--pyargs", "kazoo.tests"],
    "crash": [HERE / "test_crash.py"],
    "applications": [HERE / "test_patroni.py", HERE / "test_clickhouse.py"],
}


def leftovers(group):
    """Ends what is left of a process group; true if there was anything."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False


def run_suite(name, environment):
    """Runs one suite; its exit code and what it printed."""
    logs = CACHE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    report, log_path = logs / f"{name}.xml", logs / f"{name}.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-c", HERE / "pytest.ini", f"--junit-xml={report}", *SUITES[name]]
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            code = process.wait(SUITE_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as end:
            leftovers(process.pid)
            process.wait()
            if isinstance(end, KeyboardInterrupt):
                raise
            code = None
    return code, leftovers(process.pid), report, log_path


def count(report):
    """What a JUnit report counted: passed, failed, skipped, and the reasons of the skipped."""
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    total = failed = 0
    skipped = []
    for suite in suites:
        total += int(suite.get("tests"))
        failed += int(suite.get("failures")) + int(suite.get("errors"))
        skipped += [f"{case.get('name')}: {mark.get('message')}" for case in suite.iter("testcase") for mark in case.iter("skipped")]
    return max(total - failed - len(skipped), 0), failed, skipped


def main():
    """Runs the suites that the command line names; the exit code is 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", choices=("ringkeeper", "zookeeper"), default="ringkeeper")
    parser.add_argument("--counts", type=pathlib.Path, help="append a line 'SUITE PASSED FAILED SKIPPED' a suite")
    parser.add_argument("suites", nargs="+", choices=sorted(SUITES), metavar="SUITE", help=", ".join(SUITES))
    options = parser.parse_args()
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "TEST_SERVER": options.server, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    everything_passed = True
    for name in options.suites:
        began = time.monotonic()
        code, left, report, log_path = run_suite(name, environment)
        passed, failed, skipped = count(report) if report.exists() else (0, 0, [])
        # A suite can fail without a failed test: it crashed, differed from its expectations, hung.
        if failed == 0 and (code != 0 or left):
            failed = 1
        took = time.monotonic() - began
        print(f"{name:12} {passed:4} passed, {failed} failed, {len(skipped)} skipped in {took:.0f} s", flush=True)
        for reason in skipped:
            print(f"           skipped {reason}")
        if failed:
            everything_passed = False
            print(log_path.read_text(errors="replace")[-20000:])
            if left and code is not None:
                print(f"{name} left a process behind")
            if code is None:
                print(f"{name} was ended after {SUITE_SECONDS} s")
        if options.counts:
            with open(options.counts, "a") as counts:
                counts.write(f"{name} {passed} {failed} {len(skipped)}\n")
    return 0 if everything_passed else 1


if __name__ == "__main__":
    sys.exit(main())
