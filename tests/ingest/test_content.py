"""Content types: the first bytes decide, then the extension."""

import pytest

from dumacle_cli.ingest.content import HEAD, UNKNOWN, content_type, extension

pytestmark = pytest.mark.unit
JPEG = b"\xff\xd8\xff\xe0" + bytes(60)


@pytest.mark.parametrize(
    ("path", "head", "kind"),
    [
        ("beach.jpg", JPEG, "image/jpeg"),
        ("beach.png", JPEG, "image/jpeg"),
        ("beach", JPEG, "image/jpeg"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("a.gif", b"GIF89a", "image/gif"),
        ("a.bin", b"GIF87a", "image/gif"),
        ("a.wav", b"RIFF\0\0\0\0WAVE", "audio/wav"),
        ("a.webp", b"RIFF\0\0\0\0WEBP", "image/webp"),
        ("a.avi", b"RIFF\0\0\0\0AVI ", "video/x-msvideo"),
        ("a.mp4", b"\0\0\0\x20ftypisom", "video/mp4"),
        ("a", b"\0\0\0\x20ftypisom", "video/mp4"),
        ("a.m4a", b"\0\0\0\x20ftypisom", "audio/mp4"),
        ("a.mp4", b"\0\0\0\x20ftypqt  ", "video/quicktime"),
        ("a.heic", b"\0\0\0\x20ftypheic", "image/heic"),
        ("a.mkv", b"\x1a\x45\xdf\xa3" + b"matroska", "video/matroska"),
        ("a.mkv", b"\x1a\x45\xdf\xa3" + b"webm", "video/webm"),
        ("a.opus", b"OggS", "audio/ogg"),
        ("a.ogv", b"OggS", "video/ogg"),
        ("a.mp3", b"ID3\x04", "audio/mpeg"),
        ("a.flac", b"fLaC", "audio/flac"),
        ("a.pdf", b"%PDF-1.7", "application/pdf"),
        ("a.m3u8", b"#EXTM3U", "application/vnd.apple.mpegurl"),
        ("A.JPG", b"no jpeg", "image/jpeg"),
        ("a.jpg", b"", "image/jpeg"),
        ("a.what", b"\0\0", UNKNOWN),
        ("", b"", UNKNOWN),
    ],
)
def test_content_type(path: str, head: bytes, kind: str) -> None:
    assert content_type(path, head[:HEAD]) == kind


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("a/b.JPG", "jpg"),
        ("a.tar.gz", "gz"),
        (".hidden", ""),
        ("a.b/c", ""),
        ("a.ninechars", ""),
        (r"a.j\xe9", ""),
        ("a.ü", ""),
        ("a.mp4 ", ""),
    ],
)
def test_extension_is_short_and_plain(path: str, suffix: str) -> None:
    assert extension(path) == suffix
