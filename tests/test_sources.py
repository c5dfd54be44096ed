"""Which source of a setting wins, which contradict each other, and that none is dropped without a word."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dumacle_cli import sources
from dumacle_cli.errors import (
    DumacleError,
    Exit,
    InvalidValue,
    SecretTyped,
    SettingsContradict,
    UnreadableConfig,
)
from dumacle_cli.precedence import Subject
from dumacle_cli.settings import Settings, environment_names, is_secret, reveals_secret, without_passwords

pytestmark = pytest.mark.unit

URL, OTHER = "postgresql://ada@db/films", "postgresql://ada@other/films"
FILE = f"""
[profiles.local]
embedded = "/srv/a"
[profiles.far]
database_url = "{URL}"
"""


@pytest.fixture(autouse=True)
def system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's configuration file, which is not there yet."""
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "system.toml")
    return tmp_path / "system.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The person's configuration file with two profiles."""
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    return path


Resolve = Callable[..., sources.Resolved]


@pytest.fixture
def resolve(file: Path) -> Resolve:
    """Resolve flags, a profile and an environment with the person's file."""

    def call(*flags: str, profile: str = "", more: str = "", **environ: str) -> sources.Resolved:
        file.write_text(more + file.read_text())
        return sources.resolve(flags, profile or None, {"DUMACLE_CONFIG": str(file), **environ})

    return call


@pytest.mark.parametrize(
    ("given", "database", "folder"),
    [
        ({"profile": "far"}, URL, None),
        ({"profile": "local"}, None, "/srv/a"),
        ({"DUMACLE_PROFILE": "local"}, None, "/srv/a"),
        ({"DUMACLE_PROFILE": "far", "profile": "local"}, None, "/srv/a"),
        ({"DUMACLE_DATABASE_URL": URL}, URL, None),
        ({"DATABASE_URL": OTHER, "DUMACLE_DATABASE_URL": URL}, URL, None),
        ({"more": 'profile = "local"\n', "DUMACLE_DATABASE_URL": URL}, URL, "/srv/a"),
        ({"more": f'profile = "local"\ndatabase_url = "{URL}"\n'}, None, "/srv/a"),
        ({"more": f'database_url = "{URL}"\n', "profile": "local"}, None, "/srv/a"),
        ({"more": 'profile = "local"\n', "DUMACLE_DATA_DIR": "/srv/b"}, None, "/srv/b"),
        ({"more": 'profile = "local"\ndata_dir = "/srv/c"\n'}, None, "/srv/a"),
        ({"profile": "local", "flags": ("data_dir=/srv/b",)}, None, "/srv/b"),
        ({"profile": "local", "flags": ("data_dir=/srv/b",), "DUMACLE_DATA_DIR": "/srv/a"}, None, "/srv/b"),
        ({"DUMACLE_DATABASE_URL": URL, "flags": ("embedded=/srv/b",)}, None, "/srv/b"),
        ({"profile": "far", "flags": (f"database_url={OTHER}",)}, OTHER, None),
    ],
)
def test_what_was_named_wins(resolve: Resolve, given: dict[str, Any], database: str | None, folder: str | None) -> None:
    found = resolve(*given.pop("flags", ()), **given)
    assert found.contradictions == {}
    url = found.settings.database_url
    assert (url.get_secret_value() if url else None) == database
    assert (str(found.settings.embedded) if found.settings.embedded else None) == folder


