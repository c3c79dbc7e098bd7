"""Downloads against a server on this machine that breaks, lies and refuses."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from napari_ossnet.engine import download
from napari_ossnet.engine.download import fetch
from napari_ossnet.engine.errors import OutputError, WeightsError
from napari_ossnet.engine.events import Progress

CONTENT = bytes(range(256)) * 4096


class Server(http.server.ThreadingHTTPServer):
    """Serves ``CONTENT`` and misbehaves as it is told."""

    content = CONTENT
    etag = '"first"'
    break_after: list[int]
    status: int = 200
    has_ranges = True
    requests: list[dict[str, str]]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = self._start()
        if start > len(server.content) or (start and start == len(server.content)):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        self.wfile.write(body[: server.break_after.pop(0)] if server.break_after else body)

    def _start(self) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_changed = self.headers.get("If-Range", self.server.etag) != self.server.etag
        return int(match[1]) if match and self.server.has_ranges and not is_changed else 0

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def a_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    server = Server(("127.0.0.1", 0), Handler)
    server.break_after, server.requests = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/weights.pt"


def finish(steps: Generator[Progress, None, Path]) -> tuple[Path, list[Progress]]:
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return stop.value, seen


def test_a_file_comes_whole_and_says_how_far_it_is(a_server: Server, tmp_path: Path) -> None:
    path, seen = finish(fetch(url_of(a_server), tmp_path / "new" / "weights.pt"))
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["weights.pt"]
    assert seen[0].points_total == seen[-1].points_done == len(CONTENT)
    assert {progress.stage for progress in seen} == {"download"}


def test_a_broken_line_is_taken_up_where_it_broke(a_server: Server, tmp_path: Path) -> None:
    a_server.break_after = [300_000, 200_000]
    path, _ = finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert path.read_bytes() == CONTENT
    assert [request.get("Range") for request in a_server.requests] == [None, "bytes=300000-", "bytes=500000-"]


def test_a_stopped_download_goes_on_in_the_next_run(a_server: Server, tmp_path: Path) -> None:
    a_server.break_after = [400_000, 0, 0, 0]
    with pytest.raises(WeightsError, match=r"400000 bytes that came are kept"):
        finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert not (tmp_path / "weights.pt").exists()
    a_server.requests.clear()
    path, seen = finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert path.read_bytes() == CONTENT
    assert a_server.requests[0]["Range"] == "bytes=400000-"
    assert seen[0].points_done == 400_000


def test_parts_of_two_versions_are_never_joined(a_server: Server, tmp_path: Path) -> None:
    a_server.break_after = [400_000, 0, 0, 0]
    with pytest.raises(WeightsError):
        finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    a_server.etag, a_server.content = '"second"', CONTENT[::-1]
    path, _ = finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert path.read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_the_file_anew(a_server: Server, tmp_path: Path) -> None:
    a_server.has_ranges, a_server.break_after = False, [300_000]
    path, _ = finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_already_complete_is_only_put_in_place(a_server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pt.part").write_bytes(CONTENT)
    path, _ = finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert path.read_bytes() == CONTENT
    assert len(a_server.requests) == 1


def test_a_part_that_is_longer_than_the_file_is_thrown_away(a_server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pt.part").write_bytes(CONTENT + b"more")
    path, _ = finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert path.read_bytes() == CONTENT


def test_a_missing_file_is_asked_for_once_and_named(a_server: Server, tmp_path: Path) -> None:
    a_server.status = 404
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1.*404 Not Found.*in a browser"):
        finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert len(a_server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_asked_again(a_server: Server, tmp_path: Path) -> None:
    a_server.status = 503
    with pytest.raises(WeightsError, match="503"):
        finish(fetch(url_of(a_server), tmp_path / "weights.pt"))
    assert len(a_server.requests) == download.FRUITLESS_ATTEMPTS


def test_no_server_at_all_is_one_sentence(a_server: Server, tmp_path: Path) -> None:
    a_server.server_close()
    with pytest.raises(WeightsError, match=r"Can't download .*\.$"):
        finish(fetch(f"http://127.0.0.1:{a_server.server_port}/x.pt", tmp_path / "x.pt"))


def test_the_proxy_of_the_environment_is_asked(
    a_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{a_server.server_port}")
    path, _ = finish(fetch("http://weights.invalid/weights.pt", tmp_path / "weights.pt"))
    assert path.read_bytes() == CONTENT
    assert a_server.requests[0]["Host"] == "weights.invalid"


def test_a_folder_that_is_a_file_is_an_output_error(a_server: Server, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder", encoding="utf-8")
    with pytest.raises(OutputError, match="OSSNET_HOME"):
        finish(fetch(url_of(a_server), tmp_path / "home" / "weights.pt"))
