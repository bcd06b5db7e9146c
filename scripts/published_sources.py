# SPDX-License-Identifier: Apache-2.0
"""The sources of published figures: which text of the shared table means which source, and which table of it."""

from avkit.leaderboard.published import Source

_PAPERS = [
    Source(
        "av-unified",
        "AV-Unified: A Unified Framework for Audio-visual Scene Understanding",
        "arXiv",
        "2026",
        "paper",
        "https://arxiv.org/abs/2603.06530",
        "",
        "",
        "",
    ),
    Source(
        "tspm",
        "Boosting Audio Visual Question Answering via Key Semantic-Aware Cues",
        "ACM MM",
        "2024",
        "paper",
        "https://doi.org/10.1145/3664647.3680803",
        "GeWu-Lab/TSPM@0106ce4127b8",
        "none stated",
        "",
    ),
    Source(
        "ccnet",
        "Dense Audio-Visual Event Localization under Cross-Modal Consistency and Multi-Temporal Granularity "
        "Collaboration",
        "AAAI",
        "2025",
        "paper",
        "https://doi.org/10.1609/aaai.v39i10.33185",
        "zzhhfut/CCNet-AAAI2025@d148d074d647",
        "",
        "",
    ),
    Source(
        "ra-ssu",
        "RA-SSU: Towards Fine-Grained Audio-Visual Learning with Region-Aware Sound Source Understanding",
        "arXiv",
        "2026",
        "paper",
        "https://arxiv.org/abs/2603.09809",
        "",
        "",
        "",
    ),
]
_LINKED = "linked in the README"


def _readme(name: str, repository: str, venue: str, year: str, licence: str = "", weights: str = "") -> Source:
    """A source that is the page of a repository."""
    title = f"README of {repository.partition('@')[0]}"
    address = f"https://github.com/{repository.partition('@')[0]}"
    return Source(name, title, venue, year, "readme", address, repository, licence, weights)


def _second_hand(name: str, title: str, venue: str, year: str, address: str = "") -> Source:
    """A source whose figures were read in a text about it."""
    return Source(name, title, venue, year, "second hand", address, "", "", "")


_PAGES = [
    _readme("avsegformer", "vvvb-github/AVSegFormer@7083cb6586d1", "AAAI", "2024"),
    _readme("combo-avs", "yannqi/COMBO-AVS", "CVPR", "2024"),
    _readme("dg-sct", "haoyi-duan/DG-SCT", "NeurIPS", "2023", "none stated", _LINKED),
    _readme("ez-vsl", "stoneMo/EZ-VSL@95ff5bff3019", "ECCV", "2022", "Apache-2.0"),
    _readme("fnac-avl", "OpenNLPLab/FNAC_AVL", "CVPR", "2023"),
    _readme("keva", "Jackey0903/SKA-VCT", "under review", "2026"),
    _readme("one-peace", "OFA-Sys/ONE-PEACE", "arXiv", "2023"),
    _readme("pave", "dragonlzm/PAVE", "CVPR", "2025"),
    _readme("spectra-avqa", "debashis15/SPECTRA-AVQA", "repository", "2026"),
    _readme("ssl-alignment", "kaistmm/SSLalignment", "ICCV", "2023", "none stated"),
    _readme("stepping-stones", "GeWu-Lab/Stepping-Stones", "ECCV", "2024"),
    _readme("vct-avs", "spyflying/VCT_AVS", "CVPR", "2025", "", _LINKED),
]
_OTHERS = [
    _second_hand("als3p", "ALS3P", "preprint", "2026"),
    _second_hand("avs-review", "A review of audio-visual segmentation", "unknown", "2025"),
    _second_hand("crab", "Crab, journal text", "journal", "2025"),
    _second_hand("del", "DEL", "arXiv", "2025", "https://arxiv.org/abs/2506.23196"),
    _second_hand("e-cmanet", "E-CMANet", "arXiv", "2025", "https://arxiv.org/abs/2509.14097"),
    _second_hand("lavish", "LAVISH", "CVPR", "2023"),
    _second_hand("leap", "LEAP", "ECCV", "2024"),
    _second_hand("qa-tiger", "QA-TIGER", "CVPR", "2025"),
    _second_hand("r2scp", "R2ScP", "unknown", "2026"),
    _second_hand("save", "SAVE", "unknown", "2024"),
    _second_hand("souple", "SOUPLE", "CVPR", "2026"),
    _second_hand("ssp", "SSP", "arXiv", "2026", "https://arxiv.org/abs/2601.08133"),
    _second_hand("videollama2", "Tables about VideoLLaMA 2.1-AV", "unknown", "2024"),
]
SOURCES = sorted([*_PAPERS, *_PAGES, *_OTHERS], key=lambda source: source.id)