@pytest.mark.parametrize(
    ("subject", "given"),
    [
        ("database", {"profile": "local", "DUMACLE_DATABASE_URL": URL}),
        ("database", {"profile": "local", "DATABASE_URL": URL}),
        ("database", {"profile": "far", "DUMACLE_DATABASE_URL": OTHER}),
        ("database", {"DUMACLE_PROFILE": "far", "DUMACLE_DATABASE_URL": OTHER}),
        ("database", {"DUMACLE_PROFILE": "local", "DUMACLE_DATABASE_URL": OTHER}),
        ("database", {"DUMACLE_EMBEDDED": "/srv/b", "DUMACLE_DATABASE_URL": OTHER}),
        ("folder", {"profile": "local", "DUMACLE_DATA_DIR": "/srv/b"}),
        ("folder", {"DUMACLE_PROFILE": "local", "DUMACLE_DATA_DIR": "/srv/b"}),
        ("folder", {"flags": ("data_dir=/srv/b", "embedded=/srv/c")}),
        ("folder", {"DUMACLE_DATA_DIR": "/srv/b", "DUMACLE_EMBEDDED": "/srv/c"}),
        ("store", {"profile": "local", "DUMACLE_LOCAL_ENDPOINT": "http://127.0.0.1:9"}),
        ("store", {"more": 'profile = "local"\n', "DUMACLE_LOCAL_ACCESS_KEY": "key"}),
        ("store", {"more": 'profile = "local"\n', "flags": ("local_endpoint=http://127.0.0.1:9",)}),
        ("password", {"more": 'database_url = "postgresql://a:hush@h/d"\n', "DUMACLE_PASSWORD_FILE": "/x"}),
    ],
)
def test_two_that_were_named_are_refused_with_both_origins(
    resolve: Resolve, subject: Subject, given: dict[str, Any]
) -> None:
    found = resolve(*given.pop("flags", ()), **given)
    with pytest.raises(SettingsContradict) as refused:
        found.require(subject)
    named = [name for name in given if name.startswith("DUMACLE_") and name != "DUMACLE_PROFILE"]
    assert all(name in str(refused.value) for name in named)
    assert refused.value.exit is Exit.USAGE


