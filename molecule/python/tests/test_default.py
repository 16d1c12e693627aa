"""Python and uv as the role leaves them."""

from pathlib import Path

from testinfra.host import Host

ROLE = Path(__file__).parents[3] / "roles/python"
PINNED = (ROLE / "files/uv-requirements.txt").read_text(encoding="utf-8").split()[0].removeprefix("uv==")
UV = "/opt/paddock/uv"


def test_the_interpreter_can_run_fastapi(host: Host) -> None:
    version = host.check_output("python3 -c 'import sys; print(*sys.version_info[:2])'")
    assert tuple(map(int, version.split())) >= (3, 11)


def test_uv_is_the_pinned_one(host: Host) -> None:
    assert host.check_output("%s/bin/uv --version", UV).split()[1] == PINNED


def test_nothing_that_was_refused_is_left(host: Host) -> None:
    assert host.check_output("%s/bin/python -c 'import uv; print(hasattr(uv, \"FORGED\"))'", UV) == "False"


def test_uv_has_an_environment_of_its_own(host: Host) -> None:
    listed = host.check_output("%s/bin/python -m pip list --format freeze --disable-pip-version-check", UV)
    assert {line.partition("==")[0] for line in listed.splitlines()} - {"setuptools"} == {"pip", "uv"}
    assert "No module named 'uv'" in host.run("/usr/bin/python3 -c 'import uv'").stderr


def test_uv_makes_environments_of_the_distributions_python(host: Host) -> None:
    host.check_output("UV_PYTHON_DOWNLOADS=never %s/bin/uv venv --quiet --clear --python python3 /root/trial", UV)
    assert host.check_output("/root/trial/bin/python -c 'import sys; print(sys.base_prefix)'") == "/usr"


def test_only_root_can_change_the_tools(host: Host) -> None:
    assert host.check_output("find /opt/paddock ! -user root -o ! -type l -perm /022") == ""
    assert host.check_output("cd / && runuser -u nobody -- find /opt/paddock -writable") == ""


def test_more_packages_come_with_the_variable(host: Host) -> None:
    assert host.check_output("dpkg-query --show --showformat '${db:Status-Status}' python3-dev") == "installed"
