"""Build the hot modules as C extensions with mypyc where PEAKGATE_COMPILE=1 asks for it; else nothing is compiled.

`make compiled` and the image set it. It needs a C compiler, and an environment with mypy and with the packages that
Peakgate runs with: mypyc takes the types from them. The modules are listed in pyproject.toml; docs/compiled.md says how
they may be written.
"""

import os
import shutil
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

# The console shows the runbooks; a wheel has no docs/.
RUNBOOKS = "gateway/admin/console/runbooks"


def _extensions() -> list[Extension]:
    if os.environ.get("PEAKGATE_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    # The tests' types are no matter here, and a newer mypy than the locked one may warn of more.
    return mypycify(project["tool"]["peakgate"]["compiled"], opt_level="3", debug_level="0", group_name="peakgate")


class BuildWithRunbooks(build_py):
    """Copies the runbooks of docs/ into the package."""

    def run(self) -> None:
        """Build, then copy; an editable install reads the originals."""
        super().run()
        if not self.editable_mode:
            shutil.copytree("docs/runbooks", Path(self.build_lib) / RUNBOOKS, dirs_exist_ok=True)


setup(ext_modules=_extensions(), cmdclass={"build_py": BuildWithRunbooks})
