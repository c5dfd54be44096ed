"""What new contents are transcoded to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TranscodeRequest:
    """A preset for new contents whose media type begins with one of `kinds`."""

    preset: str
    kinds: tuple[str, ...]

    def takes(self, content_type: str) -> bool:
        """Return whether it applies to a media type."""
        return content_type.startswith(self.kinds)
