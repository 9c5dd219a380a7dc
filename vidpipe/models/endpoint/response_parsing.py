"""What a server's answer says, read with suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidpipe.settings.schema import QwenVL
from vidpipe.vlm.endpoint.address import Server
from vidpipe.vlm.endpoint.faults import Fault, cleaned

#: Shorter keys ("EMPTY", "token") are words that a description may hold.
_SECRET_LENGTH = 12
_MOST_TOKENS = 10**9


@dataclass(frozen=True)
class Said:
    """text: stripped, without control characters; tokens, prompt_tokens: 0 where the server does not count

    prompt_tokens: without those that the server had read before, where it tells
    """

    text: str
    tokens: int = 0
    prompt_tokens: int = 0


def read(answer: Any, server: Server, settings: QwenVL) -> Said:
    """What is said in the JSON of a 200. Raises Fault."""
    if not isinstance(answer, dict):
        raise _strange(server, "is no JSON object")
    text = _description(answer, server) if settings.api_style == "pai" else _content(answer, server)
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    read_before = _count(details, "cached_tokens") if isinstance(details, dict) else 0
    return Said(text, _count(usage, "completion_tokens"), max(0, _count(usage, "prompt_tokens") - read_before))


def _description(answer: Mapping[str, Any], server: Server) -> str:
    described = answer.get("description")
    if not isinstance(described, str):
        raise _strange(server, "has no `description`")
    return _cleaned(described, server)


def _content(answer: Mapping[str, Any], server: Server) -> str:
    """The text of the first choice. One that was cut at its length, or that is empty though the model ended by itself,
    is kept, as with every backend: whoever reads it by its form finds out."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _strange(server, "has no `choices`")
    finish = choice.get("finish_reason")
    refusal = message.get("refusal")
    if finish == "content_filter" or (isinstance(refusal, str) and refusal):
        why = " ".join(cleaned(refusal, server).split())[:300] if isinstance(refusal, str) else "its content filter"
        raise Fault(f"The model at {server.shown} refused to answer: {why or 'no reason given'}.", kind="request")
    content = message.get("content")
    if isinstance(content, list):  # of parts, as some servers write it
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    text = _cleaned(content, server) if isinstance(content, str) else ""
    if text or (isinstance(content, str) and finish == "stop"):
        return text
    hint = "A chat template that does not fit the model does this."
    if finish == "length":
        hint = "All its tokens went into something else: a model that thinks first has to be told not to (server side)."
    raise Fault(f"The model at {server.shown} answered with no text.", hint, kind="request")


def _cleaned(text: str, server: Server) -> str:
    return cleaned(text, server if len(server.key.get_secret_value()) >= _SECRET_LENGTH else None).strip()


def _count(usage: Mapping[str, Any], name: str) -> int:
    found = usage.get(name)
    return found if type(found) is int and 0 <= found < _MOST_TOKENS else 0


def _strange(server: Server, what: str) -> Fault:
    hint = f"Check {server.setting} and ApiStyle in [QwenVL]: another kind of server may be listening there."
    return Fault(f"The answer of {server.shown} {what}.", hint, kind="transient", status=200)
