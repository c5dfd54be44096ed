"""The most that one input may cost: uploaded media is hostile."""

from dataclasses import dataclass

from dumacle_cli.errors import BadMedia
from dumacle_cli.transcode import accepted

MEBIBYTE = 1024 * 1024
# What one lost packet damages.
FEW_PICTURES = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one input.

    `memory` is in bytes and per process; encoding may take a minute and `wall_factor` times the input's
    duration, and no longer than `stall_seconds` without progress. `damage` is the share that may be damaged, 0 to 1.
    `cores` is how many processors FFmpeg may use to encode it, 0 for all.
    """

    max_seconds: int = 6 * 3600
    max_pixels: int = 40_000_000
    read_seconds: int = 1800
    wall_factor: float = 30
    stall_seconds: float = 60
    memory: int = 8192 * MEBIBYTE
    damage: float = 0.01
    cores: int = 0

    def check_damage(self, share: float, pictures: int) -> None:
        """Raise BadMedia if more of the input is damaged than is repaired; of short ones, more than three pictures."""
        if share > (self.damage and max(self.damage, FEW_PICTURES / max(1, pictures))):
            most = f"at most {100 * self.damage:g} %" if self.damage else "none"
            raise BadMedia(
                reason=f"{100 * share:.1f} % of it is damaged, and {most} is repaired; upload an undamaged copy"
            )

    def wall_seconds(self, duration: float) -> float:
        """Return how long encoding an input of `duration` seconds may take."""
        return 60 + self.wall_factor * duration

    @property
    def input_options(self) -> dict[str, str]:
        """FFmpeg's options for opening an input."""
        return {
            "protocol_whitelist": "file",
            "format_whitelist": accepted.names(accepted.FORMATS),
            "codec_whitelist": ",".join(map(accepted.names, (accepted.VIDEO, accepted.AUDIO, accepted.SUBTITLES))),
            "max_pixels": str(self.max_pixels),
            "max_streams": "256",
        }
