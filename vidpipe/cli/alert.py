"""vidpipe alert: who hears of failed runs, what waits to be told, and whether a test arrives."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpipe.cli.call import call_of, opened
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, say, words

if TYPE_CHECKING:
    from vidpipe.settings import Settings

_NO_WAY = (
    "Only the log hears of failed runs: [Alerts] of config.ini names neither a webhook "
    "(VIDPIPE_ALERTS_WEBHOOKURL) nor a mail server and addresses (SmtpHost, MailTo)."
)


def alert(
    context: typer.Context,
    test: Annotated[bool, typer.Option("--test", help="Send a test message by each way, now.")] = False,
    as_json: Json = False,
) -> int:
    """Show by which ways alerts are sent and what waits for each; or send a test."""
    return _test(call_of(context).load().settings, as_json) if test else _tell_of_state(context, as_json)


def _test(settings: Settings, as_json: bool) -> int:
    from vidpipe.operations.alerts.channels import configured_channels, mail_settings_problem, send_through
    from vidpipe.operations.alerts.message import test_message

    ways = configured_channels(settings.alerts)
    message = test_message(socket.gethostname(), str(settings.home))
    results = send_through([(way, message) for way in ways])
    problem = mail_settings_problem(settings.alerts)
    told = [
        {"way": way.name, "to": way.to, "sent": (error := results[way.name]) is None,
         "message": error.message if error else "", "hint": error.hint if error else ""}
        for way in ways
    ]  # fmt: skip
    if as_json:
        print_json({"ways": told, "problem": problem})
    else:
        _show(told, problem)
    return 0 if told and not problem and all(entry["sent"] for entry in told) else 1


def _show(told: list[dict[str, Any]], problem: str) -> None:
    console = out()
    for entry in told:
        if entry["sent"]:
            say(console, words(f"{entry['way']}: {entry['to']} took the test message.", "green"))
            continue
        say(console, words(f"{entry['way']}: {entry['message']}", "red"))
        if entry["hint"]:
            note(entry["hint"])
    if problem:
        say(console, words(problem, "red"))
    elif not told:
        say(console, words(_NO_WAY))


def _tell_of_state(context: typer.Context, as_json: bool) -> int:
    from vidpipe.operations.alerts.channels import configured_channels, mail_settings_problem
    from vidpipe.pipeline.alert_sensors import alert_queue
    from vidpipe.pipeline.instance import instance

    with opened(context) as library, instance(library.settings) as dagster:
        alerts = library.settings.alerts
        state = alert_queue(dagster, library.library)
        found = [(way, state.waiting(way.name)) for way in configured_channels(alerts)]
    problem = mail_settings_problem(alerts)
    if as_json:
        ways = [
            {"way": way.name, "to": way.to, "waiting_runs": waiting.jobs,
             "waiting_rates": [rate.what for rate in waiting.rates], "last_sent_at": waiting.sent_at,
             "next_try_at": waiting.next_try_at, "last_error": waiting.last_error}
            for way, waiting in found
        ]  # fmt: skip
        print_json({"ways": ways, "problem": problem})
        return 0
    console = out()
    for way, waiting in found:
        number = sum(waiting.jobs.values())
        last = f"last told {waiting.sent_at.astimezone():%Y-%m-%d %H:%M}" if waiting.sent_at else "nothing told yet"
        waits = f"{counted(number, 'failed run')} and {counted(len(waiting.rates), 'high rate')} to be told"
        say(console, words(f"{way.name}: to {way.to}; {last}; {waits if waiting else 'nothing waits'}."))
        if waiting.last_error:
            say(console, words(f"  {waiting.last_error}", "red"))
    if problem or not found:
        say(console, words(problem or _NO_WAY, "red" if problem else ""))
    note("`vidpipe alert --test` sends a test message by each way.")
    return 0
