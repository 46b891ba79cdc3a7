"""Tests of every lesson without running it, and of the quickstart with random weights.

`make test-all` runs all lessons. The notebooks in notebooks/assignment have their own tests.
"""

from __future__ import annotations

import ast
import base64
import importlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from vgg_widget import Activations, FeatureExtractor, LayerExplorer
from vgg_widget.pictures import MODES

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GALLERY = "gallery.ipynb"
# The classes of these variables in every lesson.
ROLES = {"explorer": LayerExplorer, "extractor": FeatureExtractor, "activations": Activations}

Notebook = Any


@pytest.fixture(params=LESSONS, ids=lambda path: str(path.stem))
def lesson(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def notebook(lesson: Path) -> Notebook:
    return read(lesson)


def read(lesson: Path) -> Notebook:
    return nbformat.read(lesson, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]


def sources(notebook: Notebook, kind: str) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def trees(notebook: Notebook) -> Iterator[ast.AST]:
    """Yield every syntax node of the lesson's code and of its folded solutions."""
    folded = re.findall(r"```python\n(.*?)```", "\n".join(sources(notebook, "markdown")), re.DOTALL)
    for source in [*sources(notebook, "code"), *folded]:
        # Magics and shell commands are not Python, so no lesson may need them.
        yield from ast.walk(ast.parse(source))


def prose(markdown: str) -> str:
    """Return the text without its headings."""
    return re.sub(r"(?m)^#+ .*$", "", markdown).strip()


def test_all_lessons_exist() -> None:
    names = {path.name[:2] for path in LESSONS}
    assert {f"{number:02}" for number in range(1, 8)} <= names
    assert GALLERY in {path.name for path in LESSONS}


def test_is_a_valid_notebook_for_any_python_kernel(notebook: Notebook) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


def test_its_defaults_are_in_one_cell_before_all_other_code(notebook: Notebook) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == code[:1]
    # Programs that fill in parameters can read only names and plain values.
    for statement in ast.parse(tagged[0].source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)


def test_numbered_lessons_have_the_choice_of_weights_that_runs_offline() -> None:
    for lesson in LESSONS:
        if lesson.name[:2] not in ("01", "02", "03", "04", "05", "07"):
            continue
        (first, *_) = sources(read(lesson), "code")
        chosen = {
            target.id: ast.literal_eval(statement.value)
            for statement in ast.parse(first).body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
        assert chosen["image"] is None
        assert chosen["weights"] == "auto"


def test_is_kept_without_outputs_unless_it_is_the_gallery(lesson: Path, notebook: Notebook) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    if lesson.name == GALLERY:
        return
    for cell in code:
        assert not cell.outputs, cell.source
        assert cell.execution_count is None, cell.source


def test_the_gallery_holds_its_pictures() -> None:
    path = ROOT / "notebooks" / GALLERY
    assert path.stat().st_size < 1_500_000
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    # The cells were run once, from top to bottom.
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]

    drawing = [cell for cell in code[2:] if "show(" in cell.source or "imshow(" in cell.source]
    assert len(drawing) >= 12
    for cell in drawing:
        pictures = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
        assert len(pictures) == 1, cell.source
        with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as image:
            assert image.width <= 800
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(pixels, axis=0)) > 50, f"an empty picture: {cell.source}"
    shown = " ".join(sources(read(path), "code"))
    for mode in [name for name, mode in MODES.items() if mode.built_in]:
        assert f'"{mode}"' in shown, f"the gallery lacks the mode {mode}"


def test_explains_before_it_computes(notebook: Notebook) -> None:
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    in_a_row = 0
    for cell in notebook.cells:
        in_a_row = in_a_row + 1 if cell.cell_type == "code" else 0
        # The defaults and the imports may follow each other.
        assert in_a_row <= 2, f"three code cells in a row: {cell.source[:80]!r}"

    text: str | None = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"(?m)^#+ ", cell.source):
            text = re.split(r"(?m)^#+ .*$", cell.source)[-1]
        elif cell.cell_type == "markdown":
            text = (text or "") + cell.source
        else:
            assert text is not None
            assert len(prose(text)) >= 60, f"a section without prose: {cell.source[:80]!r}"


