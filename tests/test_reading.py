# SPDX-License-Identifier: Apache-2.0
"""The boundary where files are read: each damage of the kinds that were tried becomes one error that names the file."""

import gzip
import io
import json
import struct
import zipfile

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from avkit.errors import FileError, MediaError
from avkit.reading.arrays import open_hdf5, read_dataset, read_npy, read_npz
from avkit.reading.checksums import check_record, seal_of, with_checksum
from avkit.reading.pictures import open_picture
from avkit.reading.tensors import read_tensors, read_torch, write_tensors
from avkit.reading.text import parse_json, parse_yaml, read_json, read_text, table_rows


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def npy_header(text):
    text = text.ljust(118 - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


class TestText:
    def test_gzip_and_line_ends(self, tmp_path):
        path = tmp_path / "a.csv.gz"
        path.write_bytes(gzip.compress("\ufeffa\r\nb\rc\n".encode()))
        assert read_text(path) == "a\nb\nc\n"

    @pytest.mark.parametrize("at", [0, 5, 12, 20, -6, -2])
    def test_damaged_gzip(self, tmp_path, at):
        path = tmp_path / "a.gz"
        data = bytearray(gzip.compress(bytes(range(256)).hex().encode()))
        data[at] ^= 0xFF
        path.write_bytes(data)
        try:
            read_text(path)  # a flip in the header's time changes nothing
        except FileError as error:
            assert str(path) in str(error)  # noqa: PT017

    def test_gzip_that_unpacks_to_an_unlikely_size(self, tmp_path):
        path = tmp_path / "a.gz"
        path.write_bytes(gzip.compress(bytes(2**26), 9))
        with pytest.raises(FileError, match="unpacks from"):
            read_text(path)

    def test_text_that_is_no_utf8(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes(b"first\ncaf\xe9\n")
        with pytest.raises(FileError, match=r"a\.txt is not UTF-8 text \(byte 9\) in line 2"):
            read_text(path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[1, 2", "line 1, column 6"),
            ("[" * 100_000, "nested too deeply"),
            ("[" * 500 + "]" * 500, "nested too deeply"),
            ('{"a":' * 300 + "1" + "}" * 300, "nested too deeply"),
            ("[NaN]", "NaN is no number of JSON"),
            ("9" * 5000, "a number has 5000 digits"),
            (r'"\ud800"', "half of a character"),
        ],
    )
    def test_damaged_json(self, text, message):
        with pytest.raises(FileError, match=message):
            parse_json(text, "a.json")

    def test_json_as_python_writes_it(self):
        assert parse_json("[Infinity]", "a.json", finite=False) == [float("inf")]

    def test_json_of_many_lists(self):
        assert parse_json(json.dumps([[1, [2]]] * 500), "a.json") == [[1, [2]]] * 500

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: [1", "line 1"),
            ("a: 2020-13-45", "month must be in"),
            ("[" * 5_000, "nested too deeply"),
            ("&a [*a]", "aliases that stand for"),
            ("\n".join(["l0: &l0 [1, 1]"] + [f"l{k}: &l{k} [*l{k - 1}, *l{k - 1}]" for k in range(1, 40)]), "aliases"),
            ("!!python/object/apply:os.system [ls]", "constructor"),
            ("a: \x00", "special characters"),
        ],
    )
    def test_damaged_yaml(self, text, message):
        with pytest.raises(FileError, match=message):
            parse_yaml(text, "a.yaml")

    def test_a_table_with_a_quote_that_nothing_closes(self):
        text = 'a,b\n"' + "x" * 140_000
        with pytest.raises(FileError, match=r"a\.csv, line 2 is no table .*field limit"):
            list(table_rows(text, "a.csv"))


class TestArrays:
    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "u1", "<i8", "?"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_what_numpy_writes(self, tmp_path, dtype, order):
        values = np.asarray(np.arange(12).reshape(3, 4), dtype, order=order)
        (tmp_path / "a.npy").write_bytes(npy(values))
        read = read_npy(tmp_path / "a.npy")
        np.testing.assert_array_equal(read, values)
        assert read.dtype.isnative

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (40000000000,), }"), "states 160000000000"),
            (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }"), "no array of numbers"),
            (npy_header("{'descr': '|V0', 'fortran_order': False, 'shape': (4,), }"), "no array of numbers"),
            (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 90), "cannot be read"),
            (npy_header("{'descr': [1], 'fortran_order': 0, 'shape': 3}"), "cannot be read"),
            (npy(np.zeros(9))[:-1], "states 72 bytes of numbers and 71"),
            (npy(np.zeros(9)) + b"x", "states 72 bytes of numbers and 73"),
            (npy(np.array(["a"])), "no array of numbers"),
            (npy(np.array([{}])), "Python objects"),
            (b"", "cannot be read"),
            (b"PK\x03\x04", "cannot be read"),
        ],
    )
    def test_damaged_npy(self, tmp_path, content, message):
        path = tmp_path / "a.npy"
        path.write_bytes(content)
        with pytest.raises(FileError, match=rf"a\.npy.*{message}"):
            read_npy(path)

    def test_sealed_npy(self, tmp_path):
        path = tmp_path / "a.npy"
        data = npy(np.arange(8.0))
        path.write_bytes(data + seal_of(data))
        np.testing.assert_array_equal(read_npy(path), np.arange(8.0))
        np.testing.assert_array_equal(np.load(path), np.arange(8.0))
        changed = bytearray(path.read_bytes())
        changed[-20] ^= 1
        path.write_bytes(changed)
        with pytest.raises(FileError, match="does not fit its checksum"):
            read_npy(path)

    def test_npz(self, tmp_path):
        path = tmp_path / "a.npz"
        np.savez_compressed(path, a=np.arange(3), b=np.eye(2))
        np.testing.assert_array_equal(read_npz(path, ["b"])["b"], np.eye(2))
        with pytest.raises(FileError, match="lacks c; it holds a, b"):
            read_npz(path, ["c"])

    def test_npz_of_an_unlikely_size(self, tmp_path):
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", bytes(2**29))
        with pytest.raises(FileError, match="states 536870912 bytes"):
            read_npz(path, ["a"])

    def test_hdf5_that_states_more_than_it_holds(self, tmp_path):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("order", (4_000_000_000,), "i8", chunks=(1_000_000,))
        with open_hdf5(path) as file, pytest.raises(FileError, match="states 32000000000 bytes and takes 0"):
            read_dataset(file, path, "order")

    def test_hdf5_that_reaches_into_other_files(self, tmp_path):
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["x"] = np.arange(3)
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file["link"] = h5py.ExternalLink("other.h5", "x")
            layout = h5py.VirtualLayout((3,), "i8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3,))
            file.create_virtual_dataset("virtual", layout)
        with open_hdf5(path) as file:
            with pytest.raises(FileError, match="array 'link'"):
                read_dataset(file, path, "link")
            with pytest.raises(FileError, match="lies in other files"):
                read_dataset(file, path, "virtual")


class TestTensors:
    def write(self, path):
        tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16), "c": torch.zeros(0)}
        write_tensors(path, tensors, {"avkit": "x"})
        return tensors

    def test_what_is_written_comes_back(self, tmp_path):
        tensors = self.write(tmp_path / "a.safetensors")
        facts, read = read_tensors(tmp_path / "a.safetensors")
        assert facts == {"avkit": "x"}
        assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())

    def test_every_flipped_bit_is_noticed(self, tmp_path):
        path = tmp_path / "a.safetensors"
        self.write(path)
        facts, tensors = read_tensors(path)
        data = path.read_bytes()
        unnoticed = []
        for position in range(len(data)):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            path.write_bytes(changed)
            try:
                read_facts, read = read_tensors(path)
            except FileError:
                continue
            same = read.keys() == tensors.keys() and all(torch.equal(read[name], tensors[name]) for name in tensors)
            if not same or read_facts["avkit"] != facts["avkit"]:
                unnoticed.append(position)
        assert not unnoticed

    @pytest.mark.parametrize("name", [b"crc36", b"Crc32", b"ar332"])
    def test_a_damaged_name_of_the_checksum_does_not_hide_other_damage(self, tmp_path, name):
        path = tmp_path / "a.safetensors"
        self.write(path)
        data = bytearray(path.read_bytes().replace(b"crc32", name))
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(FileError, match="does not fit its checksum"):
            read_tensors(path)

    @pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"{}", b"\x05" + bytes(7) + b"[[[[["])
    def test_damaged_safetensors(self, tmp_path, content):
        path = tmp_path / "a.safetensors"
        path.write_bytes(content)
        try:
            assert read_tensors(path) == ({}, {})
        except FileError as error:
            assert str(path) in str(error)  # noqa: PT017

    def test_every_flipped_bit_of_a_pytorch_file_is_noticed(self, tmp_path):
        path = tmp_path / "a.pt"
        torch.save({"a": torch.arange(64.0)}, path)
        data = path.read_bytes()
        for position in range(0, len(data), 7):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            path.write_bytes(changed)
            try:
                content = read_torch(path)
            except FileError:
                continue
            assert torch.equal(content["a"], torch.arange(64.0)), position

    def test_objects_are_refused(self, tmp_path):
        torch.save(torch.nn.Linear(1, 1), tmp_path / "a.pt")
        with pytest.raises(FileError, match="tensors and plain values"):
            read_torch(tmp_path / "a.pt")


class TestPictures:
    def test_a_picture_that_is_too_large(self, tmp_path):
        path = tmp_path / "a.png"
        Image.new("1", (9000, 9000)).save(path)
        with pytest.raises(MediaError, match="9000 x 9000 pixels"), open_picture(path):
            pass

    def test_formats_that_start_programs(self, tmp_path):
        path = tmp_path / "a.png"
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
        with pytest.raises(MediaError, match="picture"), open_picture(path):
            pass


def test_records_carry_their_checksum():
    record = with_checksum({"b": [1.5, None], "a": "\u00e9"})
    check_record(json.loads(json.dumps(record)), "r.json")
    check_record({"a": 1}, "r.json")
    with pytest.raises(FileError, match=r"r\.json has changed"):
        check_record({**record, "b": [1.25, None]}, "r.json")
    with pytest.raises(FileError, match=r"r\.json has changed"):
        check_record({"b": [1.25, None], "a": "x", "c2c32": record["crc32"]}, "r.json")


def test_a_missing_file(tmp_path):
    for read in (read_text, read_json, read_npy, read_tensors, read_torch):
        with pytest.raises(FileError, match="does not exist"):
            read(tmp_path / "none.npy")
