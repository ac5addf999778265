"""Run on a host, when the package is installed: compile what vipnft imports.

An import of all of vipnft's modules compiles what they import, and of what is vendored that is
little more than half. What is compiled already and still good is left as it is; what was compiled
of modules that are gone, or for another Python, goes. A module that needs a package which is not
here, as dnspython may not be, is compiled all the same.
"""

import importlib
import pkgutil
import sys
from contextlib import suppress
from pathlib import Path

import vipnft


def main() -> None:
    """Compile, then clear away."""
    for module in pkgutil.walk_packages(vipnft.__path__, "vipnft."):
        if not module.name.endswith(".__main__"):
            with suppress(ModuleNotFoundError):
                importlib.import_module(module.name)
    for folder in sorted(Path(__file__).parent.rglob("__pycache__"), reverse=True):
        for compiled in folder.iterdir():
            source = folder.with_name(compiled.name.partition(".")[0] + ".py")
            if not source.exists() or sys.implementation.cache_tag not in compiled.name:
                compiled.unlink()
        for one in (folder, folder.parent):
            if not any(one.iterdir()):
                one.rmdir()


if __name__ == "__main__":
    main()
