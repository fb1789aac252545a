import os
import signal
import subprocess
import sys

import pytest

from caffe_spn import DataError
from caffe_spn.data.db import DatabaseWriter, kind_of, open_db
from tests.data.databases import BACKENDS, PACKAGES, need, write

# Small and large values, more than one commit, and enough for several levels of pages.
RECORDS = [(b"%08d_a/b.jpg" % n, bytes([n % 256]) * (n * 37 % 9000)) for n in range(1234)]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(autouse=True)
def needed(backend):
    need(backend)


@pytest.fixture
def other(backend):
    return next(b for b in BACKENDS if b != backend)


def test_what_was_written_is_read_in_the_order_of_the_keys(tmp_path, backend):
    shuffled = RECORDS[700:] + RECORDS[:700]
    db = open_db(write(tmp_path / "db", shuffled, backend), backend)
    assert len(db) == len(RECORDS)
    assert list(db.records()) == RECORDS
    for start in (1, 900, len(RECORDS) - 1):
        assert list(db.records(start)) == RECORDS[start:]
    assert list(db.records(len(RECORDS))) == []
    assert kind_of(tmp_path / "db") == backend.upper()


def test_two_readers_do_not_disturb_each_other(tmp_path, backend):
    path = write(tmp_path / "db", RECORDS[:9], backend)
    first, second = open_db(path, backend), open_db(path, backend)
    rows = first.records()
    next(rows)
    assert list(second.records()) == RECORDS[:9]
    del second
    assert list(rows) == RECORDS[1:9]


def test_a_repeated_key_keeps_the_last_value(tmp_path, backend):
    path = write(tmp_path / "db", [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], backend)
    assert list(open_db(path, backend).records()) == [(b"a", b"3"), (b"b", b"2")]


def test_an_empty_database_has_no_records(tmp_path, backend):
    db = open_db(write(tmp_path / "db", [], backend), backend)
    assert len(db) == 0 and list(db.records()) == []


def test_a_failed_writer_leaves_nothing(tmp_path, backend):
    with pytest.raises(ZeroDivisionError), DatabaseWriter(tmp_path / "db", backend) as db:
        db.put(b"key", b"value")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written_is_said(tmp_path, backend):
    with pytest.raises(DataError, match=r"db\.partial\n  the database cannot be written: full"):
        with DatabaseWriter(tmp_path / "db", backend) as db:

            def write(records):
                raise db._store.errors[0]("full")

            db._store.write = write
            db.put(b"key", b"value")
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_no_database_and_does_not_stop_the_next(tmp_path, backend):
    code = (
        "import sys, time\n"
        "from caffe_spn.data.db import DatabaseWriter\n"
        "with DatabaseWriter(sys.argv[1], sys.argv[2]) as db:\n"
        "    for n in range(1500): db.put(b'%d' % n, b'x')\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "db", backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)
    assert os.listdir(tmp_path) == ["db.partial"]
    with pytest.raises(DataError, match="no such database"):
        open_db(tmp_path / "db", backend)
    write(tmp_path / "db", RECORDS[:2], backend)
    assert os.listdir(tmp_path) == ["db"]


def test_nothing_that_is_there_is_overwritten(tmp_path, backend):
    (tmp_path / "db").mkdir()
    with pytest.raises(DataError, match=r"db\n  exists already"):
        write(tmp_path / "db", [], backend)
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "mine").write_text("precious")
    with pytest.raises(DataError, match="is in the way"):
        write(tmp_path / "other", [], backend)
    assert (tmp_path / "other.partial" / "mine").read_text() == "precious"


def test_a_database_of_the_other_kind_is_recognised(tmp_path, backend, other):
    path = write(tmp_path / "db", RECORDS[:1], backend)
    before = sorted(os.listdir(path))
    with pytest.raises(DataError, match=rf"kind {backend.upper()}, not {other.upper()}[\s\S]*say"):
        open_db(path, other)
    assert sorted(os.listdir(path)) == before  # LevelDB would put its log there


def test_what_is_no_database_is_refused(tmp_path, backend):
    with pytest.raises(DataError, match=r"none\n  no such database"):
        open_db(tmp_path / "none", backend)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="holds no database"):
        open_db(tmp_path / "folder", backend)
    (tmp_path / "folder" / "data.mdb").touch()
    with pytest.raises(DataError, match=r"is a file[\s\S]*name the folder"):
        open_db(tmp_path / "folder" / "data.mdb", backend)
    with pytest.raises(DataError, match="unknown kind of database 'mongodb'"):
        open_db(tmp_path / "folder", "mongodb")


def test_a_missing_package_is_named(tmp_path, backend, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[backend], None)
    with pytest.raises(DataError, match=rf"needs the package {PACKAGES[backend]}[\s\S]*pip"):
        write_without_skip(tmp_path / "db", backend)
    assert os.listdir(tmp_path) == []


def write_without_skip(path, backend):
    with DatabaseWriter(path, backend) as db:
        db.put(b"key", b"value")


def test_a_database_is_closed_when_nobody_reads_it(tmp_path, backend):
    path = write(tmp_path / "db", RECORDS[:3], backend)
    db = open_db(path, backend)
    rows = db.records()
    next(rows)
    del db, rows
    os.rename(path, tmp_path / "moved")
    assert list(open_db(tmp_path / "moved", backend).records()) == RECORDS[:3]
