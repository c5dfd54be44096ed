"""Everything that can go wrong: one class per fault, with its sentence, its fix and its exit status.

`code` is the class name in kebab-case; scripts may rely on it. Callers must treat an exit status that
they do not know as a failure.
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum

from dumacle_cli.escapes import Sentences, quoted, safe


class Exit(IntEnum):
    """The exit statuses of all commands."""

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
    Exit.PARTIAL: "partly done; the output lists every item",
    Exit.LOGIN: "not logged in, or the login expired",
    Exit.FORBIDDEN: "forbidden",
    Exit.NOT_FOUND: "not found",
    Exit.CONFLICT: "conflict with what exists",
    Exit.LIMIT: "refused by a limit: quota, capacity or --max",
    Exit.LOCKED: "locked by another process or session",
    Exit.TEMPORARY: "temporary failure; it is safe to retry",
    Exit.UNKNOWN: "the outcome is unknown; repeat it with the same --op-id",
    Exit.INTEGRITY: "stored and expected content differ",
    Exit.INTERRUPTED: "interrupted (SIGINT)",
    Exit.TERMINATED: "terminated (SIGTERM)",
}


class DumacleError(Exception):
    """The base of all errors that are shown to the user as one sentence.

    `sentence` and `fix` are format strings that the keywords of the constructor fill; `{name!q}` is quoted for a shell.
    Control characters in the facts are escaped in both.
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
        """What to do about it, in one sentence; empty if there is no advice."""
        return safe(_filled(self.fix, self.facts))


def _filled(sentence: str, facts: Mapping[str, object]) -> str:
    return Sentences().vformat(sentence, (), facts)


# Usage and configuration


class UsageError(DumacleError):
    """The command line is wrong."""

    exit = Exit.USAGE
    sentence = "{reason}"
    fix = "see: {command} --help"

    def __init__(self, reason: str, command: str = "dumacle") -> None:
        super().__init__(reason=reason, command=command)


class EmptyArgument(DumacleError):
    """An argument or option is empty, as with a script's unset variable; it is not treated as absent."""

    exit = Exit.USAGE
    sentence = "{name} is empty: give a value or leave it out"
    fix = "see: {command} --help"


class InvalidValue(DumacleError):
    """A value cannot be used; it is not shown if it may hold a secret."""

    exit = Exit.USAGE
    fix = "{advice}"

    def __init__(self, *, name: str, reason: str, value: str = "", advice: str = "") -> None:
        self.sentence = "{name} cannot be {value}: {reason}" if value else "{name} is not valid: {reason}"
        advice = advice or f"correct {name} and repeat the command"
        super().__init__(name=name, value=value, reason=reason, advice=advice)


class NoDatabase(DumacleError):
    """No database is configured."""

    exit = Exit.USAGE
    sentence = "no database is configured"
    fix = "run `dumacle demo` or `dumacle local start`, or set DUMACLE_DATABASE_URL"


class NoServer(NoDatabase):
    """No superuser's connection to PostgreSQL is configured."""

    sentence = "no superuser's connection to PostgreSQL is configured"
    fix = "set DUMACLE_ADMIN_DATABASE_URL to the URL of a superuser"


class SecretTyped(DumacleError):
    """A secret was on the command line, which every user of the machine can read; the message does not repeat it."""

    exit = Exit.USAGE
    sentence = "{name} is a secret and must not be on the command line"
    fix = "pass it on standard input: dumacle config set {name} -"


class NotConfigured(DumacleError):
    """A setting that this command needs is not set."""

    exit = Exit.USAGE
    sentence = "{what} is not configured"
    fix = "set {setting} (see: dumacle config list)"


class UnreadableConfig(DumacleError):
    """A configuration file exists and cannot be read, or was named and does not exist; it is never skipped."""

    exit = Exit.USAGE
    sentence = "the configuration file {file} cannot be used: {reason}"
    fix = "correct the file, its owner or its mode, or set DUMACLE_CONFIG to another file"


class UnwritableConfig(DumacleError):
    """A configuration file cannot be changed; it stays as it was."""

    exit = Exit.USAGE
    sentence = "the configuration file {file} was not changed: {reason}"
    fix = "correct the file, its owner or its mode, or set DUMACLE_CONFIG to another file"


class ConfigLocked(DumacleError):
    """Another command holds the lock of the configuration file for too long."""

    exit = Exit.LOCKED
    sentence = "the configuration file {file} was not changed: another command has held its lock for {seconds:g} s"
    fix = "retry; to find the command that holds the lock: fuser {lock}"


