"""What a host's processes share, and what the real runtime/standins.py looks at: its plan and its board, as lists."""

from __future__ import annotations

from collections.abc import Sequence

from runnelctl.runtime import board as cells


class Cell:
    """What the board says of one unit."""

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.slot = self.for_ = self.grant = self.taken = self.epoch = self.nonce = 0
        self.wanted = self.held = False
        self.stood_in_for = -1  # the slot where it belongs, if another is to have it for now
        self.state = ""
        self.first, self.since = 0, 0.0


class Seat:
    """A slot, as in the plan."""

    def __init__(self, number: int, processor: str) -> None:
        self.index = self.number = number
        self.processor, self.retired = processor, False


class Plan:
    """The slots of the one processor."""

    def __init__(self, slots: int, processor: str) -> None:
        self.slots = [Seat(number, processor) for number in range(slots)]

    def slots_of(self, _: str) -> list[Seat]:
        return self.slots


class Board:
    """The cells of slots, and of units as far as they say who runs them."""

    def __init__(self, slots: int, units: int) -> None:
        self._units = slots * cells.SLOT_CELLS
        self.q = [0] * (self._units + units * cells.UNIT_CELLS)

    def slot(self, index: int) -> int:
        return index * cells.SLOT_CELLS

    def unit(self, index: int) -> int:
        return self._units + index * cells.UNIT_CELLS

    def show(self, units: Sequence[Cell]) -> None:
        """Write down who runs what, from the simulation's own cells."""
        for unit in units:
            base = self.unit(unit.unit)
            self.q[base + cells.U_SLOT], self.q[base + cells.U_HELD] = unit.slot, int(unit.held)
            self.q[base + cells.U_FOR] = unit.for_


class Shown:
    """A host as standins.py takes it."""

    def __init__(self, member: str, slots: int, units: int, processor: str) -> None:
        self.member, self.plan, self.board = member, Plan(slots, processor), Board(slots, units)
