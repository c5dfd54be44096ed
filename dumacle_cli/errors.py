"""Everything that can go wrong: one class a case, with its sentence, its fix and its exit status.

`code` is the class name in kebab-case; scripts may rely on it. Callers must treat an exit status that
they do not know as a failure.
"""

import re
from collections.abc import Mapping
from enum import IntEnum

from dumacle_cli.escapes import Sentences, quoted, safe


class Exit(IntEnum):
    """What the exit status of every command means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    LOGIN = 4
    FORBIDDEN = 5
    NOT_FOUND = 6
    CONFLICT = 7
    LIMIT = 8
    LOCKED = 9
    TEMPORARY = 10
    UNKNOWN = 11
    INTEGRITY = 12
    INTERRUPTED = 130
    TERMINATED = 143


MEANING: dict[Exit, str] = {
    Exit.DONE: "done, also when there was nothing to do",
    Exit.FAILED: "failed",
    Exit.USAGE: "wrong usage, or not configured",
    Exit.PARTIAL: "partly done; every item is accounted for in the output",
    Exit.LOGIN: "not logged in, or the login expired",
    Exit.FORBIDDEN: "forbidden",
    Exit.NOT_FOUND: "not found",
    Exit.CONFLICT: "conflict with what exists",
    Exit.LIMIT: "a limit refused it: quota, capacity or guard",
    Exit.LOCKED: "locked by another, where the work cannot be shared",
    Exit.TEMPORARY: "temporary; repeating it is safe",
    Exit.UNKNOWN: "the outcome is unknown; look the operation up before repeating",
    Exit.INTEGRITY: "integrity: stored and expected content differ",
    Exit.INTERRUPTED: "interrupted (SIGINT)",
    Exit.TERMINATED: "terminated (SIGTERM)",
}


class DumacleError(Exception):
    """The base of all errors that a person is told about in one sentence.

    `sentence` and `fix` are format strings that the keywords of the constructor fill, `{name!q}` as a word to be typed.
    Neither holds a control character, wherever the facts came from.
    """

    exit = Exit.FAILED
    sentence = "{reason}"
    fix = ""

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(safe(_filled(self.sentence, facts)))

    @property
    def code(self) -> str:
        """The stable name of this error for scripts, such as `pod-full`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(self).__name__).lower()

    @property
    def remedy(self) -> str:
        """What to do about it, in one sentence; empty where nothing can be advised."""
        return safe(_filled(self.fix, self.facts))


def _filled(sentence: str, facts: Mapping[str, object]) -> str:
    return Sentences().vformat(sentence, (), facts)


# Usage and configuration


class UsageError(DumacleError):
    """What was typed is wrong."""

    exit = Exit.USAGE
    sentence = "{reason}"
    fix = "see: {command} --help"

    def __init__(self, reason: str, command: str = "dumacle") -> None:
        super().__init__(reason=reason, command=command)


class EmptyArgument(DumacleError):
    """An argument or option was given without a value, as by a script's unset variable; it is not taken for absent."""

    exit = Exit.USAGE
    sentence = "{name} is empty: give a value or leave it out"
    fix = "see: {command} --help"


class InvalidValue(DumacleError):
    """A value was given that cannot be used."""

    exit = Exit.USAGE
    sentence = "{name} cannot be {value}: {reason}"
    fix = "{advice}"

    def __init__(self, *, advice: str = "", **facts: object) -> None:
        super().__init__(advice=advice or f"correct {facts['name']} and repeat the command", **facts)


class NoDatabase(DumacleError):
    """No setting says where PostgreSQL is."""

    exit = Exit.USAGE
    sentence = "no database is configured: run `dumacle demo`, `dumacle local start`, or set DUMACLE_DATABASE_URL"


class NoServer(NoDatabase):
    """No setting says where PostgreSQL can be reached as its superuser."""

    fix = "for this command, set DUMACLE_ADMIN_DATABASE_URL to a superuser's"


