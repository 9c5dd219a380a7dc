"""vidpipe alert: alert channels, pending alerts, and test messages."""

import socket
from typing import Annotated, Any

import typer

from vidpipe.cli.context import command_context, open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, say, words
from vidpipe.operations.alerts.channels import configured_channels, mail_settings_problem, send_through
from vidpipe.operations.alerts.message import test_message
from vidpipe.settings import Settings

_NOT_CONFIGURED = (
    "Failed runs are only logged: [Alerts] in config.ini names neither a webhook "
    "(VIDPIPE_ALERTS_WEBHOOKURL) nor a mail server and addresses (SmtpHost, MailTo)."
)


def alert(
    context: typer.Context,
    test: Annotated[bool, typer.Option("--test", help="Send a test message through each channel.")] = False,
    as_json: Json = False,
) -> int:
    """Show alert channels and pending alerts, or send a test."""
    return _test(command_context(context).load().settings, as_json) if test else _show_state(context, as_json)


def _test(settings: Settings, as_json: bool) -> int:
    channels = configured_channels(settings.alerts)
    message = test_message(socket.gethostname(), str(settings.home))
    results = send_through([(channel, message) for channel in channels])
    problem = mail_settings_problem(settings.alerts)
    results_json = [
        {"way": channel.name, "to": channel.to, "sent": (error := results[channel.name]) is None,
         "message": error.message if error else "", "hint": error.hint if error else ""}
        for channel in channels
    ]  # fmt: skip
    if as_json:
        print_json({"ways": results_json, "problem": problem})
    else:
        _show_test(results_json, problem)
    return 0 if results_json and not problem and all(entry["sent"] for entry in results_json) else 1


def _show_test(results_json: list[dict[str, Any]], problem: str) -> None:
    console = out()
    for entry in results_json:
        if entry["sent"]:
            say(console, words(f"{entry['way']}: test message accepted by {entry['to']}.", "green"))
            continue
        say(console, words(f"{entry['way']}: {entry['message']}", "red"))
        if entry["hint"]:
            note(entry["hint"])
    if problem:
        say(console, words(problem, "red"))
    elif not results_json:
        say(console, words(_NOT_CONFIGURED))


def _show_state(context: typer.Context, as_json: bool) -> int:
    from vidpipe.pipeline.instance import instance
    from vidpipe.pipeline.sensors.alerts import alert_queue

    with open_library(context) as opened, instance(opened.settings) as dagster:
        alerts = opened.settings.alerts
        state = alert_queue(dagster, opened.library)
        found = [(channel, state.waiting(channel.name)) for channel in configured_channels(alerts)]
    problem = mail_settings_problem(alerts)
    if as_json:
        channels = [
            {"way": channel.name, "to": channel.to, "waiting_runs": waiting.jobs,
             "waiting_rates": [rate.what for rate in waiting.rates], "last_sent_at": waiting.sent_at,
             "next_try_at": waiting.next_try_at, "last_error": waiting.last_error}
            for channel, waiting in found
        ]  # fmt: skip
        print_json({"ways": channels, "problem": problem})
        return 0
    console = out()
    for channel, waiting in found:
        number = sum(waiting.jobs.values())
        last = f"last sent {waiting.sent_at.astimezone():%Y-%m-%d %H:%M}" if waiting.sent_at else "nothing sent yet"
        waits = f"{counted(number, 'failed run')} and {counted(len(waiting.rates), 'high failure rate')} pending"
        say(console, words(f"{channel.name}: to {channel.to}; {last}; {waits if waiting else 'nothing pending'}."))
        if waiting.last_error:
            say(console, words(f"  {waiting.last_error}", "red"))
    if problem or not found:
        say(console, words(problem or _NOT_CONFIGURED, "red" if problem else ""))
    note("`vidpipe alert --test` sends a test message through each channel.")
    return 0
