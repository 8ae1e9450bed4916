"""Every record below a folder as a row of SQL: written down in the folder, and brought up to date at each opening.

A file that has not changed, by its time and size, is not read again. The index holds nothing of its own: whoever
deletes it loses a second, and one that is damaged or was made by another version is made anew. Processes share it by
SQLite's own locks. Where it cannot be written it is made in memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RunError, suggest
from ..records import RECORD_FILE
from .columns import COLUMNS, NAMES, read_row
from .index_file import PATIENCE, damaged, discarded, make_ready, writing

INDEX_FILE = "index.sqlite"
EXAMPLE = "method='equilibrium' and macs<0.3"


class Stamp(NamedTuple):
    """By which a file is known to be the one that was read; None: it could not be."""

    mtime_ns: int | None
    size: int | None


class Found(NamedTuple):
    """A file of the name of a record."""

    path: str
    stamp: Stamp


class Index:
    """The records below a folder, at any depth; links to folders are not followed, nor hidden folders entered.

    Args:
        folder: where to look, and where ``index.sqlite`` is kept.
    Raises:
        RunError: there is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            there = f"{str(folder)!r} is no folder" if Path(folder).exists() else f"no folder {str(folder)!r}"
            raise RunError(f"{there}; `secateurs prune --out DIR` and `compare --out DIR` make runs")
        self._close: Any = None
        self.update()

    def update(self) -> None:
        """Look at the folder again."""
        file = self.folder / INDEX_FILE
        if file.exists() or any(_scan(self.folder)):  # a folder without runs stays as it is
            for _ in range(2):
                try:
                    self._open(str(file))
                    return self._take()
                except sqlite3.DatabaseError as error:
                    self.close()
                    if not damaged(error) or not discarded(file):
                        break
        self._open(":memory:")
        return self._take()

    @property
    def in_memory(self) -> bool:
        """Whether there is nothing written in the folder."""
        return not self._db.execute("PRAGMA database_list").fetchone()[2]

    @property
    def skipped(self) -> dict[str, str]:
        """Files that are no readable records, and why; names are below the folder."""
        rows = self._db.execute("SELECT folder, reason FROM files WHERE reason IS NOT NULL ORDER BY folder")
        return {_file(folder): reason for folder, reason in rows}

    def rows(
        self, where: str = "", order: str = "", limit: int | None = None, columns: Sequence[str] = NAMES
    ) -> list[dict[str, Any]]:
        """Runs as dicts, by default oldest first.

        Args:
            where: an SQL expression over the columns. order: likewise, as after ORDER BY: ``accuracy desc``.
            limit: at most so many. columns: of each row.
        Raises:
            RunError: an expression that SQLite cannot take, or that does more than read; an unknown column.
        """
        for name in columns:
            if name not in NAMES:
                raise RunError(f"no column {name!r}; {suggest(name, NAMES)}")
        self._check("where", where, f"SELECT 1 FROM runs {_where(where)} LIMIT 0")
        order = order.strip() or "created"
        self._check("order", order, f"SELECT 1 FROM runs ORDER BY {order}\n LIMIT 0")
        sql = f"SELECT {', '.join(columns)} FROM runs {_where(where)} ORDER BY {order}\n, folder"
        found = self._check("where", where, f"{sql} LIMIT {-1 if limit is None else int(limit)}")
        return [dict(zip(columns, row)) for row in found]

    def count(self, where: str = "") -> int:
        """How many runs there are of a kind.

        Raises:
            RunError: as for :meth:`rows`.
        """
        return int(self._check("where", where, f"SELECT count(*) FROM runs {_where(where)}")[0][0])

    def close(self) -> None:
        """Let go of the file."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, place: str) -> None:
        self.close()
        self._db = sqlite3.connect(place, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        self._close = weakref.finalize(self, self._db.close)
        self._guard = _Guard()
        self._db.set_authorizer(self._guard)
        make_ready(self._db)

    def _take(self) -> None:
        """Make the tables say what the folder holds."""
        if any(self._changes()):
            with writing(self._db):
                # Looked at once more, while no other process writes: else an older look would overwrite a newer one.
                self._write(*self._changes())

    def _changes(self) -> tuple[list[str], dict[str, Found]]:
        """Folders whose record is no more, and files that the tables do not know as they are."""
        rows = self._db.execute("SELECT folder, mtime_ns, size FROM files")
        known = {folder: Stamp(mtime, size) for folder, mtime, size in rows}
        found = dict(_scan(self.folder))
        changed = {folder: file for folder, file in found.items() if known.get(folder) != file.stamp}
        return [folder for folder in known if folder not in found], changed

    def _write(self, gone: list[str], changed: dict[str, Found]) -> None:
        files: list[tuple[str, int | None, int | None, str | None]] = []
        runs = []
        for folder, (path, stamp) in changed.items():
            try:
                runs.append(read_row(Path(path).read_bytes(), folder))
                files.append((folder, *stamp, None))
            except FileNotFoundError:  # since a moment ago
                continue
            except OSError as error:  # to be tried again: permissions leave time and size as they are
                files.append((folder, None, None, f"cannot be read: {error.strerror}"))
            except ValueError as error:
                files.append((folder, *stamp, str(error)))
        for table in ("files", "runs"):
            self._db.executemany(f"DELETE FROM {table} WHERE folder = ?", [(f,) for f in (*gone, *changed)])
        self._db.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", files)
        self._db.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * len(COLUMNS))})", runs)

    def _check(self, part: str, given: str, sql: str) -> list[tuple[Any, ...]]:
        """Ask something of which ``given`` is the user's part, with nothing allowed but reading ``runs``."""
        for again in (False, True):
            try:
                with self._guard.over(self._db):
                    return self._db.execute(sql).fetchall()
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                if again or not damaged(error):
                    raise RunError(f"{part} {given!r}: {_plainly(str(error), given)}") from None
            self.update()
        raise AssertionError("unreachable")


