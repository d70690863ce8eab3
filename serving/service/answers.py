"""What is asked and answered, as OpenAPI tells it."""

import base64
import binascii
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field

from serving.ensemble.rows import LabelledPicture

NAME_LENGTH = 255


class Upload(NamedTuple):
    """A picture as it was sent."""

    name: str
    content: bytes


def _decode_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("base64 is a string")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is no base64") from None


class EncodedPicture(BaseModel):
    """One picture in JSON."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=NAME_LENGTH)] = ""
    content: Annotated[bytes, BeforeValidator(_decode_base64)]


class EncodedPictures(BaseModel):
    """A request in JSON."""

    model_config = ConfigDict(extra="forbid")
    pictures: Annotated[list[EncodedPicture], FailFast()]


class PictureAnswer(BaseModel):
    """What is said of one picture."""

    name: str
    """As it was sent; its place where it has no name."""
    status: str
    """`ok`, or why it is unreadable: then there are no numbers."""
    label: Literal["real", "fake", "review"] | None
    score: float | None
    """Probability of being fake, at the share of fakes that the bundle assumes."""
    log_odds: float | None
    """Of `score`."""
    faces: int | None
    """Faces that were looked at; 0: none was found, and the whole was looked at. `null` where the
    bundle looks for none."""


class ScoreAnswer(BaseModel):
    """Answers in the order of the pictures."""

    bundle: str
    """sha256 that names the bundle."""
    pictures: list[PictureAnswer]


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


class Health(BaseModel):
    """Whether questions are answered."""

    status: Literal["starting", "ready", "draining"]


def describe_picture(row: LabelledPicture) -> PictureAnswer:
    """The answer for a picture that was scored."""
    return PictureAnswer.model_validate(
        {
            "name": row.name,
            "status": row.status,
            "label": row.label,
            "score": row.score,
            "log_odds": row.log_odds,
            "faces": row.faces,
        }
    )


def describe_unreadable(name: str, problem: str) -> PictureAnswer:
    """The answer for a picture without a score."""
    status = f"unreadable: {problem}"
    return PictureAnswer(
        name=name, status=status, label=None, score=None, log_odds=None, faces=None
    )


def describe_body(pictures: int) -> dict[str, object]:
    """For OpenAPI: what is sent, with at most so many `pictures`."""
    bounds = {"type": "array", "minItems": 1, "maxItems": pictures}
    encoded = {
        "type": "object",
        "required": ["content"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "maxLength": NAME_LENGTH, "default": ""},
            "content": {"type": "string", "contentEncoding": "base64", "format": "byte"},
        },
    }
    kinds = {
        "multipart/form-data": {"type": "string", "format": "binary"},
        "application/json": encoded,
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                kind: {
                    "schema": {
                        "type": "object",
                        "required": ["pictures"],
                        "additionalProperties": False,
                        "properties": {"pictures": {**bounds, "items": items}},
                    }
                }
                for kind, items in kinds.items()
            },
        }
    }
