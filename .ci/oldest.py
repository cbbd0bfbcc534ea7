"""Print the lower bound of each dependency in `pyproject.toml` as a constraint for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    found = re.match(r"([\w.-]+)(?:\[\w+\])?>=([\w.]+)", requirement)
    if found is None:
        raise SystemExit(f"{requirement!r} in pyproject.toml has no lower bound.")
    print("{}=={}".format(*found.groups()))
