"""No module uses a private name of another package."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("service", "training", "tests", "benchmarks")
#: Programs that run in environments of their own.
PEERS = ROOT / "benchmarks" / "peers"

#: Names that begin with an underscore and are documented.
DOCUMENTED = frozenset({"_asdict", "_field_defaults", "_fields", "_make", "_replace"})  # of named tuples
DOCUMENTED_FUNCTIONS = frozenset({"os._exit", "sys._current_frames", "sys._getframe"})
#: Functions that find an attribute by its name; `object` is the one of `mock.patch`.
BY_NAME = frozenset({"attrgetter", "delattr", "getattr", "hasattr", "methodcaller", "object", "setattr"})


def is_private(name: str) -> bool:
    """Whether a name begins with an underscore and is neither magic nor documented."""
    return name.startswith("_") and not name.endswith("__") and name.strip("_") != "" and name not in DOCUMENTED


def is_own(node: ast.expr) -> bool:
    """Whether an expression is `self`, `cls` or `super()`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def defined_in(tree: ast.Module) -> set[str]:
    """Return the private names that a module defines: classes, functions, methods and attributes of its classes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names.update(target.id for target in _targets(node.body) if isinstance(target, ast.Name))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            names.add(node.attr)
    return set(filter(is_private, names))


def _targets(body: list[ast.stmt]) -> Iterator[ast.expr]:
    for statement in body:
        if isinstance(statement, ast.Assign):
            yield from statement.targets
        elif isinstance(statement, ast.AnnAssign):
            yield statement.target


def used_in(tree: ast.Module, of_module: set[str], of_repository: set[str]) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each use of a private name of another package or module.

    Args:
        tree: the module.
        of_module: the private names that it defines.
        of_repository: the private names that any module defines. An object may use them of itself, as it may inherit.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
                yield from ((node.lineno, name) for name in names if any(map(is_private, name.split("."))))
            case ast.ImportFrom():
                names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
                yield from ((node.lineno, name) for name in names if any(map(is_private, name.split("."))))
            case ast.Attribute(attr=name) if is_private(name):
                defined = of_repository if is_own(node.value) else of_module
                if name not in defined and ast.unparse(node) not in DOCUMENTED_FUNCTIONS:
                    yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Name(id=function) | ast.Attribute(attr=function)) if function in BY_NAME:
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        parts = set(filter(is_private, argument.value.split(".")))
                        if parts - of_module:
                            yield node.lineno, ast.unparse(node)


def findings(sources: Mapping[str, str]) -> list[str]:
    """Return the place and the name of each use of a foreign private name, in the order of the sources.

    Args:
        sources: the source of each module, by file name.
    """
    trees = {name: ast.parse(source) for name, source in sources.items()}
    defined = {name: defined_in(tree) for name, tree in trees.items()}
    everywhere = set().union(*defined.values())
    return [
        f"{name}:{line}: {used}"
        for name, tree in trees.items()
        for line, used in sorted(used_in(tree, defined[name], everywhere))
    ]


def test_no_private_name_of_another_package_is_used() -> None:
    """The documented parts of a package are stable; its private names are not."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if PEERS not in path.parents]
    assert len(paths) > 100
    found = findings({path.relative_to(ROOT).as_posix(): path.read_text() for path in paths})
    assert not found, "\n".join(["private names of other packages are used:", *found])


@pytest.mark.parametrize(
    "source",
    [
        "from package import _name",
        "from package._module import name",
        "from . import _name",
        "import package._module",
        "import package\npackage._name()",
        "def of(session): return session._sess.run()",
        "def run(model): return model._batcher.run()",
        "class A:\n    def f(self): return self.session._sess",
        "class A(Base):\n    def f(self): return self._inherited_from_another_package",
        "class A(Base):\n    def f(self): super()._inherited_from_another_package()",
        "def exchange(server): server._attribute = 1",
        "_name = 1\npackage._name",
        "getattr(package, '_name')",
        "monkeypatch.setattr(package, '_name', None)",
        "monkeypatch.setattr('package.module._name', None)",
        "mock.patch.object(package, '_name')",
    ],
)
def test_a_use_of_a_foreign_private_name_is_found(source: str) -> None:
    """The finding has the file and the line."""
    (found,) = findings({"module.py": source})
    line = len(source.splitlines())
    assert found.startswith(f"module.py:{line}: ")
    assert "_" in found.removeprefix(f"module.py:{line}: ")


@pytest.mark.parametrize(
    "source",
    [
        "from package import name",
        "from __future__ import annotations",
        "import package\npackage.__version__",
        "class A:\n    def __init__(self): self._name = 1\n    def __eq__(self, other): return other._name == 1",
        "class A:\n    _name: int = 0\n\ndef f(a: A): return a._name",
        "class A:\n    def _method(self): ...\n\ndef f(a: A): a._method()",
        "class A:\n    @classmethod\n    def f(cls): cls._method()\n    def _method(self): ...",
        "def _function(): ...\n_function()",
        "def f(pair): return pair._replace(a=1), pair._asdict(), pair._fields, type(pair)._make([1, 2])",
        "import os\nos._exit(0)",
        "for _ in values: ...",
        "class A:\n    _name = 1\n\ngetattr(A, '_name')",
        "settings(_env_file=None)",
    ],
)
def test_own_and_documented_names_are_no_findings(source: str) -> None:
    """A module may use the private names that it defines, on any object."""
    assert findings({"module.py": source}) == []


def test_a_class_may_use_private_names_that_it_inherits_in_this_repository() -> None:
    """Only `self` may use an inherited private name, not another object."""
    base = "class A:\n    def _method(self): ..."
    derived = (
        "from base import A\n\nclass B(A):\n    def f(self, other):\n        self._method()\n        other._method()"
    )
    assert findings({"base.py": base, "derived.py": derived}) == ["derived.py:6: other._method"]
