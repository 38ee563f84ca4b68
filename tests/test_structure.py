"""The shape of the code: no import circles, folders that import only what they may, one name one meaning, typed artefacts."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("fasttok", "mixtures", "pipelines", "train")
MOST_UNTYPED = 80  # mappings from strings to anything
MOST_IGNORES = 22  # `type: ignore`
MOST_NOQA = 10

PIPELINES = {
    "recordings",
    "datasets",
    "vlm",
    "check",
    "drafts",
    "catalogue",
    "index",
    "builder",
    "shards",
    "look",
    "common",
    "adapters",
}
# Folder of pipelines/ -> folders of pipelines/ that it must not import.
FORBIDDEN = {
    "shards": {"index", "builder", "look", "catalogue", "recordings", "datasets", "vlm", "check", "drafts", "adapters"},
    "common": PIPELINES - {"common"},
    "index": {"builder", "catalogue", "look", "shards", "adapters"},
    "builder": {"index", "catalogue", "look", "adapters"},
    "catalogue": {"index", "builder", "look", "shards", "adapters"},
    "look": {"index", "builder", "catalogue", "recordings", "datasets", "vlm", "check", "drafts", "adapters"},
    "check": {"index", "builder", "catalogue", "adapters", "drafts"},
    "recordings": PIPELINES - {"recordings", "common"},
    "datasets": PIPELINES - {"recordings", "datasets", "common"},
}


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the four packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ours that a file names in an import, wherever it stands in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield node.module


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one node (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(edges):
        if node not in order:
            visit(node)
    return found


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def test_no_import_circle() -> None:
    assert circles(graph()) == []


def test_no_circle_of_folders_inside_a_package() -> None:
    """Folders are floors: if one uses another, that one does not use it back."""
    edges: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph().items():
        for target in targets:
            a, b = (".".join(name.split(".")[:2]) for name in (module, target))
            if a != b and module.count(".") > 1 and target.count(".") > 1:
                edges[a].add(b)
    assert circles(edges) == []


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_folders_import_only_what_they_may(folder: str) -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in graph().items()
        for target in sorted(targets)
        if module.startswith(f"pipelines.{folder}") and module.split(".")[1] == folder
        if target.startswith("pipelines.") and target.split(".")[1] in FORBIDDEN[folder]
    ]
    assert wrong == []


def test_the_circle_check_can_fail() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_class_name_twice() -> None:
    """A public class name means one thing in all four packages."""
    places = defaultdict(list)
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Every annotation and every alias of a type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.returns
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
            yield node.value


def untyped(expression: ast.expr, aliases: set[str]) -> int:
    """How many mappings to anything an annotation holds: `dict[str, Any]`, `Mapping[..., object]`, a bare `dict`, aliases."""
    kinds = ("dict", "Mapping", "MutableMapping")
    count, inner = 0, set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in kinds:
            inner.add(node.value)
            values = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            count += isinstance(values[-1], ast.Name) and values[-1].id in ("Any", "object")
        elif isinstance(node, ast.Name) and node not in inner and (node.id in kinds or node.id in aliases):
            count += 1
    return count


def untyped_mappings() -> dict[str, int]:
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules().items()}
    aliases = {
        target.id
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript) and untyped(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    counts = {name: sum(untyped(a, aliases) for a in annotations(tree)) for name, tree in trees.items()}
    return {name: n for name, n in counts.items() if n}


def test_artefacts_are_typed() -> None:
    counts = untyped_mappings()
    assert sum(counts.values()) < MOST_UNTYPED, counts


def test_few_type_ignores() -> None:
    found = [f"{name}:{i}" for name, path in modules().items()
             for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if "type: ignore" in line]  # fmt: skip
    assert len(found) <= MOST_IGNORES, found


def test_few_exceptions_from_the_linter() -> None:
    found = [f"{path.relative_to(ROOT)}:{i}" for path in sorted(ROOT.glob("*/**/*.py")) if ".venv" not in path.parts
             for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if "# noqa" in line]  # fmt: skip
    assert len(found) <= MOST_NOQA, found


def test_no_file_name_that_says_nothing() -> None:
    """A file's name says what is inside."""
    vague = {
        "jobs",
        "load",
        "part",
        "held",
        "tally",
        "one",
        "films",
        "ahead",
        "bits",
        "live",
        "page",
        "pages",
        "utils",
        "misc",
    }
    assert [str(path.relative_to(ROOT)) for path in modules().values() if path.stem in vague] == []
