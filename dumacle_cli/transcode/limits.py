"""The accepted formats, and the most that one input may cost: uploaded media is hostile."""

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024

# FFmpeg's names. Playlists (HLS, DASH, concat) are excluded: they make FFmpeg open other files and URLs.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,flv,mpeg,ogg,wav,mp3,aac,flac"
VIDEO = (
    "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,libaom-av1,mpeg4,mpeg2video,mpeg1video,"
    "h263,flv,msmpeg4,msmpeg4v2,theora,prores,dnxhd,mjpeg"
)
AUDIO = (
    "aac,mp3,mp3float,mp2,mp2float,ac3,eac3,dca,opus,libopus,vorbis,libvorbis,flac,alac,amrnb,amrwb,"
    "pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_alaw,pcm_mulaw"
)
CODECS = f"{VIDEO},{AUDIO}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one input.

    `memory` is in bytes and per process; encoding may take a minute and `wall_factor` times the input's
    duration, and no longer than `stall_seconds` without progress.
    """

    max_seconds: int = 6 * 3600
    max_pixels: int = 40_000_000
    read_seconds: int = 1800
    wall_factor: float = 30
    stall_seconds: float = 60
    memory: int = 8192 * MEBIBYTE

    def wall_seconds(self, duration: float) -> float:
        """Return how long encoding an input of `duration` seconds may take."""
        return 60 + self.wall_factor * duration

    @property
    def input_options(self) -> dict[str, str]:
        """FFmpeg's options for opening an input."""
        return {
            "protocol_whitelist": "file",
            "format_whitelist": FORMATS,
            "codec_whitelist": CODECS,
            "max_pixels": str(self.max_pixels),
            "max_streams": "64",
        }
