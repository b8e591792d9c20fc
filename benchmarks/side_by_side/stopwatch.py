"""Starts processes and says how long each took to its first line, and its peak memory.

A process of its own, and a small one: what the kernel calls a child's peak memory begins with that
of the process it was started from, so a benchmark full of libraries must not start it itself.

Takes ``{"command": […]}`` a line, gives ``{"seconds": …, "bytes": …, "line": …, "code": …}``: from
before the process is made to its first whole line, and its largest resident memory to its end.
"""

import json
import os
import subprocess
import sys
import time


def watch(command: list[str]) -> dict[str, object]:
    """One start, see above."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": seconds,
        "bytes": peak,
        "line": line.decode().strip(),
        "code": process.returncode,
    }


if __name__ == "__main__":
    for request in sys.stdin:
        print(json.dumps(watch(json.loads(request)["command"])), flush=True)
