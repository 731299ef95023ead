"""Pulling checkpoints from a server on this machine: whole, cut, slow, changed, with and without ranges."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from samlabel.errors import UsageError, WeightsError
from samlabel.hub import weights
from samlabel.hub.weights import Checkpoint

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every name; `mode` says how, `requests` remembers the ranges asked for."""

    mode = "whole"
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.requests: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append((self.path, wanted))
        body = {"changed": CONTENT[:-1] + b"!", "longer": CONTENT + b"more"}.get(server.mode, CONTENT)
        if server.mode in ("missing", "busy"):
            return self.send_error({"missing": 404, "busy": 503}[server.mode])
        start = int(wanted[6:-1]) if wanted and server.ranges else 0
        if server.mode == "another start":
            start = 0 if not wanted else start - 7
        self.send_response(206 if wanted and server.ranges else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        left = body[start:]
        if server.mode == "cut" or (server.mode == "cut once" and len(server.requests) == 1):
            left = left[: 200_000 if server.mode == "cut once" else 0 if start else 100_000]
        for at in range(0, len(left), 64_000):
            if server.mode == "silent":
                time.sleep(3)
            elif server.mode == "slow":
                time.sleep(0.02)
            try:
                self.wfile.write(left[at : at + 64_000])
            except OSError:  # the other side has hung up
                return None
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def checkpoint(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(weights.MIRROR_VARIABLE, raising=False)
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Checkpoint("drawn", f"{server.address}/drawn.pth", digest, len(CONTENT), "Apache-2.0")


def files() -> list[str]:
    folder = weights.cache_folder()
    return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("mode", ["whole", "slow", "cut once"])
def test_a_file_arrives_whole_and_is_fetched_once(server: Server, checkpoint: Checkpoint, mode: str) -> None:
    server.mode = mode
    heard: list[tuple[int, int]] = []
    path = weights.pull(checkpoint, progress=lambda done, total: heard.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert path == weights.where(checkpoint) == weights.verify(checkpoint)
    assert files() == ["drawn.pth"]
    assert heard[-1] == (len(CONTENT), len(CONTENT))
    before = len(server.requests)
    assert weights.pull(checkpoint) == path
    assert len(server.requests) == before


def test_a_break_is_continued_where_it_happened(server: Server, checkpoint: Checkpoint) -> None:
    server.mode = "cut once"
    weights.pull(checkpoint)
    assert [wanted for _, wanted in server.requests] == [None, "bytes=200000-"]


def test_a_download_that_keeps_breaking_leaves_a_part_that_the_next_pull_continues(
    server: Server, checkpoint: Checkpoint
) -> None:
    server.mode = "cut"
    with pytest.raises(WeightsError, match="after 100000 of 512000 bytes") as caught:
        weights.pull(checkpoint)
    assert "\n" not in str(caught.value)
    assert files() == ["drawn.pth.part"]
    assert weights.state(checkpoint) == "partial"
    with pytest.raises(WeightsError, match="models pull drawn"):
        weights.verify(checkpoint)  # a part is never used
    server.mode = "whole"
    assert weights.pull(checkpoint).read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=100000-"


def test_a_server_without_ranges_is_asked_for_all_of_it(server: Server, checkpoint: Checkpoint) -> None:
    server.mode, server.ranges = "cut once", False
    assert weights.pull(checkpoint).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_an_answer_that_starts_elsewhere_is_not_appended(server: Server, checkpoint: Checkpoint) -> None:
    part = weights.where(checkpoint).with_name("drawn.pth.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    server.mode = "another start"
    with pytest.raises(WeightsError):
        weights.pull(checkpoint)
    assert not weights.where(checkpoint).exists()


def test_a_changed_file_is_refused_and_nothing_of_it_is_kept(server: Server, checkpoint: Checkpoint) -> None:
    server.mode = "changed"
    with pytest.raises(WeightsError, match="SHA-256"):
        weights.pull(checkpoint)
    assert files() == []


def test_a_file_that_never_ends_is_cut_off_at_its_known_size(server: Server, checkpoint: Checkpoint) -> None:
    server.mode = "longer"
    with pytest.raises(WeightsError, match="more than the 512000 bytes"):
        weights.pull(checkpoint)
    assert files() == []


def test_a_part_of_another_file_is_thrown_away_by_its_hash(server: Server, checkpoint: Checkpoint) -> None:
    part = weights.where(checkpoint).with_name("drawn.pth.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 1000)
    with pytest.raises(WeightsError, match="SHA-256"):
        weights.pull(checkpoint)
    assert weights.pull(checkpoint).read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_never_used_and_is_fetched_again(server: Server, checkpoint: Checkpoint) -> None:
    path = weights.where(checkpoint)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1] + b"!")  # of the right size
    with pytest.raises(WeightsError, match="damaged and is not used"):
        weights.verify(checkpoint)
    assert weights.pull(checkpoint).read_bytes() == CONTENT


@pytest.mark.parametrize("mode", ["missing", "busy"])
def test_a_server_that_refuses_is_reported_in_one_line(server: Server, checkpoint: Checkpoint, mode: str) -> None:
    server.mode = mode
    with pytest.raises(WeightsError, match={"missing": "404", "busy": "503"}[mode]) as caught:
        weights.pull(checkpoint)
    assert "\n" not in str(caught.value)


def test_a_server_that_falls_silent_is_given_up(
    server: Server, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.mode = "silent"
    monkeypatch.setattr(weights, "SECONDS_OF_SILENCE", 0.2)
    started = time.monotonic()
    with pytest.raises(WeightsError, match="timed out"):
        weights.pull(checkpoint)
    assert time.monotonic() - started < 2.5


def test_offline_asks_nobody(server: Server, checkpoint: Checkpoint) -> None:
    with pytest.raises(WeightsError, match="models pull drawn"):
        weights.pull(checkpoint, offline=True)
    assert server.requests == []
    weights.pull(checkpoint)
    assert weights.pull(checkpoint, offline=True) == weights.where(checkpoint)


@pytest.mark.parametrize("given", ["argument", "variable"])
def test_a_mirror_is_asked_instead(
    server: Server, checkpoint: Checkpoint, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Checkpoint("drawn", "http://127.0.0.1:9/far/drawn.pth", checkpoint.sha256, len(CONTENT), "MIT")
    mirror = f"{server.address}/mirror/"
    if given == "variable":
        monkeypatch.setenv(weights.MIRROR_VARIABLE, mirror)
    assert weights.pull(elsewhere, mirror=mirror if given == "argument" else None).read_bytes() == CONTENT
    assert server.requests[0][0] == "/files/mirror/drawn.pth"


def test_a_mirror_that_is_no_address_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="http://"):
        weights.pull(checkpoint, mirror="/srv/mirror")


def test_a_full_disk_is_noticed_before_the_download(
    server: Server, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    monkeypatch.setattr("shutil.disk_usage", lambda _: namedtuple("Usage", "free")(1000))
    with pytest.raises(WeightsError, match="free"):
        weights.pull(checkpoint)
    assert server.requests == []


def test_the_known_checkpoints_are_these() -> None:
    from samlabel.segmenters.sam import checkpoints

    known = {one.name: (one.file, one.size, one.licence) for one in checkpoints()}
    assert known == {
        "tiny": ("mobile_sam.pt", 40728226, "Apache-2.0"),
        "vit_b": ("sam_vit_b_01ec64.pth", 375042383, "Apache-2.0"),
        "vit_h": ("sam_vit_h_4b8939.pth", 2564550879, "Apache-2.0"),
        "vit_l": ("sam_vit_l_0b3195.pth", 1249524607, "Apache-2.0"),
    }
    for one in checkpoints():
        assert len(one.sha256) == 64 and one.url.startswith("https://")


class TestCommand:
    """`samlabel models` with a variant of the tests whose file the server holds."""

    @pytest.fixture(autouse=True)
    def known(self, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        import dataclasses

        import samlabel.segmenters.sam as segmenter

        served = dataclasses.replace(checkpoint, name="vit_b")
        monkeypatch.setattr(segmenter, "_official", lambda variant: served if variant.name == "vit_b" else None)

    @pytest.fixture
    def run(self, capsys: pytest.CaptureFixture[str]) -> Any:
        from samlabel.cli import main

        def call(*words: str) -> tuple[int, str, str]:
            with pytest.raises(SystemExit) as end:
                main(list(words))
            said = capsys.readouterr()
            return end.value.code, said.out, said.err  # type: ignore[return-value]

        return call

    def test_pull_announces_the_size_and_prints_the_file(self, run: Any, server: Server) -> None:
        code, out, err = run("models", "pull", "vit_b")
        assert code == 0
        assert out.strip() == run("models", "where", "vit_b")[1].strip()
        assert "0.5 MB, Apache-2.0, http://127.0.0.1" in err
        assert Path(out.strip()).read_bytes() == CONTENT

    def test_verify_ends_with_1_when_a_file_is_damaged(self, run: Any) -> None:
        run("models", "pull", "vit_b", "--quiet")
        assert run("models", "verify")[0] == 0
        path = Path(run("models", "where", "vit_b")[1].strip())
        path.write_bytes(b"!" + CONTENT[1:])
        code, out, _ = run("models", "verify")
        assert code == 1 and "damaged" in out
        assert run("models", "pull", "vit_b", "--offline")[0] == 1

    def test_nothing_is_fetched_for_what_ships_or_is_unknown(self, run: Any, server: Server) -> None:
        code, _, err = run("models", "pull", "nano")
        assert code == 2 and "ship" in err
        code, _, err = run("models", "pull", "vit_x")
        assert code == 2 and "vit_b" in err
        assert server.requests == []

    def test_the_cache_folder_is_told(self, run: Any) -> None:
        assert run("models", "where")[1].strip() == str(weights.cache_folder())

    def test_annotate_names_the_pull_that_is_missing_and_finds_what_was_pulled(
        self, run: Any, tmp_path: Path, server: Server
    ) -> None:
        from PIL import Image

        Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
        words = ("annotate", str(tmp_path / "a.png"), "--out", str(tmp_path / "labels"), "--sam", "vit_b")
        code, _, err = run(*words)
        assert code == 1 and "samlabel models pull vit_b" in err
        assert server.requests == []  # no download unless it was asked for by name
        run("models", "pull", "vit_b", "--quiet")
        code, _, err = run(*words)
        assert code == 1 and str(weights.cache_folder() / "drawn.pth") in err  # found; not a model, and said so


def test_two_pulls_at_once_are_served_by_one_download(server: Server, checkpoint: Checkpoint) -> None:
    server.mode = "slow"
    found: list[Path] = []
    pulls = [threading.Thread(target=lambda: found.append(weights.pull(checkpoint))) for _ in range(3)]
    for pull in pulls:
        pull.start()
    for pull in pulls:
        pull.join()
    assert found == [weights.where(checkpoint)] * 3 and found[0].read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert sorted(file.name for file in found[0].parent.iterdir()) == [checkpoint.file]


def test_a_pull_takes_over_from_one_that_failed(server: Server, checkpoint: Checkpoint) -> None:
    server.mode = "missing"
    with pytest.raises(WeightsError, match="404"):
        weights.pull(checkpoint)
    server.mode = "whole"
    assert weights.pull(checkpoint).read_bytes() == CONTENT


@pytest.mark.skipif(os.name != "posix", reason="there is no such limit elsewhere")
def test_a_full_disk_names_its_folder_and_the_bytes_that_are_free(server: Server, checkpoint: Checkpoint) -> None:
    import resource

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(WeightsError, match=r"\(\d+ bytes free\).*the same command continues there") as caught:
            weights.pull(checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert str(caught.value).startswith(f"{weights.where(checkpoint)}.part: ")
    assert str(weights.where(checkpoint).parent) in str(caught.value)
    assert weights.pull(checkpoint).read_bytes() == CONTENT
