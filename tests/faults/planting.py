"""Installations whose every secret is known, and all that the program tells there; how it is made to fail there."""

import base64
import gc
import http.client
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import pytest

from dumacle_cli.__main__ import main
from dumacle_cli.clients import object_store, puts
from dumacle_cli.console import Console
from dumacle_cli.local import folder as folders
from dumacle_cli.local.servers import Servers
from dumacle_cli.settings import Settings, environment_names, is_secret
from tests import seed
from tests.faults.leaks import SIGNATURE, Searcher, nosy
from tests.promises import READING, example
from tests.stripe_double.double import StripeDouble, sign

LOUD = ("-vv", "--log-format", "json")

# All that may be seen, and where: what is shown once to whoever asked for it.
ALLOWED = {
    ("users grant-login", "stdout"): {"generated password"},
    ("db seed", "stdout"): {"generated password"},
    **{(f"files {verb}", "stdout"): {"store access key", "signature"} for verb in ("url", "initiate", "sign-parts")},
    # Its link is made to be opened by who looks at the screen.
    ("demo", "stderr"): {"embedded s3_access_key", "signature"},
}
# A server is told its keys by its environment, which only its own account can read.
ALLOWED_ENVIRONMENT = {
    "rclone": {
        *("store access key", "store secret key", "generated password"),
        *("embedded s3_access_key", "embedded s3_secret_key"),
    }
}


@dataclass
class Ear:
    """Runs the program in this process, and keeps all that it told."""

    searcher: Searcher
    heard: list[tuple[str, str, str]] = field(default_factory=list)

    def run(self, path: str, *argv: str | Path, out: TextIO | None = None) -> int:
        """Run a command, with its example where no arguments are given, and return its exit status."""
        told, err = out or io.StringIO(), io.StringIO()
        with redirect_stdout(told), redirect_stderr(err):
            status = main([*map(str, argv or example(path)), *LOUD] if path != "schema" else [*example(path), *LOUD])
        self.heard += [(path, "stdout", told.getvalue() if isinstance(told, io.StringIO) else "")]
        self.heard += [(path, "stderr", err.getvalue())]
        return status

    @property
    def last(self) -> str:
        """What the last run told on standard error."""
        return self.heard[-1][-1]

    def leaks(self) -> list[str]:
        """Return where which secret was heard that may not be; links that were told are secrets from then on."""
        for _, _, text in self.heard:
            for signature in SIGNATURE.findall(text):
                self.searcher.add("signature", signature)
        return [
            f"{path}, {channel}: {leak}"
            for path, channel, text in self.heard
            for leak in self.searcher.found(text, ALLOWED.get((path, channel), ()))
        ]


