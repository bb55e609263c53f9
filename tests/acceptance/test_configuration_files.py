"""Files that are cut, lost or broken: the real program goes on with what is good, and no lead is lost by it."""

import json
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, FIELDS, KEY, SERIAL, http
from tests.acceptance.program import Program, run
from tests.acceptance.sending import Answer, Sender, lead, signature, written
from tests.acceptance.waiting import until

OTHER, OTHER_KEY = "serial-of-the-other", "sign-key-of-the-other-chatbot"
LEADS = 20


class Site:
    """A program on a folder of configuration files, its two destinations and its sender."""

    def __init__(self, program: Program, sender: Sender, crm: Sandbox, archive: Sandbox) -> None:
        self.program = program
        self.sender = sender
        self.crm = crm
        self.archive = archive
        self.folder = program.config

    def save(self, name: str, text: str) -> None:
        """Write a file in place, as some editors do: its readers may see it empty, or a part of it."""
        (self.folder / f"{name}.yaml").write_text(text)

    def acme(self, *routes: str, fields: dict[str, str] = FIELDS) -> None:
        self.save("acme", chatbot("acme", SERIAL, "${SIGN_KEY}", routes or ("crm", "archive"), fields))

    def other(self, *routes: str) -> None:
        self.save("other", chatbot("other", OTHER, "${file:other.key}", routes or ("crm",), FIELDS))

    def secret(self, text: str | None = OTHER_KEY) -> None:
        """Write it; None removes it."""
        if text is None:
            (self.folder / "other.key").unlink()
        else:
            (self.folder / "other.key").write_text(text)

    def down(self) -> None:
        for each in (self.crm, self.archive):
            each.faults.share(Fault.answers(503), 1.0)

    def up(self) -> None:
        for each in (self.crm, self.archive):
            each.faults.clear()

    async def said(self, event: str, before: int) -> None:
        await until(
            lambda: len(self.program.events(event)) > before, lambda: f"{event} to be logged; {self.program.told()}"
        )

    async def reloaded(self, **wanted: Any) -> None:
        """Wait until the last reload is as it should be."""
        await until(
            lambda: (
                (logged := self.program.events("reloaded")) != []
                and all(logged[-1][name] == value for name, value in wanted.items())
            ),
            lambda: f"a reload with {wanted}; {self.program.told()}",
        )

    async def send_other(self, document: dict[str, Any]) -> Answer:
        body = written(document)
        answer = await self.sender.post(body, signature(body, OTHER_KEY))
        assert answer
        return answer


