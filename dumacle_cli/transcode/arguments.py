"""FFmpeg's command line for each preset, with outputs relative to the folder it runs in."""

from fractions import Fraction
from pathlib import Path

from dumacle_cli.errors import BadMedia
from dumacle_cli.transcode.ladder import Rung, even, ladder, largest
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.playlists import MEDIA, SOUND
from dumacle_cli.transcode.presets import Preset
from dumacle_cli.transcode.probe import Media

KEY_SECONDS = 2
KEYS_PER_SEGMENT = 3
POSTER_WIDTH = 1280

SOUND_OPTIONS = ["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000", "-af", "aresample=async=1:first_pts=0"]
PLAIN = ["-map_metadata", "-1", "-map_chapters", "-1"]


def rungs(media: Media, preset: Preset) -> list[Rung]:
    """Return the sizes of the picture that a preset makes; raises BadMedia where the source lacks what it needs."""
    if preset.picture and not media.video:
        raise BadMedia(reason="it has no picture")
    if not preset.picture and not media.audio:
        raise BadMedia(reason="it has no sound")
    if not preset.picture:
        return []
    if preset.name == "poster":
        return [_poster_size(media)]
    if preset.name == "mp4":
        return [largest(media.width, media.height)]
    return ladder(media.width, media.height)


def folders(media: Media, preset: Preset) -> list[str]:
    """Return the folders that the output of a preset needs: one per rendition of HLS, the sound's last."""
    if preset.name != "hls":
        return []
    return [*(rung.name for rung in rungs(media, preset)), *([SOUND] if media.audio else [])]


def command(ffmpeg: Path, source: Path, media: Media, preset: Preset, limits: Limits) -> list[str]:
    """Return the program and its arguments."""
    sizes = rungs(media, preset)
    seek = _poster_seek(media) if preset.name == "poster" else []
    options = [word for name, value in limits.input_options.items() for word in (f"-{name}", value)]
    outputs = {"hls": _hls, "mp4": _mp4, "audio": _audio, "poster": _poster}[preset.name]
    return [
        *(str(ffmpeg), "-hide_banner", "-nostdin", "-v", "error", "-xerror"),
        *("-nostats", "-progress", "pipe:1", "-stats_period", "0.5"),
        *(*options, *seek, "-i", f"file:{source.absolute()}"),
        *outputs(media, sizes),
        # HLS has many outputs, and names them itself.
        *([] if preset.name == "hls" else [*PLAIN, preset.entry]),
    ]


def gop(fps: Fraction) -> int:
    """Return how many pictures stand from one key frame to the next."""
    return max(1, round(KEY_SECONDS * fps))


def _hls(media: Media, sizes: list[Rung]) -> list[str]:
    graph = f"[0:V:0]{_steady(media)},{_prepared(media, sizes[-1])},split={len(sizes)}"
    graph += "".join(f"[_{rung.name}]" for rung in sizes)
    graph += "".join(f";[_{rung.name}]scale={rung.width}:{rung.height},setsar=1[{rung.name}]" for rung in sizes)
    arguments = ["-filter_complex", graph]
    for rung in sizes:
        arguments += ["-map", f"[{rung.name}]", *_video(media, rung), *_segmented(media, rung.name)]
    if media.audio:
        arguments += ["-map", "0:a:0", *SOUND_OPTIONS, *_segmented(media, SOUND)]
    return arguments


def _mp4(media: Media, sizes: list[Rung]) -> list[str]:
    sound = ["-map", "0:a:0", *SOUND_OPTIONS] if media.audio else []
    graph = f"[0:V:0]{_steady(media)},{_prepared(media, sizes[0])}[v]"
    picture = ["-filter_complex", graph, "-map", "[v]", *_video(media, sizes[0])]
    return [*picture, *sound, "-movflags", "+faststart"]


def _audio(_media: Media, _sizes: list[Rung]) -> list[str]:
    return ["-map", "0:a:0", *SOUND_OPTIONS, "-movflags", "+faststart"]


def _poster(media: Media, sizes: list[Rung]) -> list[str]:
    graph = f"[0:V:0]{_prepared(media, sizes[0])}[v]"
    return ["-filter_complex", graph, "-map", "[v]", "-frames:v", "1", "-q:v", "3", "-update", "1"]


def _video(media: Media, rung: Rung) -> list[str]:
    keys = str(gop(media.fps))
    return [
        *("-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-fps_mode", "passthrough"),
        *("-b:v", str(rung.bitrate), "-maxrate", str(rung.bitrate * 3 // 2), "-bufsize", str(rung.bitrate * 2)),
        *("-g", keys, "-keyint_min", keys, "-sc_threshold", "0"),
    ]


def _segmented(media: Media, folder: str) -> list[str]:
    seconds = KEYS_PER_SEGMENT * gop(media.fps) / media.fps
    return [
        *PLAIN,
        # Otherwise the muxers shift picture and sound by their different delays, apart from each other.
        *("-avoid_negative_ts", "disabled"),
        *("-f", "hls", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-hls_flags", "independent_segments"),
        # Rounded down: a microsecond too much would put every cut off by one key frame.
        *("-hls_time", f"{int(seconds * 1_000_000)}us", "-hls_fmp4_init_filename", "init.mp4"),
        *("-hls_segment_filename", f"{folder}/%05d.m4s", f"{folder}/{MEDIA}"),
    ]


def _steady(media: Media) -> str:
    fields = "bwdif=mode=send_frame:deint=interlaced," if media.interlaced else ""
    return f"{fields}fps={media.fps}:start_time=0"


def _prepared(media: Media, rung: Rung) -> str:
    scale = f"scale={rung.width}:{rung.height}"
    if not media.hdr:
        return f"{scale}:out_range=tv,format=yuv420p,setsar=1"
    # What the stream does not say of itself is taken as HDR10's.
    tone = f"zscale=tin={media.hdr}:pin=bt2020:min=bt2020nc:t=linear:npl=100,format=gbrpf32le,zscale=p=bt709"
    return f"{scale},{tone},tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p,setsar=1"


def _poster_size(media: Media) -> Rung:
    width = min(POSTER_WIDTH, media.width)
    return Rung("poster", even(width), even(media.height * width // media.width), 0)


def _poster_seek(media: Media) -> list[str]:
    # Half a picture early, so that rounding does not miss it.
    at = (media.frames // 10 - Fraction(1, 2)) / media.fps
    return ["-ss", f"{max(0.0, float(at)):.6f}"]
