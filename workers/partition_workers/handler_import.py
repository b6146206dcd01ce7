"""Import of the handler's module: which file a name means, and under which name a file is kept.

A name is looked for in this order:

1. what the fork server has loaded: everything of ours, and what it is made of;
2. the standard library, so that a user's `queue.py` or `types.py` cannot be taken for it by somebody who needs it;
3. the user's folders: that of the handler's file, then the current one;
4. what is installed. `python app.py` prefers the user's folder as well, and a project's own `supervisor/`,
   `tests/` or `utils.py` is what its author means, whatever some distribution has left under that name.

A file that is given by its path needs no name of its own. It is kept under the name that `import` would find it by,
so that its neighbours get the same module; but not if that name means another module.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from partition_workers.errors import Misconfigured

#: The packages of this program.
OURS = ("partition_workers", "partition_supervisor")


def import_handler_module(name: str, where: str) -> ModuleType:
    """The module `where` of the handler called `name`: `package.module` or `path/to/file.py`.

    Raises Misconfigured, in words for its author, when it cannot be imported.
    """
    try:
        if is_file(where):
            return _import_file(name, Path(os.path.abspath(where)))
        _look_in([os.getcwd()])
        return importlib.import_module(where)
    except Misconfigured:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if where == missing or where.startswith(missing + "."):
            raise Misconfigured(f"handler {name!r}: {_not_found(where, missing)}") from None
        raise _failed(name, where, error, str(error), missing) from error
    except ImportError as error:
        raise _failed(name, where, error, f"{type(error).__name__}: {error}", error.name) from error
    except (Exception, SystemExit) as error:
        lacking = error.obj if isinstance(error, AttributeError) else None
        blamed = lacking.__name__ if isinstance(lacking, ModuleType) else None
        raise _failed(name, where, error, f"{type(error).__name__}: {error}", blamed) from error


def is_file(where: str) -> bool:
    """Whether that is `path/to/file.py`, and not `package.module`."""
    return where.endswith(".py") or "/" in where


def source_of(where: str) -> Path | None:
    """The file of `package.module` or `path/to/file.py`, found without an import; None where there is none."""
    if is_file(where):
        return Path(where) if os.path.isfile(where) else None
    parts = where.split(".")
    for folder in (os.getcwd(), *sys.path):
        module = Path(folder, *parts)
        for candidate in (module / "__init__.py", module.with_name(f"{parts[-1]}.py")):
            if os.path.isfile(candidate):  # False for what we may not look at, as another user's current folder
                return candidate
    return None


def what_hides(where: str, module: str) -> str:
    """What to tell the author of the handler in `where` if he has a `module` that is not the one of that name."""
    top = module.partition(".")[0]
    loaded = sys.modules.get(top)
    if loaded is None:
        return ""
    for folder in _folders_of(Path(os.path.abspath(where))) if is_file(where) else [os.getcwd()]:
        for own in (Path(folder, top), Path(folder, f"{top}.py")):
            if os.path.exists(own) and not _is_made_of(loaded, own):
                place = getattr(loaded, "__file__", None) or "built into Python"
                return f"; the module {top!r} is {place}, and not {own}: give yours another name"
    return ""


# --- where is looked ----------------------------------------------------------------------------------------------


def _look_in(folders: Sequence[str]) -> None:
    """From now on look for modules in `folders`, after the standard library and before what is installed.

    Whoever put one of them elsewhere, by PYTHONPATH or by `python -m`, has it here now.
    """
    folders = [each for each in dict.fromkeys(folders) if not _is_standard(each)]
    others = [each for each in sys.path if os.path.abspath(each) not in folders]
    standard = [place for place, each in enumerate(others) if _is_standard(each)]
    place = standard[-1] + 1 if standard else len(others)
    sys.path[:] = [*others[:place], *folders, *others[place:]]


def _is_standard(folder: str) -> bool:
    return folder == os.path.dirname(os.__file__) or os.path.basename(folder) == "lib-dynload"


# --- a file -------------------------------------------------------------------------------------------------------


def _import_file(name: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise Misconfigured(f"handler {name!r}: there is no file {path}")
    if path.suffix != ".py":
        raise Misconfigured(f"handler {name!r}: {path.name} is not a Python file (.py)")
    folders = _folders_of(path)
    _look_in(folders)
    packages = _packages_around(path)
    if not packages:
        return _load_file(_name_for(path, folders), path)
    top = _name_for(packages[0], folders)
    _load_file(top, packages[0] / "__init__.py")
    inner = [each.name for each in packages[1:]] + ([path.stem] if path.stem != "__init__" else [])
    return importlib.import_module(".".join([top, *inner]))


def _folders_of(path: Path) -> list[str]:
    """Where the modules of a file's author are: beside it, around its package, and in the current folder."""
    outermost = [path, *reversed(_packages_around(path))][-1]
    return list(dict.fromkeys(map(str, (path.parent, outermost.parent, Path.cwd()))))