def test_ends_with_text(lesson: Path, notebook: Notebook) -> None:
    last = notebook.cells[-1]
    assert last.cell_type == "markdown"
    assert re.search(r"\*\*(Next|To try)\*\*", last.source), "it does not say what to do next"
    if lesson.name[:2] in ("01", "02", "03", "07"):
        everything = "\n".join(sources(notebook, "markdown"))
        for part in ("**You will learn**", "**You need**", "## Summary"):
            assert part in everything
        assert "## What would look different with ImageNet's weights" in everything
        assert everything.count("**Question.**") >= 3
        assert everything.count("<details>") == everything.count("</details>") >= 3


def test_folded_answers_are_rendered_as_markdown(notebook: Notebook) -> None:
    for source in sources(notebook, "markdown"):
        assert source.count("<details>") == source.count("</details>")
        # Without an empty line, the page shows the Markdown source that follows.
        for following in re.findall(r"</summary>\n(.*)", source):
            assert following == ""


def test_links_lead_to_files_of_the_repository(lesson: Path, notebook: Notebook) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", "\n".join(sources(notebook, "markdown"))):
        if target.startswith(("https://", "#")):
            continue
        path = (lesson.parent / target).resolve()
        assert path.exists(), target


def test_the_readme_of_the_notebooks_lists_every_lesson() -> None:
    listed = (ROOT / "notebooks" / "README.md").read_text("utf-8")
    for lesson in LESSONS:
        assert f"({lesson.name})" in listed


def test_needs_no_network_and_no_other_files(notebook: Notebook) -> None:
    for node in trees(notebook):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            assert not re.search(r"https?://|ftp://", text), f"a URL in code: {text!r}"
            assert not re.match(r"(/|~|[A-Za-z]:[\\/])\w", text), f"an absolute path: {text!r}"
        names: list[str | None] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            assert (name or "").split(".")[0] not in ("urllib", "requests", "httpx", "subprocess")


def test_imports_only_what_the_package_has(notebook: Notebook) -> None:
    for node in trees(notebook):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vgg_widget"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def test_calls_the_package_with_arguments_that_exist(notebook: Notebook) -> None:
    imported: dict[str, Any] = {}
    nodes = list(trees(notebook))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vgg_widget"):
            module = importlib.import_module(str(node.module))
            imported |= {
                alias.asname or alias.name: getattr(module, alias.name) for alias in node.names
            }
    for node in nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        called = imported.get(node.func.id)
        if called is None:
            continue
        known = inspect.signature(called).parameters
        for keyword in node.keywords:
            assert keyword.arg is None or keyword.arg in known or takes_more(called, keyword.arg), (
                f"{node.func.id} has no argument {keyword.arg}"
            )


def takes_more(called: Any, argument: str) -> bool:
    """Tell whether ``**arguments`` are passed on to a function that knows this one."""
    import vgg_widget

    if called is vgg_widget.plot:
        return argument in inspect.signature(vgg_widget.render).parameters
    traits: list[str] = getattr(called, "class_trait_names", list)()
    if called is vgg_widget.compare:
        traits = [*LayerExplorer.class_trait_names(), *inspect.signature(LayerExplorer).parameters]
    return argument in traits


def test_attributes_of_explorer_extractor_and_activations_exist(notebook: Notebook) -> None:
    asked = "|".join(ROLES)
    inline = re.findall(r"`([^`]+)`", "\n".join(sources(notebook, "markdown")))
    for text in [*sources(notebook, "code"), *inline]:
        for name, attribute in re.findall(rf"\b({asked})\.(\w+)", text):
            assert hasattr(ROLES[name], attribute), f"{name} has no {attribute}"


@pytest.mark.slow
def test_the_quickstart_runs_with_random_weights_and_says_so(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    notebook = read(ROOT / "notebooks" / "01-quickstart.ipynb")
    place = next(
        number
        for number, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    )
    given = nbformat.v4.new_code_cell('weights, size = "random", 64')  # type: ignore[no-untyped-call]
    notebook.cells.insert(place + 1, given)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "random weights (seed 0)" in text
    assert "untrained" in text
    assert not [output for output in outputs if output.get("name") == "stderr"]
    data = [output.data for output in outputs if "data" in output]
    explorers = [one for one in data if "application/vnd.jupyter.widget-view+json" in one]
    assert len(explorers) == 1
    assert "image/png" in explorers[0]
    # Five blocks, the grid, the static twin, and the explorer's own picture.
    assert len([one for one in data if "image/png" in one]) == 8
