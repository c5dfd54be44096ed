"""What a person may type, set or write down, right or wrong, made from a seed: the same case for the same number."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dumacle_cli import commands
from dumacle_cli.settings import Settings, environment_names, is_secret
from tests.promises import PROMISES, example

LEAVES = dict(commands.walk())
# These begin servers or end them, and do so only on a folder that cannot be one.
APART = ("demo", "local start", "local stop", "local reset", "db bootstrap")
# These wait for something that may never come.
WAITING = ("transcode watch", "worker", "webhooks serve", "files show")
PATIENCE = ("--timeout", "5")

WORDS = (
    *("", " ", "-", "--", ".", "..", "/", "~", "*", "@", "=", "a=b", "--help", "-o", "json", "none", "null", "true"),
    *(
        "é",
        "Straße",
        "日本語",
        "İ",
        "ß",
        "\u202e",
        "\ufeff",
        "\u200b",
        "e\u0301",
        "🎬",
        "\udcff",
        "a\udce9b",
        "\x1b[31m",
    ),
    *("a\nb", "a\rb", "a\tb", "\x7f", "'", '"', "\\", "\\x00", "\\u0000", "%s%n", "{}", "{0.real}", "$(x)", "`x`", ";"),
    *("x" * 300, "x" * 5000, "a/b", "../../x", "a@b", "a@b@c", "ada@example.com", "films", "starter", "1", "evt_1"),
)
NUMBERS = (
    *("0", "-0", "-1", "1", "7", "1.5", "1e3", "1e309", "inf", "-inf", "nan", "0x10", "1_000", " 5 ", "+5", "9" * 20),
    *(
        "9" * 400,
        "9" * 5000,
        "²",
        "١٢",
        "１２",
        "½",
        "1,5",
        "1.000",
        "",
        "--1",
        "1-",
        "2147483648",
        "9223372036854775808",
    ),
)
SIZES = (*NUMBERS, "5GiB", "1.5 TiB", "8EiB", "1ZiB", "-5GiB", "GiB", "5GiBB", "１GiB", "1.GiB", ".5GiB", "5 G i B")
TIMES = (*NUMBERS, "30d", "12m", "1y", "12mo", "15min", "now", "2026-13-01", "0001-01-01", "9999-12-31T23:59:59-23:59")
TIMES += ("2026-01-31T12:00:00Z", "2026-01-31 12:00", "-5d", "999999999w", "0d", "d", "5 d", "infinity", "20260131")
PLACES = (
    *("", ".", "..", "/", "photos", "missing", "users.csv", "/nonexistent/x", "~", "~nobody", "x" * 5000, "a/" * 2500),
    *("\udcff", "/dev/full", "/dev/null", "/etc/shadow", "a\nb", "file:///x", "C:\\x", "photos/", "photos/0.jpg", "-"),
    *("file:next.key", "file:", "credential:x", "keyring:", "keyring:x", "file:/dev/null", "file:photos", "env:X"),
)
DATABASES = (
    *("", "x", ":", "//", "://", "postgresql", "postgresql:", "postgresql://", "postgresql:///", "postgresql://@"),
    *("postgresql://u@[::1/d", "postgresql://u@[::1]/d", "postgresql://u@::1/d", "postgresql://u@]/d"),
    *(
        f"postgresql://u@127.0.0.1:{port}/d"
        for port in ("", "0", "1", "-1", "abc", "99999", "65536", "1.5", "١", "9" * 30)
    ),
    *("host=127.0.0.1 port=1 dbname=d", "dbname=d", "postgres://u@127.0.0.1:1/d", "mysql://u@h/d", "sqlite:///x"),
    *("http://h", "postgresql+psycopg://u@127.0.0.1:1/d", "postgresql+asyncpg://u@h/d", "postgresql+x://u@h/d"),
    *("postgresql://u:p%zz@127.0.0.1:1/d", "postgresql://u:%00@127.0.0.1:1/d", "postgresql://127.0.0.1:1/%00"),
    *(
        f"postgresql://u@127.0.0.1:1/d?{query}"
        for query in (
            *(
                "x=1",
                "sslmode=x",
                "sslmode=verify-full",
                "connect_timeout=x",
                "connect_timeout=-5",
                "host=/nonexistent",
            ),
            *("host=/tmp,/x&port=1,2", "port=x", "options=-c%20x%3Dy", "service=x", "sslrootcert=/x&sslmode=verify-ca"),
            *("application_name=%ff", "password=x&password=y", "user=", "target_session_attrs=x", "&&", "=", "x", "#f"),
            *("host=%00", "port=%00", "channel_binding=require", "gssencmode=require", "keepalives=x", "dbname=e"),
        )
    ),
    *("postgresql://h1,h2/d", "postgresql://u@127.0.0.1:1,127.0.0.1:2/d", "postgresql://é@127.0.0.1:1/d"),
    *("postgresql://u@127.0.0.1:1/d/e", "postgresql://u@ /d", "postgresql://u@a b/d", "postgresql://u@%2Ftmp/d"),
    *("postgresql://u@127.0.0.1:1/\udcff", "\udcff", f"postgresql://{'h' * 300}/d", "postgresql://u@-/d", "a\nb"),
    *("postgresql://a@b@c/d", "postgresql://u:p@127.0.0.1:1", "POSTGRESQL://u@127.0.0.1:1/d", " postgresql://h/d"),
)
ENDPOINTS = (
    *("", "localhost", "localhost:1", "http://", "https://", "http:///x", "//h", "ftp://h", "unix:///x", "http://."),
    *(
        "http://[::1",
        "http://[::1]:1",
        "http://::1",
        "http://127.0.0.1:1",
        "HTTP://127.0.0.1:1/",
        "http://127.0.0.1:1/p?q#f",
    ),
    *(f"http://127.0.0.1:{port}" for port in ("0", "-1", "abc", "99999", "65536", "1.5", "", "١")),
    *("http://u:p@127.0.0.1:1", "http://é.invalid", "http://x y", "http://%zz", "http://-", f"http://{'a' * 300}"),
    *("http://xn--a", "\udcff", "http://127.0.0.1:1\n", "{}", "http://{bucket}", "http://127.0.0.1:1/{0}", "x" * 5000),
)
HOSTS = (
    "",
    " ",
    "localhost",
    "127.0.0.1",
    "::1",
    "[::1]",
    "[::1",
    "0.0.0.0",
    "256.1.1.1",
    "127.1",
    "é",
    "x y",
    "*",
    "\udcff",
)
HOSTS += (
    "127.0.0.1:80",
    "::ffff:127.0.0.1",
    "fe80::1%lo",
    "fe80::1",
    "192.0.2.1",
    "a" * 300,
    ":",
    "/tmp/x",
    "a\nb",
    ".",
)
SECRETS = (*WORDS, "whsec_x", "whsec_x, whsec_y", "sk_test_1", "sk_test_é", "a" * 10_000, ",", "whsec_\udcff")

TOML_VALUES = (
    *("1", "-1", "1.5", "inf", "nan", "true", '""', "'x'", "[]", "['a']", "{}", "{a = 1}", "2026-01-01", "12:00:00"),
    *("9" * 400, "9" * 5000, "0x10", '"\\u0000"', '"\\ud800"', "[" * 50, "[" * 3000, '"a', "'''", "1__0", "null", "é"),
)
TOML = (
    *("x", "= 1", "[", "]", "[]", "[[profiles]]", "[[profiles.x]]", "profiles = 3", "profiles = ['x']", "profile = 1"),
    *("profile = ['x']", "profile = {}", "profile = ''", "profile = 'x'", "[profiles]\nx = 1\n[y]", "a.b.c = 1"),
    *(
        "profile = 'x'\n[profiles]\nx = 1",
        "profile = 'x'\n[profiles.x]\nprofile = 'x'",
        "profile = 'x'\n[profiles.x.y]",
    ),
    *("profile = 'x'\n[profiles.x]\nlisten_port = 'y'", "[profiles.x]\nz = 1", "[profiles.'']", "[profiles.'a b']"),
    *(
        "listen_port = 1\nlisten_port = 2",
        "\ufeffprofile = 'x'",
        "\0",
        "listen_port = 1\r",
        "#" * 10_000,
        "\n" * 10_000,
    ),
    *("LISTEN_PORT = 1", "listen-port = 1", "'listen_port' = 1", "no_such_setting = 1", "profile = true", "'' = 1"),
)


@dataclass(slots=True)
class Case:
    """One run: its arguments, what is set, the configuration file's bytes, standard input, and its surroundings."""

    number: int
    argv: list[str]
    environ: dict[str, str] = field(default_factory=dict)
    config: bytes | None = None
    stdin: bytes = b""
    surroundings: str = ""

    def __str__(self) -> str:
        parts = [json.dumps(self.argv), *(f"{name}={value!r}"[:200] for name, value in self.environ.items())]
        return " ".join(
            [*parts, *([f"config={self.config[:200]!r}"] if self.config else []), self.surroundings]
        ).strip()


