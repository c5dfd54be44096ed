"""The arguments and options that several commands take, each described once."""

from typing import Annotated

import typer

User = Annotated[str, typer.Argument(metavar="USER", help="The user's e-mail address or id.")]
Pod = Annotated[str, typer.Argument(metavar="POD", help="The pod's name or id.")]
Plan = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's name.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A file's id, or its path with --owner.")]

Owner = Annotated[str, typer.Option("--owner", metavar="USER", help="The owner of the files: e-mail address or id.")]
InPod = Annotated[str, typer.Option("--pod", metavar="POD", help="Filter by pod: name or id.")]
Prefix = Annotated[str, typer.Option("--prefix", help="Filter by path prefix.")]
AllowTypes = Annotated[
    str | None,
    typer.Option("--allow-types", metavar="LIST", help="Media types that are accepted: video/*,image/png; or any."),
]
MaxFileSize = Annotated[
    str | None, typer.Option("--max-file-size", metavar="SIZE", help="Largest file, such as 2GiB; or unlimited.")
]
Descending = Annotated[bool, typer.Option("--desc", help="Sort descending.")]
OfPreset = Annotated[str | None, typer.Option("--preset", metavar="PRESET", help="Filter by preset.")]
