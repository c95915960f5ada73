"""JSON over HTTP with an OpenAI-compatible server: retried where that can help, one line where it cannot."""

import json
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError

from pipelines.errors import UserError, wrong

BACKOFF_SECONDS = 0.5
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 900.0
_BUSY = (429, 500, 502, 503, 504)
_SHOWN = 300


class Client(NamedTuple):
    """A server: its base URL without the last slash, and the name of the environment variable that holds its key.

    `where` is what a problem with it is told under.
    """

    url: str
    key_name: str
    key: str
    pool: PoolManager
    where: str


class Reply(NamedTuple):
    """An HTTP status, and the body: JSON, or the text where it is none."""

    status: int
    body: Any


def connect(url: str, key_name: str, key: str, concurrency: int, where: str = "backend") -> Client:
    """A client that holds `concurrency` connections. The key goes into a header and nowhere else.

    A busy or failing server is asked again after 0, 1, 2, 4, ... half seconds, or when it says; a proxy is never used,
    so that requests to this machine stay on it.
    """
    if urlsplit(url).username is not None:
        fix = f"Put the key into the environment variable {key_name}, and the url without it"
        raise wrong(f"{where}.url", "holds a name or a password", fix=fix)
    retries = Retry(
        total=8,
        connect=4,
        read=2,
        status=6,
        redirect=0,
        backoff_factor=BACKOFF_SECONDS,
        backoff_max=30,
        retry_after_max=60,
        status_forcelist=_BUSY,
        allowed_methods=None,
        raise_on_status=False,
    )
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    timeout = Timeout(connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS)
    pool = PoolManager(maxsize=concurrency, headers=headers, retries=retries, timeout=timeout)
    return Client(url.rstrip("/"), key_name, key, pool, where)


def call(client: Client, method: str, path: str, body: dict[str, Any] | None = None) -> Reply:
    """What the server answers, be it an error. UserError where it does not answer at all."""
    sent = None if body is None else json.dumps(body).encode()
    try:
        response = client.pool.request(method, client.url + path, body=sent, redirect=False)
    except HTTPError as error:
        raise _unreachable(client, error) from error
    text = response.data.decode("utf-8", "replace")
    try:
        return Reply(response.status, json.loads(text))
    except ValueError:
        return Reply(response.status, text)


def ask(client: Client, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object that the server answers. UserError where it answers anything else."""
    reply = call(client, method, path, body)
    if reply.status != 200:
        raise failure(client, path, reply)
    if not isinstance(reply.body, dict):
        raise wrong(f"{client.where}.url", f"{path} answers no JSON object", told(client, reply.body), _is_it(client))
    return reply.body


def failure(client: Client, path: str, reply: Reply) -> UserError:
    """The one line for an answer that is an error."""
    got = f"HTTP {reply.status}: {told(client, reply.body)}"
    if reply.status in (401, 403):
        holds = "another" if client.key else "a"
        fix = f"Set {holds} key in the environment variable {client.key_name}"
        return wrong(f"{client.where}.api_key", "the server refuses the key", got, fix)
    if reply.status in (301, 302, 303, 307, 308, 404, 405):
        return wrong(f"{client.where}.url", f"the server has no {path} there", got, _is_it(client))
    if reply.status == 429:
        return wrong(client.where, "the server stays too busy", got, "Lower concurrency, or measure at another time")
    return wrong(client.where, f"the server fails at {path}", got, "Look into the server's own log")


def told(client: Client, body: Any) -> str:
    """What an answer says, short and without the key."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        body = inner.get("message", inner.get("detail", inner)) if isinstance(inner, dict) else inner
    text = " ".join(re.sub(r"<[^>]*>", " ", body if isinstance(body, str) else json.dumps(body)).split())
    text = text.replace(client.key, "...") if client.key else text
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."


def _is_it(client: Client) -> str:
    return f"Check the url: is {client.url} the address of an OpenAI-compatible server, with /v1 where it has one?"


def _unreachable(client: Client, error: HTTPError) -> UserError:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(reason, ReadTimeoutError):
        got, fix = f"{_ANSWER_SECONDS:.0f} s", "Lower concurrency, or batch_size where the server is started here"
        return wrong(f"{client.where}.url", f"{client.url} takes a request and does not answer", got, fix)
    says = re.sub(r"^\w+\(.*?\): (Failed to establish a new connection: )?", "", str(reason))
    return wrong(f"{client.where}.url", f"no server answers at {client.url}", says, "Start it, or mend the url")
