"""Rules that are to be applied: the files of rules/ with drafts in place, or those of an earlier version."""

import hashlib
import json
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock

from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.rule_history import record_version, rule_version, rule_versions, texts_of
from vidpipe.library.states import is_waiting_for_spec
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.rule_preview import RULE_STAGES, RulePreview
from vidpipe.safe_files import replace_file
from vidpipe.settings import Settings, audit
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.registry import enabled_analyses
from vidpipe.tagging.categories import parse_category_set
from vidpipe.tagging.category_files import category_file
from vidpipe.tagging.rule_drafts import with_draft
from vidpipe.tagging.rule_files import APPLIED, RuleFile, Versioned, rule_texts
from vidpipe.tagging.rules import parse_rule_set

_MARK = b"\xef\xbb\xbf"
_CHANGED = "Rules or library have changed since the plan was made."


@dataclass(frozen=True)
class ProposedRules:
    """Rules before they are applied.

    Attributes:
        settings: The settings in force.
        base: The rule files as they are.
        texts: The rule files as they would be.
        drafts: File -> text of the drafts that were put into them.
        undid: The version that they undo.
    """

    settings: Settings
    base: Mapping[str, str]
    texts: Mapping[str, str]
    drafts: Mapping[str, str] = field(default_factory=dict)
    undid: int | None = None

    @classmethod
    def of(cls, settings: Settings, drafts: Mapping[str, str]) -> "ProposedRules":
        """Return the files of rules/ with drafts in place (file -> text). Raises SettingsError if anything is wrong."""
        base = texts = rule_texts(settings, edited=True)
        vocabulary = enabled_analyses(settings).vocabulary
        for shown, text in drafts.items():
            draft = RuleFile.parse(text, shown)
            parse_rule_set([draft], vocabulary)  # its own errors first
            texts = with_draft(texts, draft, settings)
        return cls(settings, base, texts, drafts)

    @classmethod
    def of_file(cls, settings: Settings, drafts: Mapping[str, str]) -> "ProposedRules":
        """Return the same, but a draft that is called like a file of rules/ is the whole of that file."""
        for name, text in drafts.items():
            base, (shown, texts) = rule_texts(settings, edited=True), with_file(settings, name, text)
            if shown in base:
                return cls(settings, base, texts, drafts)
        return cls.of(settings, drafts)

    @classmethod
    def returning(
        cls, library: Library, settings: Settings, number: int | None = None, *, discard_edits: bool = False
    ) -> "ProposedRules":
        """Return the files of an earlier version.

        Args:
            library: The library.
            settings: The settings in force.
            number: The version; None: the one before the latest.
            discard_edits: Edits in rules/ that were never applied may be lost.

        Raises:
            VidpipeError: There is no such version, or it would discard edits.
        """
        lineage = library.collections["lineage"]
        known = [*islice(rule_versions(lineage), 2)]
        if len(known) < (2 if number is None else 1):
            raise VidpipeError("There is no earlier version of the rules.", "`vidpipe rules history` lists them.")
        latest, chosen = known[0], known[1] if number is None else rule_version(lineage, number)
        base, now = rule_texts(settings, edited=True), texts_of(lineage, latest)
        edited = sorted(name for name in base.keys() | now.keys() if base.get(name) != now.get(name))
        if edited and not discard_edits:
            hint = "`vidpipe rules apply` applies the edits; `vidpipe rules undo --yes` discards them."
            raise SettingsError(f"{', '.join(edited)}: edited, but never applied.", hint)
        return cls(settings, base, texts_of(lineage, chosen), undid=latest.number)

    @cached_property
    def sets(self) -> dict[str, Versioned]:
        """The resources custom_tags and categories with these rules. Raises SettingsError."""
        return parsed_rules(self.texts, self.settings)

    @property
    def versions(self) -> dict[str, str]:
        """Resource -> version."""
        return _versions(self.sets)

    def preview(
        self, library: Library, graph: StageGraph, cancelled: threading.Event | None = None,
        seen: Callable[[int], None] = lambda count: None,
    ) -> dict[str, Any]:  # fmt: skip
        """Return what they would do to the library, with what `check` needs, as JSON values."""
        began = time.monotonic()
        with closing(Plan.make(graph, self.settings, RULE_STAGES, given=self.sets)) as plan:
            for problem in plan.problems.values():
                raise problem
            found = RulePreview.of(library, plan, cancelled, seen)
        changes = {name: {change.name: vars(change) for change in getattr(found, name).values()}
                   for name in ("tags", "categories")}  # fmt: skip
        examples = {sha256 for change in (*found.tags.values(), *found.categories.values())
                    for sha256 in (*change.gaining, *change.losing)}  # fmt: skip
        query, wanted = {"_id": {"$in": sorted(examples)}}, {"ingest.names": {"$slice": 1}, "_id": 1}
        rows = library.collections["videos"].find(query, wanted)
        return {
            "library": found.at._asdict(), "versions": found.versions, "base": _digest(self.base),
            "drafts": dict(self.drafts), "compared": found.compared, "changed": found.changed,
            "waiting": found.waiting, **changes,
            "rules": {name: {"before": found.given_before[name], "after": found.given[name]}
                      for name in sorted({*found.given, *found.given_before} - {""})},
            "names": {row["_id"]: next(iter(row["ingest"]["names"]), row["_id"]) for row in rows},
            "recomputed": {"videos": found.changed, "model_requests": 0, "cost": 0},
            "seconds": round(time.monotonic() - began, 2),
        }  # fmt: skip

    def check(self, plan: Mapping[str, Any], library: Library) -> None:
        """Raise SettingsError if this is not what `preview` returned as `plan`."""
        now = {"library": library.changes.state()._asdict(), "base": _digest(self.base), "versions": self.versions}
        if any(plan.get(name) != value for name, value in now.items()):
            raise SettingsError(_CHANGED, "Plan again: `vidpipe rules plan --json`.")

    def apply(self, library: Library, plan: Plan, by: str, changed: Mapping[str, Any]) -> RunRequest:
        """Put them in force (see `put`) after recording those of `plan`; return the run that is due."""
        specs = {name: spec for name, spec in plan.specs.items() if name in RULE_STAGES}
        if not is_waiting_for_spec(library.collections["videos"], specs):
            record_in_force(library, plan, "earlier")
        self.put(library, by, changed=changed)
        return RunRequest(stages=sorted({*RULE_STAGES, *(one.name for one in plan.stages if one.job == "label")}))

    def put(self, library: Library, by: str, *, changed: Mapping[str, Any]) -> None:
        """Put them in force: write the files, and record the version. The library is due then.

        Args:
            library: The library.
            by: Who applies them (see `RuleVersion`).
            changed: What `preview` returned.

        Raises:
            SettingsError: The files have been edited meanwhile, or one is not a rule file.
            OSError: A file cannot be written.
        """
        versions = self.versions
        numbers = {name: changed[name] for name in ("compared", "changed") if name in changed}
        numbers |= {
            kind: [{"name": name, "gain": one["gain"], "lose": one["lose"]}
                   for name, one in changed.get(kind, {}).items() if one["gain"] or one["lose"]][:1000]
            for kind in ("tags", "categories")
        }  # fmt: skip
        with rules_lock(self.settings):
            if rule_texts(self.settings, edited=True) != self.base:
                raise SettingsError(_CHANGED, "Plan again: `vidpipe rules plan`.")
            self._write()
            _record(library, self.settings, self.texts, versions, by, changed=numbers, undid=self.undid)
        audit("rules", by=by, versions=versions, undid=self.undid)

    def _write(self) -> None:
        rules, folder = self.settings.rules, self.settings.resolve(self.settings.rules.custom_tag_rules).parent
        for shown in sorted(self.base.keys() | self.texts.keys(), key=lambda shown: shown in self.texts):
            path, text = self.settings.resolve(shown), self.texts.get(shown)
            if path.parent != folder and shown not in (rules.categories.as_posix(), rules.custom_tag_rules.as_posix()):
                raise SettingsError(f"{shown} is not in the folder of rules.", "[Rules] in config.ini names the files.")
            if text is None:
                path.unlink(missing_ok=True)
            elif text != self.base.get(shown):
                path.parent.mkdir(parents=True, exist_ok=True)
                mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666
                replace_file(path, _encoded(text, path.read_bytes() if path.exists() else b""), mode)


