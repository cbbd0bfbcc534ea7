"""What mkdocs does besides Markdown: equations, and pages made of the examples.

Equations become MathML when the site is built, so that pages need neither scripts nor the network.
Their font goes into the site too. Pages of examples and notebooks are made of the files; nothing is
run.
"""

import ast
import html
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from math_core import LatexToMathML
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
SOURCES = ("examples/*.py", "examples/notebooks/*.ipynb", "examples/*/README.md")
FONT = "STIXTwoMath-Regular.ttf"
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
TO_EXAMPLE = re.compile(r"(\]\()\.\./(examples/[\w/]+\.)(?:py|ipynb|md)\)")
TO_PAGE = re.compile(r"(\]\((?:\.\./)+)docs/")

to_mathml = LatexToMathML(fancy_error=False).convert_with_local_state


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the font, and a page for every example and notebook with the file to download."""
    font = resources.files("ziamath") / "fonts" / FONT
    files.append(File.generated(config, FONT, content=font.read_bytes()))
    for path in sources(ROOT):
        name = path.relative_to(ROOT)
        if path.suffix != ".md":
            files.append(File.generated(config, name.as_posix(), abs_src_path=str(path)))
        files.append(File.generated(config, name.with_suffix(".md").as_posix(), content=page(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Let links between pages and examples, right in a clone, be right in the site too."""
    return TO_PAGE.sub(r"\1", TO_EXAMPLE.sub(r"\1\2md)", markdown))


def on_page_content(content: str, **_: object) -> str:
    """Typeset the equations."""
    return EQUATION.sub(mathml, content)


def mathml(found: re.Match[str]) -> str:
    """One equation; what is not LaTeX ends the build."""
    return to_mathml(html.unescape(found[2]), displaystyle=found[1] == "div")


def sources(root: Path) -> list[Path]:
    """The files that become pages."""
    return [path for pattern in SOURCES for path in sorted(root.glob(pattern))]


def page(path: Path) -> str:
    """The Markdown made of a file."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return source
    cells = of_script(source) if path.suffix == ".py" else of_notebook(source)
    heading, _, rest = next(cells).partition("\n")
    return "\n\n".join([heading, f"Download [{path.name}]({path.name}).", rest.strip(), *cells])


def of_script(source: str) -> Iterator[str]:
    """What the docstring says, under its first line as the heading, and the code."""
    heading, _, text = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
    yield f"# {heading.removesuffix('.')}\n{text}"
    yield block(source.split('"""', 2)[2].strip())


def of_notebook(source: str) -> Iterator[str]:
    """The cells, without output."""
    for cell in json.loads(source)["cells"]:
        text = "".join(cell["source"])
        yield text if cell["cell_type"] == "markdown" else block(text)


def block(code: str) -> str:
    """A block of Python."""
    return f"```python\n{code}\n```"
