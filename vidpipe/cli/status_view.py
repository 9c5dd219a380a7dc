"""The status of a library as a table and lines of text."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from vidpipe.cli.output import counted, note, out, say, say_problem, size, table, words
from vidpipe.library.states import STATES
from vidpipe.operations.services.service_definitions import TITLES
from vidpipe.operations.status import FAILED_SOURCES
from vidpipe.text.messages import join_words

_STYLES = {"due": "yellow", "failed": "red", "quarantined": "red"}


def stage_table(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table of stages and states."""
    made = table("stage", *STATES, right=STATES)
    for name, counts in stages.items():
        if "problem" in counts:
            made.add_row(name, words("cannot run", "red"))
            continue
        made.add_row(
            name, *(words(counts[state], _STYLES.get(state, "") if counts[state] else "dim") for state in STATES)
        )
    return made


def sentences(result: Mapping[str, Any]) -> Iterator[Text]:
    """Yield the lines below the table."""
    sources = ", ".join(f"{number} {state}" for state, number in sorted(result["sources"].items())) or "none"
    videos = result["videos"]
    yield words(f"{counted(videos, 'video')}; sources: {sources}; {_free_space(result['disks'])}.")
    down = result["services_down"]
    if result["services"] or not down:
        yield words(_services(result["services"]), "" if result["services"] else "dim")
    for one in down:
        yield words(_down(one), "red")
    if {"supervisor", "daemon"} <= {one["name"] for one in down}:
        yield words("  They will not restart automatically: run `vidpipe up`.", "dim")
    for worker in result["workers"]:
        host, queues = worker["machine"].partition("/")[0], ", ".join(worker["queues"])
        yield words(f"Worker on {host}: {queues}; slots: {worker['slots']}; runs in progress: {worker['runs']}.")
        if worker["differs"]:
            stages = join_words(worker["differs"])
            yield words(
                f"  Its settings or rules differ from this machine's, for {stages}: see docs/cluster.md.", "yellow"
            )
    for name, counts in result["stages"].items():
        if "problem" in counts:
            yield words(f"Stage {name} cannot run: {counts['problem']['message']}", "red")
            if counts["problem"]["hint"]:
                yield words(f"  {counts['problem']['hint']}", "dim")
    for address, use in result["model_servers"].items():
        share, in_flight = (use.get(figure, 0.0) / use["seconds"] for figure in ("busy_seconds", "request_seconds"))
        requests = f"{counted(int(use['requests']), 'request')}, {int(use.get('failures', 0))} failed"
        yield words(
            f"Model server {address}: busy {share:.0%} of the latest run, {in_flight:.1f} in flight, {requests}."
        )
    for sentence in result["waiting"]:
        yield words(sentence, "yellow")


def _free_space(disks: Mapping[str, int]) -> str:
    if len(disks) == 1:
        return f"{size(*disks.values())} free"
    return ", ".join(f"{size(free)} free for {folder}" for folder, free in disks.items())


def _down(server: Mapping[str, str]) -> str:
    since = datetime.fromisoformat(server["since"]).astimezone() if server["since"] else None
    reason = f": {server['reason']}" if server["reason"] else "."
    return f"Down: {TITLES[server['name']]}{f' since {since:%Y-%m-%d %H:%M:%S}' if since else ''}{reason}"


def _services(services: list[Mapping[str, Any]]) -> str:
    if not services:
        return "No servers are running; start them with `vidpipe up`."
    known = [f"{one['name']} {one['address']}" if one["address"] else str(one["name"]) for one in services]
    return f"Servers: {', '.join(known)}."


def show_status(result: Mapping[str, Any]) -> None:
    """Print a status returned by `status_of`, with advice."""
    console = out()
    console.print(stage_table(result["stages"]))
    for sentence in sentences(result):
        say(console, sentence)
    for failure in result.get("failed", ()):
        say_problem("• ", failure["message"], failure["hint"])
    for source in result.get("failed_sources", ()):
        hint = "The setting that blocked it has changed: it is due again." if source["due"] else ""
        say_problem("• ", source["message"] or source["url"], hint)
    for source in result.get("gone_sources", ()):
        say(console, words(f"• {source['url']}: gone since {source['gone_since'].astimezone():%Y-%m-%d}", "yellow"))
    for problem in result.get("list_problems", ()):
        say_problem("• ", problem["message"])
    _advise(result)


def _advise(result: Mapping[str, Any]) -> None:
    if result["due_videos"]:
        by_itself = result["by_itself"]
        what = "processed automatically." if by_itself else "run `vidpipe run`."
        note(f"{counted(result['due_videos'], 'video')} due: {what}")
    failed = any(counts["failed"] + counts["quarantined"] for counts in result["stages"].values())
    failed_sources = any(result["sources"].get(state) for state in FAILED_SOURCES)
    if (failed or failed_sources) and "failed" not in result:
        note("`vidpipe status --failed` lists failures and their reasons.")
    if failed:
        note("`vidpipe run --retry` retries failed stages.")
    if failed_sources and "failed" in result:
        note("`vidpipe add --retry INPUT` retries a source.")
