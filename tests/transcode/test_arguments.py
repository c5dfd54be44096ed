"""FFmpeg's command line for each preset, in full."""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dumacle_cli.transcode import arguments
from dumacle_cli.transcode.accepted import AUDIO, FORMATS, SUBTITLES, VIDEO, names
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.tracks import SoundTrack
from tests.presets import defined

pytestmark = pytest.mark.unit
FILM = Media(7, (SoundTrack("a:0", "aac", 2, 7),), "h264", 640, 360, 210, Fraction(30000, 1001), "yuv420p")
RUN = "/bin/ffmpeg -hide_banner -nostdin -v repeat+level+verbose -nostats -progress pipe:1 -stats_period 0.5"
INPUT = (
    f"-codec_whitelist {names(VIDEO)},{names(AUDIO)},{names(SUBTITLES)}"
    f" -format_whitelist {names(FORMATS)} -max_pixels 40000000 -max_streams 256"
    " -protocol_whitelist file"
)
STEADY = "[0:V:0]fps=eof_action=pass:fps=30000/1001:start_time=0[s0];"
SOUND = "-ac 2 -af aresample=async=1:first_pts=0 -ar 48000"
PLAIN = "-map_chapters -1 -map_metadata -1"


def line(media: Media, preset: str) -> list[str]:
    [command] = arguments.commands(Path("/bin/ffmpeg"), Path("/media/film.mp4"), media, defined(preset), Limits())
    return command


def segments(folder: str) -> str:
    return (
        "-hls_flags independent_segments -hls_fmp4_init_filename init.mp4 -hls_playlist_type vod"
        f" -hls_segment_filename {folder}/%05d.m4s -hls_segment_type fmp4 -hls_time 6006000us"
    )


def rung(name: str, label: str, rate: int, preset: str) -> str:
    return (
        f"-map [{label}] -f hls -avoid_negative_ts disabled -bufsize {2 * rate} -c:v libx264 -crf 20"
        f" -fps_mode passthrough -frames:v 210 -g 60 {segments(name)} -keyint_min 60 {PLAIN}"
        f" -maxrate {rate} -preset {preset} -profile:v high -sc_threshold 0 file:{name}/index.m3u8"
    )


def test_hls() -> None:
    graph = (
        f"{STEADY}[s0]scale=h=360:out_range=tv:w=640[s1];[s1]format=pix_fmts=yuv420p[s2];[s2]setsar=sar=1[s3];"
        "[s3]split=2[s4][s5];[s4]scale=h=234:w=416[s6];[s6]setsar=sar=1[s7];[s5]scale=h=360:w=640[s8];"
        "[s8]setsar=sar=1[s9]"
    )
    sound = (
        "-map 0:a:0 -f hls -ac 2 -af aresample=async=1:first_pts=0 -ar 48000 -avoid_negative_ts disabled -b:a 128000"
        f" -c:a aac {segments('audio')} {PLAIN} file:audio/index.m3u8"
    )
    small, large = rung("234p", "s7", 145_000, "medium"), rung("360p", "s9", 365_000, "veryfast")
    wanted = f"{RUN} {INPUT} -i file:/media/film.mp4 -filter_complex {graph} {small} {large} {sound}"
    assert line(FILM, "hls") == wanted.split()
    silent = replace(FILM, sounds=())
    assert line(silent, "hls") == wanted.removesuffix(f" {sound}").split()


def test_a_lean_source_takes_more_time_instead_of_more_bits() -> None:
    usual, lean = replace(FILM, bitrate=300_000), replace(FILM, bitrate=200_000)
    [preset] = re.findall(r"-preset (\S+)", " ".join(line(usual, "mp4")))
    assert preset == "veryfast"
    said = " ".join(line(lean, "mp4"))
    assert "-preset medium" in said
    assert "-maxrate 200000" in said


def test_few_bits_are_those_of_the_source() -> None:
    """The smallest size always takes more time, and gets no fewer bits for that."""
    assert arguments.has_few_bits(replace(FILM, bitrate=200_000), defined("hls"))
    assert not arguments.has_few_bits(replace(FILM, bitrate=3_000_000), defined("hls"))
    assert not arguments.has_few_bits(FILM, defined("hls"))


def test_mp4_of_an_interlaced_film_of_high_dynamic_range() -> None:
    graph = (
        "[0:V:0]bwdif=deint=interlaced:mode=send_frame[s0];[s0]fps=eof_action=pass:fps=30000/1001:start_time=0[s1];"
        "[s1]scale=h=360:w=640[s2];[s2]zscale=min=bt2020nc:npl=100:pin=bt2020:t=linear:tin=smpte2084[s3];"
        "[s3]format=pix_fmts=gbrpf32le[s4];[s4]zscale=p=bt709[s5];[s5]tonemap=desat=0:tonemap=hable[s6];"
        "[s6]zscale=m=bt709:r=tv:t=bt709[s7];[s7]format=pix_fmts=yuv420p[s8];[s8]setsar=sar=1[s9]"
    )
    wanted = (
        f"{RUN} {INPUT} -i file:/media/film.mp4 -filter_complex {graph} -map [s9] -map 0:a:0 {SOUND} -b:a 128000"
        " -bufsize 730000 -c:a aac -c:v libx264 -crf 20 -fps_mode passthrough -frames:v 210 -g 60 -keyint_min 60"
        f" {PLAIN} -maxrate 365000 -movflags +faststart -preset veryfast -profile:v high -sc_threshold 0 file:video.mp4"
    )
    assert line(replace(FILM, interlaced=True, hdr="smpte2084"), "mp4") == wanted.split()


def test_audio() -> None:
    wanted = (
        f"{RUN} {INPUT} -i file:/media/film.mp4 -map 0:a:0 {SOUND} -b:a 128000 -c:a aac {PLAIN} -movflags +faststart"
        " file:audio.m4a"
    )
    assert line(FILM, "audio") == wanted.split()


def test_poster() -> None:
    graph = (
        "[0:V:0]trim=start=0.684017[s0];[s0]scale=h=360:out_range=tv:w=640[s1];[s1]format=pix_fmts=yuv420p[s2];"
        "[s2]setsar=sar=1[s3]"
    )
    wanted = (
        f"{RUN} {INPUT} -i file:/media/film.mp4 -filter_complex {graph} -map [s3] -frames:v 1 {PLAIN}"
        " -q:v 3 -update 1 file:poster.jpg"
    )
    assert line(FILM, "poster") == wanted.split()
