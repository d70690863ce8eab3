"""The addresses of the service, and who may ask there."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.trustedhost import TrustedHostMiddleware

from serving.service.answers import Health, ScoreAnswer, describe_body
from serving.service.bodies import read_uploads
from serving.service.limits import Refusal, describe_refusals
from serving.service.page import SHEET_POLICY, build_policy, build_try_page
from serving.service.service import Service
from serving.service.watching import Watch

LOOPBACK = ["127.0.0.1", "localhost", "::1", "[::1]"]
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def build_app(service: Service, key: str | None = None) -> FastAPI:
    """The ASGI application; with a `key` whoever asks must send it.

    Without one only requests to this machine's own names are answered: a page elsewhere cannot ask
    in the name of a browser that runs here (DNS rebinding).
    """

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="forgerystack",
        summary="Real or forged: scores and evidence for pictures.",
        lifespan=live,
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
    )
    guard = [Depends(_build_guard(key))] if key else []
    _add_public(app, service, needs_key=bool(key))
    _add_questions(app, service, guard)
    app.add_exception_handler(500, _answer_bug)
    if not key:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK, www_redirect=False)
    app.add_middleware(Watch, metrics=service.metrics)
    return app


def _build_guard(key: str) -> Any:
    expected = key.encode()

    def check_key(sent: _Bearer) -> None:
        if sent is None or not secrets.compare_digest(sent.credentials.encode(), expected):
            raise Refusal(401, "send the key: Authorization: Bearer …")

    return check_key


async def _answer_bug(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "an error of the service, which its log tells"}, 500)


def _add_public(app: FastAPI, service: Service, needs_key: bool) -> None:
    """What needs no key."""
    page, policy = build_try_page(needs_key), build_policy()

    @app.get("/", response_class=HTMLResponse, responses=_choose_refusals(400))
    async def show_page() -> Response:
        """A page to try pictures on."""
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.get("/healthz", responses={**_choose_refusals(400), 503: {"model": Health}})
    async def tell_health(response: Response) -> Health:
        """200 once the bundle is loaded and a picture was scored, and until the service ends."""
        response.status_code = 200 if service.status == "ready" else 503
        return Health(status=service.status)


def _add_questions(app: FastAPI, service: Service, guard: list[Any]) -> None:
    """What needs the key, where there is one."""
    limits = service.limits

    @app.get(
        "/metrics",
        dependencies=guard,
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **_choose_refusals(400, 401),
        },
    )
    async def tell_metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.print_all(), media_type=CONTENT_TYPE_LATEST)

    @app.post(
        "/score",
        dependencies=guard,
        responses=describe_refusals(),
        openapi_extra=describe_body(limits.pictures),
    )
    async def score(request: Request) -> ScoreAnswer:
        """Scores and labels of pictures, in their order.

        A picture that cannot be read has a status that says why, and no numbers.
        """
        service.check_ready()
        with service.admission.admit() as holding:
            uploads = await read_uploads(request, limits, limits.pictures, holding)
            return await service.score(uploads)

    @app.post(
        "/explain",
        dependencies=guard,
        response_class=HTMLResponse,
        responses=describe_refusals(),
        openapi_extra=describe_body(1),
    )
    async def explain(request: Request) -> Response:
        """The evidence sheet of one picture: a page without scripts, which fetches nothing."""
        service.check_ready()
        with service.admission.admit() as holding:
            [upload] = await read_uploads(request, limits, 1, holding)
            sheet = await service.explain(upload)
        return HTMLResponse(sheet, headers={"Content-Security-Policy": SHEET_POLICY})


def _choose_refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: told for code, told in describe_refusals().items() if code in codes}
