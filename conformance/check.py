"""Runs all of it against a program: `check.py PROGRAM [case...]`, where cases are of refuse.py."""

import sys
import time

import network
import refuse
import vectors


def main(program, *cases):
    began, failed = time.monotonic(), 0

    if not cases:
        found, failures = vectors.run()
        failed += report("vectors: %d encoded and decoded" % found, failures)
        failed += report_network(program)
    found, failures = refuse.run(program, cases)
    failed += report("refusals: %d cases" % found, failures)

    print(
        "conformance: %s in %.0f s"
        % ("failed" if failed else "all of it holds", time.monotonic() - began)
    )
    return 1 if failed or not found else 0


def report(what, failures):
    """Prints what was tried and what failed; returns how much did."""
    print("%s, %d failed" % (what, len(failures)), flush=True)
    for name, failure in failures:
        print("  %s: %s" % (name, failure))
    return len(failures)


def report_network(program):
    try:
        lines = network.run(program)
    except network.Failed as failure:
        return report("network: 3 Rust and 2 Python nodes", [("failed", failure)])
    print("network: 3 Rust and 2 Python nodes, one of each killed")
    for line in lines:
        print("  " + line)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
