"""Which proxy to use for a URL: the same for every HTTP client in Dumacle.

Lower-case variables win over upper-case ones, and `https_proxy` and `http_proxy` win over `all_proxy`. Local addresses
never use a proxy. `no_proxy` lists hosts (each includes its subdomains), networks such as 10.0.0.0/8, or `*` for all;
an entry `host:port` applies only to that port.
"""

import os
import socket
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from dumacle_cli.errors import InvalidValue

SCHEMES = ("http", "https")
PORTS = {"http": 80, "https": 443}


def proxy_of(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the URL of the proxy to use for a URL, or None; raises InvalidValue."""
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or PORTS.get(parts.scheme)
    variable, given = _variable(parts.scheme, environ)
    if not given or is_this_machine(host) or _is_excepted(host, port, _either("no_proxy", environ)[1]):
        return None
    proxy = given if "://" in given else f"http://{given}"
    if urlsplit(proxy).scheme not in SCHEMES or not urlsplit(proxy).hostname:
        reason = "it must be the URL of an HTTP proxy, such as http://proxy.example.com:3128"
        raise InvalidValue(name=variable, reason=reason)
    return proxy


def is_this_machine(host: str) -> bool:
    """Return whether a host name or address is local to this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(_number(host))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _variable(scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    found = _either(f"{scheme}_proxy", environ)
    return found if found[1] else _either("all_proxy", environ)


def _either(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    variable = name if environ.get(name) else name.upper()
    return variable, environ.get(variable, "").strip()


def _number(host: str) -> str:
    """Return an IPv4 address in dotted form: the system also accepts 127.1 and 2130706433."""
    if host and all(char in "0123456789abcdefx." for char in host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            return host
    return host.partition("%")[0]


def _is_excepted(host: str, port: int | None, listed: str) -> bool:
    return any(_matches(host, port, entry.strip().lower()) for entry in listed.replace(" ", ",").split(",") if entry)


def _matches(host: str, port: int | None, entry: str) -> bool:
    if entry == "*":
        return True
    try:
        return ip_address(_number(host)) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, _, bound = entry.rpartition(":") if entry.count(":") == 1 or "]:" in entry else (entry, "", "")
    if bound and bound != str(port):
        return False
    name = name.strip("[]").removeprefix("*").lstrip(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