class SettingsContradict(DumacleError):
    """Two sources contradict each other, and neither takes precedence."""

    exit = Exit.USAGE
    sentence = "two sources set the {subject} differently: {first} ({name}) and {second}"
    fix = "remove one of them; to see all sources: dumacle config list --show-origin"


class NoSuchProfile(DumacleError):
    """No configuration file has the requested profile."""

    exit = Exit.USAGE
    sentence = "there is no profile {profile}"
    fix = "known profiles: {known}"


class NoTerminal(DumacleError):
    """A confirmation is needed, and standard input is not a terminal."""

    exit = Exit.USAGE
    sentence = "this needs a confirmation, and standard input is not a terminal"
    fix = "repeat the command with {flag}"


class NoPassword(NoTerminal):
    """A password is needed, and standard input is not a terminal."""

    sentence = "this needs a password, and standard input is not a terminal"


class PasswordFileRefused(DumacleError):
    """A password file cannot be used."""

    exit = Exit.USAGE
    sentence = "the password file {file} {reason}"
    fix = "{advice}"


class MissingExtra(DumacleError):
    """An optional part of the installation is missing."""

    exit = Exit.USAGE
    sentence = "{what} is not installed"
    fix = "pip install 'dumacle[{extra}]'"


class Declined(DumacleError):
    """The user answered no."""

    exit = Exit.FAILED
    sentence = "nothing was changed: not confirmed"


# The database


class BrokenOff(DumacleError):
    """A transaction was rolled back because of the database."""


class DatabaseUnavailable(BrokenOff):
    """PostgreSQL cannot be reached, or the connection was lost before anything was committed."""

    exit = Exit.TEMPORARY
    sentence = "the database cannot be reached: {reason}"
    fix = "repeat the command when the database is available"


class DatabaseRefused(DumacleError):
    """PostgreSQL refused the login."""

    exit = Exit.LOGIN
    sentence = "the database refused the login: {reason}"
    fix = "log in again: dumacle auth login; or check DUMACLE_DATABASE_URL (see: dumacle auth status)"


class NotLoggedIn(DatabaseRefused):
    """PostgreSQL requires a password, and none was found."""

    sentence = "you are not logged in: {reason}"
    fix = "dumacle auth login"


class LoginExpired(DumacleError):
    """The saved session has expired."""

    exit = Exit.LOGIN
    sentence = "your login expired at {until:%Y-%m-%d %H:%M:%SZ}"
    fix = "dumacle auth login"


class SessionNotKept(DumacleError):
    """The login succeeded, but its session cannot be saved, so it was not opened."""

    sentence = "the session cannot be saved: {reason}"
    fix = "save it in a file of mode 0600: dumacle auth login --store file"


class LoginBarred(DumacleError):
    """PostgreSQL accepted the login, but it has no rights."""

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
    sentence = "the database is out of connections, memory or disk: {reason}"
    fix = "free connections or disk space on the server, then repeat the command"


class DatabaseReadOnly(BrokenOff):
    """The server is a standby, or is set read-only."""

    exit = Exit.TEMPORARY
    sentence = "the database is read-only: {reason}"
    fix = "point DUMACLE_DATABASE_URL to the primary, or retry later"


class DatabaseForbidden(DumacleError):
    """PostgreSQL refused a statement for lack of privilege."""

    exit = Exit.FORBIDDEN
    sentence = "the database does not allow this login to do that: {reason}"
    fix = "ask a superadmin, or use another login"


class Forbidden(DatabaseForbidden):
    """The role of the acting user does not allow this."""

    sentence = "{what} needs the role {role}"
    fix = "ask a user with that role; to see your own role: dumacle auth whoami"


class NotOwner(Forbidden):
    """Only the owner of the schema may change it."""

    sentence = "only the owner of the schema, {owner}, can do this"
    fix = "set DUMACLE_DATABASE_URL to log in as that role, then repeat the command"


class DatabaseFault(BrokenOff):
    """PostgreSQL refused a statement for an unexpected reason."""

    exit = Exit.FAILED
    sentence = "the database refused a statement ({state}): {reason}"
    fix = "see: dumacle doctor"


class OutOfBounds(DumacleError):
    """A text is too long for the database, or a time is outside of the supported years."""

    exit = Exit.USAGE
    sentence = "a value is too long, or outside of the years 1970 to 2999 (table {table}, {kind})"
    fix = "shorten the text, or give another time: see docs/data-model.md"


