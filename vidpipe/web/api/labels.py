"""Labels of videos: changed in the sources that lead to them."""

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from vidpipe.errors import UNSAFE
from vidpipe.settings import audit
from vidpipe.web.access import Writer
from vidpipe.web.home import Home, Searchable
from vidpipe.web.selection import VideoChoice

router = APIRouter(tags=["labels"])

_MAX_LABELS = 50


def _plain(text: str) -> str:
    if UNSAFE.search(text):
        raise ValueError("control characters are not allowed")
    return text


#: A label or tag, trimmed.
_Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_plain)]


class LabelChange(VideoChoice):
    """Labels to add to videos and to remove from them; case does not matter.

    Attributes:
        add: They are added to the sources that lead to the videos now.
        remove: They are removed from those that did before, too.
    """

    add: list[_Label] = Field(default=[], max_length=_MAX_LABELS)
    remove: list[_Label] = Field(default=[], max_length=_MAX_LABELS)

    @model_validator(mode="after")
    def _check_change(self) -> Self:
        if not self.add and not self.remove:
            raise ValueError("give labels to add or to remove")
        return self


class LabelsChanged(BaseModel):
    """What was changed.

    Attributes:
        changed: Number of videos whose labels are others than before.
    """

    changed: int


@router.post("/labels")
def change_labels(change: LabelChange, home: Home, opened: Searchable, caller: Writer) -> LabelsChanged:
    """Add labels to videos, or remove them."""
    changed = opened.library.sources.relabel(change.ids(opened.engine), change.add, change.remove)
    home.catch_up()
    audit("labels", by=caller.name, add=change.add, remove=change.remove, changed=changed)
    return LabelsChanged(changed=changed)
