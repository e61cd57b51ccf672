"""The `runnelctl` command: a click group that loads each command's module only when it is called.

The only place where an error becomes an exit code and one sentence on stderr.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any

import click

from runnelctl import errors

#: command -> the module that holds a click command named `command`. Order is the order of `--help`.
COMMANDS = {
    "up": "start the topology: a process per slice, supervised",
    "down": "drain and stop the hosts of this topology",
    "status": "what runs where, how far, and what is wrong",
    "replay": "mend what is quarantined, halted or parked, in order",
    "plan": "a topology against what is in Redis, before up",
    "pause": "stop handling events of a processor, on every host",
    "resume": "go on with what is paused",
    "seek": "put a processor's cursor somewhere else",
    "task": "list the tasks, or run one now",
    "restart": "replace the slices of a processor, one after the other",
    "send": "send records to a stream",
    "tail": "what is in a stream, and what comes",
    "state": "what a processor keeps of a key",
    "check": "find every mistake in a topology file",
    "test": "try cases: given records, expected emits, states, failures",
    "config": "print the topology as resolved, secrets hidden",
    "schema": "print the JSON Schema of topology files",
    "logs": "the output of a detached up",
    "init": "start a project in a directory",
    "graph": "a picture of a topology",
    "doctor": "what is wrong with this set-up",
    "bench": "figures on this machine, beside a bare loop",
    "completion": "a script that makes your shell complete",
}


class Unread(Exception):
    """Nobody reads our stdout any more. Not an OSError, since click would end with code 1 on a broken pipe."""


class LazyGroup(click.Group):
    """`--help` must not pay for importing Redis, jsonschema or rich: a command's module is imported when it runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)  # prints --help
        except BrokenPipeError:
            raise Unread from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise Unread from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"runnelctl.cli.{name}")
        command = module.command
        assert isinstance(command, click.Command)
        _name_variables(name, command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if close:
                raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from None
            raise


def _name_variables(name: str, command: click.Command) -> None:
    """Every option has its variable, those of a command's own commands too."""
    for option in command.params:
        if isinstance(option, click.Option) and option.allow_from_autoenv:
            option.envvar = variable(name, option)
    for below, each in command.commands.items() if isinstance(command, click.Group) else ():
        _name_variables(f"{name}_{below}", each)


def variable(command: str, option: click.Option) -> str:
    """The environment variable of an option, after its flag: RUNNELCTL_SEND_ON_INVALID for `send --on-invalid`."""
    flag = max(option.opts, key=len).lstrip("-")
    return f"RUNNELCTL_{command}_{flag}".upper().replace("-", "_")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runnelctl")
def cli() -> None:
    """Ordered event processing on Redis Streams."""


def main(argv: list[str] | None = None) -> Any:
    """Run the command line and exit: 0 done or drained, 1 error, 2 usage or topology, 3 a handler cannot start,
    4 halted by policy, 69 Redis unreachable, 130 forced."""
    _complete_streams()
    try:
        code = cli.main(args=argv, prog_name="runnelctl", standalone_mode=False)
    except click.exceptions.Abort:
        code = errors.EXIT_FORCED
    except KeyboardInterrupt:
        code = errors.EXIT_FORCED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except errors.RunnelctlError as error:
        click.echo(f"runnelctl: {error}" if not isinstance(error, errors.TopologyError) else str(error), err=True)
        code = error.exit_code
    except Unread:
        # `runnelctl status | head` is not an error.
        _silence_stdout()
        code = errors.EXIT_OK
    except OSError as error:
        # A full disk, a directory that may not be written: the system's own word, and about what.
        _silence_stdout()
        place = "cannot write" if error.filename is None and error.errno == errno.ENOSPC else error.filename
        click.echo(f"runnelctl: {f'{place}: ' if place else ''}{error.strerror or error}", err=True)
        code = errors.EXIT_ERROR
    sys.exit(code if isinstance(code, int) else 0)


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the flush at exit has nothing to complain about."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complete_streams() -> None:
    """Started with stdout or stderr closed (`>&-`): the next file or connection would take their number, and what is
    printed would go into it."""
    for fd, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", closefd=False))  # noqa: SIM115 - for good
