"""FFmpeg's command line for each preset, with outputs relative to its working folder."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from dumacle_cli.errors import BadMedia
from dumacle_cli.local import ffmpeg_graphs as graphs
from dumacle_cli.local.ffmpeg_graphs import Options, OutputFile, Stream
from dumacle_cli.services.definitions import Film, Poster, Preset, Sound, Sprite, Video
from dumacle_cli.transcode import codecs, sprites, tracks
from dumacle_cli.transcode.ladder import Rung, Source, even, ladder, largest
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.playlists import MEDIA
from dumacle_cli.transcode.probe import Media, steady
from dumacle_cli.transcode.reference import TILES
from dumacle_cli.transcode.tracks import SoundOutput, SoundTrack

KEY_FRAME_SECONDS = 2
KEY_FRAMES_PER_SEGMENT = 3
# Seconds between the key frames of one file whose video is copied: what x264 makes of films by default.
LONGEST_GROUP = 10.5
# So many pictures the last one may stay.
HELD = 2

FLAGS = (
    # At this level FFmpeg counts what it could not decode, which `damage.py` reads.
    *("-hide_banner", "-nostdin", "-v", "repeat+level+verbose"),
    *("-nostats", "-progress", "pipe:1", "-stats_period", "0.5"),
)
# An option, not part of the filter graph: when the audio format changes midway, a graph restarts its video filters too.
RESAMPLE = "aresample=async=1:first_pts=0"
BOTH_SIDES = "pan=stereo|c0=c0|c1=c0"
NOTHING: Options = MappingProxyType({})
NO_METADATA: Options = {"map_metadata": -1, "map_chapters": -1}
# The titles of chapters stay.
ALL_BUT_CHAPTERS: Options = {"map_metadata:g": -1, "map_metadata:s": -1, "map_chapters": 0}
Gains = Mapping[str, str]
"""For each sound that is not loud enough or too loud, by its stream: the filter that changes it."""


def check(media: Media, preset: Preset) -> None:
    """Raise BadMedia if the source lacks what the preset needs."""
    if preset.requires_video and not media.video:
        fault = media.no_video or f"it has no video, which the preset {preset.name} needs"
        advice = "the preset audio takes its sound" if media.sounds else "convert its video to H.264, and upload that"
        raise BadMedia(reason=f"{fault}; {advice}")
    if media.picture == TILES and preset.kind != "poster":
        raise BadMedia(reason=f"it is a photo, and the preset {preset.name} needs a film; the preset poster takes it")
    if not preset.requires_video and not media.sounds:
        raise BadMedia(reason=f"{media.no_audio or 'it has no audio'}, which the preset {preset.name} needs")
    if preset.takes_sound and media.mute:
        advice = "convert its sound to AAC, and upload that"
        raise BadMedia(reason=f"{media.no_audio}; {advice}")


def rungs(media: Media, preset: Preset) -> list[Rung]:
    """Return the frame sizes of a preset; raises BadMedia if the source lacks what the preset needs."""
    check(media, preset)
    match preset:
        case Sound():
            return []
        case Poster():
            return [_poster_size(media, preset)]
        case Sprite():
            return [sprites.grid(media, preset).image]
    source = source_size(media, preset)
    *smaller, top = [largest(source)] if preset.kind == "mp4" else ladder(source)
    if _can_be_copied(media, preset, top):
        top = replace(top, bitrate=media.bitrate, buffer=0, copied=True)
    return [*smaller, top]


def _can_be_copied(media: Media, preset: Film, top: Rung) -> bool:
    """Whether the source's own video is what the largest rung shall be: then nothing of it is lost."""
    fits = (top.width, top.height) == (media.width, media.height) and media.bitrate <= top.bitrate
    gaps = (later - key for key, later in pairwise((*media.keys, media.frames)))
    longest = gop(media.fps) if preset.kind == "hls" else LONGEST_GROUP * media.fps
    seekable = bool(media.keys) and media.keys[0] == 0 and max(gaps) <= longest
    return preset.video.codec == "h264" and fits and seekable and media.hold * media.fps < HELD


