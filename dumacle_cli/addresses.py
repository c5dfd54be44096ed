"""Checks of URLs and regions: each returns its argument unchanged, or raises ValueError with the reason."""

import re
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

# Including surrogates, which stand for bytes that are not UTF-8.
_FORBIDDEN = re.compile("[\x00-\x20\x7f\ud800-\udfff]")
_REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


def web(url: str) -> str:
    """Check an HTTP or HTTPS URL."""
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must be a URL such as https://s3.example.com")
    _check_host(parts.hostname)
    return url


def database(url: str) -> str:
    """Check the URL of a database."""
    # An @ that does not precede the host is part of a password: the parser would take the rest of it for the host.
    host = re.split("[/?#]", url.partition("://")[2])[0]
    if url.count("@") > 1 or url.count("@") > host.count("@"):
        raise ValueError(
            "it must be like postgresql://user:password@host/database; in a password, write @ as %40, / as %2F, "
            "? as %3F, # as %23"
        )
    parts = _split(url)
    if not parts.scheme.startswith("postgres") or "://" not in url:
        raise ValueError("it must be a URL such as postgresql://user@host:5432/database")
    if "," in parts.netloc and ":" in parts.netloc.rpartition("@")[2]:
        raise ValueError("several hosts with ports must be written as ?host=one:5432&host=another:5432")
    if "\0" in unquote(url):
        raise ValueError("it must not contain %00")
    for hosts in (unquote(parts.hostname or ""), *parse_qs(parts.query).get("host", ())):
        for host in hosts.split(","):
            # A host that begins with / or @ is the folder of a Unix socket.
            if host and host[0] not in "/@":
                _check_host(host)
    return url


def region(name: str) -> str:
    """Check the name of a provider's region."""
    if not _REGION.fullmatch(name):
        raise ValueError("it must consist of letters, digits and hyphens, such as eu-central-1")
    return name


def _check_host(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("its host is not a valid host name") from None


def _split(url: str) -> SplitResult:
    if _FORBIDDEN.search(url):
        raise ValueError("it must not contain spaces or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("its host must be a name, an IPv4 address, or an IPv6 address in [brackets]") from None
    port = re.search(r":([^:\]]*)$", parts.netloc.rpartition("@")[2])
    if port and not (re.fullmatch("[0-9]{1,5}", port[1]) and 0 < int(port[1]) < 65_536):
        raise ValueError("its port must be a number from 1 to 65535")
    return parts