@pytest.fixture
def searcher(embedded: Servers, stripe_double: StripeDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[Searcher]:
    """The secrets of this installation, and all that the program makes from now on."""
    # What is searched for garbage is what this test makes, not all that was ever imported.
    gc.freeze()
    known = Searcher(
        {
            "password": embedded.owner_password,
            "password of the superuser": embedded.postgres_password,
            "store access key": embedded.s3_access_key,
            "store secret key": embedded.s3_secret_key,
            "key": seed.KEY.secret,
            "next key": seed.NEXT_KEY.secret,
            "key of Stripe": stripe_double.key,
            "secret of the webhook": stripe_double.secret,
        }
    )
    make = secrets.token_hex

    def recorded(size: int | None = None) -> str:
        made = make(size)
        if size and size >= 24:  # shorter ones are in names
            known.add("generated password", made)
        return made

    monkeypatch.setattr(secrets, "token_hex", recorded)
    yield known
    gc.unfreeze()


@pytest.fixture(scope="module")
def logged(embedded: Servers) -> Iterator[None]:
    """PostgreSQL's log is a curious administrator's."""
    with nosy(embedded.admin_url):
        yield


@pytest.fixture
def planted(
    searcher: Searcher, here: Path, environment: Callable[..., None], config_file: Path, data_folder: Path
) -> Callable[[], None]:
    """A function that gives a random secret to every setting that holds one and is not set yet."""
    environment(DUMACLE_DATA_DIR=str(data_folder))
    (here / "new-password").write_text(plant(searcher, "new password"))

    def rest() -> None:
        for name in filter(is_secret, Settings.model_fields):
            if environment_names(name)[0] not in os.environ:
                environment(**{environment_names(name)[0]: plant(searcher, name)})

    return rest


def plant(searcher: Searcher, name: str) -> str:
    """Make a secret with characters that are written in another way where a URL or JSON holds them."""
    made = f"{secrets.token_bytes(12).hex()}/+&é{secrets.token_bytes(4).hex()}"
    searcher.add(name, made)
    return made


@contextmanager
def settled(**variables: str) -> Iterator[pytest.MonkeyPatch]:
    """Let these environment variables be set inside, and whatever is patched be as it was afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield patch


def bug(searcher: Searcher, *, speaks: bool = True) -> Callable[..., Any]:
    """Return a function with a bug: it holds all secrets, and tells what it was given if it `speaks`."""

    def fail(*given: Any, **named: Any) -> Any:
        held = dict(searcher.secrets)
        try:
            held["no such"]
        except KeyError as inner:
            raise RuntimeError(f"a bug at {given} {named}" if speaks else "a bug") from inner

    return fail


def fail_at_the_store(ear: Ear, path: str) -> None:
    """Run a command where no store answers, with a bug in telling that."""
    with settled(DUMACLE_LOCAL_ENDPOINT="http://127.0.0.1:1", DUMACLE_PATIENCE="0s") as patch:
        # An endpoint that nobody answers at is the same a second later.
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        ear.run(path)
        for module in (object_store, puts):
            patch.setattr(module, "store_error", bug(ear.searcher))
        ear.run(path)


def fail_late(ear: Ear, path: str) -> None:
    """Run a command that has a bug where it asks the store, opens a credential, or shows its result."""
    # What a bug leaves half read is only closed when it is collected.
    with settled() as patch, warnings.catch_warnings(action="ignore", category=ResourceWarning):
        patch.setattr(object_store.ObjectStore, "_call", bug(ear.searcher))
        patch.setattr("dumacle_cli.services.credentials.unseal", bug(ear.searcher))
        patch.setattr(Console, "show", bug(ear.searcher, speaks=False))
        patch.setattr(Console, "write", bug(ear.searcher, speaks=False))
        ear.run(path)
        assert "Traceback" in ear.last or path not in READING
        gc.collect()


def learn_files(searcher: Searcher, here: Path, data: Path) -> None:
    """Look for the key that was made, and for the secrets of servers that were started."""
    if (here / "fresh.key").exists():
        searcher.add("fresh key", base64.b64decode((here / "fresh.key").read_bytes()))
    if (data / folders.SECRETS).exists():
        made = json.loads((data / folders.SECRETS).read_bytes())
        for name in made.keys() - {"login"}:
            searcher.add(f"embedded {name}", made[name])


def leaks_of_processes(searcher: Searcher, started: list[tuple[list[str], dict[str, str]]]) -> list[str]:
    leaks = []
    for argv, environment in started:
        program = Path(argv[0]).name
        leaks += searcher.found(" ".join(argv))
        given = ALLOWED_ENVIRONMENT.get(program, ())
        leaks += [f"{argv[:4]} {leak}" for leak in searcher.found("\n".join(environment.values()), given)]
    return leaks


@contextmanager
def process(*argv: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the program as a process of its own, as loud as it gets."""
    command = [sys.executable, "-m", "dumacle_cli", *argv, *LOUD]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as started:
        try:
            yield started
        finally:
            started.kill()


def deliver(listener: "subprocess.Popen[str]", account: StripeDouble) -> str:
    """Send a listener what is signed well, by another, and not at all; end it and return what it told."""
    assert listener.stderr
    first = ""
    while not first.startswith("listening on"):
        first = listener.stderr.readline()
        assert first
    place = urlsplit(first.split()[-1])
    body = b'{"id": "evt_9", "object": "event", "type": "customer.created", "data": {"object": {"id": "cus_1"}}}'
    for signature in (sign(body, account.secret), sign(body, "whsec_other"), b"nonsense"):
        connection = http.client.HTTPConnection(place.netloc, timeout=20)
        connection.request("POST", place.path, body, {"Stripe-Signature": signature})
        connection.getresponse().read()
        connection.close()
    listener.send_signal(signal.SIGTERM)
    return first + listener.communicate(timeout=60)[1]
