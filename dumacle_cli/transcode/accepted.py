"""The media that is accepted: formats, codecs of video and audio, and subtitles that are text, by FFmpeg's names.

Whatever makes FFmpeg open other files or addresses is excluded: playlists (HLS, DASH, concat), SVG, image sequences,
formats with side files (MLV, VobSub, IMF). So are codecs of old games and of few users, which hardly anybody tests.
"""

FORMATS = {
    "MP4, MOV, M4A, 3GP, F4V, HEIC, AVIF": "mov,mp4,m4a,3gp,3g2,mj2",
    "Matroska, WebM": "matroska,webm",
    "MPEG transport stream": "mpegts",
    "MPEG program stream, VOB": "mpeg",
    "AVI": "avi",
    "FLV": "flv",
    "WMV, WMA, ASF": "asf",
    "MXF": "mxf",
    "GXF": "gxf",
    "RealMedia": "rm",
    "Windows TV recording": "wtv",
    "Ogg": "ogg",
    "NUT": "nut",
    "IVF": "ivf",
    "DV": "dv",
    "Raw H.264, HEVC, AV1, VC-1": "h264,hevc,obu,vc1",
    "Raw MPEG video, Motion JPEG": "mpegvideo,m4v,mjpeg",
    "GIF, APNG": "gif,apng",
    "JPEG, PNG, WebP, BMP, TIFF": "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe",
    "WAV, W64": "wav,w64",
    "AIFF, AU, CAF": "aiff,au,caf",
    "MP3": "mp3",
    "AAC": "aac,loas",
    "AC-3, E-AC-3, DTS, TrueHD": "ac3,eac3,dts,truehd",
    "FLAC": "flac",
    "Monkey's Audio, WavPack, TTA, Musepack": "ape,wv,tta,mpc,mpc8",
    "AMR": "amr,amrnb,amrwb",
}
VIDEO = {
    "H.264": "h264",
    "HEVC": "hevc",
    "AV1": "av1,libdav1d,libaom-av1",
    "VP8, VP9": "vp8,vp9,libvpx,libvpx-vp9",
    "VP6, VP7": "vp6,vp6a,vp6f,vp7",
    "MPEG-1, MPEG-2, MPEG-4": "mpeg1video,mpeg2video,mpegvideo,mpeg4",
    "MS-MPEG-4, DivX 3": "msmpeg4v1,msmpeg4v2,msmpeg4",
    "WMV, VC-1": "wmv1,wmv2,wmv3,vc1",
    "H.261, H.263, Sorenson Spark": "h261,h263,h263i,h263p,flv",
    "Flash Screen Video": "flashsv,flashsv2",
    "RealVideo": "rv10,rv20,rv30,rv40",
    "Sorenson Video, Cinepak": "svq1,svq3,cinepak",
    "Indeo, Microsoft Video 1 and RLE": "indeo2,indeo3,indeo4,indeo5,msvideo1,msrle",
    "QuickTime Animation and Graphics": "qtrle,rpza,smc",
    "Theora": "theora,vp3",
    "ProRes": "prores",
    "DNxHD, DNxHR": "dnxhd",
    "DV": "dvvideo",
    "CineForm": "cfhd",
    "JPEG, JPEG 2000, Motion JPEG": "mjpeg,mjpegb,jpeg2000",
    "FFV1, HuffYUV, Ut Video": "ffv1,huffyuv,ffvhuff,utvideo",
    "Uncompressed video": "rawvideo,v210,r210",
    "GIF, PNG, APNG, WebP, BMP, TIFF": "gif,png,apng,webp,bmp,tiff",
}
AUDIO = {
    "AAC": "aac,aac_latm",
    "MP1, MP2, MP3": "mp1,mp1float,mp2,mp2float,mp3,mp3float",
    "AC-3, E-AC-3": "ac3,eac3",
    "DTS": "dca",
    "TrueHD, MLP": "truehd,mlp",
    "Opus, Vorbis, Speex": "opus,libopus,vorbis,libvorbis,speex",
    "FLAC, ALAC": "flac,alac",
    "Monkey's Audio, WavPack, TTA, Musepack": "ape,wavpack,tta,mpc7,mpc8",
    "WMA": "wmav1,wmav2,wmapro,wmalossless,wmavoice",
    "RealAudio": "cook,sipr,real_144,real_288,atrac3",
    "Nellymoser": "nellymoser",
    "QDesign, MACE": "qdm2,qdmc,mace3,mace6",
    "AMR, GSM, iLBC": "amrnb,amrwb,gsm,gsm_ms,ilbc",
    "ADPCM": "adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf,adpcm_yamaha,g722,g726,g726le",
    "PCM": (
        "pcm_u8,pcm_s8,pcm_s8_planar,pcm_s16le,pcm_s16be,pcm_s16le_planar,pcm_s16be_planar,pcm_s24le,pcm_s24be,"
        "pcm_s24le_planar,pcm_s32le,pcm_s32be,pcm_s32le_planar,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,"
        "pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,s302m"
    ),
}

SUBTITLES = {
    "SubRip": "subrip,srt",
    "ASS, SSA": "ass,ssa",
    "WebVTT": "webvtt",
    "MP4 text": "mov_text",
}


def names(table: dict[str, str]) -> str:
    """Return FFmpeg's names of what a table accepts, separated by commas."""
    return ",".join(table.values())