class CommitUnknown(DumacleError):
    """The reply to COMMIT was lost, and the operation could not be looked up."""

    exit = Exit.UNKNOWN
    sentence = "the connection was lost at COMMIT; it is unknown whether operation {operation} took effect"
    fix = "repeat the command with --op-id {operation!q}: it takes effect once"


class DatabaseTooOldServer(DumacleError):
    """The PostgreSQL server is older than Dumacle needs."""

    exit = Exit.USAGE
    sentence = "PostgreSQL {version} is too old: 16 or newer is needed"
    fix = "upgrade the server, or set DUMACLE_DATABASE_URL to another"


class SchemaMissing(DumacleError):
    """The database has no Dumacle schema."""

    exit = Exit.USAGE
    sentence = "the database has no Dumacle schema yet"
    fix = "dumacle db upgrade"


class SchemaTooOld(DumacleError):
    """The schema is older than this program needs."""

    exit = Exit.USAGE
    sentence = "the database schema is {found}, and this program needs {needed}"
    fix = "dumacle db upgrade"


class SchemaTooNew(DumacleError):
    """The schema is newer than this program supports."""

    exit = Exit.USAGE
    sentence = "the database schema is {found}, newer than this program supports ({needed})"
    fix = "install the Dumacle release that upgraded the database"


class MigrationRunning(DumacleError):
    """Another session is migrating the database."""

    exit = Exit.LOCKED
    sentence = "another session is migrating the database: {holder}"
    fix = "wait until it ends, or end it with SELECT pg_terminate_backend(PROCESS); then repeat the command"


class BootstrapRunning(DumacleError):
    """Another session is bootstrapping the database."""

    exit = Exit.LOCKED
    sentence = "another session is bootstrapping the database: {holder}"
    fix = "wait until it ends, or end it with SELECT pg_terminate_backend(PROCESS); then repeat the command"


# What is asked for, and what exists


LISTS = {
    "user": "users list",
    "pod": "pods list",
    "plan": "plans list",
    "file": "files list",
    "direct upload of file": "files list",
    "version": "files versions",
    "transcode": "transcode list",
    "unit": "transcode list",
    "run": "files runs list",
    "preset": "transcode presets list",
    "subscription": "plans subscriptions list",
    "invoice": "plans invoices list",
    "event": "webhooks events list",
    "change": "audit list",
    "session": "auth sessions list",
    "schema": "schema",
}
"""The command that lists what exists, for each noun."""


class NotFound(DumacleError):
    """Nothing has this name or id."""

    exit = Exit.NOT_FOUND
    sentence = "there is no {noun} {name}"
    fix = "look with: dumacle {list}"

    def __init__(self, noun: str, name: object, *, guess: str = "") -> None:
        self.guess = guess
        super().__init__(noun=noun, name=name, list=LISTS.get(noun))

    @property
    def remedy(self) -> str:
        """What to do about it; suggests a name that differs only by Unicode's normal form."""
        return f"did you mean {quoted(self.guess)}? Or {super().remedy}" if self.guess else super().remedy


class NoSuchSource(NotFound):
    """The file or folder to upload does not exist."""

    fix = "check the path; it is relative to the current folder"


class NoSuchRendition(DumacleError):
    """The current content of a file has no rendition of this name."""

    exit = Exit.NOT_FOUND
    sentence = "file {file} has no rendition {name}; it has {known}"
    fix = "create it with: dumacle transcode submit {file!q} --preset PRESET"


class NoSuchLogin(DumacleError):
    """The user has no login."""

    exit = Exit.NOT_FOUND
    sentence = "{name} has no login"
    fix = "nothing to do; to create a login: dumacle users grant-login {name!q}"


class AlreadyExists(DumacleError):
    """The name is already in use."""

    exit = Exit.CONFLICT
    sentence = "{noun} {name} already exists"
    fix = "choose another name, or change the existing one: dumacle {noun}s update"


class Conflict(DumacleError):
    """The request conflicts with what exists."""

    exit = Exit.CONFLICT
    sentence = "{reason}"
    fix = "{advice}"


class OperationReused(DumacleError):
    """An operation id was used again with other parameters."""

    exit = Exit.CONFLICT
    sentence = "operation {operation} was already used with other parameters of {command}"
    fix = "use a new --op-id"


