"""Instances as systemd, the kernel and the app itself see them. Nothing here is live: all goes over the sockets."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable

import pytest
from testinfra.host import Host

APPS = ["witness", "small"]
MAX_EXPOSURE = 1.5
PROXY = {"debian12": "www-data", "debian13": "proxy"}
NOFILE = {"witness": 65536, "small": 4096}
# Twice the graceful time-out of 30 and 10 seconds, and ten.
STOP = {"witness": "1min 10s", "small": "30s"}
SANDBOX = {
    "CapabilityBoundingSet": "",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
}
ATTEMPTS = {
    "write to the release": "EROFS",
    "write to shared": "done",
    "write to the temporary folder": "done",
    "write to the system": "EROFS",
    "read its environment's file": "EACCES",
    "look into homes": "EACCES",
    "change the kernel": "EROFS",
    "open an internet socket": "done",
    "open a netlink socket": "EAFNOSUPPORT",
    "become real-time": "EPERM",
    "make a setuid file": "EPERM",
}

Properties = Callable[[str], dict[str, str]]


class Instance:
    """The one instance of an app on a host."""

    def __init__(self, host: Host, app: str) -> None:
        self.host = host
        self.app = app
        self.release = host.check_output("ls /srv/%s/releases", app)
        self.unit = f"{app}@{self.release}.service"
        self.socket = f"/srv/{app}/releases/{self.release}/app.sock"

    def curl(self, path: str, *options: str) -> str:
        """Ask it over its own socket."""
        command = ["curl", "--silent", "--fail", "--max-time", "30", "--unix-socket", self.socket, *options]
        return str(self.host.check_output(" ".join(["%s"] * len(command)) + " %s", *command, f"http://app{path}"))

    def ask(self, path: str, *options: str) -> dict[str, t.Any]:
        """Ask it and read the answer."""
        return t.cast("dict[str, t.Any]", json.loads(self.curl(path, *options)))

    def processes(self) -> list[int]:
        """Return all processes of the service."""
        group = self.host.check_output("systemctl show --value --property ControlGroup %s", self.unit)
        return [int(pid) for pid in self.host.check_output("cat /sys/fs/cgroup%s/cgroup.procs", group).split()]

    def main(self) -> int:
        """Return the process that systemd started."""
        return int(self.host.check_output("systemctl show --value --property MainPID %s", self.unit))


@pytest.fixture(params=APPS)
def instance(host: Host, request: pytest.FixtureRequest) -> Instance:
    return Instance(host, request.param)


def test_it_runs_with_all_its_workers(instance: Instance) -> None:
    # Uvicorn with one worker is a single process.
    workers = 0 if instance.app == "small" else max(2, int(instance.host.check_output("nproc")))
    assert len([pid for pid in instance.processes() if pid != instance.main()]) == workers


def test_it_does_not_come_up_at_boot_before_it_is_live(instance: Instance) -> None:
    units = [instance.unit, instance.unit.replace(".service", ".socket")]
    assert instance.host.run("systemctl is-enabled %s %s", *units).stdout.split() == ["disabled", "disabled"]


def test_it_runs_in_uvloop_and_parses_with_httptools(instance: Instance) -> None:
    description = instance.ask("/")
    assert description["loop"] == "uvloop"
    assert "httptools" in instance.host.check_output("cat /proc/%s/maps", str(description["pid"]))


def test_the_sandbox_applies(instance: Instance, properties: Properties) -> None:
    shown = properties(instance.unit)
    # What is empty is not shown.
    assert {name: shown.get(name, "") for name in SANDBOX} == SANDBOX
    assert set(shown["RestrictAddressFamilies"].split()) == {"AF_UNIX", "AF_INET", "AF_INET6"}
    assert shown["User"] == instance.app


def test_its_exposure_is_small(instance: Instance) -> None:
    rated = instance.host.check_output("systemd-analyze security --no-pager %s | tail -n 1", instance.unit)
    assert float(rated.partition(": ")[2].split()[0]) <= MAX_EXPOSURE


def test_systemd_has_nothing_to_complain_about(instance: Instance) -> None:
    checked = instance.host.run("systemd-analyze verify %s", instance.unit)
    assert (checked.rc, checked.stderr) == (0, "")


def test_it_has_no_rights_that_it_does_not_need(instance: Instance) -> None:
    description = instance.ask("/")
    status = description["status"]
    assert description["user"] == instance.app
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "1" not in description["processes"]


def test_it_can_do_what_it_must_and_nothing_else(instance: Instance) -> None:
    came = instance.ask("/attempts")
    # Newer ones have the kernel refuse it, where older ones filter the call.
    assert came.pop("make memory executable") in {"EPERM", "EACCES"}
    assert came == ATTEMPTS
    assert instance.host.check_output("find /tmp -maxdepth 1 -name witness-trial") == ""


def test_what_the_switches_of_the_sandbox_let_it_do(host: Host, properties: Properties) -> None:
    free = Instance(host, "free")
    came = free.ask("/attempts")
    try:
        assert host.check_output("stat --format %U /tmp/witness-trial") == "free"
    finally:
        host.check_output("rm -f /tmp/witness-trial")
    allowed = {"make memory executable": "done", "open a netlink socket": "done"}
    assert came == ATTEMPTS | allowed
    description = free.ask("/")
    assert "1" in description["processes"]
    # What has no switch is there all the same.
    assert {description["status"][name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert description["status"]["NoNewPrivs"] == "1"
    shown = properties(free.unit)
    switches = ("PrivateTmp", "PrivateDevices", "ProtectHome", "RestrictNamespaces", "MemoryDenyWriteExecute")
    assert {shown[name] for name in switches} == {"no"}
    assert (shown["ProtectSystem"], shown["ProtectProc"]) == ("strict", "default")
    assert len(free.processes()) >= 3


def test_all_its_processes_may_open_many_files(
    instance: Instance, allowed_nofile: int, nofile_of: Callable[[int], tuple[int, int]]
) -> None:
    wanted = min(NOFILE[instance.app], allowed_nofile)
    assert {nofile_of(pid) for pid in instance.processes()} == {(wanted, wanted)}


def test_only_the_proxy_can_connect(instance: Instance, name: str) -> None:
    proxy = PROXY[name]
    shown = instance.host.check_output("stat --format '%%F %%U %%G %%a' %s", instance.socket)
    assert shown == f"socket {instance.app} {proxy} 760"
    command = "cd / && runuser -u %s -- curl --silent --fail --unix-socket %s http://app/healthz"
    assert json.loads(instance.host.check_output(command, proxy, instance.socket)) == {"status": "ok"}
    cannot_connect = 7
    for other in ("nobody", *(set(PROXY.values()) - {proxy})):
        assert instance.host.run(command, other, instance.socket).rc == cannot_connect


def test_the_socket_lets_many_wait(instance: Instance) -> None:
    lines = instance.host.check_output("ss --no-header --listening --unix").splitlines()
    (shown,) = [line.split() for line in lines if instance.socket in line]
    assert shown[3] == "4096"


def test_it_tells_its_release_and_not_its_server(instance: Instance) -> None:
    headers = instance.curl("/", "--dump-header", "-", "--output", "/dev/null").lower().splitlines()
    assert f"x-paddock-release: {instance.release.lower()}" in headers
    assert not [line for line in headers if line.startswith("server:")]


def test_it_believes_the_proxy(instance: Instance) -> None:
    headers = ["--header", "X-Forwarded-For: 192.0.2.7", "--header", "X-Forwarded-Proto: https"]
    description = instance.ask("/", *headers)
    assert (description["client"][0], description["scheme"]) == ("192.0.2.7", "https")


def test_it_has_its_environment(instance: Instance) -> None:
    environment = instance.ask("/")["environment"]
    assert environment["PADDOCK_APP"] == instance.app
    assert environment["PADDOCK_RELEASE"] == instance.release
    assert environment["PADDOCK_SHARED"] == f"/srv/{instance.app}/shared"
    if instance.app == "small":
        assert environment["ODD"] == 'it\'s $HOME, "quoted" \\ `and` more\nover two lines'
        assert environment["FLAG"] == "true"


def test_systemd_waits_long_enough_for_it_to_stop(instance: Instance, properties: Properties) -> None:
    assert properties(instance.unit)["TimeoutStopUSec"] == STOP[instance.app]


def test_a_request_outlives_a_restart(instance: Instance) -> None:
    script = """
        curl --silent --fail --max-time 30 --unix-socket $1 http://app/slow >/root/slow.json & sleep 0.7
        systemctl restart $2 & wait %1 && cat /root/slow.json && wait %2
    """
    before = instance.main()
    answered = instance.host.check_output("sh -mc %s sh %s %s", script, instance.socket, instance.unit)
    assert json.loads(answered)["environment"]["PADDOCK_RELEASE"] == instance.release
    assert instance.main() != before


def test_requests_wait_for_a_server_that_was_killed(instance: Instance) -> None:
    instance.host.check_output("systemctl kill --signal KILL %s", instance.unit)
    assert instance.ask("/healthz") == {"status": "ok"}


def test_a_worker_that_was_killed_is_replaced(instance: Instance) -> None:
    killed = instance.ask("/")["pid"]
    instance.host.check_output("kill -KILL %s", str(killed))
    # One that is still answered may be another worker's, so several are asked.
    assert killed not in {instance.ask("/")["pid"] for _ in range(5)}
    test_it_runs_with_all_its_workers(instance)
