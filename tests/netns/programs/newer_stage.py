"""Run the command as a version does whose XDP program is another one: its file has a byte more.

python newer_stage.py WORD...
"""

import sys
import tempfile
from pathlib import Path

from vipnft.cli import main
from vipnft.kernel import xdp

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        other = Path(home) / "foreign.o"
        other.write_bytes(xdp.OBJECT.read_bytes() + b"\0")
        xdp.OBJECT = other
        sys.argv[0] = "vipnft"
        main.main()
