"""`scae completion`: print the script that makes a shell complete scae's words."""

import click
from click.shell_completion import get_completion_class

from cli.commands import UserErrorCommand

VARIABLE = "_SCAE_COMPLETE"
"""Environment variable by which the script asks for words; click wants this name."""


@click.command("completion", cls=UserErrorCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(*, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, files and names.

    Data sets, networks, methods and recipe files are completed too. Load it once for every new
    shell, then open a new one:

    \b
    Examples:
      bash: echo 'eval "$(scae completion bash)"' >> ~/.bashrc
      zsh:  echo 'eval "$(scae completion zsh)"' >> ~/.zshrc   (after compinit)
      fish: scae completion fish > ~/.config/fish/completions/scae.fish
    """  # noqa: D301  # click wants the character, not two
    context = click.get_current_context()
    known = get_completion_class(shell)
    if known is None:
        raise click.UsageError(f"this version of click completes nothing in {shell}")
    script = known(context.find_root().command, {}, "scae", VARIABLE).source()
    click.echo(script, nl=False)
