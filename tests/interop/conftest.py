"""Tests against other projects' released packages: they need environments that only `make interop` builds."""

from collections.abc import Callable

import pytest

from tests.interop.environments import PACKAGE_SETS, PackageSet

collect_ignore_glob = ["inside/*"]  # what runs in an environment is imported only there


@pytest.fixture
def built(record_property: Callable[[str, object], None]) -> Callable[[str], PackageSet]:
    """Gives a built environment by its name; the test skips without it."""

    def get(name: str) -> PackageSet:
        wanted = PACKAGE_SETS[name]
        record_property("environment", name)
        if wanted.interpreter is None:
            pytest.skip(f"needs the environment {name}, which is not built; run `make interop`")
        return wanted

    return get
