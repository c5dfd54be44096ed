"""The arguments and options of `dumacle files upload`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

SELECTING = "What is taken"
PLACING = "Paths in the pod"
LISTING = "Lists and standard input"

Sources = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Files and folders; links are followed if named here, patterns expanded."),
]
Owner = Annotated[str, typer.Option("--owner", metavar="USER", help="The owner: e-mail address or id.")]
Pod = Annotated[str, typer.Option("--pod", metavar="POD", help="The pod; default: the owner's default pod.")]
Results = Annotated[
    Path | None, typer.Option("--results", metavar="FILE.jsonl", help="Write the result of each file here.")
]
StopAfter = Annotated[
    int, typer.Option("--stop-after", metavar="N", min=0, help="Stop after N failures; 0 never stops.")
]
Checksum = Annotated[bool, typer.Option("--checksum", help="Compare contents, not only size and time.")]
Force = Annotated[bool, typer.Option("--force", help="Upload unchanged files, too.")]
OnChange = Annotated[
    Literal["version", "keep", "fail"],
    typer.Option("--on-change", metavar="WHAT", help="Other content at a path becomes a version, or."),
]
Dedupe = Annotated[bool, typer.Option("--dedupe", help="Store contents once that the owner has in the pod already.")]
DeleteSource = Annotated[bool, typer.Option("--delete-source", help="Delete source files that are proven stored.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sources are deleted.")]
Join = Annotated[
    bool, typer.Option("--join", help="Share the work with processes that run the same upload, on any machine.")
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", metavar="N", min=1, help="Most small files sent at once.")
]
Bandwidth = Annotated[
    str, typer.Option("--bandwidth", metavar="SIZE", help="Most bytes to send in a second, such as 50MiB.")
]
Transcode = Annotated[
    str,
    typer.Option("--transcode", metavar="PRESET", help="Transcode uploaded videos (and audio, for audio)."),
]
Progress = Annotated[bool, typer.Option("--progress", help="Write a line a second without a terminal, too.")]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Take only what matches.", rich_help_panel=SELECTING),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Leave out what matches.", rich_help_panel=SELECTING),
]
MinSize = Annotated[
    str, typer.Option("--min-size", metavar="SIZE", help="Only this size or larger.", rich_help_panel=SELECTING)
]
MaxSize = Annotated[
    str, typer.Option("--max-size", metavar="SIZE", help="Only this size or smaller.", rich_help_panel=SELECTING)
]
NewerThan = Annotated[
    str, typer.Option("--newer-than", metavar="AGE", help="Only modified since then.", rich_help_panel=SELECTING)
]
OlderThan = Annotated[
    str, typer.Option("--older-than", metavar="AGE", help="Only modified before then.", rich_help_panel=SELECTING)
]
NoHidden = Annotated[
    bool, typer.Option("--no-hidden", help="Leave out names that start with a dot.", rich_help_panel=SELECTING)
]
Links = Annotated[
    Literal["skip", "follow"],
    typer.Option("--links", metavar="HOW", help="Symbolic links in folders.", rich_help_panel=SELECTING),
]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Accept folders without files.", rich_help_panel=SELECTING)
]
Prefix = Annotated[str, typer.Option("--prefix", help="Put this before each path.", rich_help_panel=PLACING)]
KeepName = Annotated[
    bool, typer.Option("--keep-name", help="Keep the names of the given folders.", rich_help_panel=PLACING)
]
Flatten = Annotated[bool, typer.Option("--flatten", help="Drop all folders from the paths.", rich_help_panel=PLACING)]
FilesFrom = Annotated[
    Path | None,
    typer.Option(
        "--files-from", metavar="FILE", help="Take the listed files; - is standard input.", rich_help_panel=LISTING
    ),
]
Null = Annotated[bool, typer.Option("--null", "-0", help="The list has NUL after each path.", rich_help_panel=LISTING)]
Manifest = Annotated[
    Path | None,
    typer.Option("--manifest", metavar="FILE", help="CSV or JSONL: path, key, content_type.", rich_help_panel=LISTING),
]
StdinName = Annotated[
    str,
    typer.Option("--stdin-name", metavar="PATH", help="Upload standard input to this path.", rich_help_panel=LISTING),
]