def test_the_same_place_named_twice_is_no_contradiction(resolve: Resolve, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/a")
    assert resolve(profile="local", DUMACLE_DATA_DIR=str(tmp_path / "link")).contradictions == {}
    assert resolve(profile="far", DUMACLE_DATABASE_URL=URL).contradictions == {}


@pytest.mark.parametrize("name", sources.FOLDERS)
@pytest.mark.parametrize("where", ["file", "profile"])
def test_a_folder_in_a_file_is_the_same_from_everywhere(resolve: Resolve, name: str, where: str, file: Path) -> None:
    def told(value: str, **environ: str) -> Path | None:
        file.write_text(f"{'[profiles.x]' if where == 'profile' else ''}\n{name} = '{value}'\n")
        found = resolve(profile="x" if where == "profile" else "", HOME="/home/ada", **environ)
        path: Path | None = getattr(found.settings, name)
        return path

    assert told("~/films") == Path("/home/ada/films")
    assert told("~") == Path("/home/ada")
    assert told("/srv/~/a") == Path("/srv/~/a")
    for value in ("films", "./films", "../films", "~ada/films", "."):
        with pytest.raises(InvalidValue, match=rf"absolute path.*\(from {file}, line 2\)") as refused:
            told(value)
        assert refused.value.exit is Exit.USAGE
        with pytest.raises(InvalidValue, match="absolute path"):
            sources.validate({name: value}, str(file))
    sources.validate({name: "~/films"}, str(file))


def test_the_home_folder_in_a_profile_is_compared_as_what_it_is(resolve: Resolve, file: Path) -> None:
    file.write_text('[profiles.x]\nembedded = "~/a"\n')
    assert resolve(profile="x", HOME="/home/ada", DUMACLE_DATA_DIR="/home/ada/a").contradictions == {}


@pytest.mark.parametrize("name", sources.FOLDERS)
def test_a_folder_on_the_command_line_and_in_the_environment_may_be_relative(resolve: Resolve, name: str) -> None:
    assert getattr(resolve(f"{name}=films").settings, name) == Path("films")
    assert getattr(resolve(**{f"DUMACLE_{name.upper()}": "films"}).settings, name) == Path("films")


@pytest.mark.parametrize("name", [*sources.FOLDERS, "scratch_dir", "s3_bucket"])
@pytest.mark.parametrize("given", [{}, {"flags": ("data_dir=/srv/b",)}, {"DUMACLE_DATA_DIR": "/srv/b"}])
@pytest.mark.parametrize("profile", ["", "x"])
def test_a_nul_in_a_file_is_refused(
    resolve: Resolve, name: str, given: dict[str, Any], profile: str, file: Path
) -> None:
    section = f"[profiles.{profile}]\n" if profile else ""
    file.write_text(f'{section}{name} = "/x\\u0000y"\n')
    with pytest.raises(InvalidValue, match=f"{name} cannot be .*without NUL"):
        resolve(*given.get("flags", ()), profile=profile, **{n: v for n, v in given.items() if n != "flags"})


def bad_value(name: str) -> str:
    """A value that this setting refuses."""
    if name.endswith("database_url"):
        return "mysql://hush@db/films"
    if name.endswith(("_endpoint", "_api_base")):
        return "store.example.com"
    if name.endswith("_region"):
        return "-"
    is_text = Settings.model_fields[name].annotation in (str | None, Path | None, SecretStr | None)
    return "hush\0" if is_text or name.startswith(("listen_host", "checkout", "portal")) else "!"


def given_as(kind: str, name: str, file: Path) -> tuple[dict[str, Any], str, str]:
    """A bad value of a setting in a kind of source, the place that the error names, and the fix."""
    value = bad_value(name)
    if kind == "flag":
        return {"flags": (f"{name}={value}",)}, "--set", f"give another value: --set {name}=VALUE"
    if kind in ("file", "profile"):
        file.write_text(f"# {name} = 1\n{'[profiles.x]' if kind == 'profile' else ''}\n{name} = {json.dumps(value)}\n")
        return ({"profile": "x"} if kind == "profile" else {}), f"{file}, line 3", f"edit {file}, line 3"
    variable = environment_names(name)[-1 if kind == "other variable" else 0]
    return {variable: value}, variable, f"change the variable {variable}, or unset it"


@pytest.mark.parametrize("kind", ["flag", "variable", "other variable", "file", "profile"])
@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_bad_value_is_refused_with_its_setting_its_origin_and_a_fix(
    resolve: Resolve, kind: str, name: str, file: Path
) -> None:
    given, place, fix = given_as(kind, name, file)
    with pytest.raises(DumacleError) as refused:
        resolve(*given.pop("flags", ()), **given)
    said = str(refused.value)
    assert refused.value.exit is Exit.USAGE
    assert said.startswith(f"{name} ")
    if not isinstance(refused.value, SecretTyped):
        assert said.endswith(f" (from {place})")
        assert refused.value.remedy == fix
    assert not is_secret(name) or "hush" not in said


def test_megabytes_are_quoted_as_they_were_typed(resolve: Resolve) -> None:
    with pytest.raises(InvalidValue, match=r"^max_file_size cannot be '50GiB': .* \(from MAX_FILE_SIZE_MB\)$"):
        resolve(MAX_FILE_SIZE_MB="50GiB")
    assert resolve(MAX_FILE_SIZE_MB="1.5").settings.max_file_size == 3 * 1024**2 // 2


@pytest.mark.parametrize(
    "text",
    [
        "# url_expiry = 1\n[profiles.x]\nurl_expiry = '!'\n",
        "profiles.x.embedded = '/url_expiry'\n\nprofiles.x.url_expiry = '!'\n",
        "[profiles.y]\nurl_expiry = 2\n[profiles.x]\n\"url_expiry\" = '!'\n",
        "password_command = '''\n[profiles.x]\nurl_expiry = 1'''\n[profiles.x]\nurl_expiry = '!'\n",
    ],
)
def test_the_line_of_a_setting_is_found_however_it_is_written(resolve: Resolve, file: Path, text: str) -> None:
    file.write_text(text)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "!" in line)
    with pytest.raises(InvalidValue, match=rf"\(from {file}, line {line}\)"):
        resolve(profile="x")


LABEL = "a" * 64


@pytest.mark.parametrize("name", ["database_url", "admin_database_url"])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://x@h..example/d",
        "postgresql://x@.example/d",
        "postgresql://x@../d",
        "postgresql://x@h..example:5432/d",
        f"postgresql://x@{LABEL}.example/d",
        f"postgresql://x@{LABEL}/d",
        "postgresql://x@h%2E%2Eexample/d",
        "postgresql://x@one,h..example/d",
        "postgresql:///d?host=h..example",
        f"postgresql:///d?host=one,{LABEL}",
        "postgres://h..example",
    ],
)
def test_a_host_that_is_no_name_is_refused(resolve: Resolve, name: str, url: str) -> None:
    with pytest.raises(InvalidValue, match="its host is not a valid host name"):
        resolve(**{f"DUMACLE_{name.upper()}": url})


