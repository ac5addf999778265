"""What one life knows of the table.

Rule 1: what the kernel holds is told apart from what stands in the store.
"""

from vipnft.agreement.effects import Adopt
from vipnft.agreement.records import Table
from vipnft.agreement.steps import is_placeholder


class Known:
    """What this life knows of the table: `table` is what the kernel holds, `version` of it in the
    store; `last` the newest that was there, `real` the newest in which anybody owned anything;
    `fenced`: no earlier write of this host's can come after it; `beaten`: this life's key was
    there once, so that no word about an earlier one counts. `held` is what the kernel holds to
    the letter, and `basis` the version of the table that it was made from."""

    def __init__(self) -> None:
        self.held = Adopt(None, "")
        self.basis = 0
        self.table: Table | None = None
        self.version = 0
        self.last: Table | None = None
        self.real: Table | None = None
        self.fenced = self.beaten = False

    def take_up(self, table: Table, version: int) -> None:
        """Know that the kernel holds a table."""
        self.table = self.last = table
        if not is_placeholder(table):
            self.real = table
        self.version = version

    def hold(self, part: Adopt, basis: int) -> None:
        """Know that the kernel holds this: all that a table gives this host, or less."""
        self.held, self.basis = part, basis

    def lose(self) -> None:
        """Know that there is none."""
        self.table, self.version, self.fenced = None, 0, False