def has_few_bits(media: Media, preset: Preset) -> bool:
    """Return whether some size gets fewer bits than is usual for it, because the source has as few."""
    usual = rungs(replace(media, bitrate=0), preset)
    return any(rung.bitrate < most.bitrate for rung, most in zip(rungs(media, preset), usual, strict=True))


def source_size(media: Media, preset: Film) -> Source:
    """Return what the sizes of a ladder follow from."""
    share = codecs.CODECS[preset.video.codec].share
    return Source(media.width, media.height, media.bitrate, media.duration, preset.video.largest, share)


def paced(media: Media, preset: Preset) -> Media:
    """Return the source with every second picture left out if it has more a second than a preset wants."""
    if not isinstance(preset, Film) or not media.video or media.fps <= preset.video.max_fps:
        return media
    fps = steady(media.fps / 2)
    return replace(media, fps=fps, frames=max(1, round(Fraction(media.duration) * fps)), keys=())


def folders(media: Media, preset: Preset) -> list[str]:
    """Return the folders that the output of a preset needs: one for each size, and then for each sound of HLS."""
    if preset.kind != "hls":
        return []
    sounds = tracks.sounds(media.sounds, preset)
    return [*(rung.name for rung in rungs(media, preset)), *(sound.folder for sound in sounds)]


def only_file(preset: Preset) -> str:
    """Return the file that has the media of an output without folders."""
    return sprites.IMAGE if isinstance(preset, Sprite) else preset.entry


def commands(
    ffmpeg: Path, source: Path, media: Media, preset: Preset, limits: Limits, gains: Gains = MappingProxyType({})
) -> list[list[str]]:
    """Return the commands that make an output one after the other, each a program and its arguments.

    It is one, or for HLS with limited cores one for each size that is encoded, which takes less memory. `gains` make
    sounds as loud as the preset wants.
    """
    sizes = rungs(media, preset)
    # Sought by its key frame: some formats find no other picture.
    seek = {"ss": _seconds(media.key)} if preset.kind == "poster" and media.key else {}
    inputs = graphs.read(source, {**limits.input_options, **seek})
    match preset:
        case Poster():
            runs = [_poster(inputs, media, preset, sizes[0])]
        case Sprite():
            runs = [_sprite(inputs, media, sprites.grid(media, preset))]
        case Sound():
            [sound] = tracks.sounds(media.sounds, preset)
            runs = [[_one_file(preset, media, [inputs[sound.track.stream]], _sound(sound, gains))]]
        case Film(kind="mp4"):
            runs = [_mp4(inputs, media, preset, sizes, gains)]
        case Film():
            runs = _hls(inputs, media, preset, sizes, gains, apart=limits.cores > 0)
    return [graphs.command(ffmpeg, FLAGS, outputs) for outputs in runs]


def gop(fps: Fraction) -> int:
    """Return the number of frames from one key frame to the next."""
    return max(1, round(KEY_FRAME_SECONDS * fps))


def _hls(
    inputs: Stream, media: Media, preset: Film, sizes: list[Rung], gains: Gains, *, apart: bool
) -> list[list[OutputFile]]:
    """Return the outputs of each run: of one, or of one for each size that is encoded, the last with all the rest."""
    made, copied = [rung for rung in sizes if not rung.copied], sizes[-1].copied
    video = constant_rate(inputs[media.picture], media)
    groups = [[rung] for rung in made] if apart else [made]
    keys = _keys_of_source(media) if copied else NOTHING
    runs = [pictures(video, media, preset, group, keys) for group in groups if group]
    rest = [segments(sizes[-1].name, inputs[media.picture], media, _copied(media))] if copied else []
    rest += sounds(inputs, media, preset, gains)
    return [*runs[:-1], runs[-1] + rest] if runs else [[*rest, _decoded(inputs, media)]]


