"""`runnelctl completion`: the script that makes a shell complete commands, options, streams and processors."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from runnelctl import errors

_VARIABLE = "_RUNNELCTL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash: eval "$(runnelctl completion bash)" in ~/.bashrc
    zsh:  eval "$(runnelctl completion zsh)" in ~/.zshrc, after compinit
    fish: runnelctl completion fish > ~/.config/fish/completions/runnelctl.fish
    """
    from runnelctl.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise errors.UsageError(f"this version of click cannot complete in {shell}")
    # Not `found(...).source()`: bash's asks for the version of the bash on the PATH, which may be none of the user's.
    completion = found(cli, {}, "runnelctl", _VARIABLE)
    click.echo(completion.source_template % completion.source_vars())
