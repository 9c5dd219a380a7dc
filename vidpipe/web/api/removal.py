"""Removal of videos and everything computed from them."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from vidpipe.operations.retention.video_removal import ForgottenVideo, forget
from vidpipe.settings import audit
from vidpipe.web.access import Admin
from vidpipe.web.home import Searchable
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import MAX_VIDEOS, VideoChoice

router = APIRouter(tags=["removal"])


class RemovalRequest(VideoChoice):
    """Videos to remove.

    Attributes:
        dry_run: Only list what would be removed.
    """

    dry_run: bool = False


class RemovalPlan(BaseModel):
    """What would be removed."""

    dry_run: bool = True
    videos: list[ForgottenVideo]


@router.post("/forget", responses={202: {"description": "The job that removes the videos, as `GET /runs/{id}`."}})
def forget_videos(
    removal: RemovalRequest, opened: Searchable, caller: Admin, request: Request, response: Response
) -> RemovalPlan | Any:
    """Remove videos: files, results, texts, thumbnails, verdicts, lineage and partitions. Backups are kept."""
    ids = removal.ids(opened.engine)
    if len(ids) > MAX_VIDEOS:
        raise RequestError(413, f"{len(ids)} videos are selected; at most {MAX_VIDEOS} can be removed at once.")
    if removal.dry_run:
        with opened.library.connection.errors_explained():
            found = forget(opened.library, ids, lambda _: None, dry_run=True)
        return RemovalPlan(videos=found)
    audit("forget requested", by=caller.name, videos=ids)
    response.status_code = 202
    return request.app.state.jobs.start(kind="forget", by=caller.name, request={"videos": ids})
