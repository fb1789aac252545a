import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_spn import DataError
from caffe_spn.data.db import open_db
from tests.data.databases import write

lmdb = pytest.importorskip("lmdb")

RECORDS = [(b"%06d.jpg" % n, b"%d" % n * (n % 40 * 60)) for n in range(600)]
PAGE = 4096


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write(tmp_path_factory.mktemp("lmdb") / "good", RECORDS)


@pytest.fixture
def content(good):
    return bytearray((good / "data.mdb").read_bytes())


@pytest.fixture
def damaged(tmp_path):
    """Writes the bytes of a data.mdb; returns the folder."""

    def save(content):
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / "data.mdb").write_bytes(content)
        return tmp_path / "bad"

    return save


@settings(deadline=None, max_examples=25)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=511), st.integers(0, 20000), max_size=60),
    st.integers(0, 60),
)
def test_it_reads_what_the_library_reads(tmp_path_factory, sizes, deleted):
    folder = str(tmp_path_factory.mktemp("db"))
    with lmdb.open(folder, map_size=2**24) as env:
        with env.begin(write=True) as transaction:
            for key, size in sizes.items():
                transaction.put(key, key[:1] * size)
        with env.begin(write=True) as transaction:
            for key in list(sizes)[:deleted]:
                transaction.delete(key)
        with env.begin() as transaction:
            want = list(transaction.cursor())
    db = open_db(folder, "LMDB")
    assert list(db.records()) == want and len(db) == len(want)


def test_a_file_cut_off_anywhere_is_refused(content, damaged):
    for size in (0, 1, 100, PAGE, 3 * PAGE + 7, len(content) - PAGE, len(content) - 1):
        with pytest.raises(DataError, match=r"bad\n  the LMDB cannot be read.*data\.mdb"):
            open_db(damaged(content[:size]), "LMDB")


def test_a_file_of_something_else_is_refused(damaged):
    with pytest.raises(DataError, match="does not begin as an LMDB file does"):
        open_db(damaged(b"no database " * 1000), "LMDB")


def test_another_data_format_is_named(content, damaged):
    content[20] = 2
    with pytest.raises(DataError, match="data format 2, not 1"):
        open_db(damaged(content), "LMDB")


def test_either_header_is_needed(content, damaged):
    # Each transaction writes one of them in turn; the other one's tree is older.
    for page, message in ((0, "does not begin as an LMDB"), (1, "the second of data.mdb's two")):
        bad = content.copy()
        bad[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
        with pytest.raises(DataError, match=message):
            open_db(damaged(bad), "LMDB")


def test_a_page_of_zeros_names_the_key_before_it(content, damaged):
    # The leaf with the last keys is the tree page that holds them.
    leaf = content.index(RECORDS[-1][0]) // PAGE
    content[leaf * PAGE : (leaf + 1) * PAGE] = bytes(PAGE)
    seen = []
    with pytest.raises(DataError, match=rf"page {leaf} is damaged") as caught:
        for key, _ in open_db(damaged(content), "LMDB").records():
            seen.append(key)
    assert 0 < len(seen) < len(RECORDS)
    assert f"behind the key '{seen[-1].decode()}'" in str(caught.value)


def test_no_damage_ends_the_process_or_goes_on_for_ever(content, damaged):
    rng = np.random.default_rng(0)
    errors = 0
    tree_pages = [n for n in range(len(content) // PAGE) if content[n * PAGE + 10] in (1, 2, 8)]
    for _ in range(40):
        bad = content.copy()
        place = int(rng.choice(tree_pages)) * PAGE + int(rng.integers(64))
        length = int(rng.choice([1, 8, 100]))
        bad[place : place + length] = rng.bytes(length)
        try:
            rows = open_db(damaged(bad), "LMDB").records()
            assert sum(1 for _ in zip(rows, range(2000), strict=False)) < 2000
        except DataError:
            errors += 1
    assert errors > 10


def test_a_file_that_shrinks_while_it_is_read_is_an_error(good, damaged, content):
    folder = damaged(content)
    rows = open_db(folder, "LMDB").records()
    next(rows)
    with open(folder / "data.mdb", "r+b") as file:
        file.truncate(3 * PAGE)
    with pytest.raises(DataError, match="has become shorter"):
        list(rows)


def test_named_databases_are_not_records(tmp_path):
    with lmdb.open(str(tmp_path / "db"), max_dbs=1) as env:
        env.open_db(b"train")
    with pytest.raises(DataError, match="no plain pair of key and value"):
        list(open_db(tmp_path / "db", "LMDB").records())


def test_a_long_key_is_refused_when_writing(tmp_path):
    with pytest.raises(DataError, match="has 600 bytes; LMDB takes 1 to 511"):
        write(tmp_path / "db", [(b"k" * 600, b"")])


def test_the_map_grows_with_the_content(tmp_path, monkeypatch):
    monkeypatch.setattr("caffe_spn.data.db_lmdb._MAP_SIZE", 2**16)
    records = [(b"%04d" % n, bytes(1000)) for n in range(1500)]
    assert list(open_db(write(tmp_path / "db", records), "LMDB").records()) == records


def test_a_copy_without_its_lock_file_is_enough(good, tmp_path):
    (tmp_path / "db").mkdir()
    shutil.copy(good / "data.mdb", tmp_path / "db")
    assert len(open_db(tmp_path / "db", "LMDB")) == len(RECORDS)