def case(seed: int, number: int, surroundings: Sequence[str]) -> Case:
    """Make the case of this number; one in ten runs in surroundings of these names."""
    chance = random.Random(f"{seed}:{number}")
    make = chance.choices((_typed, _settings, _file, _surrounded), (50, 30, 10, 10))[0]
    made: Case = make(chance, number)
    if make is _surrounded:
        made.surroundings = chance.choice(surroundings)
    elif chance.random() < 0.3:
        made.argv += ["-o", chance.choice(("json", "jsonl", "csv"))]
    return made


def _typed(chance: random.Random, number: int) -> Case:
    path = chance.choice(list(PROMISES))
    argv = example(path)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        chance.choice((_exchange, _exchange, _add, _add, _add, _leave_out, _insert))(chance, path, argv)
    stdin = chance.choice((b"", b"a word\n", b"\xff\xfe", b"a" * 100_000, b"\0", b"line\n" * 3))
    return _apart(Case(number, _patient(path, argv), stdin=stdin), path)


def _exchange(chance: random.Random, path: str, argv: list[str]) -> None:
    at = chance.randrange(len(argv) + 1)
    argv[at : at + 1] = [chance.choice((*WORDS, *NUMBERS, *SIZES, *TIMES, *PLACES))]


def _leave_out(chance: random.Random, path: str, argv: list[str]) -> None:
    if argv:
        argv.pop(chance.randrange(len(argv)))


