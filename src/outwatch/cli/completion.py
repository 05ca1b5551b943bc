"""``completion``: the shell's own completion for this command line."""

import rich_click as click
from click.shell_completion import get_completion_class

from outwatch.cli.group import outwatch


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    Put it where your shell reads such scripts, for instance: outwatch completion bash > ~/.local/share/bash-completion/completions/outwatch
    """
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(outwatch, {}, "outwatch", "_OUTWATCH_COMPLETE").source())
