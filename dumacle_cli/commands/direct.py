"""`dumacle files initiate|sign-parts|progress|confirm|abort`: uploads that clients send to the store themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import File, InPod, Owner
from dumacle_cli.context import Context
from dumacle_cli.errors import InvalidValue
from dumacle_cli.output.result import Result
from dumacle_cli.services import direct, direct_ends, direct_links, files
from dumacle_cli.units import parse_duration, parse_size

if TYPE_CHECKING:
    from dumacle_cli.services.transcode_request import TranscodeRequest
    from dumacle_cli.store.operations import Request

app = CommandGroup("files")

Expires = Annotated[
    str, typer.Option("--expires", metavar="AGE", help="Lifetime of links and reservation, up to 1d: 15min, 1h.")
]
Sha256 = Annotated[str, typer.Option("--sha256", metavar="HEX", help="The SHA-256 that the content must have.")]


@app.acts_outside(
    "initiate",
    takes_op_id=True,
    example="dumacle files initiate clips/new.mp4 --owner ada@example.com --pod films --size 12MiB --type video/mp4",
)
def initiate(
    context: Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The path that the file will have.")],
    owner: Annotated[str, typer.Option("--owner", metavar="USER", help="The owner: e-mail address or id.")],
    size: Annotated[str, typer.Option("--size", metavar="SIZE", help="The exact size; a bare number is bytes.")],
    content_type: Annotated[str, typer.Option("--type", metavar="TYPE", help="The media type, such as video/mp4.")],
    pod: Annotated[str, typer.Option("--pod", metavar="POD", help="The pod; default: the owner's default pod.")] = "",
    sha256: Sha256 = "",
    md5: Annotated[
        str, typer.Option("--md5", metavar="HEX", help="The MD5, which the store then enforces for a file sent whole.")
    ] = "",
    parts: Annotated[bool, typer.Option("--parts", help="Send the file in parts, each with its own link.")] = False,
    part_size: Annotated[
        str, typer.Option("--part-size", metavar="SIZE", help="Size of each part, 5MiB to 5GiB; implies --parts.")
    ] = "",
    expires: Expires = "",
) -> Result[direct_links.Links]:
    """Reserve room for a file, and create links with which a client sends it to the store itself."""
    total = parse_size(size, "--size")
    announced = direct.Announced(
        path=direct.checked_path(path),
        owner=owner,
        pod=pod,
        size=total,
        content_type=direct.checked_type(content_type),
        seconds=_seconds(context, expires),
        max_file_size=context.settings.max_file_size,
        sha256=direct.checked_hash(sha256, "--sha256", 32),
        md5=direct.checked_hash(md5, "--md5", 16),
        part_size=_part_size(total, parts, part_size),
    )
    request, dry_run = _request(context), context.options.dry_run
    return Result(*direct.initiate(context.database, context.stores.open, request, announced, dry_run=dry_run))


def _part_size(total: int, parts: bool, given: str) -> int | None:
    if not parts and not given:
        return None
    return direct.part_size(total, parse_size(given, "--part-size") if given else None)


def _seconds(context: Context, expires: str) -> int:
    return parse_duration(expires, "--expires") if expires else min(context.settings.url_expiry, direct_links.DAY)


def _request(context: Context) -> Request:
    from dumacle_cli.store.operations import Request

    return Request(context.operation, context.command, context.parameters)


def _find(context: Context, file: str, owner: str, pod: str) -> int:
    with context.session() as session:
        return files.find(session, file, owner=owner, pod=pod)


@app.acts_outside(
    "sign-parts",
    takes_op_id=True,
    example="dumacle files sign-parts clips/dance.mp4 --owner ada@example.com --parts 1",
)
def sign_parts(
    context: Context,
    file: File,
    owner: Owner = "",
    pod: InPod = "",
    parts: Annotated[
        str, typer.Option("--parts", metavar="LIST", help="Parts such as 3,7-20; default: the next 100 missing ones.")
    ] = "",
    expires: Expires = "",
) -> Result[direct_links.Links]:
    """Create new links for parts of a direct upload, and keep its reservation as long as they are valid."""
    file_id, seconds = _find(context, file, owner, pod), _seconds(context, expires)
    dry_run = context.options.dry_run
    return Result(
        *direct_links.sign_parts(
            context.database,
            context.stores.open,
            _request(context),
            file_id,
            _numbers(parts),
            seconds,
            dry_run=dry_run,
        )
    )


def _numbers(parts: str) -> list[int]:
    """Return the numbers of a list such as 3,7-20, each once and in order; raises InvalidValue."""
    numbers: set[int] = set()
    for item in parts.split(",") if parts else ():
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", item, re.ASCII)
        if not match or int(match[2] or match[1]) < int(match[1]) or int(match[2] or 0) > direct.MOST_PARTS:
            raise InvalidValue(name="--parts", value=repr(parts), reason="it is a list of numbers such as 3,7-20")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(numbers)


@app.reads("progress", example="dumacle files progress clips/dance.mp4 --owner ada@example.com")
def progress(context: Context, file: File, owner: Owner = "", pod: InPod = "") -> Result[direct_links.Progress]:
    """Show how much of a direct upload the store has."""
    return Result(direct_links.progress(context.database, context.stores.open, _find(context, file, owner, pod)))


@app.acts_outside("confirm", takes_op_id=True, example="dumacle files confirm clips/dance.mp4 --owner ada@example.com")
def confirm(
    context: Context,
    file: File,
    owner: Owner = "",
    pod: InPod = "",
    sha256: Sha256 = "",
    transcode: Annotated[
        str,
        typer.Option("--transcode", metavar="PRESET", help="Transcode a video (and audio, for the preset audio)."),
    ] = "",
) -> Result[direct_ends.Confirmed]:
    """Verify what a client sent, by reading it back, and make it the content of the file."""
    wanted = direct.checked_hash(sha256, "--sha256", 32)
    file_id = _find(context, file, owner, pod)
    return Result(
        *direct_ends.confirm(
            context.database,
            context.stores.open,
            _request(context),
            file_id,
            wanted,
            _transcode(context, transcode),
            dry_run=context.options.dry_run,
        )
    )


def _transcode(context: Context, preset: str) -> TranscodeRequest | None:
    from dumacle_cli.services import transcodes

    if not preset:
        return None
    with context.session() as session:
        return transcodes.request(session, preset)


@app.acts_outside("abort", takes_op_id=True, example="dumacle files abort clips/dance.mp4 --owner ada@example.com")
def abort(context: Context, file: File, owner: Owner = "", pod: InPod = "") -> Result[direct_ends.Aborted]:
    """End a direct upload: its links stop working, what was sent is removed, and the room is released."""
    file_id, request = _find(context, file, owner, pod), _request(context)
    dry_run = context.options.dry_run
    return Result(*direct_ends.abort(context.database, context.stores.open, request, file_id, dry_run=dry_run))