class TooMany(DumacleError):
    """A bulk command would change more than --max allows."""

    exit = Exit.LIMIT
    sentence = "this would change {count} {noun}s, and --max is {maximum}"
    fix = "narrow the filter, or raise --max"


# Limits


class QuotaExceeded(DumacleError):
    """A quota of the user is used up."""

    exit = Exit.LIMIT
    sentence = "the {metric} quota of {user} is used up: {left} left of {limit}, {wanted} needed"
    fix = "dumacle quotas set {user!q}, or a bigger plan: dumacle plans change {user!q} PLAN"


class PodFull(DumacleError):
    """A pod has no room for the files."""

    exit = Exit.LIMIT
    sentence = "pod {pod} is full: {free} free, {wanted} needed"
    fix = "enlarge it: dumacle pods update {pod!q} --capacity SIZE; or free space: dumacle files purge"


class FileTooLarge(DumacleError):
    """A file is larger than the limit for one file."""

    exit = Exit.LIMIT
    sentence = "{path} has {size}, and {source} takes files of {limit} at most"
    fix = "{advice}"


class TypeNotAllowed(DumacleError):
    """A pod or plan does not take files of this media type."""

    exit = Exit.LIMIT
    sentence = "{path} is {type}, and {source} takes only {allowed}"
    fix = "{advice}"


class SessionsFull(DumacleError):
    """The user has as many open sessions as allowed."""

    exit = Exit.LIMIT
    sentence = "{reason}"
    fix = "{advice}"


class OperationsFull(SessionsFull):
    """The user has reached the limit of recorded operations."""


class UserDisabled(DumacleError):
    """The user is disabled."""

    exit = Exit.FORBIDDEN
    sentence = "user {user} is disabled"
    fix = "dumacle users enable {user!q}"


class NotGranted(DumacleError):
    """The user has no grant on the pod."""

    exit = Exit.FORBIDDEN
    sentence = "user {user} has no grant on pod {pod}"
    fix = "dumacle pods grant {pod!q} {user!q}"


class RunBusy(DumacleError):
    """A running process is already doing the same upload."""

    exit = Exit.LOCKED
    sentence = "this upload is already running: run {run}, process {pid} on {host}"
    fix = "wait until it ends, then repeat the command; or take part in it: files upload with --join"


class RunElsewhere(DumacleError):
    """The sources of a run are on another machine."""

    exit = Exit.CONFLICT
    sentence = "run {run} was begun on {host}, and {source} is not on this machine"
    fix = "resume it on {host}, or repeat the upload with the path on this machine"


class RunCancelled(DumacleError):
    """Somebody cancelled the run with `files runs cancel`."""

    sentence = "run {run} was cancelled"
    fix = "what was uploaded is kept; to upload the rest, repeat the command"


class StoppedAfter(DumacleError):
    """A bulk command reached the limit of --stop-after."""

    exit = Exit.PARTIAL
    sentence = "stopped after {count} failures; the first: {first}"
    fix = "fix the cause and repeat the command; finished work is kept"


class UploadIncomplete(DumacleError):
    """Some files were not uploaded."""

    exit = Exit.PARTIAL
    sentence = "{count} not uploaded; the first: {first}"
    fix = "{advice}"


class UploadRefused(UploadIncomplete):
    """No file was uploaded, because of limits."""

    exit = Exit.LIMIT


# Object stores


class StoreFault(DumacleError):
    """An object store cannot be reached, or refused a request."""

    sentence = "{provider} at {endpoint} refused the request: {reason}"


class StoreUnavailable(StoreFault):
    """The object store reported a temporary fault, or did not respond."""

    exit = Exit.TEMPORARY
    sentence = "{provider} at {endpoint} is unavailable: {reason}"
    fix = "repeat the command; finished work is kept"


class StoreBusy(StoreUnavailable):
    """The object store asks for fewer requests."""

    sentence = "{provider} at {endpoint} asks for fewer requests: {reason}"
    fix = "repeat the command later, or with --concurrency N; finished work is kept"


class StoreUnreachable(StoreUnavailable):
    """No connection to the object store could be made."""

    sentence = "{provider} at {endpoint} cannot be reached: {reason}"
    fix = "check {provider}_endpoint, the network and the proxy, then repeat the command; finished work is kept"


class StoreRefused(StoreFault):
    """The object store refused the request."""

    exit = Exit.FORBIDDEN
    fix = "check the keys and the bucket with: dumacle doctor"