def _insert(chance: random.Random, path: str, argv: list[str]) -> None:
    argv.insert(chance.randrange(len(argv) + 1), chance.choice((*WORDS, "-q", "-vv", "--yes", "--dry-run", "--all")))


def _add(chance: random.Random, path: str, argv: list[str]) -> None:
    param: Any = chance.choice(LEAVES[path].params)
    odd = chance.choice((WORDS, NUMBERS, SIZES, TIMES, PLACES))
    choices = [str(choice) for choice in param.type_descriptor.choices or ()]
    if param.param_type_name == "argument":
        argv.append(chance.choice(odd))
    elif param.is_flag or param.count:
        argv.append(chance.choice(param.opts))
    else:
        value = chance.choice(choices or odd) if chance.random() < 0.5 else chance.choice(odd)
        argv += [f"{max(param.opts, key=len)}={value}"] if chance.random() < 0.5 else [chance.choice(param.opts), value]


def _settings(chance: random.Random, number: int) -> Case:
    path = chance.choice(list(PROMISES))
    argv, environ, config = example(path), {}, ""
    for name in chance.sample(list(Settings.model_fields), chance.choice((1, 1, 2, 3))):
        value = chance.choice(_pool(name))
        how = chance.random()
        if how < 0.5:
            environ[chance.choice(environment_names(name))] = value
        elif how < 0.75:
            argv += ["--set", f"{name}={value}"]
        else:
            config += f"{name} = {chance.choice((json.dumps(value), chance.choice(TOML_VALUES)))}\n"
    made = Case(number, _patient(path, argv), environ, config.encode("utf-8", "surrogateescape") or None)
    return _apart(made, path)


def _pool(name: str) -> Sequence[str]:
    """Return values for a setting: odd ones of its own kind, and some of others."""
    kinds: dict[Callable[[str], bool], Sequence[str]] = {
        lambda name: name.endswith("database_url"): DATABASES,
        lambda name: name.endswith(("_endpoint", "_url", "_base")): ENDPOINTS,
        lambda name: name == "listen_host": HOSTS,
        is_secret: SECRETS,
        lambda name: name in ("password_file", "embedded", "data_dir", "scratch_dir", "ffmpeg", "key_source"): PLACES,
        lambda name: name.endswith("_size"): SIZES,
        lambda name: name.endswith(("_bucket", "_region", "_namespace", "installation", "_provider")): WORDS,
    }
    own = next((pool for is_one, pool in kinds.items() if is_one(name)), NUMBERS)
    return (*own, *own, *own, *WORDS, *NUMBERS)


def _file(chance: random.Random, number: int) -> Case:
    path = chance.choice(("config list", "config path", "config set", "doctor", "users list", "local status", "schema"))
    text = chance.choice(TOML)
    if chance.random() < 0.5:
        name = chance.choice(list(Settings.model_fields))
        text = f"{name} = {chance.choice(TOML_VALUES)}\n{text if chance.random() < 0.3 else ''}"
    raw = text.encode("utf-8", "surrogateescape")
    raw = chance.choice((raw, raw, raw, raw + b"\xff", b"\xff\xfe" + raw, text.encode("utf-16", "replace")))
    argv = example(path) + (["--profile", chance.choice((*WORDS, "x", "x"))] if chance.random() < 0.4 else [])
    return Case(number, argv, {}, raw)


def _surrounded(chance: random.Random, number: int) -> Case:
    path = chance.choice(list(PROMISES))
    argv = example(path) if chance.random() < 0.7 else [*example(path), chance.choice(WORDS)]
    odd = chance.choice(([], [], ["--help"], ["-q"], ["-o", "json"], ["--color", "always"], ["-v"]))
    return _apart(Case(number, _patient(path, argv) + odd), path)


def _patient(path: str, argv: list[str]) -> list[str]:
    return [*PATIENCE, *argv] if path in WAITING else argv


def _apart(made: Case, path: str) -> Case:
    """Let what starts or ends servers do so in no folder, whatever else was said of that."""
    words = " ".join(made.argv)
    if path in APART or any(name in words for name in APART):
        made.environ = {"DUMACLE_DATA_DIR": "users.csv/none"}
        made.config = None
        made.argv = [word for word in made.argv if "data_dir" not in word and "embedded" not in word]
    return made
