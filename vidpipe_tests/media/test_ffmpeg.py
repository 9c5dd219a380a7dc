"""ffmpeg and ffprobe are found, run with limits, and read nothing but the file they are given."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vidpipe.errors import MediaError, UnavailableError
from vidpipe.media import ffmpeg, programs
from vidpipe.media.probe import check_decodable, probe
from vidpipe_tests import clips


def test_a_missing_program_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.delenv("FFPROBE_BINARY", raising=False)
    with pytest.raises(UnavailableError, match=r"ffprobe was not found.*apt install ffmpeg.*FFPROBE_BINARY"):
        ffmpeg.ffprobe_path()


def test_the_environment_may_name_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFMPEG_BINARY", sys.executable)
    assert ffmpeg.ffmpeg_path() == sys.executable
    monkeypatch.setenv("FFMPEG_BINARY", "/nowhere/ffmpeg")
    with pytest.raises(UnavailableError, match="FFMPEG_BINARY names /nowhere/ffmpeg"):
        ffmpeg.ffmpeg_path()


def test_the_version_is_known() -> None:
    assert ffmpeg.version(ffmpeg.ffmpeg_path())[0].isalnum()


def test_a_program_that_hangs_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(programs.TimeLimitError, match=r"did not finish within 0\.3 s"):
        programs.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.3)
    assert time.monotonic() - began < 20


def test_endless_output_is_cut_off_and_the_program_ended() -> None:
    with pytest.raises(MediaError, match="wrote more than 100000 bytes"):
        programs.run([sys.executable, "-c", "while True: print('x' * 1000)"], timeout_s=60, max_output_bytes=100_000)


def test_of_long_error_output_the_beginning_and_the_end_are_kept() -> None:
    script = "import sys; sys.stderr.write('first\\n' + 'x' * 500_000 + '\\nlast')"
    stderr = programs.run([sys.executable, "-c", script], timeout_s=60).stderr
    assert stderr.startswith("first")
    assert stderr.endswith("last")
    assert len(stderr) <= 64 * 1024


def test_a_decoder_sees_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_QWENVL_ACCESSKEY", "s3cret")
    script = "import os; print([name for name in os.environ if name.startswith('VIDPIPE')])"
    assert programs.run([sys.executable, "-c", script], timeout_s=60).stdout.strip() == b"[]"


def test_a_concat_script_under_a_videos_name_is_refused(tmp_path: Path) -> None:
    """The danger is real: the plain program reads the file that the script names."""
    clips.moving(tmp_path / "private.mp4", seconds=0.5)
    script = tmp_path / "x.mp4"
    script.write_text("ffconcat version 1.0\nfile private.mp4\n")
    plain = subprocess.run(["ffprobe", "-v", "error", "-show_streams", script], capture_output=True, check=False)
    assert b"codec_name=h264" in plain.stdout
    for read in (probe, check_decodable):
        with pytest.raises(MediaError, match=r"x\.mp4 is an ffconcat script, not a video\. It refers to other files"):
            read(script)
    done = programs.run(ffmpeg.ffprobe_command(script, show="stream"), timeout_s=60)
    assert done.refused_format == "concat"
    assert b"h264" not in done.stdout


@pytest.mark.parametrize("disguise", ["", "\n\n", "# comment\n", "\ufeff"])
def test_a_script_that_hides_its_first_line_gives_nothing_away(tmp_path: Path, disguise: str) -> None:
    (tmp_path / "passwords.txt").write_text("root:x:0:0")
    script = tmp_path / "x.mp4"
    script.write_text(f"{disguise}ffconcat version 1.0\nfile passwords.txt\n")
    with pytest.raises(MediaError) as raised:
        probe(script)
    assert "root" not in str(raised.value)


def test_playlists_are_refused_and_the_network_is_not_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/segment.ts"
    playlists = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
        "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "ffconcat": f"ffconcat version 1.0\nfile {url}\n",
    }
    try:
        for name, text in playlists.items():
            path = tmp_path / f"{name}.mp4"
            path.write_text(text)
            with pytest.raises(MediaError, match="never followed"):
                probe(path)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


@pytest.mark.parametrize(
    "name", ["-version", "concat:a.mp4|b.mp4", "data:video,x.mp4", "image%03d.mp4", "a b'\"$(id).mp4"]
)
def test_a_files_name_is_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    clips.moving(tmp_path / "clip.mp4", seconds=0.5)
    os.replace(tmp_path / "clip.mp4", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    check_decodable(Path(name))
    assert probe(Path(name)).frame_count in (12, 13)