class SecretTyped(DumacleError):
    """A secret stood on the command line, which everybody on the machine can read; it is not repeated here."""

    exit = Exit.USAGE
    sentence = "{name} holds a secret, which may not stand on the command line"
    fix = "write it to standard input, and type: dumacle config set {name} -"


class NotConfigured(DumacleError):
    """A setting that this command needs is empty."""

    exit = Exit.USAGE
    sentence = "{what} is not configured"
    fix = "set {setting} (see: dumacle config list)"


class UnreadableConfig(DumacleError):
    """A configuration file is there and cannot be read, or was named and is not there; it is never skipped."""

    exit = Exit.USAGE
    sentence = "the configuration file {file} cannot be used: {reason}"
    fix = "correct it, its owner or its mode, or name another by DUMACLE_CONFIG"


class UnwritableConfig(DumacleError):
    """A configuration file cannot be changed; what it was before stays."""

    exit = Exit.USAGE
    sentence = "the configuration file {file} was not changed: {reason}"
    fix = "correct it, its owner or its mode, or name another by DUMACLE_CONFIG"


class ConfigLocked(DumacleError):
    """Another command has been changing the configuration file for too long."""

    exit = Exit.LOCKED
    sentence = "the configuration file {file} was not changed: another command holds its lock, for {seconds:g} s now"
    fix = "repeat it; to see who holds the lock: fuser {lock}"


class SettingsContradict(DumacleError):
    """Two sources name different things, and it cannot be told which one is meant."""

    exit = Exit.USAGE
    sentence = "two sources name the {subject}: {first} ({name}) and {second}"
    fix = "take one of them away; all are shown by: dumacle config list --show-origin"


class NoSuchProfile(DumacleError):
    """The profile that was asked for is in no configuration file."""

    exit = Exit.USAGE
    sentence = "there is no profile {profile}"
    fix = "known profiles: {known}"


class NoTerminal(DumacleError):
    """A question had to be asked, and there is nobody to ask."""

    exit = Exit.USAGE
    sentence = "this needs a confirmation, and standard input is not a terminal"
    fix = "repeat it with {flag}"


class NoPassword(NoTerminal):
    """A password had to be typed, and there is nobody to type it."""

    sentence = "this needs a password, and standard input is not a terminal"


class PasswordFileRefused(DumacleError):
    """A file that should hold a password cannot be used."""

    exit = Exit.USAGE
    sentence = "the password file {file} {reason}"
    fix = "{advice}"


class MissingExtra(DumacleError):
    """An optional part of the installation is absent."""

    exit = Exit.USAGE
    sentence = "{what} is not installed"
    fix = "pip install 'dumacle[{extra}]'"


class Declined(DumacleError):
    """The person answered no."""

    exit = Exit.FAILED
    sentence = "nothing was changed: not confirmed"


# The database


class BrokenOff(DumacleError):
    """A transaction was rolled back for a reason that lies at the database."""


class DatabaseUnavailable(BrokenOff):
    """PostgreSQL cannot be reached, or broke off before anything was committed."""

    exit = Exit.TEMPORARY
    sentence = "the database cannot be reached: {reason}"
    fix = "repeat the command when the database is back"


class DatabaseRefused(DumacleError):
    """PostgreSQL refused the login."""

    exit = Exit.LOGIN
    sentence = "the database refused the login: {reason}"
    fix = "log in anew with: dumacle auth login; or check DUMACLE_DATABASE_URL (see: dumacle auth status)"


class NotLoggedIn(DatabaseRefused):
    """PostgreSQL wants a password, and none was found."""

    sentence = "you are not logged in: {reason}"
    fix = "dumacle auth login"


class LoginExpired(DumacleError):
    """The session that is kept is past its end."""

    exit = Exit.LOGIN
    sentence = "your login expired at {until:%Y-%m-%d %H:%M:%SZ}"
    fix = "dumacle auth login"


class SessionNotKept(DumacleError):
    """A login was right, and there is nobody to keep its session; it was not opened."""

    sentence = "the session cannot be kept: {reason}"
    fix = "keep it in a file of mode 0600: dumacle auth login --store file"


