# SPDX-License-Identifier: Apache-2.0
"""Files of others are opened in one place: who else calls a reading library is listed here, with the reason."""

import ast
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "avkit"
#: Calls that read files or their content, by the last two parts of their names.
READERS = {
    *("np.load", "numpy.load", "np.fromfile", "np.memmap", "np.loadtxt", "np.genfromtxt", "lib.format"),
    *("json.load", "json.loads", "yaml.load", "yaml.safe_load", "yaml.full_load", "yaml.unsafe_load"),
    *("csv.reader", "csv.DictReader", "gzip.open", "gzip.decompress", "gzip.GzipFile", "zlib.decompress"),
    *("h5py.File", "safe_open", "load_file", "torch.load", "torch.jit.load", "Image.open", "av.open", "wave.open"),
    *("zipfile.ZipFile", "ZipFile", "tarfile.open", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("ElementTree.parse", "ElementTree.fromstring", "ET.parse", "openpyxl.load_workbook", "load_workbook"),
}
#: Places outside `avkit.reading` that may call them.
ALLOWED = {
    "media/container.py": {"av.open": "the one place where media are opened"},
    "media/write.py": {"av.open": "writes", "wave.open": "writes"},
    "export/base.py": {"h5py.File": "writes"},
    "cli/reproduction_features.py": {"h5py.File": "writes"},
    "features/store.py": {"h5py.File": "writes"},
    "datasets/pickles.py": {"torch.load": "tensors within a pickle, whose every exception is caught"},
    "datasets/flickr_soundnet.py": {"ElementTree.fromstring": "text without entities, whose exceptions are caught"},
    "encoders/weight_files.py": {"zipfile.ZipFile": "names of classes in a pickle; every exception is caught"},
    "training/weights_file.py": {"safe_open": "facts of weights, within file_errors"},
    "training/history.py": {"json.loads": "own lines; damaged ones are left out"},
    "files.py": {"json.loads": "own line of a lock; a damaged one stands for an unknown holder"},
    "extraction/cluster.py": {"json.loads": "from a process of its own"},
    "metrics/captions.py": {"json.loads": "text that was made in memory"},
    "metrics/avqa.py": {"json.loads": "a question type that a caller gives"},
    "licences/__init__.py": {"csv.DictReader": "a table of the package"},
    "datasets/published_files.py": {"csv.DictReader": "a table of the package"},
    "report/notebook.py": {"Image.open": "a picture that was made in memory"},
    "report/figure.py": {"Image.open": "a picture that was made in memory"},
    "datasets/hugging_face.py": {"json.loads": "text that was made in memory"},
    "demo/guard.py": {"json.loads": "a request's body; a damaged one is refused"},
    "report/images.py": {"Image.open": "a picture that was made in memory"},
}


def name_of(node):
    """A call's name as far as it is written as names and attributes."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def reading_calls(path):
    calls = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            calls |= {name, ".".join(name.split(".")[-2:])} & READERS
    return calls


def test_no_one_else_opens_files_of_others():
    found = {}
    for path in sorted(HOUSE.rglob("*.py")):
        place = path.relative_to(HOUSE).as_posix()
        calls = reading_calls(path)
        if calls and not place.startswith("reading/"):
            found[place] = calls
    assert found == {place: set(reasons) for place, reasons in ALLOWED.items()}


def test_calls_are_found(tmp_path):
    (tmp_path / "x.py").write_text("import numpy as np\ndef f(p):\n    with h5py.File(p): return np.load(p)\n")
    assert reading_calls(tmp_path / "x.py") == {"h5py.File", "np.load"}
