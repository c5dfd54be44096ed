"""How pictures are encoded with each codec, and what playlists call the result."""

from dataclasses import dataclass, field
from types import MappingProxyType

from dumacle_cli.local.ffmpeg import ENCODERS
from dumacle_cli.local.ffmpeg_graphs import Options
from dumacle_cli.services.definitions import Codec, Video
from dumacle_cli.transcode.ladder import Rung


@dataclass(frozen=True, slots=True)
class Encoder:
    """One encoder of FFmpeg: its constant rate factor, so that what needs fewer bits gets fewer, and its options.

    `share` of H.264's bits are enough for the same picture, and it takes `effort` times the CPU time. `lean` are the
    options for rungs with few bits, if there are any, and `lean_effort` their CPU time.
    """

    quality: int
    share: float
    effort: float
    options: Options
    lean: Options = field(default_factory=dict)
    lean_effort: float = 0


CODECS: MappingProxyType[Codec, Encoder] = MappingProxyType(
    {
        "h264": Encoder(
            20,
            1,
            1,
            {"c:v": ENCODERS["h264"], "preset": "veryfast", "profile:v": "high", "sc_threshold": 0},
            # 84 instead of 74 VMAF for a film of 388 kbit/s in 720p.
            {"preset": "medium"},
            1.8,
        ),
        "hevc": Encoder(
            24,
            0.75,
            3,
            {
                **{"c:v": ENCODERS["hevc"], "preset": "veryfast", "profile:v": "main", "tag:v": "hvc1"},
                # Key frames at the grid only, and nothing before one refers to what is after it. No information about
                # the encoder: it names the number of processors, and chunks of a film come from several machines.
                "x265-params": "scenecut=0:open-gop=0:info=0:log-level=error",
            },
        ),
        "av1": Encoder(32, 0.6, 3, {"c:v": ENCODERS["av1"], "preset": "8", "svtav1-params": "scd=0:irefresh-type=2"}),
    }
)


def options(video: Video, rung: Rung, keys: int) -> Options:
    """Return FFmpeg's options for a picture with a key frame every `keys` pictures."""
    encoder = CODECS[video.codec]
    rates: Options = {"crf": video.quality or encoder.quality, "maxrate": rung.bitrate, "bufsize": rung.buffer}
    return {**encoder.options, **(encoder.lean if rung.lean else {}), **rates, "g": keys, "keyint_min": keys}


def effort(codec: Codec, rung: Rung) -> float:
    """Return how many times the CPU time of H.264 at its fastest a rung takes."""
    encoder = CODECS[codec]
    return encoder.lean_effort if rung.lean and encoder.lean else encoder.effort


def called(codec: str, configuration: bytes) -> str:
    """Return how playlists name a codec (RFC 6381), by its configuration record in MP4."""
    if codec == "hevc":
        return _hevc(configuration)
    if codec == "av1":
        profile, level, tier = configuration[1] >> 5, configuration[1] & 31, configuration[2] >> 7
        return f"av01.{profile}.{level:02}{'H' if tier else 'M'}.08"
    return f"avc1.{configuration[1:4].hex()}"


def _hevc(configuration: bytes) -> str:
    tier, profile = (configuration[1] >> 5) & 1, configuration[1] & 31
    compatible = int(f"{int.from_bytes(configuration[2:6], 'big'):032b}"[::-1], 2)
    constraints = configuration[6:12].rstrip(b"\0")
    parts = [f"hvc1.{profile}", f"{compatible:x}", f"{'H' if tier else 'L'}{configuration[12]}"]
    return ".".join([*parts, *(f"{each:x}" for each in constraints)])
