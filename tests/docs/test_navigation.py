"""The navigation of the site reaches every page, example and notebook, and nothing else."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
LISTED = re.findall(r"^ +- [^:]+: (\S+\.md)$", NAVIGATION, re.MULTILINE)
EXAMPLES = [
    *ROOT.glob("examples/*.py"),
    *ROOT.glob("examples/*/*.ipynb"),
    *ROOT.glob("examples/*/README.md"),
]


def test_the_navigation_lists_every_page_once():
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(one for one in LISTED if "/" not in one) == sorted(pages)


def test_the_navigation_lists_every_example_and_notebook_once():
    made = [path.relative_to(ROOT).with_suffix(".md").as_posix() for path in EXAMPLES]
    assert len(made) > 10
    assert sorted(one for one in LISTED if "/" in one) == sorted(made)


def test_every_example_begins_with_a_heading_for_its_page():
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = json.loads(text)["cells"][0]["source"][0]
        start = '"""' if path.suffix == ".py" else "# "
        assert text.startswith(start), path.name


def test_links_of_notebooks_lead_somewhere():
    found = []
    for path in ROOT.glob("examples/notebooks/*.ipynb"):
        for target in re.findall(r"\]\((\.\.?/[^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
            found.append(target)
    assert found