class LoginBarred(DumacleError):
    """PostgreSQL let the login in, and it may do nothing there."""

    exit = Exit.LOGIN
    sentence = "{reason}"
    fix = "{advice}"


class DatabaseBusy(BrokenOff):
    """A lock, a deadlock or a serialization failure outlasted the retries."""

    exit = Exit.TEMPORARY
    sentence = "the database is busy: {reason}"
    fix = "repeat the command"


class DatabaseFull(BrokenOff):
    """PostgreSQL ran out of connections, memory or disk."""

    exit = Exit.TEMPORARY
    sentence = "the database has no room: {reason}"
    fix = "free connections or disk on the server, then repeat"


class DatabaseReadOnly(BrokenOff):
    """The server is a standby, or is set read-only."""

    exit = Exit.TEMPORARY
    sentence = "the database does not take writes now: {reason}"
    fix = "point DUMACLE_DATABASE_URL to the primary, or repeat later"


class DatabaseForbidden(DumacleError):
    """PostgreSQL refused a statement for lack of privilege."""

    exit = Exit.FORBIDDEN
    sentence = "the database does not allow that to this login: {reason}"
    fix = "ask a superadmin, or use another login"


class Forbidden(DatabaseForbidden):
    """The role of whoever acts does not do that."""

    sentence = "{what} needs the role {role}"
    fix = "ask somebody who has it; who you are says: dumacle auth whoami"


class NotOwner(Forbidden):
    """Only the owner of the schema may change it."""

    sentence = "this needs the owner of the schema, {owner}"
    fix = "repeat the command as that role: set DUMACLE_DATABASE_URL to it"


class DatabaseFault(BrokenOff):
    """PostgreSQL refused a statement for a reason that no command foresees."""

    exit = Exit.FAILED
    sentence = "the database refused a statement ({state}): {reason}"
    fix = "see: dumacle doctor"


class OutOfBounds(DumacleError):
    """A text is too long for the database, or a time lies outside of the years that everybody can read."""

    exit = Exit.USAGE
    sentence = "a value is too long, or outside of the years 1970 to 2999 (table {table}, {kind})"
    fix = "shorten it, or give another time: see docs/data-model.md"


class CommitUnknown(DumacleError):
    """COMMIT was sent, its answer was lost, and the operation could not be looked up."""

    exit = Exit.UNKNOWN
    sentence = "the connection was lost at COMMIT; whether operation {operation} took effect is not known"
    fix = "repeat the command with --op-id {operation!q}: it takes effect once"


class DatabaseTooOldServer(DumacleError):
    """The PostgreSQL server is older than Dumacle needs."""

    exit = Exit.USAGE
    sentence = "PostgreSQL {version} is too old: 16 or newer is needed"
    fix = "upgrade the server, or set DUMACLE_DATABASE_URL to another"


class SchemaMissing(DumacleError):
    """The database holds no Dumacle schema."""

    exit = Exit.USAGE
    sentence = "the database has no Dumacle schema yet"
    fix = "dumacle db upgrade"


class SchemaTooOld(DumacleError):
    """The schema is older than this program works with."""

    exit = Exit.USAGE
    sentence = "the database schema is {found}, and this program needs {needed}"
    fix = "dumacle db upgrade"


class SchemaTooNew(DumacleError):
    """The schema is newer than this program knows."""

    exit = Exit.USAGE
    sentence = "the database schema is {found}, newer than this program knows ({needed})"
    fix = "install the Dumacle release that made it"


class MigrationRunning(DumacleError):
    """Another session has the lock of migrations."""

    exit = Exit.LOCKED
    sentence = "another session has the lock of migrations: {holder}"
    fix = "wait for it to end, or end it: SELECT pg_terminate_backend(PROCESS); then repeat"


class BootstrapRunning(DumacleError):
    """Another session has the lock of bootstraps."""

    exit = Exit.LOCKED
    sentence = "another session has the lock of bootstraps: {holder}"
    fix = "wait for it to end, or end it: SELECT pg_terminate_backend(PROCESS); then repeat"


# What is asked for, and what exists