@pytest.mark.parametrize(
    "host",
    [
        "h",
        "h.example.",
        "bücher.example",
        "a" * 63,
        "10.0.0.1",
        "[::1]",
        f"%2Ftmp%2F{LABEL}",
        "",
        "one,two",
    ],
)
def test_a_host_that_is_one_is_taken(resolve: Resolve, host: str) -> None:
    resolve(DUMACLE_DATABASE_URL=f"postgresql://x@{host}/d")
    resolve(DUMACLE_DATABASE_URL=f"postgresql:///d?host={host.strip('[]')}")


def test_a_weaker_store_gives_way_to_the_embedded_one(resolve: Resolve) -> None:
    found = resolve(profile="local", more='local_endpoint = "http://127.0.0.1:9"\n')
    assert found.store_is_embedded
    assert found.settings.local_endpoint is None
    assert [origin.kind for origin in found.overridden["local_endpoint"]] == ["file"]


def test_a_database_that_was_named_takes_the_store_that_was_named(resolve: Resolve) -> None:
    found = resolve(more='profile = "local"\n', DUMACLE_DATABASE_URL=URL, DUMACLE_LOCAL_ENDPOINT="http://127.0.0.1:9")
    assert not found.store_is_embedded
    assert found.settings.local_endpoint == "http://127.0.0.1:9"


def test_overridden_values_are_shown(resolve: Resolve) -> None:
    found = resolve("url_expiry=1", profile="local", more="url_expiry = 4\n", DUMACLE_URL_EXPIRY="2")
    assert found.settings.url_expiry == 1
    assert [origin.kind for origin in found.overridden["url_expiry"]] == ["environment", "file"]


def test_a_profile_on_the_command_line_beats_the_environment(resolve: Resolve) -> None:
    given = {"more": "[profiles.slow]\nurl_expiry = 20\n", "DUMACLE_URL_EXPIRY": "30"}
    assert resolve(profile="slow", **given).settings.url_expiry == 20
    assert resolve(DUMACLE_PROFILE="slow", DUMACLE_URL_EXPIRY="30").settings.url_expiry == 30


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DUMACLE_DATABSE_URL", URL, "did you mean DUMACLE_DATABASE_URL?"),
        ("DUMACLE_DATADIR", "/srv/b", "did you mean DUMACLE_DATA_DIR?"),
        ("dumacle_data_dir", "/srv/b", "did you mean DUMACLE_DATA_DIR?"),
        ("DUMACLE_PROFIL", "far", "did you mean DUMACLE_PROFILE?"),
        ("DUMACLE_RETENTION_DAY", "9", "did you mean DUMACLE_RETENTION_DAYS?"),
        ("DUMACLE_DATA_DIR", "", "DUMACLE_DATA_DIR is not valid: it is empty"),
        ("DUMACLE_DATABASE_URL", "", "DUMACLE_DATABASE_URL is not valid: it is empty"),
        ("DUMACLE_PROFILE", "", "DUMACLE_PROFILE is not valid: it is empty"),
        ("DUMACLE_URL_EXPIRY", "", "DUMACLE_URL_EXPIRY is not valid: it is empty"),
    ],
)
def test_a_variable_that_sets_nothing_is_refused(resolve: Resolve, variable: str, value: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said.replace("?", r"\?")):
        resolve(**{variable: value})


def test_other_variables_are_told_and_service_links_are_not_ours(resolve: Resolve) -> None:
    links = {
        "DUMACLE_SERVICE_HOST": "10.0.0.1",
        "DUMACLE_PORT": "tcp://10.0.0.1:80",
        "DUMACLE_PORT_8484_TCP": "tcp://10.0.0.1:8484",
        "DUMACLE_PORT_8484_TCP_ADDR": "10.0.0.1",
        "DUMACLE_LISTENER_SERVICE_PORT_HTTP": "8484",
    }
    assert resolve(**links, DUMACLE_COLOURS="many", NO_DUMACLE="1").unknown == ("DUMACLE_COLOURS",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url_expiry = [\n", "not valid TOML"),
        (b"url_expiry = 1 # \xff\n", "not UTF-8"),
        ("profile = 5\n", "profile must be a string"),
        ("profiles = 5\n", "profiles must be tables"),
        ('[profiles]\nlocal = "x"\n', "profiles must be tables"),
        ("a = " + "[" * 5000, "not valid TOML"),
    ],
)
@pytest.mark.parametrize("whose", ["person", "machine"])
def test_a_damaged_file_is_named(
    resolve: Resolve, file: Path, system_file: Path, text: str | bytes, said: str, whose: str
) -> None:
    damaged = file if whose == "person" else system_file
    damaged.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UnreadableConfig, match=said) as refused:
        sources.resolve((), None, {"DUMACLE_CONFIG": str(file)})
    assert str(damaged) in str(refused.value)


