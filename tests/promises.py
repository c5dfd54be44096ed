"""Every command by its path with what it declares, sorted by what it does; the contract tests walk them."""

import shlex

from dumacle_cli import commands
from dumacle_cli.commands.command import Effect

PROMISES = {path: leaf.declaration for path, leaf in commands.walk() if leaf.declaration}
ENDING = [path for path, promise in PROMISES.items() if promise.effect is not Effect.SERVES]
# The demo takes half a minute and servers of its own, so a test of its own runs it.
WALKED = [path for path in ENDING if path != "demo"]
# A check that finds nothing prints no row, nor does a report on an example's rendition, which has no picture.
_SILENT = (
    *("pods check", "pods cors check", "pods reconcile", "plans adopt"),
    *("quotas verify", "transcode report", "webhooks events replay"),
)
PRINTING = [path for path in WALKED if path not in _SILENT]
DOCUMENTS = [path for path in WALKED if PROMISES[path].output]
READING = [path for path in DOCUMENTS if not PROMISES[path].changes]
MUTATIONS = [path for path in DOCUMENTS if PROMISES[path].changes]
# The next migration would be written into the checkout, so its example is a dry run already.
REHEARSED = [path for path in MUTATIONS if "--dry-run" not in PROMISES[path].example]
OPERATIONS = [path for path in MUTATIONS if PROMISES[path].effect is Effect.CHANGES]
CONFIRMING = [path for path in MUTATIONS if PROMISES[path].confirms]
NEED_NOTHING = ("demo", "local", "config", "schema", "completion", "key create")
CONFIGURED = [path for path in PROMISES if not path.startswith(NEED_NOTHING)]
_GO_ON = (
    "doctor",  # that the database is down is one finding of many, so it goes on and exits 1
    "auth status",  # it tells where the password comes from, and then what the server said: it exits 10 with a document
    "auth logout",  # who has no session, as where its example runs, is logged out without asking anybody
)
DATABASE = [path for path in CONFIGURED if path not in _GO_ON]


def example(path: str) -> list[str]:
    """Return the arguments of a command's example."""
    return shlex.split(PROMISES[path].example)[1:]