class NotFound(DumacleError):
    """There is no such thing."""

    exit = Exit.NOT_FOUND
    sentence = "there is no {noun} {name}"
    fix = "look with: dumacle {noun}s list"

    def __init__(self, *, guess: str = "", **facts: object) -> None:
        self.guess = guess
        super().__init__(**facts)

    @property
    def remedy(self) -> str:
        """What to do about it; where a name was typed in another form of Unicode, that name."""
        return f"did you mean {quoted(self.guess)}? Or {super().remedy}" if self.guess else super().remedy


class NoSuchSource(NotFound):
    """What is to be uploaded is not there."""

    fix = "look at the path; it is taken from the folder you are in"


class NoSuchTranscode(NotFound):
    """There is no transcode of this number."""

    sentence = "there is no transcode {name}"
    fix = "look with: dumacle transcode list"


class NoSuchRendition(NotFound):
    """The present content of a file has no rendition of this name."""

    sentence = "file {file} has no rendition {name}; it has {known}"
    fix = "make it with: dumacle transcode submit {file!q} --preset PRESET"


class NoSuchEvent(NotFound):
    """No event of this id was delivered."""

    fix = "look with: dumacle webhooks events list"


class NoSuchChange(NotFound):
    """No change was recorded under this id."""

    fix = "look with: dumacle audit list"


class NoSuchSchema(NotFound):
    """No command has an output of this name."""

    fix = "look with: dumacle schema"


class NoSuchSession(NotFound):
    """No session login that one may see has this name."""

    fix = "look with: dumacle auth sessions list"


class NoSuchLogin(NotFound):
    """The user has no login."""

    sentence = "there is no login of {name}"
    fix = "make one with: dumacle users grant-login"


class NoSuchPreset(NotFound):
    """No preset has this name."""

    fix = "look with: dumacle transcode presets list"


class NoSuchSubscription(NotFound):
    """The user has none, or no subscription has this id."""

    sentence = "there is no subscription {name}"
    fix = "look with: dumacle plans subscriptions list"


class AlreadyExists(DumacleError):
    """The name is taken."""

    exit = Exit.CONFLICT
    sentence = "{noun} {name} exists already"
    fix = "choose another name, or change that one with: dumacle {noun}s update"


class Conflict(DumacleError):
    """What was asked for contradicts what exists."""

    exit = Exit.CONFLICT
    sentence = "{reason}"
    fix = "{advice}"


class OperationReused(DumacleError):
    """An operation id was given again for another command."""

    exit = Exit.CONFLICT
    sentence = "operation {operation} was already used for other parameters of {command}"
    fix = "use a new --op-id"


class TooMany(DumacleError):
    """A bulk command would touch more than --max allows."""

    exit = Exit.LIMIT
    sentence = "this would touch {count} {noun}s, and --max is {maximum}"
    fix = "narrow the filter, or raise --max"


# Limits


class QuotaExceeded(DumacleError):
    """A quota of the user is used up."""

    exit = Exit.LIMIT
    sentence = "the {metric} quota of {user} is used up: {left} left of {limit}, {wanted} needed"
    fix = "dumacle quotas set {user!q}, or a bigger plan: dumacle plans change {user!q} PLAN"


class PodFull(DumacleError):
    """A pod has no room for what is to be stored."""

    exit = Exit.LIMIT
    sentence = "pod {pod} is full: {free} free, {wanted} needed"
    fix = "dumacle pods update {pod!q} --capacity SIZE, or: dumacle files purge"


class SessionsFull(DumacleError):
    """The user is logged in in as many places as he may be."""

    exit = Exit.LIMIT
    sentence = "{reason}"
    fix = "{advice}"


class OperationsFull(SessionsFull):
    """The user changed as much as the installation keeps a record of."""


class UserDisabled(DumacleError):
    """The user may do nothing now."""

    exit = Exit.FORBIDDEN
    sentence = "user {user} is disabled"
    fix = "dumacle users enable {user!q}"


class NotGranted(DumacleError):
    """The user may not use the pod."""

    exit = Exit.FORBIDDEN
    sentence = "user {user} has no grant on pod {pod}"
    fix = "dumacle pods grant {pod!q} {user!q}"


