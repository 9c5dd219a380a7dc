"""Parses the answers of a server, which are not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidpipe.models.endpoint.address import ServerAddress
from vidpipe.models.endpoint.errors import EndpointError, clean
from vidpipe.settings.schema import QwenVL

#: Shorter keys ("EMPTY", "token") are words that may occur in a description.
_MIN_SECRET_LENGTH = 12
_MAX_TOKENS = 10**9


@dataclass(frozen=True)
class ServerAnswer:
    """What a server answered to one prompt.

    Attributes:
        text: The answer, stripped and without control characters.
        tokens: Generated tokens; 0 if the server does not count them.
        prompt_tokens: Tokens read for it, without those from the server's cache if it reports them.
    """

    text: str
    tokens: int = 0
    prompt_tokens: int = 0


def parse_response(answer: Any, server: ServerAddress, settings: QwenVL) -> ServerAnswer:
    """Return the answer in the JSON of a successful response. Raises EndpointError."""
    if not isinstance(answer, dict):
        raise _unexpected(server, "is not a JSON object")
    text = _description(answer, server) if settings.api_style == "pai" else _content(answer, server)
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, dict) else 0
    return ServerAnswer(text, _count(usage, "completion_tokens"), max(0, _count(usage, "prompt_tokens") - cached))


def _description(answer: Mapping[str, Any], server: ServerAddress) -> str:
    described = answer.get("description")
    if not isinstance(described, str):
        raise _unexpected(server, "has no `description`")
    return _clean(described, server)


def _content(answer: Mapping[str, Any], server: ServerAddress) -> str:
    """Return the text of the first choice.

    An answer cut at its token limit, or one that the model left empty, is returned as with every backend: the parser of
    its form rejects it.
    """
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _unexpected(server, "has no `choices`")
    finish = choice.get("finish_reason")
    refusal = message.get("refusal")
    if finish == "content_filter" or (isinstance(refusal, str) and refusal):
        why = " ".join(clean(refusal, server).split())[:300] if isinstance(refusal, str) else "its content filter"
        message = f"The model at {server.shown} refused to answer: {why or 'no reason given'}."
        raise EndpointError(message, kind="request")
    content = message.get("content")
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    text = _clean(content, server) if isinstance(content, str) else ""
    if text or (isinstance(content, str) and finish == "stop"):
        return text
    hint = "The chat template of the server may not fit the model."
    if finish == "length":
        hint = "All tokens were spent on reasoning: disable thinking on the server."
    raise EndpointError(f"The model at {server.shown} returned no text.", hint, kind="request")


def _clean(text: str, server: ServerAddress) -> str:
    return clean(text, server if len(server.key.get_secret_value()) >= _MIN_SECRET_LENGTH else None).strip()


def _count(usage: Mapping[str, Any], name: str) -> int:
    found = usage.get(name)
    return found if type(found) is int and 0 <= found < _MAX_TOKENS else 0


def _unexpected(server: ServerAddress, what: str) -> EndpointError:
    hint = f"Check {server.setting} and ApiStyle in [QwenVL]: the server may be of another kind."
    return EndpointError(f"The answer of {server.shown} {what}.", hint, kind="transient", status=200)
