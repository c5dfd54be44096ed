"""Passwords in the URL of a database, wherever libpq accepts them."""

import pytest

from dumacle_cli.clients.passwords import bare, with_login
from dumacle_cli.settings import password_of

pytestmark = pytest.mark.unit

HUSH = "hu/sh @1"
URLS = [
    "postgresql://ada:hu%2Fsh%20%401@db:5432/films?host=a&connect_timeout=3",
    "postgresql://ada@db:5432/films?host=a&password=hu%2Fsh%20%401&connect_timeout=3",
    "postgresql://ada@db:5432/films?p%61ssword=hu%2Fsh%20%401&host=a&connect_timeout=3",
]
BARE = "postgresql://ada@db:5432/films?host=a&connect_timeout=3"


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_found_and_taken_out(url: str) -> None:
    assert password_of(url) == HUSH
    assert bare(url) == BARE
    assert with_login(url, "bob", "a:b") == BARE.replace("ada@", "bob:a%3Ab@")


@pytest.mark.parametrize("url", [BARE, "postgresql:///films", "postgresql:///films?host=/run/a%20b&user=ada"])
def test_a_url_without_one_stays_as_it_was_typed(url: str) -> None:
    assert password_of(url) == ""
    assert bare(url) == url
