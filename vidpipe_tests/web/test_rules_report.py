"""GET /api/v1/rules/report."""

from __future__ import annotations

from contextlib import closing

from starlette.testclient import TestClient

from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests.web.conftest import SmallLibrary


def test_the_report_is_that_of_the_command_and_keywords_are_counted_on_request(small_library: SmallLibrary) -> None:
    with closing(WebHome(lambda: small_library.settings)) as home:
        page = TestClient(create_app(home), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))
        found = page.get("/api/v1/rules/report").json()
        assert (found["evaluated"], found["verdicts"], found["keywords"]) == (4, 0, [])
        assert found["rules"][0].keys() >= {"rule", "videos", "precision", "low", "high", "recall", "advice"}
        assert page.get("/api/v1/rules/report", params={"keywords": True, "tag": "Short Clip"}).json()["keywords"]
        assert page.get("/api/v1/rules/report", params={"rule": "nowhere"}).status_code == 400
