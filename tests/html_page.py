"""Pages as a parser sees them: balanced tags, ids, addresses, rectangles, words."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

VOID = ("meta", "img", "rect", "circle", "use", "image", "br", "hr")


class ParsedPage(HTMLParser):
    """Checks that tags are balanced; keeps ids, addresses, rectangles and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.rectangles: list[list[int]] = []
        self.alts: list[str] = []
        self.unnamed = 0
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.alts += [values.get("alt", "")] if tag == "img" else []
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        self.unnamed += tag == "img" and not values.get("alt")
        self.unnamed += tag == "svg" and not values.get("aria-label")
        if tag == "rect" and values.get("class") == "rim":
            x, y, width, height = (int(values[name]) for name in ("x", "y", "width", "height"))
            self.rectangles.append([y, x, y + height, x + width])

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def files(self, kind: str) -> list[bytes]:
        """Return what is embedded as images of a kind, such as 'png'."""
        start = f"data:image/{kind};base64,"
        return [base64.b64decode(a[len(start) :]) for a in self.addresses if a.startswith(start)]

    def needs_nothing_else(self) -> bool:
        """Tell whether every address is embedded or on the page."""
        known = {f"#{name}" for name in self.ids}
        return len(known) == len(self.ids) and all(
            address.startswith("data:image/") or address in known for address in self.addresses
        )