def sounds(inputs: Stream, media: Media, preset: Film, gains: Gains) -> list[OutputFile]:
    """Return an output in segments for each sound of a film."""
    return [
        segments(sound.folder, inputs[sound.track.stream], media, _whole_sound(media, sound, gains))
        for sound in tracks.sounds_in_segments(media.sounds, preset)
    ]


def pictures(video: Stream, media: Media, preset: Film, sizes: list[Rung], more: Options = NOTHING) -> list[OutputFile]:
    """Return an output in segments for each of these sizes, with `more` options; `video` is at the constant rate.

    Its pictures are those of `media`.
    """
    copies = graphs.split(scaled(video, media, sizes[-1]), len(sizes))
    return [
        segments(
            rung.name,
            copy.filter("scale", w=rung.width, h=rung.height).filter("setsar", sar=1),
            media,
            {**_video(media, preset.video, rung), **more},
        )
        for rung, copy in zip(sizes, copies, strict=True)
    ]


def _mp4(inputs: Stream, media: Media, preset: Film, sizes: list[Rung], gains: Gains) -> list[OutputFile]:
    [rung] = sizes
    audio: list[Stream] = []
    heard: Options = {}
    for sound in tracks.sounds(media.sounds, preset):
        audio, heard = [inputs[sound.track.stream]], _whole_sound(media, sound, gains)
    if rung.copied:
        video, options = inputs[media.picture], _copied(media)
        return [_one_file(preset, media, [video, *audio], {**options, **heard}), _decoded(inputs, media)]
    video = scaled(constant_rate(inputs[media.picture], media), media, rung)
    return [_one_file(preset, media, [video, *audio], {**_video(media, preset.video, rung), **heard})]


def _copied(media: Media) -> Options:
    """Return the options that copy a video, its times rounded as those of encoded pictures are."""
    return {"c:v": "copy", "bsf:v": f"setts=pts=PTS:dts=DTS:time_base={1 / media.fps}"}


def _decoded(inputs: Stream, media: Media) -> OutputFile:
    """Return an output to nowhere: FFmpeg tells of damage only in what it decodes."""
    return graphs.write("nothing", [inputs[media.picture]], {"f": "null"})


def _poster(inputs: Stream, media: Media, preset: Poster, size: Rung) -> list[OutputFile]:
    after = poster_time(media) - media.key
    video = inputs[media.picture].filter("trim", start=_seconds(after)) if after > 0 else inputs[media.picture]
    video = scaled(_whole_frames(video, media), media, size)
    return [graphs.write(preset.entry, [video], {**NO_METADATA, "frames:v": 1, "q:v": 3, "update": 1})]


def _sprite(inputs: Stream, media: Media, grid: sprites.Grid) -> list[OutputFile]:
    video = constant_rate(inputs[media.picture], media).filter("select", expr=f"not(mod(n,{grid.step}))")
    tile = scaled(video, media, Rung("tile", grid.width, grid.height))
    image = tile.filter("tile", layout=f"{grid.columns}x{grid.rows}")
    written = graphs.write(sprites.IMAGE, [image], {**NO_METADATA, "frames:v": 1, "q:v": 4, "update": 1})
    # The image is written at the end only: progress is that of the first output.
    return [_decoded(inputs, media), written]


def _one_file(preset: Preset, media: Media, streams: list[Stream], options: Options) -> OutputFile:
    metadata = ALL_BUT_CHAPTERS if media.chapters else NO_METADATA
    return graphs.write(preset.entry, streams, {**metadata, **options, "movflags": "+faststart"})


def segments(folder: str, stream: Stream, media: Media, options: Options) -> OutputFile:
    """Return an output of segments of one stream, and their playlist, in a folder."""
    seconds = KEY_FRAMES_PER_SEGMENT * gop(media.fps) / media.fps
    segmented = {
        "f": "hls",
        "hls_playlist_type": "vod",
        "hls_segment_type": "fmp4",
        "hls_flags": "independent_segments",
        # Rounded down: one microsecond more would move every cut by one key frame.
        "hls_time": f"{int(seconds * 1_000_000)}us",
        "hls_fmp4_init_filename": "init.mp4",
        "hls_segment_filename": f"{folder}/%05d.m4s",
        # Otherwise each muxer shifts its stream by a delay of its own, and audio and video lose their synchronization.
        "avoid_negative_ts": "disabled",
    }
    return graphs.write(f"{folder}/{MEDIA}", [stream], {**NO_METADATA, **options, **segmented})