def unreadable(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to("nowhere")
    elif kind == "circle":
        path.symlink_to(path)
    else:
        path.symlink_to(f"/proc/1/{'x' * 300}")  # a name that no file system takes


@pytest.mark.parametrize("kind", ["folder", "link to nothing", "circle", "name too long"])
@pytest.mark.parametrize("whose", ["person", "machine"])
def test_a_file_that_cannot_be_read_is_named(file: Path, system_file: Path, kind: str, whose: str) -> None:
    unreadable(file if whose == "person" else system_file, kind)
    with pytest.raises(UnreadableConfig) as refused:
        sources.resolve((), None, {"DUMACLE_CONFIG": str(file)})
    assert str(file if whose == "person" else system_file) in str(refused.value)


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every account may look into."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.setattr(sources, "SYSTEM_FILE", folder / "system.toml")
        yield folder


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_file_that_is_closed_to_us_is_named(open_folder: Path, closed: str) -> None:
    path = open_folder / "dumacle" / "config.toml"
    path.parent.mkdir()
    path.write_text("")
    (path if closed == "file" else path.parent).chmod(0)
    environ = {"XDG_CONFIG_HOME": str(open_folder)}
    with without_rights_of_root(), pytest.raises(UnreadableConfig, match="Permission denied") as refused:
        sources.resolve((), None, environ)
    path.parent.chmod(0o700)
    assert str(path) in str(refused.value)


class without_rights_of_root:
    """Be nobody while inside, if we are root, whom no mode keeps out."""

    def __enter__(self) -> None:
        if os.getuid() == 0:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_file_that_was_named_and_is_not_there(tmp_path: Path) -> None:
    environ = {"DUMACLE_CONFIG": str(tmp_path / "none.toml")}
    with pytest.raises(UnreadableConfig, match="DUMACLE_CONFIG names it"):
        sources.resolve((), None, environ)
    assert sources.resolve((), None, environ, configures=True).profile is None
    assert sources.resolve((), None, {"DUMACLE_CONFIG": os.devnull}).profile is None
    assert sources.resolve((), None, {"HOME": str(tmp_path)}).profile is None


@pytest.mark.parametrize(
    "flags",
    [
        ("s3_secret_key=hush",),
        ("stripe_secret_key=hush",),
        ("database_url=postgresql://ada:hush@db/films",),
        ("database_url=postgresql://ada%3Ahush@db/films",),
        ("database_url=postgresql+psycopg://ada:hush@db/films",),
        ("database_url=postgresql://db/films?user=ada&password=hush",),
        ("database_url=postgresql://db/films?user=ada&%70assword=hush",),
        ("database_url=postgresql://db/films?sslpassword=hush",),
        ("database_url=host=db user=ada password=hush",),
        ("database_url=ada:hush@db/films",),
        ("admin_database_url=postgresql://ada:hush@db/films",),
        ("s3_endpoint=https://key:hush@store.example.com",),
        ("stripe_api_base=https://key:hush@api.example.com",),
        ("s3_secret_keyy=hush",),
        ("postgresql://ada:hush@db/films?x=1",),
        ("postgresql://ada:hush@db/films",),
        ("url_expiry=1", "url_expiry=2"),
    ],
)
def test_what_a_flag_may_not_say_is_refused_and_not_repeated(resolve: Resolve, flags: tuple[str, ...]) -> None:
    with pytest.raises(DumacleError) as refused:
        resolve(*flags)
    assert refused.value.exit is Exit.USAGE
    assert "hush" not in str(refused.value) + refused.value.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "postgresql://ada@db:5432/films?sslmode=verify-full"),
        ("database_url", "postgresql://ada@[::1]/films?passfile=/x"),
        ("s3_endpoint", "https://store.example.com:9000"),
        ("password_command", "pass show db"),
        ("key_source", "file:/etc/dumacle/dumacle.key"),
    ],
)
def test_what_is_no_secret_may_be_typed(name: str, value: str) -> None:
    assert not reveals_secret(name, value)
    assert without_passwords(value) == value
