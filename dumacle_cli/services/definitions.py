"""What a preset makes, as operators write it in JSON; all of it is checked before it is stored and when it is used."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from dumacle_cli.errors import BadPreset

Codec = Literal["h264", "hevc", "av1"]
NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
LENGTH = "its length; at most 1 second for 20 pictures"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Video(_Part):
    """How pictures are encoded; `quality` is the codec's constant rate factor, the lower the better.

    `largest` is the shorter side of the largest 16:9 picture. Sources with more than `max_fps` pictures a second keep
    every second one.
    """

    codec: Codec = "h264"
    quality: int | None = Field(default=None, ge=10, le=50)
    largest: Literal[234, 360, 432, 540, 720, 1080, 1440, 2160] = 1080
    max_fps: Literal[30, 60] = 60


class Audio(_Part):
    """How sound is encoded: bit/s, and the loudness in LUFS to which it is brought, if any (EBU R 128 wants -23)."""

    bitrate: int = Field(default=128_000, ge=32_000, le=320_000)
    loudness: float | None = Field(default=None, ge=-31, le=-10)


class FilmAudio(Audio):
    """The sound of a film; with `surround`, HLS has 5.1 beside stereo where the source has it."""

    surround: bool = False

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Definitions that were stored before there was surround sound keep their hashes.
        return {name: value for name, value in dump(self).items() if name != "surround" or value}


class _Preset(_Part):
    name: str = Field(pattern=NAME)
    description: str = Field(max_length=500)

    @property
    def requires_video(self) -> bool:
        """Whether a source must have pictures."""
        return True

    @property
    def takes_sound(self) -> bool:
        """Whether the output has the sound of the source."""
        return True


class Film(_Preset):
    """Pictures and sound: in several sizes for adaptive players (hls), or in one file (mp4)."""

    kind: Literal["hls", "mp4"]
    video: Video = Video()
    audio: FilmAudio = FilmAudio()

    @field_validator("audio")
    @classmethod
    def _only_hls_has_a_choice(cls, audio: FilmAudio, info: ValidationInfo) -> FilmAudio:
        if audio.surround and info.data.get("kind") == "mp4":
            raise PydanticCustomError("surround", "Surround is for hls, which has stereo beside it")
        return audio

    @property
    def entry(self) -> str:
        """The file that players open."""
        return "master.m3u8" if self.kind == "hls" else "video.mp4"

    @property
    def charged(self) -> str:
        """What it costs the owner's quota."""
        return LENGTH


class Sound(_Preset):
    """The sound alone."""

    kind: Literal["audio"]
    audio: Audio = Audio()

    @property
    def entry(self) -> str:
        """The file that players open."""
        return "audio.m4a"

    @property
    def charged(self) -> str:
        """What it costs the owner's quota."""
        return "a tenth of its length"

    @property
    def requires_video(self) -> bool:
        """Whether a source must have pictures."""
        return False


class Poster(_Preset):
    """One picture from a tenth into the video."""

    kind: Literal["poster"]
    width: int = Field(default=1280, ge=16, le=3840)

    @property
    def entry(self) -> str:
        """The file that is shown."""
        return "poster.jpg"

    @property
    def charged(self) -> str:
        """What it costs the owner's quota."""
        return "1 second"

    @property
    def takes_sound(self) -> bool:
        """Whether the output has the sound of the source."""
        return False


class Sprite(_Preset):
    """Small pictures for the time line of a player, one for each so many seconds, in one image with an index of them.

    `size` is the longer side of each in pixels. A long film has fewer: at most 500 in all.
    """

    kind: Literal["sprite"]
    seconds: int = Field(default=10, ge=1, le=600)
    size: int = Field(default=160, ge=32, le=320)

    @property
    def entry(self) -> str:
        """The file that players open."""
        return "sprite.vtt"

    @property
    def charged(self) -> str:
        """What it costs the owner's quota."""
        return "1 second for 20 pictures in it"

    @property
    def takes_sound(self) -> bool:
        """Whether the output has the sound of the source."""
        return False


Preset = Film | Sound | Poster | Sprite
_KINDS: TypeAdapter[Preset] = TypeAdapter(Annotated[Preset, Field(discriminator="kind")])


def parse(definition: object) -> Preset:
    """Return the preset that a JSON document defines; raises BadPreset, which names each wrong field."""
    try:
        return _KINDS.validate_python(definition)
    except ValidationError as error:
        faults = [_fault(each) for each in error.errors()]
        raise BadPreset(reason="; ".join(faults)) from None


def complete(preset: Preset) -> dict[str, Any]:
    """Return the definition of a preset with all of its defaults."""
    return preset.model_dump(mode="json")


def hash_of(definition: dict[str, Any]) -> str:
    """Return the hash of a complete definition."""
    text = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _fault(error: Any) -> str:
    """Return the field and what is wrong with it, in a few words."""
    kinds = ("hls", "mp4", "audio", "poster", "sprite")
    place = error["loc"][1:] if error["loc"][:1] and error["loc"][0] in kinds else error["loc"]
    field = ".".join(str(part) for part in place)
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return f"kind must be one of {', '.join(kinds)}"
    if error["type"] == "missing":
        return f"{field} is missing"
    if error["type"] == "extra_forbidden":
        return f"there is no field {field}"
    if error["type"] == "string_pattern_mismatch":
        return f"{field} may have lowercase letters, digits and dashes only, and at most 63"
    if not field:
        return "it must be one JSON object"
    return f"{field}: {error['msg'][0].lower()}{error['msg'][1:]}, not {json.dumps(error['input'])[:80]}"
