"""Each example of docs/signing.md, as it stands there, against the real program."""

import asyncio
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.testing import Sandbox
from tests.acceptance.configured import http, settings
from tests.acceptance.program import Program
from tests.acceptance.waiting import until

PAGE = (Path(__file__).parents[2] / "docs/signing.md").read_text("utf-8")
KEY = "the-sign-key-of-the-chatbot"
COMMANDS = {
    "sh": ["sh", "-eu"],
    "python": [sys.executable, "-"],
    "javascript": ["node", "--input-type=module", "-"],
}


def example(language: str, url: str) -> str:
    """Return the block of the page in this language, with the address of the program."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found.count("http://127.0.0.1:8080") == 1
    return str(found.replace("http://127.0.0.1:8080", url))


async def printed(command: Sequence[str], text: str) -> str:
    """Run the example and return its output."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    output, errors = await asyncio.wait_for(process.communicate(text.encode()), 30)
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.mark.parametrize("language", COMMANDS)
async def test_an_example_of_the_page_is_a_lead(tmp_path: Path, language: str) -> None:
    for needed in {"sh": ("openssl", "curl"), "javascript": ("node",)}.get(language, ()):
        if not shutil.which(needed):
            pytest.skip(f"{needed} is not on this machine")
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url)}), {"SIGN_KEY": KEY}) as program,
    ):
        await program.start()
        text = example(language, f"http://127.0.0.1:{program.port}")
        answer = await printed(COMMANDS[language], text)
        assert answer.strip() == '{"status":"success"}'
        await until(lambda: len(crm.records) == 1, f"the lead to be delivered; {program.told()}")
        assert crm.records[0].fields["first_name"] == "Ada"

        if language == "sh":
            refused = await printed(COMMANDS[language], text.replace(KEY, "another-key"))
            assert '"status":"error"' in refused
