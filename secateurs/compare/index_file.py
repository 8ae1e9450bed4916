"""The index's file: made anew where it is damaged or of another version, while other processes may do the same."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from .columns import COLUMNS

PATIENCE = 30.0  # seconds that one process waits for another
OURS = 0x53656361  # "Seca", SQLite's application_id: a database of somebody else's is left alone
SCHEMA = (
    "CREATE TABLE files (folder TEXT PRIMARY KEY, mtime_ns INTEGER, size INTEGER, reason TEXT)",
    "CREATE TABLE runs (" + ", ".join(f'"{c.name}" {c.kind.upper()}' for c in COLUMNS) + ", PRIMARY KEY (folder))",
)
READING = 1  # raise when a column of the same name comes to mean something else
VERSION = zlib.crc32(f"{READING} {SCHEMA}".encode()) & 0x7FFFFFFF


def make_ready(db: sqlite3.Connection) -> None:
    """Tables of this version in an empty database, or in one of another version.

    Raises:
        sqlite3.DatabaseError: it is damaged, or another program's.
    """
    whose = "SELECT application_id, (SELECT count(*) FROM sqlite_master) FROM pragma_application_id"  # at one moment
    application, tables = db.execute(whose).fetchone()
    if tables and application != OURS:
        raise sqlite3.OperationalError("another program's")
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("database disk image is malformed")
    _share(db)
    db.execute("PRAGMA synchronous = NORMAL")
    if _number(db, "user_version") == VERSION:
        return
    with writing(db):
        if _number(db, "user_version") == VERSION:  # another process was quicker
            return
        for table in ("files", "runs"):
            db.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in SCHEMA:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {OURS}")
        db.execute(f"PRAGMA user_version = {VERSION}")


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


def _share(db: sqlite3.Connection) -> None:
    """Let others read while one writes. SQLite does not wait here for a process that does the same."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextlib.contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction that no other process writes in; undone if it fails."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def damaged(error: Exception) -> bool:
    """Whether SQLite says that the file is none of its own, or broken."""
    return isinstance(error, sqlite3.DatabaseError) and bool(
        re.search("disk image is malformed|not a database", str(error))
    )


def discarded(file: Path) -> bool:
    """Remove a damaged index, unless another process has done so and begun anew. Returns whether that was possible."""
    try:
        with _alone(file.parent):
            if not _sound(file):
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{file}{suffix}").unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _sound(file: Path) -> bool:
    with contextlib.closing(sqlite3.connect(file, timeout=PATIENCE)) as db:
        try:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.DatabaseError as error:
            return not damaged(error)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock. It is on the folder itself, so that no file is left behind."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file is not removed anyway
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
