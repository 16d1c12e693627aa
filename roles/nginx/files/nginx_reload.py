"""Reload NGINX without losing the requests that are on their way to it. Installed by paddock.fastapi, role nginx.

    nginx-reload SECONDS

At a reload NGINX closes the connections that clients keep and do not use at that moment: a request that has been sent
and has not arrived is lost, and a POST may not be sent again. So before that, for some SECONDS at most, NGINX ends each
connection with its next answer: the file FLAG tells it to. What is closed in the end has not been used for so long.

systemd runs this, so it is so however NGINX is reloaded. Its exit code is NGINX's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

NGINX = "/usr/sbin/nginx"
FLAG = Path("/run/paddock-nginx-draining")
ESTABLISHED = "01"
# In seconds: how often connections are counted, how long the last workers have to begin after the reload, and how long
# it takes until all workers have noticed the flag.
INTERVAL, BEGIN, NOTICED = 0.1, 0.5, 1.1


def ports() -> set[str]:
    """Return the ports that NGINX listens at, as the kernel writes them."""
    shown = subprocess.run([NGINX, "-T"], capture_output=True, text=True, errors="replace", check=True).stdout
    found = re.findall(r"^\s*listen\s+(?:\S*:)?(\d+)\b", shown, re.MULTILINE)
    return {f"{int(port):04X}" for port in found}


def connections(wanted: set[str]) -> set[tuple[str, str]]:
    """Return the connections of clients."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text(encoding="ascii").splitlines()[1:] if table.exists() else []:
            _number, local, remote, state = line.split()[:4]
            if state == ESTABLISHED and local.rpartition(":")[2] in wanted:
                found.add((local, remote))
    return found


def drain(seconds: float) -> None:
    """Wait until all that are connected have gone, or until the time is over."""
    wanted, deadline = ports(), time.monotonic() + seconds
    if not connections(wanted):
        return
    time.sleep(NOTICED)
    before = connections(wanted)
    while before & connections(wanted) and time.monotonic() < deadline:
        time.sleep(INTERVAL)


def main() -> int:
    """Reload NGINX."""
    checked = subprocess.run([NGINX, "-t", "-q"], check=False)
    if checked.returncode:
        return checked.returncode
    try:
        FLAG.touch()
        drain(float(sys.argv[1]))
        done = subprocess.run([NGINX, "-s", "reload"], check=False)
        time.sleep(BEGIN)
    finally:
        FLAG.unlink(missing_ok=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
