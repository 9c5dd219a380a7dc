"""Facts written by hand, for the tests in rule files: `{brightness: 0.1, description: "a road", objects: [car]}`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vidpipe.tagging.conditions import make_condition
from vidpipe.tagging.facts import RuleFacts, SeenObject
from vidpipe.tagging.fields import FieldSpec, Vocabulary
from vidpipe.text.messages import did_you_mean
from vidpipe.text.words import TimedText, tag_key

#: Field -> attribute of RuleFacts.
_ATTRIBUTES = {
    "description": "description", "subtitles": "subtitles", "title": "title", "category": "model_category",
    "file_name": "names", "source": "urls", "label": "labels", "labels": "labels", "tags": "tags",
    "model_tags": "model_tags",
}  # fmt: skip
_SITE = {"uploader": "uploader", "source_description": "description", "licence": "licence", "site": "site"}
_SEEN: dict[str, Any] = {"count": 1, "confidence": 1.0, "share": 1.0}
_SCENE_S = 10.0


def made_up_facts(given: Mapping[str, Any], vocabulary: Vocabulary) -> RuleFacts:
    """Return the facts of a video with these values of fields; a list `scenes` says what differs in each scene.

    Without it, the video is one scene. A scene lasts `duration_s`, or 10 seconds.

    Raises:
        ValueError: There is no such field, or it cannot have the value; the message is for the user.
    """
    shared = {name: value for name, value in given.items() if name != "scenes"}
    start_s, scenes = 0.0, []
    try:
        for differing in given.get("scenes", [{}]):
            scene = _facts(shared | differing, vocabulary)
            end_s = start_s + scene.values.get("duration_s", _SCENE_S)
            scenes.append(replace(scene, start_s=start_s, end_s=end_s))
            start_s = end_s
        return replace(_facts(shared, vocabulary), scenes=tuple(scenes))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"the facts cannot be read: {error}") from None


def _facts(given: Mapping[str, Any], vocabulary: Vocabulary) -> RuleFacts:
    found: dict[str, Any] = {"values": {}, "found": (), "examined": (), "source_data": {}}
    for name, value in given.items():
        texts = tuple(map(str, value if isinstance(value, list | dict) else [value]))
        details = value if isinstance(value, dict) else {}
        if attribute := _ATTRIBUTES.get(name):
            found[attribute] = texts if isinstance(getattr(RuleFacts, attribute), tuple) else "\n".join(texts)
            if name == "model_tags":
                found["model_confidences"] = {
                    tag_key(tag): _number(f"model_tags.{tag}", sure) for tag, sure in details.items()
                }
        elif name in _SITE:
            found["source_data"][_SITE[name]] = texts
        elif name == "answers":
            found[name] = details
        elif name == "objects":
            found[name] = tuple(_seen(label, details.get(label, {})) for label in texts)
        elif name in ("speech", "screen_text", *vocabulary.texts):
            found["examined"] += (name,)
            found["found"] += (TimedText.of(name, f"{name}:", [(0.0, text) for text in texts]),)
        elif spec := vocabulary.names.get(name):
            values = make_condition(spec, "", name, value).values
            found["values"][spec.name] = values if spec.kind == "names" else values[0]
        else:
            raise ValueError(f'there is no field "{name[:80]}"{did_you_mean(name, (*vocabulary.names, *_ATTRIBUTES))}')
    return RuleFacts(**found)


def _seen(label: str, details: Mapping[str, Any]) -> SeenObject:
    return SeenObject(
        label, **_SEEN | {key: _number(f"objects.{label}.{key}", value) for key, value in details.items()}
    )


def _number(key: str, value: Any) -> Any:
    return make_condition(FieldSpec(key, "number", ""), "", key, value).values[0]