#: How a source's text begins in the shared table, the source that is meant, and the table where the text names it.
BEGINNINGS: list[tuple[str, str, str]] = [
    ("AV-Unified, arXiv 2603.06530", "av-unified", ""),
    ("TSPM, ACM MM 2024", "tspm", ""),
    ("CCNet, AAAI 2025", "ccnet", ""),
    ("RA-SSU / SSUFormer", "ra-ssu", ""),
    ("QA-TIGER (CVPR 2025), Table 2", "qa-tiger", "Table 2"),
    ("QA-TIGER (CVPR 2025), Table 3", "qa-tiger", "Table 3"),
    ("QA-TIGER (CVPR 2025), Table 4", "qa-tiger", "Table 4"),
    ("README of GeWu-Lab/Stepping-Stones (ECCV 2024), checkpoint table", "stepping-stones", "checkpoints"),
    ("README of GeWu-Lab/Stepping-Stones (ECCV 2024)", "stepping-stones", ""),
    ("README of SPECTRA-AVQA", "spectra-avqa", ""),
    ("README of Jackey0903/SKA-VCT", "keva", ""),
    ("README of yannqi/COMBO-AVS", "combo-avs", ""),
    ("README of FNAC_AVL", "fnac-avl", ""),
    ("README of spyflying/VCT_AVS", "vct-avs", "model zoo"),
    ("README of vvvb-github/AVSegFormer", "avsegformer", ""),
    ("README of kaistmm/SSLalignment", "ssl-alignment", ""),
    ("README of dragonlzm/PAVE", "pave", ""),
    ("README of ALS3P", "als3p", ""),
    ("README of stoneMo/EZ-VSL", "ez-vsl", ""),
    ("README of OFA-Sys/ONE-PEACE", "one-peace", ""),
    ("name of the released checkpoint, README of haoyi-duan/DG-SCT", "dg-sct", "name of a checkpoint"),
    ("digest of SOUPLE", "souple", ""),
    ("digest of SSP", "ssp", ""),
    ("digests of LEAP", "leap", ""),
    ("digest of Crab", "crab", ""),
    ("digest (index id 61445837428)", "r2scp", ""),
    ("the same digest", "r2scp", ""),
    ("the same", "leap", ""),
    ("report on arXiv 2509.14097", "e-cmanet", ""),
    ("review digest", "avs-review", ""),
    ("second hand, earlier helper", "save", ""),
    ("tables of others; users of DAMO-NLP-SG/VideoLLaMA2", "videollama2", ""),
    ("paper; a user of GenjiB/LAVISH", "lavish", ""),
    ("abstract of arXiv 2506.23196", "del", "abstract"),
]
#: What a source's text says beside naming the source, as a note of its rows.
NOTES: dict[str, str] = {
    "tables of others; users of DAMO-NLP-SG/VideoLLaMA2": "two users measured 65.6 to 66 (DAMO-NLP-SG/VideoLLaMA2#135, "
    "#170)",
    "paper; a user of GenjiB/LAVISH": "a user measured 78.8 (GenjiB/LAVISH#2)",
    "digest (index id 61445837428)": "complete modalities",
    "QA-TIGER (CVPR 2025)": "read in a copy of the table",
}
