"""What is overwritten in log lines, and what stays because it is, or may be, about another video."""

from vidpipe.operations.retention.traces import Traces, texts_of

SHA256 = "ab" * 32
URL = "https://gazebo.example/clips/a.mp4?x=%C3%BC"
DOCUMENT = {
    "ingest": {
        "names": ["a.mp4", "zanzibar.mp4"],
        "titles": ["Tea", "Shared Title", "Ombudsman überall"],
        "urls": [URL],
    }
}


def masked(line: str) -> str:
    traces = Traces([SHA256], texts_of(DOCUMENT), {"a.mp4", "a", "Shared Title"})
    after = traces.masked(line.encode()).decode()
    assert len(after.encode()) == len(line.encode())
    return after


def test_own_names_titles_urls_and_hashes_are_overwritten_whatever_the_sentence_says() -> None:
    for line in (
        "zanzibar.mp4: not found",
        f"GET {URL} 404",
        '"Ombudsman \\u00fcberall"',
        f"x {SHA256[:12]} y",
        SHA256,
    ):
        assert "*" in masked(line)
        for text in ("zanzibar", "gazebo", "Ombudsman", SHA256[:12]):
            assert text not in masked(line)


def test_what_other_videos_share_and_short_names_go_only_in_lines_about_the_video() -> None:
    for line in ("a.mp4 is damaged", "Shared Title was added", "Tea time", "a b"):
        assert masked(line) == line
    assert masked(f"{SHA256[:12]} a.mp4 Tea: Shared Title") == f"{'*' * 12} ***** ***: {'*' * 12}"
    assert masked(f"a.mp4 of another\na.mp4 from {URL}\n").startswith("a.mp4 of another\n*****")


def test_the_record_of_a_removal_keeps_the_hash() -> None:
    line = f'{{"event": "forget", "reason": "zanzibar.mp4", "video": "{SHA256}"}}'
    assert masked(line) == line.replace("zanzibar.mp4", "*" * 12)


def test_a_thousand_videos_take_little_longer_than_one() -> None:
    many = [{"names": [f"holiday_{number}.mp4"], "titles": [f"Holiday number {number}"]} for number in range(1000)]
    traces = Traces([f"{number:064x}" for number in range(1000)], texts_of(many))
    log = b"".join(b"2026-01-01 INFO holiday_%d.mp4 was added after other_%d.mp4\n" % (n, n) for n in range(1000))
    after = traces.masked(log)
    assert b"holiday" not in after
    assert after.count(b" was added after other_") == 1000
