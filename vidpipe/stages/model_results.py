"""What the describing model concluded: parts of the results of stages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _ModelResult(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelSentiment(_ModelResult):
    """The model's judgment of the sentiment; `score` is from -1 to 1."""

    label: Literal["positive", "neutral", "negative"]
    score: float = Field(ge=-1, le=1)
    reason: str = ""


class ModelTag(_ModelResult):
    """One of the model's own tags. `confidence` is from 0 to 1, as the model states it; None if it states none."""

    tag: str
    confidence: float | None = Field(None, ge=0, le=1)


class ModelCategory(_ModelResult):
    """The category that the model chose. `confidence` is from 0 to 1, as the model states it."""

    category: str
    confidence: float | None = Field(None, ge=0, le=1)
    reason: str = ""


class QuestionAnswer(_ModelResult):
    """The answer to one of the questions in questions.json.

    Attributes:
        id: The question's id.
        value: Text, true or false, one of the choices or a number, as the question's kind requires; None if the answer
            could not be parsed.
        raw: What the model answered, if it could not be parsed.
        fault: Why it could not.
    """

    id: str
    value: Any = None
    raw: str = ""
    fault: str = ""


class WrongAnswer(_ModelResult):
    """An answer that did not have the requested form twice.

    Attributes:
        prompt: Id of the prompt.
        fault: What was wrong with it.
        raw: What the model answered.
        start_s: Start of the scene, in seconds; None if the prompt was about the whole video.
        end_s: End of the scene.
    """

    prompt: str
    fault: str
    raw: str
    start_s: float | None = None
    end_s: float | None = None
