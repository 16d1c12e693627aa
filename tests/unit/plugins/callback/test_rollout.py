# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the callback rollout, in real runs of ansible-playbook against this machine: the whole output counts."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.paddock.fastapi.plugins.callback.rollout import CallbackModule
from ansible_collections.paddock.fastapi.plugins.plugin_utils._progress import Progress, Step
from ansible_collections.paddock.fastapi.tests.unit.helpers import NEW, OLD, ROOT

pytestmark = pytest.mark.slow

# Says what no callback may swallow.
NOISY = """
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({})
module.warn("mind the gap")
module.deprecate("this is old", version="99.0", collection_name="paddock.fastapi")
module.exit_json(changed=False)
"""

PLAYS = """
- name: Prepare
  hosts: all
  gather_facts: false
  tasks:
    - name: Look
      ansible.builtin.command: "true"
      changed_when: false
    - name: Be noisy
      noisy:
      when: inventory_hostname == 'web1'
    - name: Make {{ what }}
      ansible.builtin.command: "true"
      loop: [a, b]
      loop_control: {label: "the {{ item }}"}
      notify: Reload
    - name: Say something
      ansible.builtin.debug:
        msg: hello
      when: inventory_hostname == 'web1'
  handlers:
    - name: Reload
      ansible.builtin.command: "true"

- name: Stage
  hosts: all
  gather_facts: false
  tasks:
    - name: Try
      block:
        - name: Build
          ansible.builtin.fail:
            msg: "app {{ item }}: it cannot be built\\nLast lines:\\n  x"
          loop: [shop, blog]
          when: inventory_hostname == 'web1'
      rescue:
        - name: Clean up
          ansible.builtin.command: "true"
    - name: Fail, and let it be
      ansible.builtin.command: sh -c 'echo told >&2; exit 1'
      ignore_errors: true
      when: inventory_hostname == 'web1'
    - name: Tell what is live
      paddock.fastapi.switch:
        app: nothing-of-this-name
        release: RELEASE
        host: localhost
      check_mode: true
      when: inventory_hostname == 'web1'

- name: Switch
  hosts: web1, web2
  gather_facts: false
  serial: 1
  any_errors_fatal: true
  tasks:
    - name: Switch to it
      ansible.builtin.command: "true"
    - name: Prove it
      block:
        - name: Ask
          ansible.builtin.fail:
            msg: it does not answer
          when: inventory_hostname == 'web2'
      rescue:
        - name: Say that it went back
          ansible.builtin.fail:
            msg: The switch failed. {{ ansible_failed_result.msg }}

- name: Retire
  hosts: all
  gather_facts: false
  tasks:
    - name: Nobody comes here
      ansible.builtin.command: "true"
""".replace("RELEASE", NEW)

TOLD = f"""
web3 unreachable in Prepare: Look
    Failed to connect to the host via ssh: ssh: connect to host 127.0.0.1 port 9: Connection refused
web1: hello
Prepare  T s
    web1, web2: Make it (the a, the b); Reload
web1 failed in Stage: Build (shop)
    app shop: it cannot be built
    Last lines:
      x
web1 failed in Stage: Build (blog)
    app blog: it cannot be built
    Last lines:
      x
web1 failed in Stage: Fail, and let it be, which is ignored
    non-zero return code
    told
Stage  T s
    web1: Clean up; Tell what is live
web2 failed in Switch: Ask
    it does not answer
web2 failed in Switch: Say that it went back
    The switch failed.
Switch  T s
    web1, web2: Switch to it

changed      web1  T s  nothing-of-this-name {NEW} (new); 5 changes; 1 failed and rescued; 1 failed and ignored
failed       web2  T s  in Switch; 3 changes
unreachable  web3  T s  in Prepare
3 hosts, T s; failed: web2; unreachable: web3
""".strip().splitlines()


class Ran(t.NamedTuple):
    """How a run ended, and what it said."""

    code: int
    out: str
    err: str

    def told(self) -> list[str]:
        """Return the lines of its output, without what differs between runs: times."""
        return timeless(self.out.splitlines())


