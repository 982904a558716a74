"""Outputs appear whole or not at all: written beside their place under a temporary name, flushed, then renamed.

Nothing is overwritten without overwrite=True. Names are the caller's, never a file's content.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from infinitemesh.errors import InputError


@contextmanager
def atomic_write(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary path of the same suffix; what was written there takes `path`'s place when the block ends well.

    When the block raises, nothing is left and an existing file stays as it was.
    """
    with atomic_write_all([path], overwrite=overwrite) as (temporary,):
        yield temporary


@contextmanager
def atomic_write_all(paths: Sequence[str | Path], *, overwrite: bool = False) -> Iterator[list[Path]]:
    """Several files that belong together: all appear or none. They take their places in the given order.

    A reader sees the last file only after the others, so name the file that points at the others last.
    """
    targets = [check_output(path, overwrite=overwrite) for path in paths]
    temporaries = [_beside(target) for target in targets]
    try:
        yield temporaries
        for temporary in temporaries:
            _flush(temporary)
        for target in targets:  # the work may have taken minutes
            check_output(target, overwrite=overwrite)
        _rename_all(temporaries, targets)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty temporary folder that takes `path`'s place when the block ends well; an old folder then goes."""
    target = check_output(path, overwrite=overwrite, folder=True)
    temporary, old = _beside(target), _beside(target)
    temporary.mkdir()
    try:
        yield temporary
        flush_folder(temporary)
        check_output(target, overwrite=overwrite, folder=True)
        if target.exists():
            target.rename(old)
        try:
            temporary.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Every file of a folder to the disk, so that a later rename cannot arrive there before them."""
    for file in folder.rglob("*"):
        if file.is_file():
            _flush(file)


def check_output(path: str | Path, *, overwrite: bool = False, folder: bool = False) -> Path:
    """The path if something may be written there, else InputError. Call it before long work, not only after."""
    path = Path(path)
    if not path.name:
        raise InputError(f"cannot write to {str(path)!r}: give a file name")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    if path.exists() and path.is_dir() != folder:
        kind, needed = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise InputError(f"cannot write {path}: it is {kind}, and {needed} was to be written; choose another name")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name or pass overwrite=True")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: no permission to write in {path.parent}")
    return path


def write_bytes(path: str | Path, content: bytes, *, overwrite: bool = False) -> Path:
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_text(path: str | Path, content: str, *, overwrite: bool = False) -> Path:
    """UTF-8, line ends as given."""
    return write_bytes(path, content.encode(), overwrite=overwrite)


def write_json(path: str | Path, content: Any, *, overwrite: bool = False) -> Path:
    """Indented JSON in the given key order; NaN, infinity and non-JSON values are an InputError."""
    try:
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot write {path}: {error}; JSON holds finite numbers, strings, lists, dicts") from error
    return write_text(path, text, overwrite=overwrite)


def read_bytes(path: str | Path, *, max_bytes: int) -> bytes:
    """The content of an existing regular file of at most `max_bytes`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file at {path}" + (": it is a folder" if path.is_dir() else ""))
    size = path.stat().st_size
    if size > max_bytes:
        raise InputError(f"{path} has {size:,} bytes, more than the limit of {max_bytes:,}")
    return path.read_bytes()


def sibling(path: Path, name: str) -> Path:
    """The file `name` beside `path`, for names found inside files: a plain name only, and no link out of the folder."""
    plain = bool(name) and name not in (".", "..") and not set(name) & set("/\\:\0") and name == Path(name).name
    if not plain:
        raise InputError(f"{path} refers to {name!r}: only files in the same folder, by plain name, are read")
    found = path.parent / name
    if found.resolve().parent != path.parent.resolve():
        raise InputError(f"{path} refers to {name!r}, which links out of the folder; copy the file itself there")
    return found


def _beside(target: Path) -> Path:
    """A fresh hidden name in the same folder (so that a rename suffices), with the suffix that writers look at."""
    return target.with_name(f".{target.stem[:80]}.{secrets.token_hex(6)}{target.suffix}")


def _flush(file: Path) -> None:
    with open(file, "rb+") as opened:
        os.fsync(opened.fileno())


def _rename_all(temporaries: Sequence[Path], targets: Sequence[Path]) -> None:
    """Renames in order; when one fails, the earlier ones are taken back."""
    with ExitStack() as tidy, ExitStack() as undo:
        for temporary, target in zip(temporaries, targets, strict=True):
            if not target.exists():
                undo.callback(target.unlink, missing_ok=True)
            elif len(targets) > 1:
                kept = _beside(target)
                tidy.callback(kept.unlink, missing_ok=True)
                shutil.copy2(target, kept)
                undo.callback(os.replace, kept, target)
            os.replace(temporary, target)
        undo.pop_all()
