"""rich's console for data on stdout, where a pipe that closes (`| head`) is no error."""

from __future__ import annotations

from rich import console


class Console(console.Console):
    """rich would end the process with code 1 when nobody reads on; our own `main` knows better."""

    def on_broken_pipe(self) -> None:
        """Called while the BrokenPipeError is handled: let it go on."""
        raise  # noqa: PLE0704
