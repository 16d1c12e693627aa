"""The hosts of a scenario as one fleet, and playbooks that are run on it as a user runs them."""

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from testinfra.host import Host

# What Ansible says of code that its next versions will not run. Nothing of ours may cause that.
DEPRECATED = "[DEPRECATION WARNING]"


@dataclass(frozen=True)
class Played:
    """What a run of ansible-playbook came to."""

    code: int
    output: str

    def recap(self, host: str, word: str) -> int:
        """Return a figure of the recap, such as `ok` or `changed`."""
        found = re.search(rf"^{host} .*\b{word}=(\d+)", self.output, re.MULTILINE)
        assert found, f"no recap of {host}:\n{self.output}"
        return int(found.group(1))


@dataclass(frozen=True)
class Fleet:
    """The hosts of the scenario, and the playbooks that are run on them as a user runs them."""

    hosts: dict[str, Host]
    inventory: Path

    def start(
        self, playbook: str, *arguments: str, inventory: Path | None = None, **variables: object
    ) -> subprocess.Popen[str]:
        """Begin a playbook of the collection, as the leader of a group of processes of its own."""
        command = ["ansible-playbook", f"paddock.fastapi.{playbook}", "-i", str(inventory or self.inventory)]
        command += ["--extra-vars", json.dumps(variables), *arguments]
        # Molecule has set how to reach the hosts and where the collection is.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def play(self, playbook: str, *arguments: str, inventory: Path | None = None, **variables: object) -> Played:
        """Run a playbook of the collection."""
        process = self.start(playbook, *arguments, inventory=inventory, **variables)
        try:
            output, _ = process.communicate()
        finally:
            if process.poll() is None:  # the test has run out of time
                os.killpg(process.pid, signal.SIGKILL)
        print(output)  # noqa: T201  # pytest shows it when the test fails
        assert DEPRECATED not in output
        return Played(process.returncode, output)

    def until(self, condition: str) -> None:
        """Wait until a condition of the shell holds on the first host."""
        host = next(iter(self.hosts.values()))
        deadline = time.monotonic() + 120
        while host.run(condition).rc:
            assert time.monotonic() < deadline, condition
            time.sleep(0.05)

    def each(self, command: str) -> dict[str, str]:
        """Run a command on every host, and return what it printed; it must succeed."""
        return {name: host.check_output(command) for name, host in self.hosts.items()}