class KeysRefused(StoreRefused):
    """The object store does not accept the keys."""

    sentence = "{provider} at {endpoint} does not accept the keys: {reason}"
    fix = "set valid keys: {provider}_access_key and {provider}_secret_key, or: dumacle pods credentials set"


class AccessRefused(StoreRefused):
    """The keys are valid, but may not do this."""

    sentence = "{provider} at {endpoint} refused access: {reason}"
    fix = "at the provider, allow these keys to list, read, write and delete objects in the bucket"


class ClockWrong(StoreRefused):
    """This machine's clock differs too much from the object store's, which refuses each signature."""

    exit = Exit.FAILED
    sentence = "{provider} at {endpoint} refused the signature: this machine's clock is {skew}"
    fix = "set the clock by NTP (timedatectl set-ntp true), then repeat the command; finished work is kept"


class WrongRegion(StoreRefused):
    """The bucket is in another region than the configured one."""

    exit = Exit.USAGE
    sentence = "the bucket is in region {region}, not in the one that was asked: {provider} at {endpoint}"
    fix = (
        "dumacle config set {provider}_region {region!q}, and {provider}_endpoint if it is set; for a pod's own keys: "
        "dumacle pods credentials set POD --provider {provider} --region {region!q}"
    )


class Redirected(StoreRefused):
    """The object store redirects to another address, which is not followed."""

    exit = Exit.USAGE
    sentence = "{provider} at {endpoint} redirects to another address ({reason}), which is not followed"
    fix = "correct {provider}_region and {provider}_endpoint; a proxy's login page may be redirecting, too"


class NoSuchBucket(StoreRefused):
    """The bucket does not exist at this endpoint."""

    exit = Exit.NOT_FOUND
    sentence = "{provider} at {endpoint} has no such bucket: {reason}"
    fix = "create the bucket at the provider, or correct {provider}_bucket, {provider}_region and {provider}_endpoint"


class BucketUnusable(StoreRefused):
    """The bucket's name or state is not valid at this object store."""

    exit = Exit.USAGE
    sentence = "{provider} at {endpoint} does not accept the bucket: {reason}"
    fix = "correct {provider}_bucket, or create a pod with another --bucket"


class StoreFull(StoreRefused):
    """The provider's own quota is used up."""

    exit = Exit.LIMIT
    sentence = "{provider} at {endpoint} accepts no more data: {reason}"
    fix = "raise the quota of the bucket or account at the provider, or free space there"


class NotSupported(StoreRefused):
    """The object store does not support a request that Dumacle needs."""

    exit = Exit.USAGE
    sentence = "{provider} at {endpoint} does not support the request: {reason}"
    fix = "check that {provider}_endpoint is the provider's S3 address, then: dumacle pods probe POD"


class CertificateRefused(StoreRefused):
    """The certificate of the object store is not trusted."""

    exit = Exit.USAGE
    sentence = "the certificate of {provider} at {endpoint} is not trusted: {reason}"
    fix = "correct {provider}_endpoint, or set AWS_CA_BUNDLE to the file of the authority that signed the certificate"


class NotAStore(StoreRefused):
    """What responded is not an S3 store: a proxy, a login page or a website."""

    exit = Exit.USAGE
    sentence = "{provider} at {endpoint} did not respond as S3 does: {reason}"
    fix = "check {provider}_endpoint and the proxy: a login page, a console or a website may have responded"


class ObjectMissing(DumacleError):
    """The store has no object at this key."""

    exit = Exit.INTEGRITY
    sentence = "the object {key} is missing at {provider}"
    fix = "find all missing or damaged files with: dumacle files verify"


class UploadLost(DumacleError):
    """The store no longer has this multipart upload, or one of its parts."""

    exit = Exit.TEMPORARY
    sentence = "the multipart upload of {key} is gone at {provider}"
    fix = "repeat the command; the file is uploaded from the start"


class CorsUnsupported(DumacleError):
    """The store keeps no CORS rules."""

    sentence = "{provider} keeps no CORS rules for a bucket"
    fix = "set them in the provider's console, or let browsers reach the store through a proxy that answers for it"


class ForeignObject(DumacleError):
    """A row names an object outside of its pod; nothing is read, signed or deleted there."""

    exit = Exit.INTEGRITY
    sentence = "{what} points to an object outside of its pod: {key}"
    fix = "find the change: dumacle audit list --target versions; the owner of the schema can correct or delete the row"


