"""What happens to the hosts while they work: one is cut off, one dies, the primary of the replica set is killed."""

from __future__ import annotations

from vidpipe_tests.cluster.hosts import Host
from vidpipe_tests.cluster.machines import Machines

#: Until a run that lost its host is ended, and its videos are free: four beats of 10 s, a tick, and a busy machine.
_TAKEN_OVER_S = 120.0


def runs_on(machines: Machines, host: Host, job: str = "") -> list[str]:
    """Ids of the unfinished runs that a host executes."""
    started = [run for run in machines.unfinished() if run[2:] == ("STARTED", host.name)]
    return [run for run, name, _, _ in started if job in name]


def wait_for_a_busy_one(machines: Machines) -> Host:
    """Until b or c is at work."""
    workers = (machines.b, machines.c)
    machines.wait("b or c is at work", lambda: any(machines.at_work(host) for host in workers), limit_s=240)
    return next(host for host in workers if machines.at_work(host))


def wait_until_at_work(machines: Machines, host: Host, job: str = "") -> list[str]:
    """Until a host has begun with a video in a run of Dagster; gives its runs."""
    machines.wait(f"{host.name} is at work", lambda: machines.at_work(host) and runs_on(machines, host), limit_s=240)
    return runs_on(machines, host)


def cut_off(machines: Machines, host: Host, seconds: float) -> None:
    """The host is cut off at work and comes back: its run is ended meanwhile, and it takes runs again afterwards."""
    lost = wait_until_at_work(machines, host)
    host.cut()
    machines.note(f"{host.name} is cut off with {machines.at_work(host)}")
    took_s = _wait_for_end(machines, host, lost)
    machines.pause(seconds - took_s)
    host.join()
    machines.note(f"{host.name} is connected again")


def die(machines: Machines, host: Host, seconds: float) -> None:
    """All processes of the host are killed; after `seconds` a new host with empty disks has its address."""
    lost = wait_until_at_work(machines, host)
    host.kill()
    machines.note(f"{host.name} is dead")
    took_s = _wait_for_end(machines, host, lost)
    machines.pause(seconds - took_s)
    host.boot()
    machines.start_mongod(host)
    machines.start_worker(host)
    machines.note(f"{host.name} is a new host")


def kill_primary(machines: Machines, seconds: float) -> None:
    """The mongod that takes writes is killed, and started again after `seconds`."""
    machines.wait("there is a primary", machines.primary)
    host = machines.primary()
    assert host is not None
    machines.kill_mongod(host)
    machines.note(f"the primary, on {host.name}, is killed")
    machines.pause(seconds)
    machines.start_mongod(host)
    machines.note(f"the mongod on {host.name} is back")


def _wait_for_end(machines: Machines, host: Host, lost: list[str]) -> float:
    """Until the runs of a lost host are ended and its videos free."""
    took_s = machines.wait(
        f"the runs of {host.name} are ended", lambda: not set(lost) & {run[0] for run in machines.unfinished()},
        limit_s=_TAKEN_OVER_S,
    )  # fmt: skip
    machines.note(f"the runs of {host.name} were ended after {took_s:.0f} s: {lost}")
    return took_s
