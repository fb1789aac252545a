import os
import subprocess
import sys

import pytest

from caffe_spn import DataError
from caffe_spn.data.db import open_db
from tests.data.databases import write

pytest.importorskip("plyvel")

# Incompressible, so that a damaged byte is one of a value.
RECORDS = [(b"%06d.jpg" % n, os.urandom(3000)) for n in range(100)]


@pytest.fixture
def folder(tmp_path):
    path = write(tmp_path / "db", RECORDS, "leveldb")
    # Opening it moves the records from the log to a table, as it does in Caffe.
    list(open_db(path, "leveldb").records())
    return path


def damage(folder, place):
    [table] = folder.glob("*.ldb")
    content = bytearray(table.read_bytes())
    content[place] ^= 0xFF
    table.write_bytes(content)


def test_a_damaged_record_names_the_source_and_the_key_before(folder):
    damage(folder, 200_000)
    seen = []
    with pytest.raises(DataError, match=r"db\n  the LevelDB cannot be read behind") as caught:
        for key, _ in open_db(folder, "leveldb").records():
            seen.append(key)
    assert f"behind the key '{seen[-1].decode()}'" in str(caught.value)
    assert 0 < len(seen) < len(RECORDS)


def test_a_missing_or_damaged_file_is_an_error(folder):
    current = folder / "CURRENT"
    current.write_text("MANIFEST-999999\n")
    with pytest.raises(DataError, match="the LevelDB cannot be opened"):
        open_db(folder, "leveldb")
    current.write_text("nonsense")
    with pytest.raises(DataError, match=r"the LevelDB cannot be opened[\s\S]*copy it again"):
        open_db(folder, "leveldb")


def test_a_database_that_another_process_reads_says_so(folder):
    code = (
        "import sys\n"
        "from caffe_spn.data.db import open_db\n"
        "rows = open_db(sys.argv[1], 'leveldb').records()\n"
        "next(rows)\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(DataError, match="is open in another process"):
            open_db(folder, "leveldb")
        other.stdin.close()
    assert len(open_db(folder, "leveldb")) == len(RECORDS)