class ContentDiffers(DumacleError):
    """Stored content differs from its recorded hash."""

    exit = Exit.INTEGRITY
    sentence = "{path}: the stored content differs from what was recorded"
    fix = "upload the file again with --force, then: dumacle files verify"


class DownloadIncomplete(DumacleError):
    """A download stopped; what it received is kept in a part file."""

    sentence = "{path}: {reason}; {kept} of {size} are kept in {part}"
    fix = "repeat the command: it continues there"

    def __init__(self, exit_: Exit, **facts: object) -> None:
        super().__init__(**facts)
        self.exit = exit_


class DownloadBusy(DumacleError):
    """Another process is downloading to the same target."""

    exit = Exit.LOCKED
    sentence = "another process is downloading to the same target: it holds {part}"
    fix = "wait until it ends, then repeat the command"


class UploadDiffers(ContentDiffers):
    """A client stored other bytes than were announced; they were removed."""

    sentence = "{path}: the client stored other bytes than announced: {reason}; they were removed"
    fix = "start again: dumacle files initiate {path!q} --owner {owner!q}"


# Credentials, and the key that they are encrypted with


class NoKeys(DumacleError):
    """Bucket credentials are unavailable."""


class NoCredential(NoKeys):
    """A pod, or the default, has no credential for a provider."""

    exit = Exit.NOT_FOUND
    sentence = "{whose} has no credential for {provider} that this login may read"
    fix = "dumacle pods credentials set {option} --provider {provider} --from FILE"


class CredentialAltered(NoKeys):
    """A ciphertext was not encrypted for this pod and provider."""

    exit = Exit.INTEGRITY
    sentence = "the credential {label} cannot be decrypted: it was altered, or moved here from another pod or provider"
    fix = "find the change (dumacle audit list), then: dumacle pods credentials set"


class KeyMissing(NoKeys):
    """A credential is encrypted with a key other than the configured one."""

    exit = Exit.USAGE
    sentence = "the credential {label} is encrypted with key {needed}, and key_source holds key {found}"
    fix = "set key_source to the location of key {needed}, or restore that key from its escrow copy"


class KeyUnusable(NoKeys):
    """A key source has no key, or one that other users can read."""

    exit = Exit.USAGE
    sentence = "the key at {source} cannot be used: {reason}"
    fix = "{advice}"


# Stripe


class StripeUnavailable(DumacleError):
    """Stripe cannot be reached, or reported a temporary fault."""

    exit = Exit.TEMPORARY
    sentence = "Stripe is unavailable: {reason}"
    fix = "repeat the command in a minute"


class StripeRefused(DumacleError):
    """Stripe refused a request."""

    exit = Exit.FAILED
    sentence = "Stripe refused the request: {reason}"
    fix = "correct it at Stripe or in Dumacle, then repeat the command"


class StripeForbidden(DumacleError):
    """Stripe refused the key, or the key lacks a permission."""

    exit = Exit.FORBIDDEN
    sentence = "Stripe refused the key: {reason}"
    fix = "check stripe_secret_key and its permissions (see: dumacle config list --show-origin)"


class OtherAccount(DumacleError):
    """The key opens another account at Stripe, or another mode of it, than plans are sold at."""

    exit = Exit.CONFLICT
    sentence = "the key opens {key}, and plans are sold at {known}"
    fix = "correct stripe_secret_key; or, to sell there from now on: dumacle plans push --switch-account"


class SaleBusy(DumacleError):
    """Another command is subscribing the same user."""

    exit = Exit.LOCKED
    sentence = "another command is subscribing {user}"
    fix = "wait until it ends, then see: dumacle plans subscriptions show {user!q}"


class NotMirrored(DumacleError):
    """Stripe made a change that could not be applied here."""

    exit = Exit.FAILED
    sentence = "Stripe made the change, but subscription {subscription} could not be updated here"
    fix = "see the reason and retry: dumacle plans sync --user {user!q}"


class DeliveryRefused(DumacleError):
    """A webhook delivery does not come from Stripe."""

    exit = Exit.FORBIDDEN
    sentence = "the delivery is not authentic: {reason}"
    fix = "compare stripe_webhook_secrets with the signing secret of the endpoint at Stripe"


class NotApplied(DumacleError):
    """An object at Stripe cannot be applied here, or not yet."""

    sentence = "it cannot be applied: {reason}"
    fix = "correct the cause, then: dumacle plans sync"


