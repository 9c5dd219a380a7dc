"""An estimate as plain values, for JSON."""

from __future__ import annotations

from typing import Any

from vidpipe.planning.amounts import Amount
from vidpipe.planning.estimate import Estimate, ModelEstimate, StageEstimate


def as_plain(estimate: Estimate) -> dict[str, Any]:
    """Quantities under names with their unit; None for what has not been measured yet."""
    return {
        "videos": estimate.videos,
        "stages": {stage.name: _stage(stage) for stage in estimate.stages},
        "model": _model(estimate.model, estimate.prices.currency) if estimate.model else None,
        "seconds": round(estimate.seconds, 3),
        "wall_seconds": round(estimate.wall_s, 3),
        "unmeasured": list(estimate.unmeasured),
    }


def _stage(stage: StageEstimate) -> dict[str, Any]:
    due = stage.due
    return {
        "due": due.due,
        "follows": due.follows,
        "may_follow": due.may_follow,
        "why": dict(due.why),
        "blocked": due.blocked,
        "failed": due.failed,
        "quarantined": due.quarantined,
        "seconds": _rounded(stage.seconds),
        "measured_results": stage.rate.results if stage.rate else 0,
    }


def _model(model: ModelEstimate, currency: str) -> dict[str, Any]:
    speed = model.rates.speed
    return {
        "name": model.name,
        "version": model.version,
        "stages": list(model.stages),
        **plain_amount(model.amount),
        "gpu_hours": None if model.amount.seconds is None else round(model.amount.seconds / 3600, 5),
        "cost": _rounded(model.cost, 6),
        "currency": currency,
        "counted_videos": model.counted,
        "estimated_videos": model.like_them + model.typical,
        "unknown_videos": model.unknown,
        "measured_answers": model.rates.answers,
        "seconds_per_prompt_token": speed.a_prompt_token if speed else None,
        "seconds_per_output_token": speed.a_output_token if speed else None,
        "seconds_to_start": speed.start_s if speed else None,
    }


def plain_amount(amount: Amount) -> dict[str, Any]:
    return {
        "videos": round(amount.videos),
        "scenes": round(amount.scenes),
        "frames": round(amount.frames),
        "answers_to_ask": round(amount.asked),
        "answers_there": round(amount.reused),
        "prompt_tokens": round(amount.prompt_tokens),
        "output_tokens": round(amount.output_tokens),
        "tokens_at_most": amount.at_most,
        "seconds": _rounded(amount.seconds),
    }


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
