"""Completion in bash, for which a colon ends a word: `torchvision:res` comes in three parts."""

from click.shell_completion import BashComplete, CompletionItem

COLON = ":"


class BashWords(BashComplete):
    """Puts words with colons together again, and answers with what follows the last colon."""

    name = BashComplete.name

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor's, and that word as far as it is typed."""
        args, incomplete = super().get_completion_args()
        *words, self._incomplete = joined([*args, incomplete])
        return words, self._incomplete

    def format_completion(self, item: "CompletionItem[str]") -> str:
        """Return a word as bash will put it in the place of the cursor's."""
        typed = self._incomplete[: self._incomplete.rfind(COLON) + 1]
        return f"{item.type},{item.value.removeprefix(typed)}"


def joined(parts: list[str]) -> list[str]:
    """Join parts that a colon stands between."""
    words: list[str] = []
    for number, part in enumerate(parts):
        after_colon = number > 0 and parts[number - 1].endswith(COLON)
        if words and (part.startswith(COLON) or after_colon):
            words[-1] += part
        else:
            words.append(part)
    return words
