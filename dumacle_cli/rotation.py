"""Signing secrets that change while the listener runs: they are read again when a file that may give them changes."""

from collections.abc import Callable, Sequence
from pathlib import Path

from dumacle_cli.clients import signatures
from dumacle_cli.clients.signatures import Secret
from dumacle_cli.errors import DeliveryRefused, DumacleError

State = list[tuple[int, int, int] | None]
"""The inode, size and time of change of each file; None for one that is not there."""


class SecretsInForce:
    """The secrets that sign deliveries; `load` reads them, and `files` are those that it reads."""

    def __init__(
        self, load: Callable[[], list[Secret]], files: Sequence[Path], log: Callable[[str], None] = print
    ) -> None:
        self._load = load
        self._files = files
        self._log = log
        self._state = self._look()
        self.known = load()
        self.unnoted = True
        """Whether they changed since they were noted in the database."""

    def verify(self, body: bytes, header: bytes, now: float) -> Secret:
        """Return the secret that signed a delivery, also if it was added a moment ago; raises DeliveryRefused."""
        try:
            return signatures.verify(body, header, self.known, now)
        except DeliveryRefused:
            if not self.renew():
                raise
            return signatures.verify(body, header, self.known, now)

    def renew(self) -> bool:
        """Read the secrets again if a file changed; return whether they did. What cannot be read changes nothing."""
        state = self._look()
        if state == self._state:
            return False
        self._state = state
        try:
            found = self._load()
        except DumacleError as error:
            self._log(f"the signing secrets stay as they were: {error}")
            return False
        changed, self.known = found != self.known, found
        if changed:
            self.unnoted = True
            self._log(f"the signing secrets are now: {', '.join(secret.label for secret in found)}")
        return changed

    def _look(self) -> State:
        return [_state(file) for file in self._files]


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
