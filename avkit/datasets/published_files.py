# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of annotation files as their authors published them, by which a file that was changed is recognised."""

import hashlib
from collections.abc import Mapping

from avkit.datasets.official import Official
from avkit.reading.text import read_unpacked

#: Hashes by dataset and release, and by the name of the file; files that are not named here were not at hand.
#: Sources: GeWu-Lab/MUSIC-AVQA at cc8809514a, GeWu-Lab/TSPM at 0106ce4127, DragonLiu1995/MUSIC-AVQA-v2.0 at 7db4f5480d,
#: YapengTian/AVVP-ECCV20 at fde56118f2 and 0b28c1a7ea, ttgeng233/UnAV at 60144ed394, GeWu-Lab/Ref-AVS at 82eb6881ff,
#: hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbbf81, YapengTian/AVE-ECCV18 at 93f843fed7.
PUBLISHED_FILES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("music-avqa", "update"): {
        "avqa-val.json": "650ca7e9e577139f43b7895d5b8207a2e287d8cdad940522b2122a12c0c9b8ef",
        "avqa-test.json": "76ce24ee02fd85e28038605aedd4f62633e1335ccda96a1fcf7340b5feaf230e",
    },
    ("music-avqa", "original"): {
        "avqa-val.json": "119fc12dd07e2e4568797d0c5faf4e786356eab7eb8271cb6a14034e1148ac37",
        "avqa-test.json": "fa79cbd8e7f0bf043e1761271b216f130832dd419a171bce9d9b561017af6cc2",
    },
    ("music-avqa", "real"): {
        "avqa-val_real.json": "bfdcd960efdc97ebf81e19a9608a2d212a78753a88babfceba430ed55a437ad1",
        "avqa-test_real.json": "a2c9210863428d754f55733d60b9a477da7672d7fa27658f6d2d6be9cf6894e1",
    },
    ("music-avqa", "synthetic"): {
        "avqa-train_fake.json": "a5b0faaa357178ef5712f0a3b6be8e66d99c1e4d1b9fa6a1f95ec08b6b3f7cc4",
        "avqa-val_fake.json": "baa4a953d098a8b2cdc8f4bb98397434c04b95ae0e1258a136ec896083a0c0e8",
        "avqa-test_fake.json": "0847885d5d604b09851e1630b4b42670ffdda489efca5745076c6055df99eead",
    },
    ("music-avqa", "by-video"): {
        "music_avqa_val.json": "6f63b78e577d36aad0f4f3202f6681da00da23413ade02ac21d5ca810e873bbe",
        "music_avqa_test.json": "cded925a31b68b2ddc1a069af13b8d4bfcebcd4a65655c85653f0c8974890c8e",
    },
    ("music-avqa", "v2"): {
        "test_balance.json": "78e854694bc5944f63a49b26a2a95bfe672ed7de6a455a8a097f1731d98a70a0",
    },
    ("llp", "2024"): {
        "AVVP_train.csv": "bbeb83e8af46a85075216b213d3464f92dd4ab71468c852ae454b82cc745c0a4",
        "AVVP_val_pd.csv": "1811813b54c5f43c3be0a97bd0971cfb8a93818ca7b3ab96cdc7f4ac37ef37a6",
        "AVVP_test_pd.csv": "3f7a2b040e3b67c15d08efef25002bf8c5b2320f11049eb99ae0eb2d62f8eb9b",
        "AVVP_eval_visual.csv": "e2274af694f3f27e38b840e0cd91a9d8d9ac85280f193e90828d26b22db69abe",
        "AVVP_eval_audio.csv": "d5435664668bec6e7eafb39059d2f424ed2682f6b55395262fc3cb691b7d0778",
    },
    ("llp", "2020"): {
        "AVVP_train.csv": "bbeb83e8af46a85075216b213d3464f92dd4ab71468c852ae454b82cc745c0a4",
        "AVVP_val_pd.csv": "1811813b54c5f43c3be0a97bd0971cfb8a93818ca7b3ab96cdc7f4ac37ef37a6",
        "AVVP_test_pd.csv": "3f7a2b040e3b67c15d08efef25002bf8c5b2320f11049eb99ae0eb2d62f8eb9b",
        "AVVP_eval_visual.csv": "e2274af694f3f27e38b840e0cd91a9d8d9ac85280f193e90828d26b22db69abe",
        "AVVP_eval_audio.csv": "249122f65501d8d611c0027a48643798fe622bedee60f7e6224b5a8e3c02f886",
    },
    ("unav100", "official"): {
        "unav100_annotations.json": "2fdfc587ad36fc405496b5520d967b5df54b2d82027d16d69e968b5cf04d3dba",
    },
    ("vggss", "144k"): {
        "vggss.json": "ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e",
    },
    ("vggss", "10k"): {
        "vggss.json": "ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e",
    },
    ("vggss", "full"): {
        "vggss.json": "ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e",
    },
    ("vggss", "heard"): {
        "vggss.json": "ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e",
    },
    ("vggss", "unheard"): {
        "vggss.json": "ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e",
    },
    ("vggss", "silent"): {
        "vggss.json": "ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e",
    },
    ("ref-avs", "official"): {
        "metadata.csv": "ab03ab83b69f15399d9b3e3dce442664c432cdd1e4072b7f89f6a03f78cd18a0",
    },
    ("ave", "official"): {
        "Annotations.txt": "0d24a9ec5cd4ceb779ebd83d74e83ec8e55c5e468cede3f320fb57346c9dd321",
        "train_order.h5": "a216fcdd02782ba9d10c9ea79116120eb3be467740e58290e1b340d42a590456",
        "val_order.h5": "5692aec0efb30e4efa49a867a902c1993b4c88a7d3ec19879349e540e7a5d9ca",
        "test_order.h5": "f9bb79defc1f784ca5dda9cdd3ee52af6d24ccb399a1cfab6bf0d373f5681076",
        "mil_labels.h5": "63c1886c78289bcf7e748fa0fe5c18d568dac75a1f015ac41860a78f598c2bd5",
    },
    ("ave", "weak"): {
        "Annotations.txt": "0d24a9ec5cd4ceb779ebd83d74e83ec8e55c5e468cede3f320fb57346c9dd321",
        "train_order.h5": "a216fcdd02782ba9d10c9ea79116120eb3be467740e58290e1b340d42a590456",
        "val_order.h5": "5692aec0efb30e4efa49a867a902c1993b4c88a7d3ec19879349e540e7a5d9ca",
        "test_order.h5": "f9bb79defc1f784ca5dda9cdd3ee52af6d24ccb399a1cfab6bf0d373f5681076",
        "mil_labels.h5": "63c1886c78289bcf7e748fa0fe5c18d568dac75a1f015ac41860a78f598c2bd5",
    },
}


def changed_files(dataset: Official) -> list[str]:
    """Names of the annotation files of a dataset that are others than those which its authors published.

    Files of which no hash is known are not judged; line ends of Windows make no difference.

    Raises:
        FileError: If a file cannot be read.
    """
    published = PUBLISHED_FILES.get((dataset.name, dataset.release), {})
    changed = []
    for path in dataset.annotation_files:
        name = path.name.removesuffix(".gz")
        if name not in published:
            continue
        content = read_unpacked(path)
        hashes = [hashlib.sha256(text).hexdigest() for text in (content, content.replace(b"\r\n", b"\n"))]
        if published[name] not in hashes:
            changed.append(name)
    return changed