def chatbot(name: str, serial: str, key: str, routes: tuple[str, ...], fields: dict[str, str]) -> str:
    """Write a chatbot as a person does, the routes last: a file that is cut is a file that lost routes."""
    made = {"serial_number": serial, "signing_keys": [key]}
    text = f"chatbots:\n  {name}:\n" + "".join(f"    {each}: {json.dumps(value)}\n" for each, value in made.items())
    return text + "    routes:\n" + "".join(f"      - {json.dumps({'to': to, 'fields': fields})}\n" for to in routes)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def shown(program: Program, path: str) -> str:
    with urllib.request.urlopen(f"{program.admin}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def ready(program: Program) -> dict[str, Any]:
    return dict(json.loads(shown(program, "/readyz")))


@asynccontextmanager
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Make it; it is not started."""
    async with Sandbox(key=None) as crm, Sandbox(key=None) as archive:
        settings = {
            "server": {"listen": "127.0.0.1:0", "admin": f"127.0.0.1:{free_port()}"},
            "store": {"url": "sqlite:///leadbridge.db"},
            "destinations": {"crm": http(crm.url), "archive": http(archive.url)},
        }
        async with Program(tmp_path, settings, ENVIRONMENT) as program, Sender(program) as sender:
            folder = tmp_path / "configuration"
            folder.mkdir()
            program.config.rename(folder / "common.yaml")
            program.config = folder
            made = Site(program, sender, crm, archive)
            made.acme()
            made.secret()
            made.other()
            yield made


async def test_a_save_that_is_seen_half_done_loses_no_lead(tmp_path: Path) -> None:
    async with site(tmp_path) as it:
        program, sender = await it.program.start(), it.sender
        await program.at_work()
        it.down()
        for _ in range(LEADS):
            await sender.deliver(lead())

        whole = (it.folder / "acme.yaml").read_text()
        it.save("acme", "")
        await it.reloaded(result="partly")
        it.up()
        await sender.deliver(lead())
        rows = await program.settled()
        assert {row["state"] for row in rows} == {"delivered"}, "leads died of an empty file"
        assert len(rows) == 2 * (LEADS + 1), "a lead was not routed while the file was empty"
        it.save("acme", whole)
        await it.reloaded(result="complete")

        # The same, cut after the first route: a good file. Deliveries on the lost route wait until it returns.
        it.down()
        for _ in range(LEADS):
            await sender.deliver(lead())
        it.save("acme", whole[: whole.index('      - {"to": "archive"')])
        await _routes_of_acme(it, 1)
        it.up()
        await until(
            lambda: len(it.crm.records) == 2 * LEADS + 1, lambda: f"the leads on the other route; {program.told()}"
        )
        rows = (await program.run("deliveries", "list", "--json", "--destination", "archive")).json()[:LEADS]
        waiting = [row for row in rows if row["state"] == "pending"]
        # The attempt that was under way with the route may have been the one that the destination took.
        assert len(waiting) >= LEADS - 1
        assert {row["state"] for row in rows} <= {"pending", "delivered"}, "leads died of a file that was cut"
        it.save("acme", whole)
        rows = await program.settled()
        assert {row["state"] for row in rows} == {"delivered"}
        assert len(rows) == 2 * (2 * LEADS + 1)

        await _deliveries_of_a_chatbot_that_is_gone_wait_for_its_name(it)
        it.acme("crm")
        await _routes_of_acme(it, 1)
        await _a_secret_that_is_gone_or_empty_holds_up_its_own_file_alone(it)
        assert await program.stop() == 0


async def _routes_of_acme(it: Site, count: int) -> None:
    def routes() -> int:
        return len(json.loads(shown(it.program, "/api/chatbots"))["chatbots"][0]["routes"])

    await until(lambda: routes() == count, lambda: f"{count} routes in use; {it.program.told()}")


async def _deliveries_of_a_chatbot_that_is_gone_wait_for_its_name(it: Site) -> None:
    program = it.program
    whole = (it.folder / "acme.yaml").read_text()
    it.down()
    await it.sender.deliver(lead())
    (it.folder / "acme.yaml").unlink()
    await it.reloaded(chatbots=1, result="complete")
    it.up()
    assert (await it.send_other(lead(SerialNumber=OTHER))).succeeded
    await until(
        lambda: sum(each["deliveries"] for each in program.events("deliveries_wait")) >= 2,
        lambda: f"deliveries to wait for their chatbot; {program.told()}",
    )
    it.save("acme", whole)
    assert {row["state"] for row in await program.settled()} == {"delivered"}, "leads died of a file that was gone"


async def _a_secret_that_is_gone_or_empty_holds_up_its_own_file_alone(it: Site) -> None:
    program = it.program
    for secret in (None, ""):
        it.secret()
        await it.reloaded(result="complete")
        it.secret(secret)
        before = len(program.events("reloaded"))
        it.acme("crm", fields={"lead": "SessionID", "other_name": "FirstName"})
        await it.said("reloaded", before)
        await it.reloaded(result="partly")
        await it.sender.deliver(lead())
        await program.settled()
        assert it.crm.records[-1].fields["other_name"] == "David", "another chatbot's secret held up a change"
        assert (await it.send_other(lead(SerialNumber=OTHER))).succeeded, "the last good form is not in use"
        await program.settled()
        assert "other_name" not in it.crm.records[-1].fields
        it.acme("crm")


async def test_a_start_uses_the_last_good_texts_and_loses_no_event_of_a_file_that_has_none(tmp_path: Path) -> None:
    async with site(tmp_path) as it:
        program, sender = await it.program.start(), it.sender
        await program.at_work()
        it.down()
        await sender.deliver(lead())
        assert (await it.send_other(lead(SerialNumber=OTHER))).succeeded
        assert await program.stop() == 0

        it.acme("crm", fields={"lead": "SessionIDD"})
        (it.folder / "other.key").unlink()
        it.save("third", chatbot("third", "serial-of-the-third", KEY, ("archive",), FIELDS))
        assert (await run("check", folder=tmp_path, environment=program.environment, config=it.folder)).status == 1
        strict = await program.run("serve", "--strict", str(it.folder))
        assert strict.status == 1
        assert "SessionIDD" in strict.errors

        await program.start()
        await program.at_work()
        it.up()
        assert ready(program) == {"status": "ready", "files_with_errors": 2}
        in_use = {Path(each["file"]).name: each["in_use"] for each in program.events("file_has_errors")}
        assert in_use == {"acme.yaml": True, "other.yaml": False}
        await sender.deliver(lead(SerialNumber="serial-of-the-third"))
        # The last good text of its file is in use. A wrong signature is no success.
        await sender.deliver(lead())
        refused = await sender.post(written(lead()), signature(b"another body"))
        assert refused
        assert refused.status == 401
        # Its secret is gone, so not even the last good text can be used: never a success, and quarantined.
        mute = lead(SerialNumber=OTHER)
        assert (await it.send_other(mute)).status == 401
        doctor = await program.run("doctor")
        assert doctor.status == 1
        assert "2 files have errors" in doctor.output, doctor.output
        assert "Files left out" in shown(program, "/tools/configuration")
        problems = json.loads((await program.run("problems", "--json")).output)
        assert {"acme.yaml has errors", "other.yaml has errors"} <= {each["title"] for each in problems}
        await until(lambda: len(it.archive.records) == 3, lambda: f"leads of the third and of acme; {program.told()}")
        await until(lambda: program.events("deliveries_wait") != [], lambda: f"a delivery to wait; {program.told()}")

        await _all_of_it_arrives_once_the_files_are_fixed(it, mute)
        assert await program.stop() == 0


async def _all_of_it_arrives_once_the_files_are_fixed(it: Site, mute: dict[str, Any]) -> None:
    program = it.program
    it.acme()
    it.secret()
    await it.reloaded(result="complete", chatbots=3)
    rows = await program.settled()
    assert {row["state"] for row in rows} == {"delivered"}, "waiting leads died of a broken file"
    quarantine = (await program.run("quarantine", "list", "--json")).json()
    assert {each["chatbot"] for each in quarantine} == {"acme", "other.yaml"}
    released = next(each["id"] for each in quarantine if each["chatbot"] == "other.yaml")
    assert (await program.run("quarantine", "release", str(released))).status == 0
    await program.settled()
    arrived = [each.fields["lead"] for each in it.crm.records]
    assert len(arrived) == len(set(arrived)) == 4
    assert mute["SessionID"] in arrived


async def test_what_all_need_must_be_good(tmp_path: Path) -> None:
    async with site(tmp_path) as it:
        common = (it.folder / "common.yaml").read_text()
        for broken in (common + "nonsense: 1\n", common + "  - [", ""):
            it.save("common", broken)
            done = await it.program.run("serve", str(it.folder))
            assert done.status == 1, "it would have opened another store"
            assert "common.yaml" in done.errors
            assert not (tmp_path / "leadbridge.db").exists()