def _whole_sound(media: Media, sound: SoundOutput, gains: Gains) -> Options:
    options = _sound(sound, gains)
    length = f"{round(media.duration * 1_000_000)}us"
    if sound.track.seconds > media.duration:
        return {**options, "t": length}
    if sound.track.seconds == media.duration:
        return options
    # Players stop where the shorter of picture and sound ends.
    return {**options, "af": f"{options['af']},apad=whole_dur={length}"}


def _sound(sound: SoundOutput, gains: Gains) -> Options:
    filters = ",".join(filter(None, (stereo(sound.track), gains.get(sound.track.stream))))
    return {"c:a": "aac", "b:a": sound.bitrate, "ac": sound.channels, "ar": 48000, "af": filters}


def stereo(track: SoundTrack) -> str:
    """Return the filters that come first for any sound."""
    # Otherwise FFmpeg makes each side 3 dB quieter, for loudspeakers that sound together.
    return f"{RESAMPLE},{BOTH_SIDES}" if track.channels == 1 else RESAMPLE


def _video(media: Media, video: Video, rung: Rung) -> Options:
    return {"frames:v": media.frames, "fps_mode": "passthrough", **codecs.options(video, rung, gop(media.fps))}


def _keys_of_source(media: Media) -> Options:
    """Return the options for key frames where the source has them: there players change to the size that is copied."""
    return {"force_key_frames": "source", "forced-idr": 1, "g": 2 * gop(media.fps), "keyint_min": 1}


def constant_rate(video: Stream, media: Media) -> Stream:
    """Return the pictures at the constant rate, without interlacing; the first is at 0."""
    # A last picture that is short is passed on.
    steady = _whole_frames(video, media).filter("fps", fps=media.fps, start_time=0, eof_action="pass")
    if media.hold * media.fps < HELD:
        return steady
    return steady.filter("tpad", stop_mode="clone", stop_duration=_seconds(Fraction(media.hold)))


def _whole_frames(video: Stream, media: Media) -> Stream:
    return video.filter("bwdif", mode="send_frame", deint="interlaced") if media.interlaced else video


def scaled(video: Stream, media: Media, rung: Rung) -> Stream:
    """Return pictures at the size of a rung, in 8 bits and 4:2:0, with the usual range."""
    size = {"w": rung.width, "h": rung.height}
    if media.hdr:
        mapped = _tone_mapped(video.filter("scale", **size), media.hdr)
    else:
        mapped = video.filter("scale", **size, out_range="tv")
    return mapped.filter("format", pix_fmts="yuv420p").filter("setsar", sar=1)


def _tone_mapped(video: Stream, transfer: str) -> Stream:
    # Properties that the stream does not declare default to those of HDR10.
    linear = video.filter("zscale", tin=transfer, pin="bt2020", min="bt2020nc", t="linear", npl=100)
    light = linear.filter("format", pix_fmts="gbrpf32le").filter("zscale", p="bt709")
    return light.filter("tonemap", tonemap="hable", desat=0).filter("zscale", t="bt709", m="bt709", r="tv")


def _poster_size(media: Media, preset: Poster) -> Rung:
    width = min(preset.width, media.width)
    return Rung("poster", even(width), even(media.height * width // media.width))


def poster_time(media: Media) -> Fraction:
    """Return the time of the poster, a tenth into the video, in seconds."""
    # Half a frame early, so that rounding does not miss it.
    at = (media.frames // 10 - Fraction(1, 2)) / media.fps
    return max(Fraction(0), min(at, Fraction(media.duration) - Fraction(media.hold)))


def _seconds(time: Fraction) -> str:
    return f"{float(time):.6f}"
