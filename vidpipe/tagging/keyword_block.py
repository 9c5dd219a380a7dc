"""Blocks that search words: in the description, in titles, and in what is said or written."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vidpipe.tagging.block import Block, PartExplanation, explained, listed, spelled_times
from vidpipe.tagging.facts import RuleFacts
from vidpipe.text.words import Keyword, SearchedText, TimedText, as_written


@dataclass(frozen=True)
class KeywordBlock(Block):
    """Matches if a text contains one of the keywords.

    Attributes:
        name: Its key, which says what is searched: description_keywords the description; subtitle_keywords the
            subtitles, titles and recognized speech; text_keywords these and the text on screen; NAME_keywords what an
            analysis found under that name ("speech_keywords").
        keywords: What is searched for.
    """

    name: str
    keywords: tuple[Keyword, ...]

    @classmethod
    def parse(cls, name: str, texts: list[str]) -> "KeywordBlock":
        """Return the block for these keywords, without those that are the plural of another one."""
        by_phrase = {keyword.phrase: keyword for keyword in map(Keyword.parse, texts)}
        plurals = {form.strip() for keyword in by_phrase.values() for form in keyword.forms[1:]}
        return cls(name, tuple(by_phrase[phrase] for phrase in sorted(by_phrase) if phrase not in plurals))

    @cached_property
    def _words(self) -> dict[str, str]:
        """Single-word forms -> their keyword."""
        return {
            form.strip(): keyword.phrase
            for keyword in self.keywords
            for form in keyword.forms
            if " " not in form.strip()
        }

    @cached_property
    def _phrases(self) -> tuple[tuple[str, str, str], ...]:
        """(first word, form, keyword) of phrases: most texts do not even contain the first word."""
        return tuple(
            (form.split()[0], form, keyword.phrase)
            for keyword in self.keywords
            for form in keyword.forms
            if " " in form.strip()
        )

    @cached_property
    def searched(self) -> str:
        """The text field that it searches."""
        name = self.name.removesuffix("_keywords")
        return "said" if name == "subtitle" else name

    @property
    def fields(self) -> frozenset[str]:
        """The facts that it checks."""
        return frozenset({self.searched})

    def _texts(self, facts: RuleFacts) -> tuple[SearchedText, ...]:
        return facts.known_texts(self.searched)

    def matches(self, facts: RuleFacts) -> bool:
        """Return whether the block matches; texts after the first one that does are not looked at."""
        for text in self._texts(facts):
            found = not text.words.isdisjoint(self._words)
            if found or any(first in text.words and form in text.normal for first, form, _ in self._phrases):
                return True
        return False

    def hits(self, facts: RuleFacts) -> dict[str, str]:
        """Return the keywords found, with the form in the text."""
        return {phrase: form for _, forms in self._found_by_text(facts) for phrase, form in forms.items()}

    def _found_by_text(self, facts: RuleFacts) -> list[tuple[SearchedText, dict[str, str]]]:
        """Return each keyword with the first text that contains it, in the shortest form if there are several."""
        by_text: list[tuple[SearchedText, dict[str, str]]] = []
        seen: set[str] = set()
        for text in self._texts(facts):
            if not text.words:
                continue
            found = {form: self._words[form] for form in text.words.intersection(self._words)}
            for first, form, phrase in self._phrases:
                if first in text.words and form in text.normal:
                    found[form.strip()] = phrase
            if found:
                forms = sorted(found, key=lambda form: (found[form], -len(form)))
                new = {found[form]: form for form in forms if found[form] not in seen}
                by_text.append((text, new))
                seen.update(new)
        return by_text

    def _shown(self, text: SearchedText, forms: dict[str, str]) -> dict[str, str]:
        """Return each keyword of `_found_by_text` as it is shown, with its times if the text has any."""
        if not isinstance(text, TimedText):
            return {phrase: f'"{form}"' for phrase, form in forms.items()}
        all_forms = {keyword.phrase: keyword.forms for keyword in self.keywords}
        times = {phrase: {time for form in all_forms[phrase] for time in text.times_s(form)} for phrase in forms}
        return {
            phrase: f'"{as_written(form)}" at {spelled_times(sorted(times[phrase]))}' for phrase, form in forms.items()
        }

    def evidence(self, facts: RuleFacts) -> str:
        """`the subtitles say "sea", "ship", someone says "rocket" at 0:12 and 0:40`."""
        return ", ".join(
            f"{text.says} {listed(list(self._shown(text, forms).values()))}"
            for text, forms in self._found_by_text(facts)
            if forms
        )

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        found: dict[str, str] = {}
        for text, forms in self._found_by_text(facts):
            found |= self._shown(text, forms)
        texts = self._texts(facts)
        there = [text.name for text in texts if text.normal]
        known = [text.name for text in texts] or [self.name.removesuffix("_keywords")]
        missing = f"not in the {' or the '.join(there)}" if there else f"no {' and no '.join(known)}"
        nothing = missing.replace("_", " ")
        return explained({phrase: f'"{as_written(phrase)}"' for phrase in self.normal()}, found, nothing)

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        return [keyword.phrase for keyword in self.keywords]