class RunBusy(DumacleError):
    """The same upload is being done by a process that is alive."""

    exit = Exit.LOCKED
    sentence = "this upload is being done already: run {run}, process {pid} on {host}"
    fix = "wait for it to end; what it uploads is not uploaded twice"


class StoppedAfter(DumacleError):
    """A bulk command met as many failures as it may."""

    exit = Exit.PARTIAL
    sentence = "stopped after {count} failures, the first being {first}"
    fix = "mend the cause and repeat the command; what was done is kept"


# Object stores


class StoreUnavailable(DumacleError):
    """The object store cannot be reached or answered with a passing fault."""

    exit = Exit.TEMPORARY
    sentence = "{provider} at {endpoint} cannot be used now: {reason}"
    fix = "repeat the command; what was done is kept"


class StoreRefused(DumacleError):
    """The object store refused the keys or the request for good."""

    exit = Exit.FORBIDDEN
    sentence = "{provider} at {endpoint} refused: {reason}"
    fix = "check the keys and the bucket with: dumacle doctor"


class ObjectMissing(DumacleError):
    """The store has no object at this key."""

    exit = Exit.INTEGRITY
    sentence = "the object {key} is missing at {provider}"
    fix = "dumacle files verify"


class UploadLost(DumacleError):
    """The store no longer knows this multipart upload."""

    exit = Exit.TEMPORARY
    sentence = "the multipart upload of {key} is gone at {provider}"
    fix = "repeat the command; a new attempt is made"


class ForeignObject(DumacleError):
    """A row names an object that the program did not store for it; nothing is read, signed or deleted there."""

    exit = Exit.INTEGRITY
    sentence = "{what} points to an object outside of its pod: {key}"
    fix = "ask who changed it: dumacle audit list --target versions; the owner of the schema can mend or delete the row"


class ContentDiffers(DumacleError):
    """Stored content is not what was recorded."""

    exit = Exit.INTEGRITY
    sentence = "{path}: the stored content differs from what was recorded"
    fix = "upload the file again, then: dumacle files verify"


# Credentials, and the key that they are encrypted with


class NoKeys(DumacleError):
    """The keys that open a bucket cannot be had."""


class NoCredential(NoKeys):
    """A pod, or the system, has no credential for a provider."""

    exit = Exit.NOT_FOUND
    sentence = "{whose} has no credential for {provider} that this login may read"
    fix = "dumacle pods credentials set {option} --provider {provider} --from FILE"


class CredentialAltered(NoKeys):
    """A ciphertext is not what was encrypted for this pod and provider."""

    exit = Exit.INTEGRITY
    sentence = "the credential {label} does not open: it was altered, or moved here from another pod or provider"
    fix = "find out who did that (dumacle audit list), then: dumacle pods credentials set"


class KeyMissing(NoKeys):
    """A credential is encrypted with another key than the one at hand."""

    exit = Exit.USAGE
    sentence = "the credential {label} is encrypted with key {needed}, and key_source holds key {found}"
    fix = "set key_source to where key {needed} is, or restore that key from its escrow copy"


class KeyUnusable(NoKeys):
    """The source of a key holds no key, or one that others can read."""

    exit = Exit.USAGE
    sentence = "the key at {source} cannot be used: {reason}"
    fix = "{advice}"


# Stripe


class StripeUnavailable(DumacleError):
    """Stripe cannot be reached, or answered with a passing fault."""

    exit = Exit.TEMPORARY
    sentence = "Stripe cannot be used now: {reason}"
    fix = "repeat the command"


class StripeRefused(DumacleError):
    """Stripe refused a request for good."""

    exit = Exit.FAILED
    sentence = "Stripe refused: {reason}"
    fix = "correct that at Stripe or here, then repeat the command"


class StripeForbidden(DumacleError):
    """Stripe refused the key, or what the key may do."""

    exit = Exit.FORBIDDEN
    sentence = "Stripe refused the key: {reason}"
    fix = "check stripe_secret_key and what it may do (see: dumacle config list --show-origin)"


