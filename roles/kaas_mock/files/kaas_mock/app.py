# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API and its page. Paths and meaning are those of the SCS monitoring MVP's mock service where that had them."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import json
import re
import sqlite3
import time
import typing as t

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Request, Response, status
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaas_mock import VERSION, store
from kaas_mock.manager import Manager
from kaas_mock.metrics import Metrics
from kaas_mock.settings import Settings, SettingsError
from kaas_mock.tokens import ADMIN, Tokens

PAGE = "/kaas"
STATIC = "/kaas-static"
# as the role lab_cluster wants it, which is narrower than an id of the Observer
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,29}[a-z0-9])?")
RESERVED_NAMES = ("s3",)
LARGEST_BODY = 16 * 1024
STATUS = {"conflict": status.HTTP_409_CONFLICT, "limit": status.HTTP_429_TOO_MANY_REQUESTS, "unknown": status.HTTP_404_NOT_FOUND}
DESCRIPTION = """
Kubernetes clusters on demand, each with the Observer's agent in it: for showing and testing the Observer, not for running anything that matters.

Creating and deleting answer at once with a **job**; ask for `/api/jobs/{id}` until its state is `succeeded` or `failed`.
Press *Authorize* and enter your token first.
"""


class NewCluster(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "kaas"}})

    name: str = Field(description="Name of the cluster and its id at the Observer: at most 31 lower case letters, digits and '-'.")

    @field_validator("name")
    @classmethod
    def _fits(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is no cluster name. Use 1 to 31 lower case letters, digits and '-', with a letter or digit at both ends")
        if name in RESERVED_NAMES:
            raise ValueError(f"{name!r} is reserved. Use another name")
        return name


class ClusterAnswer(BaseModel):
    id: int
    name: str
    owner: str = Field(description="Name of the token that it was created with.")
    state: t.Literal["queued", "creating", "onboarding", "ready", "failed", "unregistering", "deleting"]
    job: int = Field(description="Its newest job.")
    error: str = Field(description="Why it failed; empty otherwise.")
    created: str
    updated: str

    @classmethod
    def of(cls, cluster: store.Cluster, job: int) -> ClusterAnswer:
        return cls(
            id=cluster.id,
            name=cluster.name,
            owner=cluster.owner,
            state=t.cast("t.Any", cluster.state),
            job=job,
            error=cluster.error,
            created=_time(cluster.created) or "",
            updated=_time(cluster.updated) or "",
        )


class StepAnswer(BaseModel):
    name: str
    attempts: int
    seconds: float = Field(description="So far, when it is not done yet.")
    done: bool


class JobAnswer(BaseModel):
    id: int
    cluster: str
    action: t.Literal["create", "delete"]
    state: t.Literal["queued", "running", "succeeded", "failed"]
    step: str = Field(description="create or onboard; unregister or delete. Empty before the first.")
    task: str = Field(description="What is done in that step right now.")
    steps: list[StepAnswer]
    elapsed: float = Field(description="Seconds since it was asked for, until it ended.")
    error: str = Field(description="Why it failed; or why it is tried again, while it is running.")
    created: str
    started: str | None
    finished: str | None

    @classmethod
    def of(cls, job: store.Job, task: str) -> JobAnswer:
        now = time.time()
        ended = job.finished or now
        steps = [
            StepAnswer(name=step.name, attempts=step.attempts, seconds=round((step.finished or ended) - step.started, 1), done=step.finished is not None)
            for step in job.steps
        ]
        return cls(
            id=job.id,
            cluster=job.cluster,
            action=t.cast("t.Any", job.action),
            state=t.cast("t.Any", job.state),
            step=job.step,
            task=task,
            steps=steps,
            elapsed=round(ended - job.created, 1),
            error=job.error,
            created=_time(job.created) or "",
            started=_time(job.started),
            finished=_time(job.finished),
        )


class Problem(BaseModel):
    detail: str


class Health(BaseModel):
    status: t.Literal["ok", "failed"]
    checks: dict[str, str]


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


class _Guard:
    """Before anything else is looked at: no large bodies, and none that a page of another origin could send without being asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        kind = dict(scope["headers"]).get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            await _problem(415, "The body has to be JSON. Send it with the header Content-Type: application/json.")(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > LARGEST_BODY:
                await _problem(413, f"The body is larger than {LARGEST_BODY} bytes. Send the cluster's name and nothing else.")(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)


def _problem(code: int, detail: str, headers: t.Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, code, headers)


def _what_is_wrong(error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _problem(400, f"The body is no JSON: {first.get('ctx', {}).get('error', first['msg'])}.")
    place = [str(part) for part in first["loc"][1:]]
    if first["type"] == "missing" or not place:
        return _problem(422, f"{'.'.join(place) or 'The body'} is missing or no JSON object. Send such as {json.dumps({'name': 'kaas'})}.")
    if first["type"] == "extra_forbidden":
        return _problem(422, f"{place[-1][:80]!r} is unknown. Send the cluster's name and nothing else.")
    return _problem(422, f"{'.'.join(place)}: {first['msg'].removeprefix('Value error, ')}.")


@dataclasses.dataclass
class Context:
    """What the requests share. C(tokens) None: none is asked for."""

    settings: Settings
    metrics: Metrics
    manager: Manager
    tokens: Tokens | None

    def job_answer(self, job: store.Job) -> JobAnswer:
        return JobAnswer.of(job, self.manager.task(job))

    def accepted(self, job: store.Job, response: Response) -> JobAnswer:
        response.headers["Location"] = f"/api/jobs/{job.id}"
        return self.job_answer(job)


def _context(request: Request) -> Context:
    return request.app.state.context


Here = t.Annotated[Context, Depends(_context)]
BEARER = HTTPBearer(auto_error=False, description="A token of the service's tokens file.")


def _caller(here: Here, credentials: t.Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> str:
    if here.tokens is None:
        return ADMIN
    owner = here.tokens.owner(credentials.credentials) if credentials else None
    if owner is None:
        detail = "The token is wrong." if credentials else "A token is needed. Send the header Authorization: Bearer <token>."
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
    return owner


# name of the token's owner
Caller = t.Annotated[str, Depends(_caller)]


def _seen_by(owner: str) -> str | None:
    """Whose clusters and jobs; None is all."""
    return None if owner == ADMIN else owner


def _problems(*codes: int) -> dict[int | str, dict[str, t.Any]]:
    return {code: {"model": Problem} for code in (401, 422, *codes)}


api = APIRouter()


@api.get("/api/clusters/", tags=["Clusters"], summary="List clusters", responses=_problems())
def list_clusters(here: Here, owner: Caller) -> list[ClusterAnswer]:
    newest = {job.cluster: job.id for job in here.manager.store.jobs(_seen_by(owner))}
    return [ClusterAnswer.of(cluster, newest.get(cluster.name, 0)) for cluster in here.manager.store.clusters(_seen_by(owner))]


@api.post("/api/clusters/", tags=["Clusters"], summary="Create a cluster", status_code=202, responses=_problems(409, 413, 415, 429))
def create_cluster(here: Here, owner: Caller, new: NewCluster, response: Response) -> JobAnswer:
    """Answers at once with a job. A cluster whose creation failed is tried again."""
    return here.accepted(here.manager.create(new.name, owner, sees_all=owner == ADMIN), response)


@api.get("/api/clusters/{name}", tags=["Clusters"], summary="Get a cluster's kubeconfig", responses=_problems(404, 409))
def get_kubeconfig(here: Here, owner: Caller, name: str) -> dict[str, t.Any]:
    """As JSON, which kubectl reads like YAML. It gives full power over the cluster."""
    cluster = here.manager.store.cluster(name, _seen_by(owner))
    if cluster is None:
        raise store.Refused("unknown", f"There is no cluster {name[:80]}. GET /api/clusters/ lists what there is.")
    if cluster.state != store.READY:
        raise store.Refused("conflict", f"Cluster {name} has no kubeconfig to give, for it is {cluster.state}.")
    try:
        return here.manager.kubeconfig(cluster)
    except OSError:
        raise store.Refused("conflict", f"The kubeconfig of cluster {name} is gone from this machine. Delete the cluster and create it anew.") from None


@api.delete("/api/clusters/{name}", tags=["Clusters"], summary="Delete a cluster", status_code=202, responses=_problems(404))
def delete_cluster(here: Here, owner: Caller, name: str, response: Response) -> JobAnswer:
    """Answers at once with a job: the cluster is unregistered at the Observer, then deleted. One that is being created is cancelled."""
    return here.accepted(here.manager.delete(name, _seen_by(owner)), response)


@api.delete("/api/clusters/", tags=["Clusters"], summary="Delete a cluster, in the MVP's way", status_code=202, responses=_problems(404))
def delete_cluster_by_query(here: Here, owner: Caller, name: str, response: Response) -> JobAnswer:
    """The same, with the name in the query."""
    return delete_cluster(here, owner, name, response)


@api.get("/api/jobs/", tags=["Jobs"], summary="List jobs", responses=_problems())
def list_jobs(here: Here, owner: Caller, cluster: str | None = None) -> list[JobAnswer]:
    return [here.job_answer(job) for job in here.manager.store.jobs(_seen_by(owner), cluster)]


@api.get("/api/jobs/{number}", tags=["Jobs"], summary="Follow a job", responses=_problems(404))
def get_job(here: Here, owner: Caller, number: t.Annotated[int, Path(ge=0, lt=2**63)]) -> JobAnswer:
    job = here.manager.store.job(number, _seen_by(owner))
    if job is None:
        raise store.Refused("unknown", f"There is no job {number}. GET /api/jobs/ lists what there is.")
    return here.job_answer(job)


@api.get("/health", tags=["Service"], summary="Whether the service works", responses={503: {"model": Health}})
def health(here: Here, response: Response) -> Health:
    checks = {"database": "ok", "workers": "ok" if here.manager.alive else "a worker has ended"}
    try:
        here.manager.store.counts()
    except sqlite3.Error:
        checks["database"] = "can not be read"
    good = set(checks.values()) == {"ok"}
    response.status_code = 200 if good else 503
    return Health(status="ok" if good else "failed", checks=checks)


@api.get("/metrics", tags=["Service"], summary="Prometheus metrics", response_class=Response)
def metrics(here: Here) -> Response:
    return Response(generate_latest(here.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def create_app(settings: Settings) -> FastAPI:
    """The whole service. SettingsError when it can not work so."""
    measured = Metrics()
    manager = Manager(settings, measured.observe)
    measured.watch(manager.store, settings.max_clusters)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> t.AsyncIterator[None]:
        manager.start()
        yield
        await run_in_threadpool(manager.stop)

    app = FastAPIOffline(
        docs_url=PAGE,
        redoc_url=None,
        static_url=STATIC,
        title="SCS KaaS mock service",
        description=DESCRIPTION,
        version=VERSION,
        swagger_ui_oauth2_redirect_url=f"{PAGE}/oauth2-redirect",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
        lifespan=lifespan,
    )
    app.state.context = Context(settings, measured, manager, Tokens(settings.tokens) if settings.auth else None)
    app.include_router(api)
    app.add_middleware(_Guard)
    if not settings.auth and settings.loopback:
        # a page whose name points to this address (DNS rebinding) must not reach what needs no token
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", settings.host])
    _add_headers(app)
    for kind, answer in HANDLERS.items():
        app.add_exception_handler(kind, answer)
    return app


HANDLERS: dict[type[Exception], t.Callable[[Request, t.Any], JSONResponse]] = {
    RequestValidationError: lambda _request, error: _what_is_wrong(error),
    store.Refused: lambda _request, error: _problem(STATUS[error.kind], str(error)),
    # the tokens file was broken meanwhile; who asks has no business with the reason
    SettingsError: lambda _request, error: _problem(503, "The service's tokens can not be read. Tell its operator."),
    # FastAPI's own 400 is a body that is not even text, or nested too deeply
    StarletteHTTPException: lambda _request, error: _problem(
        error.status_code, "The body is no JSON." if error.status_code == 400 else str(error.detail), error.headers
    ),
}


def _add_headers(app: FastAPI) -> None:
    # the page has one script in itself, which is always the same
    page = bytes(
        get_swagger_ui_html(
            openapi_url=str(app.openapi_url),
            title=f"{app.title} - Swagger UI",
            oauth2_redirect_url=app.swagger_ui_oauth2_redirect_url,
            swagger_js_url=f"{STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f"{STATIC}/swagger-ui.css",
            swagger_favicon_url=f"{STATIC}/favicon.png",
            swagger_ui_parameters=app.swagger_ui_parameters,
        ).body
    ).decode()
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL) if script
    ]
    scripts = " ".join(f"'sha256-{value}'" for value in hashes)
    for_page = (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    common = {
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
    }

    @app.middleware("http")
    async def headers(request: Request, call_next: t.Any) -> Response:
        response = await call_next(request)
        response.headers.update(common)
        if request.url.path == PAGE:
            response.headers["Content-Security-Policy"] = for_page
        elif request.url.path.startswith("/api/"):
            response.headers["Cache-Control"] = "no-store"
        return response
