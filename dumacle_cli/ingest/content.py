"""Content types: detected from the first bytes, or else from the extension."""

HEAD = 64
"""Bytes that are enough to detect the type."""

UNKNOWN = "application/octet-stream"
LONGEST_EXTENSION = 8

# IANA media types; the system's mime.types would make results differ between machines.
_BY_EXTENSION = {
    "aac": "audio/aac",
    "aif": "audio/aiff",
    "aiff": "audio/aiff",
    "arw": "image/x-sony-arw",
    "avi": "video/x-msvideo",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "cr2": "image/x-canon-cr2",
    "cr3": "image/x-canon-cr3",
    "csv": "text/csv",
    "dng": "image/x-adobe-dng",
    "flac": "audio/flac",
    "flv": "video/x-flv",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "htm": "text/html",
    "html": "text/html",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "m2ts": "video/mp2t",
    "m3u8": "application/vnd.apple.mpegurl",
    "m4a": "audio/mp4",
    "m4s": "video/iso.segment",
    "m4v": "video/mp4",
    "md": "text/markdown",
    "mkv": "video/matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "mts": "video/mp2t",
    "mxf": "application/mxf",
    "nef": "image/x-nikon-nef",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "psd": "image/vnd.adobe.photoshop",
    "srt": "application/x-subrip",
    "svg": "image/svg+xml",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "ts": "video/mp2t",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "wma": "audio/x-ms-wma",
    "wmv": "video/x-ms-wmv",
    "xml": "application/xml",
    "xmp": "application/rdf+xml",
    "zip": "application/zip",
}

_ISO_BRANDS = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"crx ": "image/x-canon-cr3",
}

# Signatures from the MIME Sniffing standard and the container specifications.
_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"%PDF-", "application/pdf"),
    (b"FLV\x01", "video/x-flv"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}


def content_type(path: str, head: bytes) -> str:
    """Return the media type of a file from its first bytes, or else from its extension."""
    named = _BY_EXTENSION.get(extension(path), "")
    return _sniffed(head, named) or named or UNKNOWN


def extension(path: str) -> str:
    """Return the extension in lower case without its dot, or an empty string if it is long or unusual."""
    stem, _, suffix = path.rpartition("/")[2].rpartition(".")
    usual = stem and 0 < len(suffix) <= LONGEST_EXTENSION and suffix.isascii() and suffix.isalnum()
    return suffix.lower() if usual else ""


def _sniffed(head: bytes, named: str) -> str:
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _ISO_BRANDS.get(head[8:12], "" if named.startswith(("video/", "audio/", "image/")) else "video/mp4")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head else "video/matroska"
    if head[:4] == b"OggS":
        return named if named.endswith("/ogg") else "audio/ogg"
    return ""