class _Guard:
    """While it is up, a statement may read the table of runs, and call functions."""

    def __init__(self) -> None:
        self.up = False

    def __call__(self, action: int, first: str | None, second: str | None, *_: Any) -> int:
        allowed = (
            not self.up
            or action == sqlite3.SQLITE_SELECT
            or (action == sqlite3.SQLITE_READ and first == "runs")
            or (action == sqlite3.SQLITE_FUNCTION and second != "load_extension")
        )
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    @contextlib.contextmanager
    def over(self, db: sqlite3.Connection) -> Iterator[None]:
        """Up for a while; SQLite itself refuses to write, too."""
        db.execute("PRAGMA query_only = ON")
        self.up = True
        try:
            yield
        finally:
            self.up = False
            db.execute("PRAGMA query_only = OFF")


def _file(folder: str) -> str:
    return RECORD_FILE if folder == "." else f"{folder}/{RECORD_FILE}"


def _where(given: str) -> str:
    return f"WHERE (\n{given}\n)" if given.strip() else ""  # the lines keep a comment from hiding what follows


def _text(name: str) -> str:
    """A name that is no UTF-8 as text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _scan(folder: Path) -> Iterator[tuple[str, Found]]:
    """Folders below ``folder`` that hold a record, or something of its name."""
    left = [(str(folder), "")]
    while left:
        place, name = left.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name == RECORD_FILE and entry.is_file():
                        status = entry.stat()
                        stamp = Stamp(status.st_mtime_ns, status.st_size)
                        yield _text(name) or ".", Found(entry.path, stamp)
                    elif entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                        left.append((entry.path, f"{name}/{entry.name}" if name else entry.name))
        except OSError:  # gone meanwhile, or somebody else's
            continue


def _plainly(complaint: str, given: str) -> str:
    """SQLite's complaint in the user's words, with what to do."""
    if match := re.search(r'no such column: "?([^" ]+)', complaint):
        name = match[1]
        return f"no column {name!r} (a text is written in quotes: '{name}'); {suggest(name, NAMES)}"
    remedy = f"write an SQL expression over the columns, such as {EXAMPLE}; `secateurs runs --list-columns` has them"
    match = re.search(r'near "(.*)": syntax error', complaint)
    if match and match[1] in given:
        said = f"it cannot be understood near {match[1]!r}"
    elif match or "incomplete input" in complaint:
        said = "it ends too early"
    elif "unrecognized token" in complaint:
        said = "a quote in it is not closed, or SQL does not know one of its signs"
    elif "one statement" in complaint:
        said = "it is more than one expression"
    elif "not authorized" in complaint or "prohibited" in complaint:
        said = "nothing but the columns of runs can be read, and nothing changed"
    else:
        said = complaint
    return f"{said}; {remedy}"
