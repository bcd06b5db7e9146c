"""The documentation is whole: every page has a place, versions agree, README can be read anywhere."""

import re
from pathlib import Path

import pytest
import yaml

import avkit
from avkit.tasks import VARIANTS, list_tasks

ROOT = Path(__file__).parents[1]


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if page not in nav} == set()


def test_the_version_is_the_same_everywhere():
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project[1] == avkit.__version__ == citation["version"]


def test_links_of_the_readme_work_on_a_package_index():
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_links_of_the_readme_into_the_repository_lead_to_files():
    text = (ROOT / "README.md").read_text()
    paths = re.findall(r"https://github\.com/avkit/avkit/blob/main/([^)#\s]+)", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_forms_and_workflows_are_yaml():
    for path in [*(ROOT / ".github").rglob("*.yml"), ROOT / "CITATION.cff"]:
        assert isinstance(yaml.safe_load(path.read_text()), dict), path


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build(config)
    assert (tmp_path / "site/api/metrics/index.html").stat().st_size > 100_000
    for task in list_tasks():
        if task not in VARIANTS:
            page = (tmp_path / f"site/tasks/{task}/index.html").read_text()
            assert all(f">{part}" in page for part in ("Format", "Metrics", "Heads", "Best published", "Recipes")), task
            for theme in ("light", "dark"):
                assert f"../{task}-{theme}.webp#only-{theme}" in page
                assert (tmp_path / f"site/tasks/{task}-{theme}.webp").stat().st_size > 10_000
    assert "MUSIC-AVQA" in (tmp_path / "site/boards/music-avqa.html").read_text()