def _packages_around(path: Path) -> list[Path]:
    """The folders of the packages that a file belongs to, the outermost first; relative imports need them."""
    found: list[Path] = []
    for folder in path.parents:
        if not (folder / "__init__.py").is_file() or not folder.name.isidentifier():
            break
        found.insert(0, folder)
    return found


def _name_for(path: Path, folders: Sequence[str]) -> str:
    """The name of the file or package at `path`: its own, or another one if that means another module."""
    own = path.name.removesuffix(".py")
    loaded = sys.modules.get(own)
    if loaded is not None and _is_made_of(loaded, path):
        return own
    other = f"handler_{own.replace('.', '_')}"
    if loaded is not None or own in sys.stdlib_module_names or not own.isidentifier():
        return other
    if path.is_dir() or not _is_installed(own, folders):
        return own
    if other not in sys.modules:
        sys.meta_path.insert(0, _Installed(own, folders))
    return other


def _is_made_of(module: ModuleType, path: Path) -> bool:
    return getattr(module, "__file__", None) in (str(path), str(path / "__init__.py"))


def _load_file(name: str, path: Path) -> ModuleType:
    """The module `name`, made from the file at `path` if it is not there yet."""
    if name in sys.modules:
        return sys.modules[name]
    inside = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=inside)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # half made; whoever asks again gets the error again
        raise
    return module


class _Installed:
    """Finds what is installed under a name that the handler's file has too: its own `import requests` means that."""

    def __init__(self, name: str, folders: Sequence[str]) -> None:
        self._name, self._folders = name, folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return _installed(name, self._folders) if name == self._name else None


def _installed(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    return PathFinder.find_spec(name, [each for each in sys.path if os.path.abspath(each) not in folders])


def _is_installed(name: str, folders: Sequence[str]) -> bool:
    spec = _installed(name, folders)
    return spec is not None and spec.loader is not None


# --- what its author is told --------------------------------------------------------------------------------------


def _not_found(where: str, missing: str) -> str:
    top, _, inner = missing.partition(".")
    if hint := what_hides(where, missing):
        return f"there is no module {missing!r}{hint}, or its path: path/to/file.py:attribute"
    if top in OURS and inner:
        return (
            f"there is no module {missing!r}: {top} is a package of this program (its sample handlers are in"
            " partition_workers.samples); give your own another name, or its path: path/to/file.py:attribute"
        )
    return (
        f"there is no module {missing!r} (looked in the current folder and where Python finds modules):"
        " check the spelling, or give the file as path/to/file.py:attribute"
    )


def _failed(name: str, where: str, error: BaseException, reason: str, blamed: str | None) -> Misconfigured:
    """`blamed` is the module that lacks something."""
    hint = what_hides(where, blamed) if blamed else ""
    return Misconfigured(f"handler {name!r} cannot be imported: {reason}{_place_of(error)}{hint}")


def _place_of(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return ""
    return f" ({last.tb_frame.f_code.co_filename}, line {last.tb_lineno})"
