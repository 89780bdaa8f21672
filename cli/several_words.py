"""Options that take several words: `--seeds 0 1 2` beside `--seeds 0 --seeds 1 --seeds 2`."""

import click

from cli.commands import UserErrorCommand

SEEDS = "--seeds"


class SeveralWordsCommand(UserErrorCommand):
    """A command whose numbers after --seeds all belong to it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put --seeds before each number of a row of them, which click wants."""
        words: list[str] = []
        following = False
        for word in args:
            if following and word.isdecimal() and words[-1] != SEEDS:
                words.append(SEEDS)
            following = word == SEEDS or (following and word.isdecimal())
            words.append(word)
        return super().parse_args(ctx, words)
