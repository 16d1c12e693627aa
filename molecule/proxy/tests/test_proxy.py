"""What NGINX does for two apps that are deployed for real, each rule seen from outside."""

import pytest
from public import Public


@pytest.mark.parametrize("version", ["1.1", "2", "3"])
def test_versions(public: Public, name: str, version: str) -> None:
    """All versions of HTTP that the distribution's NGINX has are spoken; the newest is offered if it is there."""
    has_it = name == "debian13"
    if version == "3" and not has_it:
        assert public.host.check_output("ss -Hlun sport = :443") == ""
        return
    answer = public.ask("mirror.test/", f"--http{version}" + "-only" * (version == "3"))
    assert answer.version == version
    assert answer.header("alt-svc") == ('h3=":443"; ma=86400' if has_it else None)
    assert answer.seen["headers"]["host"] == "mirror.test"