class UnknownPrice(NotApplied):
    """A subscription at Stripe pays a price that is none of a plan's."""

    sentence = "it cannot be applied: no plan has the price {prices}"
    fix = "name its plan: dumacle plans adopt --price {first!q}=PLAN --apply"

    def __init__(self, prices: Sequence[str]) -> None:
        super().__init__(prices=", ".join(prices), first=prices[0] if prices else "PRICE")


# Media


class BadMedia(DumacleError):
    """A source is damaged, hostile, beyond the limits, or lacks what the preset needs."""

    exit = Exit.FAILED
    sentence = "this media cannot be transcoded: {reason}"
    fix = "check whether the whole file plays, correct it, and upload it again"


class BadPreset(DumacleError):
    """The definition of a preset is not valid."""

    exit = Exit.USAGE
    sentence = "this is no definition of a preset: {reason}"
    fix = "correct these fields and repeat the command; `dumacle transcode presets show hls -o json` has an example"


class OutputBroken(DumacleError):
    """The output of FFmpeg is not what was requested; it was not published."""

    exit = Exit.INTEGRITY
    sentence = "the output is not what was requested: {reason}"
    fix = "retry with: dumacle transcode retry ID"


class OutputDiffers(DumacleError):
    """The output does not show or sound like its source; it was not published."""

    exit = Exit.INTEGRITY
    sentence = "the output differs from the source: {reason}"
    fix = "convert the file to MP4 with a program that plays it right, and upload that"


# The embedded servers


class EmbeddedFailed(DumacleError):
    """An embedded server did not start."""

    exit = Exit.FAILED
    sentence = "the embedded {server} did not start: {reason}"
    fix = "read {log}, then: dumacle local start"


class NoServers(DumacleError):
    """A data folder has no embedded servers, and this command does not create any."""

    exit = Exit.USAGE
    sentence = "there are no servers in {folder}"
    fix = "dumacle local start"


class EmbeddedStopped(DumacleError):
    """The embedded servers are stopped, and this command does not start them."""

    exit = Exit.TEMPORARY
    sentence = "the embedded servers are not running"
    fix = "dumacle local start"


class NotEmbedded(DumacleError):
    """The named profile does not use the embedded servers."""

    exit = Exit.USAGE
    sentence = "profile {profile} uses the database of {origin}, and this command works on the embedded servers only"
    fix = "omit the profile, or name the folder: dumacle --set data_dir=FOLDER {command}"


class FolderUnreachable(DumacleError):
    """The data folder cannot be used by the account that runs the servers."""

    exit = Exit.USAGE
    sentence = "{folder} cannot be used by {account}: {reason}"
    fix = "choose another folder with: dumacle --set data_dir=FOLDER local start"


# The outside


class ToolFailed(DumacleError):
    """A program that Dumacle runs failed."""

    exit = Exit.FAILED
    sentence = "{tool} failed: {reason}"
    fix = "see: dumacle doctor"


class ToolCrashed(ToolFailed):
    """A program that Dumacle runs crashed over its input."""

    sentence = "{tool} crashed with {signal}: {reason}"


class ToolKilled(ToolFailed):
    """A program that Dumacle runs was killed from outside."""

    exit = Exit.TEMPORARY
    sentence = "{tool} was killed with {signal}"
    fix = "it is retried by itself; see what killed it in the system's log"


class TimedOut(DumacleError):
    """The command took longer than --timeout."""

    exit = Exit.TEMPORARY
    sentence = "not finished within {seconds} s"
    fix = "repeat the command with a larger --timeout; finished work is kept"


class NoOutput(DumacleError):
    """Standard output is closed, and nothing was done."""

    exit = Exit.USAGE
    sentence = "standard output is closed"
    fix = "redirect it to a file or a pipe, or give --quiet"


class OutputFailed(DumacleError):
    """The result could not be written to standard output."""

    exit = Exit.FAILED
    sentence = "the output could not be written ({reason}); {outcome}"
    fix = "see the result with a list or show command"


class SystemFault(DumacleError):
    """The operating system refused something."""

    exit = Exit.FAILED
    sentence = "the operating system refused: {reason}"
    fix = "free disk space or change permissions, then repeat the command"


class Bug(DumacleError):
    """An unexpected exception."""

    exit = Exit.FAILED
    sentence = "an unexpected {kind} in {place}"
    fix = "repeat the command with -v to see where, and report it"
