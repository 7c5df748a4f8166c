"""Shared by the tests of converters."""

import pytest


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in" / "images").mkdir(parents=True)
    return tmp_path / "in"