class SaleBusy(DumacleError):
    """Another command is charging the same user."""

    exit = Exit.LOCKED
    sentence = "another command is just subscribing {user}"
    fix = "look what it did, with: dumacle plans subscriptions show {user!q}"


class NotMirrored(DumacleError):
    """Stripe did what was asked, and it could not be applied here."""

    exit = Exit.FAILED
    sentence = "Stripe did that, but subscription {subscription} could not be applied here"
    fix = "see why, and try again, with: dumacle plans sync --user {user!q}"


class DeliveryRefused(DumacleError):
    """What came to the webhook is not a delivery of Stripe's."""

    exit = Exit.FORBIDDEN
    sentence = "the delivery is not authentic: {reason}"
    fix = "check stripe_webhook_secrets against the endpoint's signing secret at Stripe"


class NotApplied(DumacleError):
    """An object at Stripe has no place here, or not yet."""

    sentence = "it cannot be applied: {reason}"
    fix = "mend that, then: dumacle webhooks events retry"


# Media


class BadMedia(DumacleError):
    """A source is damaged, hostile, beyond the limits, or has not what the preset needs."""

    exit = Exit.FAILED
    sentence = "this media cannot be transcoded: {reason}"
    fix = "play it as a whole, mend it, and upload it again"


class OutputBroken(DumacleError):
    """What FFmpeg made is not what was asked for; it was not published."""

    exit = Exit.INTEGRITY
    sentence = "the output is not what was asked for: {reason}"
    fix = "repeat it with: dumacle transcode retry"


# The embedded servers


class EmbeddedFailed(DumacleError):
    """An embedded server did not start."""

    exit = Exit.FAILED
    sentence = "the embedded {server} did not start: {reason}"
    fix = "read {log}, then: dumacle local start"


class NoServers(DumacleError):
    """A data folder holds no embedded servers, and this command makes none."""

    exit = Exit.USAGE
    sentence = "there are no servers in {folder}"
    fix = "dumacle local start"


class EmbeddedStopped(DumacleError):
    """The embedded servers are down, and this command does not start them."""

    exit = Exit.TEMPORARY
    sentence = "the embedded servers are not running"
    fix = "dumacle local start"


class NotEmbedded(DumacleError):
    """A profile was named that uses another database than the embedded servers'."""

    exit = Exit.USAGE
    sentence = "profile {profile} uses the database of {origin}, and this command is about the embedded servers only"
    fix = "leave out the profile, or name the folder: dumacle --set data_dir=FOLDER {command}"


class FolderUnreachable(DumacleError):
    """The data folder cannot be used by the account that runs the servers."""

    exit = Exit.USAGE
    sentence = "{folder} cannot be used by {account}: {reason}"
    fix = "choose another with: dumacle --set data_dir=FOLDER local start"


# The outside


class ToolFailed(DumacleError):
    """A program that Dumacle runs ended badly."""

    exit = Exit.FAILED
    sentence = "{tool} failed: {reason}"
    fix = "see: dumacle doctor"


class TimedOut(DumacleError):
    """The command took longer than --timeout."""

    exit = Exit.TEMPORARY
    sentence = "not finished within {seconds} s"
    fix = "repeat it with a larger --timeout; what was done is kept"


class NoOutput(DumacleError):
    """Standard output is closed, and nothing was done."""

    exit = Exit.USAGE
    sentence = "standard output is closed, so the result has nowhere to go"
    fix = "open it, or give --quiet"


class OutputFailed(DumacleError):
    """The result could not be written to standard output."""

    exit = Exit.FAILED
    sentence = "the output could not be written ({reason}); {outcome}"
    fix = "look at the result with a list or show command"


class SystemFault(DumacleError):
    """The operating system refused something."""

    exit = Exit.FAILED
    sentence = "the system refused: {reason}"
    fix = "free room or change permissions, then repeat"


class Bug(DumacleError):
    """Something happened that nobody foresaw."""

    exit = Exit.FAILED
    sentence = "an unexpected {kind} in {place}"
    fix = "repeat with -v to see where, and report it"
