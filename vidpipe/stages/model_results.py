"""What the describing model concluded, as parts of the stages' results."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelSentiment(_Part):
    """score: -1 to 1"""

    label: Literal["positive", "neutral", "negative"]
    score: float = Field(ge=-1, le=1)
    reason: str = ""


class ModelTag(_Part):
    """confidence: 0 to 1, as the model says of itself; None where it does not say"""

    tag: str
    confidence: float | None = Field(None, ge=0, le=1)


class ModelCategory(_Part):
    """One of the categories' names, as the model would have it. confidence: 0 to 1, as it says of itself"""

    category: str
    confidence: float | None = Field(None, ge=0, le=1)
    reason: str = ""


class QuestionAnswer(_Part):
    """The answer to one of the questions in questions.json.

    value: text, true or false, one of the choices or a number, as the question's kind asks; None where the answer could
           not be read so
    raw:   what the model said, where it could not; fault: why not
    """

    id: str
    value: Any = None
    raw: str = ""
    fault: str = ""


class WrongAnswer(_Part):
    """An answer that was in the wrong form twice. start_s, end_s: of the scene; None: about the whole video."""

    prompt: str
    fault: str
    raw: str
    start_s: float | None = None
    end_s: float | None = None
