"""The body of a request into pictures, in memory alone and within the limits."""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from serving.service.answers import NAME_LENGTH, EncodedPictures, Upload
from serving.service.limits import Holding, Refusal, ServiceLimits

FIELD = "pictures"
_COMMAS = NAME_LENGTH + 2
"""That JSON of a picture has at most: those of its name, and two between values."""


class _MemoryParser(MultiPartParser):
    """Writes nothing to disk: Starlette's own spools what is above a megabyte."""

    spool_max_size = sys.maxsize
    has_end = False

    def on_end(self) -> None:
        """At the last boundary: a form without it is cut off."""
        self.has_end = True


async def read_uploads(
    request: Request, limits: ServiceLimits, most: int, holding: Holding
) -> list[Upload]:
    """At most `most` pictures. Raises `Refusal`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/json"):
        raise Refusal(415, "send multipart/form-data or application/json")
    try:
        async with asyncio.timeout(limits.seconds):
            chunks = await _read_body(request, limits, holding)
    except TimeoutError:
        raise Refusal(408, f"the body took longer than {limits.seconds:g} s") from None
    except ClientDisconnect:
        raise Refusal(422, "the body is cut off") from None
    if kind == "multipart/form-data":
        uploads = await _parse_form(request, chunks, most)
    else:
        uploads = await asyncio.to_thread(_parse_json, chunks, most)
    _check_uploads(uploads, limits, most)
    return [
        Upload(upload.name or str(place), upload.content) for place, upload in enumerate(uploads)
    ]


async def _read_body(request: Request, limits: ServiceLimits, holding: Holding) -> deque[bytes]:
    """Raises `Refusal`, for a body that is too large after as much again was read: a client that
    still sends would not see the answer."""
    chunks: deque[bytes] = deque()
    told, length = _read_length(request), 0
    too_large = _refuse_bytes("the body", limits.body_bytes)
    refusal = too_large if told > limits.body_bytes else None
    if told > 2 * limits.body_bytes:
        raise too_large
    async for chunk in request.stream():
        length += len(chunk)
        if length > 2 * limits.body_bytes:
            break
        if refusal:
            continue
        try:
            if length > limits.body_bytes:
                raise too_large
            holding.take(len(chunk))
            chunks.append(chunk)
        except Refusal as found:
            refusal = found
            chunks.clear()
            holding.release()
    if refusal:
        raise refusal
    return chunks


def _read_length(request: Request) -> int:
    told = request.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() else 0


def _refuse_bytes(what: str, most: int) -> Refusal:
    return Refusal(413, f"{what} has more than {most / 2**20:g} MB")


async def _parse_form(request: Request, chunks: deque[bytes], most: int) -> list[Upload]:
    """Files named `pictures`; `most` + 1 are read, to know of too many."""
    parser = _MemoryParser(request.headers, _stream(chunks), max_files=most + 1, max_fields=0)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        code = 413 if error.message.startswith("Too many files") else 422
        raise Refusal(code, f"the form cannot be read: {error.message}") from None
    if not parser.has_end:
        raise Refusal(422, "the form is cut off")
    uploads = []
    for name, value in form.multi_items():
        if name != FIELD or not isinstance(value, UploadFile):
            raise Refusal(422, f"files of a form are named {FIELD}")
        uploads.append(Upload(_clean_name(value.filename or ""), await value.read()))
        await value.close()
    return uploads


async def _stream(chunks: deque[bytes]) -> AsyncGenerator[bytes, None]:
    """Each is let go of as it is parsed."""
    while chunks:
        yield chunks.popleft()


def _clean_name(name: str) -> str:
    """One that every encoding can hold."""
    return name[:NAME_LENGTH].encode("utf-8", "replace").decode()


def _parse_json(chunks: Iterable[bytes], most: int) -> list[Upload]:
    """Commas are counted before anything is made of them: each value of a list takes fifty times
    its bytes in memory."""
    body = b"".join(chunks)
    if body.count(b",") > most * _COMMAS:
        raise Refusal(413, f"more values than {most} pictures have: at most {most} in a request")
    try:
        encoded = EncodedPictures.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:NAME_LENGTH]
        raise Refusal(422, f"{place}: {first['msg']}" if place else first["msg"]) from None
    return [Upload(picture.name, picture.content) for picture in encoded.pictures]


def _check_uploads(uploads: Sequence[Upload], limits: ServiceLimits, most: int) -> None:
    if not uploads:
        raise Refusal(422, "there are no pictures")
    if len(uploads) > most:
        raise Refusal(413, f"{len(uploads)} pictures, at most {most} go into a request")
    if any(len(upload.content) > limits.file_bytes for upload in uploads):
        raise _refuse_bytes("a picture", limits.file_bytes)