def _encoded(text: str, before: bytes) -> bytes:
    """Return a text with the line ends and byte order mark that its file has."""
    content = text.replace("\n", "\r\n" if b"\r\n" in before else "\n").encode()
    return _MARK * before.startswith(_MARK) + content


def with_file(settings: Settings, name: str, text: str) -> tuple[str, dict[str, str]]:
    """Return a file of rules/, which may be new, and the texts of all as they are, with that of this file."""
    base = rule_texts(settings, edited=True)
    new = (settings.rules.custom_tag_rules.parent / name).as_posix()
    shown = next((one for one in base if Path(one).name == name), new)
    return shown, base | {shown: text}


def parsed_rules(texts: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    """Return the resources custom_tags and categories of rule files with these texts. Raises SettingsError."""
    vocabulary, categories = enabled_analyses(settings).vocabulary, settings.rules.categories.as_posix()
    files = [RuleFile.parse(text, shown) for shown, text in texts.items() if shown != categories]
    if categories not in texts:
        raise SettingsError(f"These rules have no {categories}.", "[Rules] Categories names another file than then.")
    return {
        "custom_tags": parse_rule_set(files, vocabulary),
        "categories": parse_category_set([category_file(texts[categories], categories), *files], vocabulary),
    }


def edits_wait(settings: Settings) -> bool:
    """Return whether edited files wait for approval."""
    return settings.rules.apply == "approve" and rule_texts(settings) != rule_texts(settings, edited=True)


def rules_problem(settings: Settings) -> str:
    """Return what is wrong in the files of rules as they are; "" if nothing is."""
    try:
        parsed_rules(rule_texts(settings, edited=True), settings)
    except SettingsError as error:
        return str(error)
    return ""


def rules_lock(settings: Settings) -> FileLock:
    """Return the lock of everything that replaces files of rules, or says which are in force."""
    folder = (settings.data_directory / APPLIED).parent
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock", timeout=10)


def _record(
    library: Library, settings: Settings, texts: Mapping[str, str], versions: Mapping[str, str], by: str, **facts: Any
) -> None:
    path, content = settings.data_directory / APPLIED, _as_json(texts)
    if not path.exists() or path.read_bytes() != content:
        replace_file(path, content)
    record_version(library.collections["lineage"], texts, versions, by, **facts)


def _versions(resources: Mapping[str, Any]) -> dict[str, str]:
    return {name: resources[name].version for name in ("custom_tags", "categories") if name in resources}


def _as_json(texts: Mapping[str, str]) -> bytes:
    return json.dumps(dict(texts), ensure_ascii=False, indent=1).encode()


def _digest(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(_as_json(texts)).hexdigest()


def record_in_force(library: Library, plan: Plan, by: str) -> None:
    """Record the rules in force as applied if `plan` labels videos with them."""
    versions = _versions(plan.resources)
    if len(versions) < 2:
        return
    path = plan.settings.data_directory / APPLIED
    with rules_lock(plan.settings), suppress(SettingsError):  # edited meanwhile: the next run records them
        texts = rule_texts(plan.settings)
        known = path.exists() and path.read_bytes() == _as_json(texts)
        if known or _versions(parsed_rules(texts, plan.settings)) == versions:
            _record(library, plan.settings, texts, versions, by)
