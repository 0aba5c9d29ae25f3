"""Runs a client suite in another language: one program that prints one line a check."""

import subprocess

SUITE_SECONDS = 240


def run_tap(command, **options):
    """Runs a program that prints one line `ok NAME` or `not ok NAME: WHY` a check, by name.

    A client suite in another language is one such program, so that its runtime starts once.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=SUITE_SECONDS, **options)
    results = {}
    for line in done.stdout.splitlines():
        if line.startswith("ok "):
            results[line.removeprefix("ok ")] = ""
        elif line.startswith("not ok "):
            name, _, why = line.removeprefix("not ok ").partition(": ")
            results[name] = why or "no reason given"
    assert results, f"{command[0]} ran no check:\n{done.stdout}\n{done.stderr[-4000:]}"
    return results, done
