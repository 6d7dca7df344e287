"""Telling what happens: numbered steps, the command a person would type for each, and what it showed."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape


class Narrator:
    """The words of the demonstration, on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._steps = 0

    def step(self, title: str) -> None:
        """A new step; the numbers count by themselves."""
        self._steps += 1
        self.console.print(f"\n[bold cyan]{self._steps}.[/] [bold]{escape(title)}[/]", soft_wrap=True)

    def command(self, text: str) -> None:
        """What a person would type."""
        self.console.print(f"[bold green]$[/] [green]{escape(text)}[/]", soft_wrap=True)

    def shown(self, text: str) -> None:
        """What a command printed, as it was."""
        for line in text.rstrip().splitlines():
            self.console.print(f"  {escape(line)}", soft_wrap=True)

    def say(self, text: str) -> None:
        """A sentence of the demonstration itself."""
        self.console.print(escape(text), soft_wrap=True)

    def good(self, text: str) -> None:
        """Something that was promised and is so."""
        self.console.print(f"[green]✓[/] {escape(text)}", soft_wrap=True)
