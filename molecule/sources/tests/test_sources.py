"""Every kind of source is served, by what was pinned, and says where it came from."""

import json
from typing import Any

import pytest
from testinfra.host import Host

NAMES = {
    "locked": "directory",
    "gitted": "git",
    "wheeled": "file",
    "packed": "file",
    "indexed": "requirement",
}


def release(host: Host, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output(f"cat /srv/{name}/current/release.json"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_is_served_with_what_was_pinned(host: Host, name: str) -> None:
    command = f"curl -sS --cacert /etc/ssl/paddock/{name}.crt --connect-to ::127.0.0.1: https://{name}.example.com/"
    assert host.check_output(command) == f"{name} with idna 3.10"
    assert release(host, name)["packages"]["idna"] == "3.10"


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_its_record_says_what_it_is_made_of(host: Host, name: str, kind: str) -> None:
    assert release(host, name)["kind"] == kind


def test_what_git_ignores_stays_behind(host: Host) -> None:
    files = host.check_output("ls -A /srv/locked/current/src").split()
    assert "locked.py" in files
    assert "ignored.txt" not in files


def test_both_hosts_got_the_same_bytes(host: Host) -> None:
    # The digest names the release, so equal names are equal inputs; the time of the run is the same as well.
    names = [host.check_output(f"readlink /srv/{name}/current") for name in NAMES]
    assert len({name.partition("-")[0] for name in names}) == 1


def test_uvicorn_runs_what_was_asked_to(host: Host) -> None:
    unit = host.check_output(
        'systemctl show --value --property=ExecMainPID "wheeled@$(basename "$(readlink /srv/wheeled/current)").service"'
    )
    assert "serve.py uvicorn wheeled:app --fd 3" in host.check_output(f"tr '\\0' ' ' </proc/{unit}/cmdline")


def test_the_index_was_asked(host: Host) -> None:
    assert "GET /simple/indexed/" in host.check_output("journalctl --unit=index --output=cat")