class Play:
    """A folder to play in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "library").mkdir()
        (folder / "library/noisy.py").write_text(NOISY)
        (folder / "ansible.cfg").write_text("[defaults]\nstdout_callback = paddock.fastapi.rollout\n")
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "what": "it"}
        ghost = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
        hosts = {"web1": None, "web2": None, "web3": ghost}
        (folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": local}}))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "NO_COLOR"))},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_DEPRECATION_WARNINGS": "1",
            "HOME": str(folder),
            "TERM": "xterm",
        }

    def command(self, plays: str, *arguments: str) -> list[str]:
        """Write the plays down, and return what runs them."""
        (self.folder / "play.yml").write_text(plays)
        program = Path(sys.executable).with_name("ansible-playbook")
        return [str(program), "-i", "inventory.yml", "play.yml", *arguments]

    def run(self, plays: str, *arguments: str, **environment: str) -> Ran:
        """Run them, with the output in a pipe."""
        done = subprocess.run(
            self.command(plays, *arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def run_on_terminal(self, plays: str, *arguments: str, **environment: str) -> Ran:
        """Run them with a terminal of 12 rows and 60 columns, that errors go to as well."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
        process = subprocess.Popen(
            self.command(plays, *arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        seen = b""
        # A terminal that nobody has open any longer gives an error.
        while True:
            try:
                seen += os.read(leader, 65536)
            except OSError:
                break
        os.close(leader)
        return Ran(process.wait(), seen.decode().replace("\r\n", "\n"), "")


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Return a folder to play in."""
    return Play(tmp_path)


def timeless(lines: list[str]) -> list[str]:
    """Write T instead of each time, columns of times as one space wide, and a message as old versions of Ansible do."""
    lines = [line.replace("The command exited with a non-zero return code.", "non-zero return code") for line in lines]
    return [re.sub(r"(\S\s\s?) *(?:\d+ min )?\d+(?:\.\d)? s\b", r"\1T s", line) for line in lines]


def screen(text: str) -> list[str]:
    """Return the lines that a terminal has in the end, which understands what we use and nothing else."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[\d*[A-Za-z]|\x1b\[[\d;]*m|\r|\n)", text):
        if found := re.fullmatch(r"\x1b\[(\d+)A", part):
            row -= int(found[1])
            assert row >= 0
        elif part == "\x1b[J":
            del lines[row + 1 :]
            lines[row] = ""
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part and part != "\r" and not re.fullmatch(r"\x1b\[[\d;]*m", part):
            assert "\x1b" not in part
            assert lines[row] == "", "something is drawn over something else"
            lines[row] = part
    return lines


def test_all_that_can_happen_in_plain_text(play: Play) -> None:
    ran = play.run(PLAYS)
    assert ran.code != 0
    assert "\n".join(ran.told()) == "\n".join(TOLD)
    # What it takes to say that is Ansible's.
    assert " ".join(ran.err.split()).count("[WARNING]: mind the gap") == 1
    assert "[DEPRECATION WARNING]: this is old" in " ".join(ran.err.split())
    assert "\x1b" not in ran.out + ran.err


def test_hosts_that_do_not_wait_for_each_other(play: Play) -> None:
    plays = PLAYS.replace("  gather_facts: false\n", "  gather_facts: false\n  strategy: free\n", 2)
    ran = play.run(plays)
    # What one host says may come between what others do, but each line comes once.
    assert sorted(ran.told()) == sorted(TOLD)
    assert ran.told()[-5:] == TOLD[-5:]


def test_with_v_it_is_the_default_callback(play: Play) -> None:
    ours = play.run(PLAYS, "-v", "--forks", "1")
    theirs = play.run(PLAYS, "-v", "--forks", "1", ANSIBLE_STDOUT_CALLBACK="default")
    assert "TASK [" in ours.out
    volatile = r'"(cmd|delta|end|start|stdout|stderr)[^}]*|ansible_collections|PLAYBOOK.*|.*callback.*\n'
    assert re.sub(volatile, "", ours.out) == re.sub(volatile, "", theirs.out)


def test_a_run_that_changes_nothing_says_next_to_nothing(play: Play) -> None:
    plays = """
    - name: Look
      hosts: web1, web2
      gather_facts: false
      tasks:
        - name: Look
          ansible.builtin.command: "true"
          changed_when: false
    """
    ran = play.run(textwrap.dedent(plays))
    assert (ran.code, ran.err) == (0, "")
    assert ran.told() == ["ok  web1  T s  no change", "ok  web2  T s  no change", "2 hosts, T s"]
    ran = play.run(textwrap.dedent(plays), "--limit", "web2")
    assert ran.told() == ["ok  web2  T s  no change"]


def test_check_mode_and_differences(play: Play) -> None:
    plays = """
    - name: Prepare
      hosts: web1
      gather_facts: false
      tasks:
        - name: Write
          ansible.builtin.copy:
            content: "new\\n"
            dest: "{{ playbook_dir }}/{{ item }}"
          loop: [one, two]
        - name: Write no more
          ansible.builtin.copy:
            content: "new\\n"
            dest: "{{ playbook_dir }}/three"
    """
    (play.folder / "three").write_text("new\n")
    ran = play.run(textwrap.dedent(plays), "--check", "--diff")
    assert not (play.folder / "one").exists()
    differences = [
        line
        for item in ("one", "two")
        for line in (
            f"web1, Write ({item}):",
            "--- before",
            f"+++ after: {play.folder}/{item}",
            "@@ -0,0 +1 @@",
            "+new",
        )
    ]
    assert [line for line in ran.told() if line] == [
        "Check mode: nothing is changed.",
        *differences,
        "Prepare  T s",
        "    web1: Write (one, two)",
        "changed  web1  T s  1 change to come",
    ]


def test_secrets_and_what_has_no_message(play: Play) -> None:
    plays = """
    - name: Stage
      hosts: web1
      gather_facts: false
      tasks:
        - name: Hide
          ansible.builtin.command: sh -c 'echo hunter2; exit 1'
          no_log: true
          ignore_errors: true
        - name: Hide items
          ansible.builtin.command: sh -c 'echo {{ item }}; exit 1'
          loop: [hunter2]
          no_log: true
          ignore_errors: true
        - name: Judge
          ansible.builtin.stat:
            path: /nowhere
          register: found
          failed_when: not found.stat.exists
    """
    ran = play.run(textwrap.dedent(plays))
    assert "hunter2" not in ran.out + ran.err
    assert "web1 failed in Stage: Hide, which is ignored" in ran.out
    assert re.search(r"^web1 failed in Stage: Hide items.*, which is ignored$", ran.out, re.MULTILINE)
    assert ran.out.count("the output has been hidden due to the fact that 'no_log: true' was specified") >= 1
    assert "web1 failed in Stage: Judge\n    " in ran.out


def test_a_task_that_is_tried_again_is_told_of_if_it_fails_at_last(play: Play) -> None:
    plays = """
    - name: Stage
      hosts: web1
      gather_facts: false
      tasks:
        - name: Wait
          ansible.builtin.command: "false"
          retries: 2
          delay: 0
          register: done
          until: done is success
    """
    ran = play.run(textwrap.dedent(plays))
    assert ran.told()[:2] == ["web1 failed in Stage: Wait", "    non-zero return code"]
    ran = play.run_on_terminal(textwrap.dedent(plays))
    assert "web1  Stage: Wait (attempt 2 of 3)" in ran.out


def test_lines_are_updated_in_place_on_a_terminal(play: Play) -> None:
    ran = play.run_on_terminal(PLAYS)
    assert "web1  Prepare: Make it (the a)\nweb2  Prepare: " in ran.out
    assert "\x1b[3A\r\x1b[J" in ran.out
    assert "\x1b[0;31mweb2 failed in Switch: Ask\x1b[0m" in ran.out
    lines = timeless(screen(ran.out))
    told = " ".join(" ".join(lines).split())
    # All that was said is still there, warnings from anywhere included, and none of the lines that were for a while.
    for line in TOLD:
        assert " ".join(line.split()) in told, line
    assert told.count("[WARNING]: mind the gap") == 1
    assert "[DEPRECATION WARNING]: this is old" in told
    assert "Prepare: Look" not in told.replace("unreachable in Prepare: Look", "")
    assert lines[-2:] == ["3 hosts, T s; failed: web2; unreachable: web3", ""]


def test_a_terminal_without_colours_gets_plain_text(play: Play) -> None:
    ran = play.run_on_terminal(PLAYS, NO_COLOR="1")
    assert "\x1b" not in ran.out
    assert "Prepare: Make it" not in ran.out
    assert "3 hosts, " in ran.out


def test_colours_that_are_asked_for_move_no_cursor(play: Play) -> None:
    ran = play.run(PLAYS, ANSIBLE_FORCE_COLOR="1")
    assert "\x1b[0;31mweb2 failed in Switch: Ask\x1b[0m" in ran.out
    assert "\x1b[J" not in ran.out
    assert "Prepare: Make it" not in ran.out


def test_what_is_live_is_learnt_from_the_collections_own_modules() -> None:
    callback = CallbackModule()
    progress = Progress()
    callback._progress = progress  # noqa: SLF001
    progress.begin_stage("1", "Switch", 0)

    def learn(action: str, found: dict[str, t.Any]) -> None:
        host = SimpleNamespace(get_name=lambda: "web1")
        task = SimpleNamespace(resolved_action=f"paddock.fastapi.{action}")
        result = SimpleNamespace(_host=host, _task=task, _result=found)
        callback._learn(result, Step("Any"), well=True)  # noqa: SLF001

    def told(host: str) -> str:
        return progress.end({host: {"ok": 1}}, 0)[-1].text

    learn("host_facts", {"ansible_facts": {"paddock": {"apps": {}}}})
    assert "app" not in told("web1")
    learn("pack", {"apps": []})
    assert "no app" in told("web1")
    learn("host_facts", {"ansible_facts": {"paddock": {"apps": {"shop": {"live": OLD}, "blog": {"live": None}}}}})
    assert f"shop {OLD}, blog not deployed" in told("web1")
    learn("switch", {"app": "shop", "before": OLD, "live": NEW, "item": "shop"})
    assert f"shop {NEW} (before {OLD})" in told("web1")
    # One host has all go back.
    learn("switch", {"app": "shop", "before": NEW, "live": OLD, "item": {"host": "web2"}})
    assert f"shop {NEW} (before {OLD})" in told("web1")
    assert f"shop {OLD} (before {NEW})" in told("web2")
