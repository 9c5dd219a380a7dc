"""A home for tests of prompts: settings with rules files of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vidpipe.models.questions import Question, parse_questions
from vidpipe.settings import Settings
from vidpipe.settings.schema import QwenVL, Rules


def settings(home: Path = Path("/nowhere"), rules: dict[str, Any] | None = None, **qwen_vl: object) -> Settings:
    """With a model that looks, unless `backend` says otherwise."""
    named = {"backend": "qwen", **qwen_vl}
    return Settings(home=home, qwen_vl=QwenVL.model_validate(named), rules=Rules.model_validate(rules or {}))


def write_template(home: Path, name: str, text: str) -> None:
    folder = home / "rules" / "prompts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.j2").write_text(text, encoding="utf-8")


def write_questions(home: Path, *questions: dict[str, Any]) -> Path:
    path = home / "rules" / "questions.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"note": "Ours.", "questions": list(questions)}), encoding="utf-8")
    return path


def load_questions(path: Path) -> tuple[Question, ...]:
    return parse_questions(path.read_text(encoding="utf-8"))
