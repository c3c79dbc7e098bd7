"""Fetching a file over HTTP so that a broken line costs nothing: progress, resume, the environment's proxies and CAs.

Knows nothing of weights; the catalogue says what to fetch and checks what came.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from napari_ossnet.engine.errors import DownloadError, OutputError
from napari_ossnet.engine.events import Progress

BLOCK_BYTES = 2**16
TIMEOUT_S = 30.0
#: Attempts in a row that may bring nothing before we give up; an attempt that brought bytes starts the count anew.
FRUITLESS_ATTEMPTS = 3
PAUSE_S = 1.0
_REPORT_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A download under way: the bytes so far and, beside them, by what the server knows this version of the file."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def validator_path(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def validator(self) -> str | None:
        try:
            return str(json.loads(self.validator_path.read_text(encoding="utf-8"))["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, headers: Message) -> None:
        etag = headers.get("ETag", "")
        # A weak tag (W/...) doesn't promise equal bytes, so RFC 9110 (13.1.5) forbids it in If-Range.
        validator = etag if etag.startswith('"') else headers.get("Last-Modified")
        self.validator_path.write_text(
            json.dumps({"validator": validator}), encoding="utf-8"
        ) if validator else self.forget_validator()

    def forget_validator(self) -> None:
        self.validator_path.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.forget_validator()


def fetch(url: str, target: Path, *, instead: str = "or open it in a browser") -> Generator[Progress, None, Path]:
    """Downloads a file and puts it in place when it is complete; what is missing is fetched on the next call.

    Args:
        url: An http or https address.
        target: Where the complete file goes; the bytes so far lie beside it in ``<name>.part``.
        instead: What the user can do where it fails, which ends the sentence.

    Yields:
        Progress in bytes, about ten times a second.

    Raises:
        DownloadError: The server refuses or can't be reached; the bytes so far are kept.
        OutputError: The folder can't be written.
    """
    part = _Part(path=target.with_name(target.name + ".part"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield from _fetch_all(url, part)
        part.path.replace(target)
        part.forget_validator()
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise DownloadError(f"{_sentence(url, part, error)}; {instead}.") from error
    except OSError as error:
        msg = (
            f"Can't write the download to {part.path} ({error.strerror or error}); free some space or set OSSNET_HOME."
        )
        raise OutputError(msg) from error
    return target


def _fetch_all(url: str, part: _Part) -> Generator[Progress, None, None]:
    """Attempts until the file is complete, each going on where the one before broke off."""
    opener = _build_opener()
    started_at = time.monotonic()
    fruitless = 0
    while True:
        before = part.size
        try:
            is_complete = yield from _attempt(opener, url, part, started_at)
        except (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError) as error:
            if _is_final(error):
                raise
            fruitless = fruitless + 1 if part.size <= before else 0
            if fruitless >= FRUITLESS_ATTEMPTS:
                raise
            time.sleep(PAUSE_S * fruitless)
        else:
            if is_complete:
                return


def _attempt(
    opener: urllib.request.OpenerDirector, url: str, part: _Part, started_at: float
) -> Generator[Progress, None, bool]:
    """One request; False where the bytes so far were of no use and the file must be asked for from its start."""
    offset = part.size
    try:
        response = opener.open(_request(url, part), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not offset:
            raise
        if _total_of(error.headers) == offset:
            return True
        part.discard()
        return False
    with response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT and _start_of(response.headers) != offset:
            part.discard()
            return False
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            part.discard()
            offset = 0
            part.remember(response.headers)
        yield from _receive(response, part, offset, started_at)
    return True


def _request(url: str, part: _Part) -> urllib.request.Request:
    # "identity": a server that compressed on the fly would make ranges and lengths meaningless.
    request = urllib.request.Request(url, headers={"User-Agent": "napari-ossnet", "Accept-Encoding": "identity"})
    if part.size:
        request.add_header("Range", f"bytes={part.size}-")
        validator = part.validator()
        if validator:
            request.add_header("If-Range", validator)
    return request


def _receive(
    response: http.client.HTTPResponse, part: _Part, offset: int, started_at: float
) -> Generator[Progress, None, None]:
    length = response.headers.get("Content-Length")
    total = offset + int(length) if length else 0
    done = offset
    opened_at = reported_at = time.monotonic()
    with part.path.open("ab") as file:
        yield _progress(done, total, started_at, None)
        while block := response.read(BLOCK_BYTES):
            file.write(block)
            done += len(block)
            now = time.monotonic()
            if now - reported_at >= _REPORT_EVERY_S:
                reported_at = now
                remaining = (total - done) * (now - opened_at) / (done - offset) if total else None
                yield _progress(done, total, started_at, remaining)
    if total and done < total:
        raise http.client.IncompleteRead(b"", total - done)
    yield _progress(done, done, started_at, 0.0)


def _progress(done: int, total: int, started_at: float, remaining_s: float | None) -> Progress:
    elapsed = time.monotonic() - started_at
    return Progress(stage="download", points_done=done, points_total=total, elapsed_s=elapsed, remaining_s=remaining_s)


def _build_opener() -> urllib.request.OpenerDirector:
    """An opener that honours the environment: its proxies, its certificate authorities."""
    handlers = [urllib.request.ProxyHandler(), urllib.request.HTTPSHandler(context=_ssl_context())]
    return urllib.request.build_opener(*handlers)


def _ssl_context() -> ssl.SSLContext:
    # The system's authorities (on Windows those of the certificate store, with a company's own), and
    # SSL_CERT_FILE and SSL_CERT_DIR, which OpenSSL honours by itself.
    context = ssl.create_default_context()
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        bundle = os.environ.get(variable)
        if bundle and Path(bundle).is_file():
            context.load_verify_locations(cafile=bundle)
    if not context.cert_store_stats()["x509_ca"] and not ssl.get_default_verify_paths().capath:
        # Python from python.org on macOS comes without any.
        _load_certifi(context)
    return context


def _load_certifi(context: ssl.SSLContext) -> None:
    try:
        import certifi
    except ImportError:
        return
    context.load_verify_locations(cafile=certifi.where())


def _is_final(error: Exception) -> bool:
    """Whether asking again can't help: the server has answered, and not by being busy."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500 and error.code not in (408, 429)
    return isinstance(error, urllib.error.URLError) and isinstance(error.reason, ssl.SSLCertVerificationError)


def _start_of(headers: Message) -> int | None:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total_of(headers: Message) -> int | None:
    match = re.search(r"/(\d+)$", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _sentence(url: str, part: _Part, error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server answers {error.code} {error.reason}"
    elif isinstance(error, http.client.IncompleteRead):
        reason = "the connection breaks again and again"
    elif isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
        reason = "its certificate is signed by nobody known here; set SSL_CERT_FILE, or pip install certifi"
    else:
        reason = str(getattr(error, "reason", "") or error or type(error).__name__)
    kept = f"; the {part.size} bytes that came are kept, and the same command goes on from there" if part.size else ""
    return f"Can't download {url} ({reason}){kept}"
