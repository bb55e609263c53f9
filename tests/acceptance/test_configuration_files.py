"""Files that are cut, lost or broken: the real program goes on with what is good, and no lead is lost by it."""

import json
import signal
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

        # The same, cut after the first route: a good file, and not what its author means.
        it.down()
        for _ in range(LEADS):
            await sender.deliver(lead())
        it.save("acme", whole[: whole.index('      - {"to": "archive"')])
        await it.reloaded(held=1)
        it.up()
        assert ready(program) == {"status": "ready", "changes_held": 1}
        await sender.deliver(lead())
        rows = await program.settled()
        assert {row["state"] for row in rows} == {"delivered"}, "leads died of a file that was cut"
        assert len(rows) == 2 * (2 * LEADS + 2), "a lead was not routed while the file was cut"
        page = shown(program, "/tools/configuration")
        assert "Changes held" in page
        assert "has lost the route archive" in page
        doctor = await program.run("doctor")
        assert "1 change of the configuration is held" in doctor.output, doctor.output

        # It is meant: a second reload without a further change says so.
        program.signal(signal.SIGHUP)
        await it.reloaded(held=0, result="complete")
        await sender.deliver(lead())
        assert len(await program.settled()) == 2 * (2 * LEADS + 2) + 1

        await _a_chatbot_with_events_does_not_vanish_with_its_file(it)
        await _a_secret_that_is_gone_or_empty_holds_up_its_own_file_alone(it)
        assert await program.stop() == 0


async def _a_chatbot_with_events_does_not_vanish_with_its_file(it: Site) -> None:
    it.save("third", chatbot("third", "serial-of-the-third", KEY, ("archive",), FIELDS))
    await it.reloaded(chatbots=3)
    (it.folder / "third.yaml").unlink()
    await it.reloaded(chatbots=2, held=0)
    (it.folder / "acme.yaml").unlink()
    await it.reloaded(chatbots=2, held=1)
    await it.sender.deliver(lead())
    it.acme("crm")
    await it.reloaded(chatbots=2, held=0)


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


async def test_a_start_leaves_broken_files_out_and_loses_none_of_their_events(tmp_path: Path) -> None:
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
        assert ready(program) == {"status": "ready", "files_left_out": 2}
        assert {Path(each["file"]).name for each in program.events("file_left_out")} == {"acme.yaml", "other.yaml"}
        await sender.deliver(lead(SerialNumber="serial-of-the-third"))
        # Its route is wrong, its key is known: verified and kept. A wrong signature is no success.
        kept = lead()
        await sender.deliver(kept)
        refused = await sender.post(written(lead()), signature(b"another body"))
        assert refused
        assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        # Its key is not known: never a success, and quarantined.
        mute = lead(SerialNumber=OTHER)
        answer = await it.send_other(mute)
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        doctor = await program.run("doctor")
        assert doctor.status == 1
        assert "2 files are left out" in doctor.output, doctor.output
        assert "Files left out" in shown(program, "/tools/configuration")
        await until(lambda: len(it.archive.records) == 1, lambda: f"the lead of the third; {program.told()}")
        await until(
            lambda: sum(each["deliveries"] for each in program.events("deliveries_wait")) == 3,
            lambda: f"deliveries of files that are left out to wait; {program.told()}",
        )

        await _all_of_it_arrives_once_the_files_are_fixed(it, [kept, mute])
        assert await program.stop() == 0


async def _all_of_it_arrives_once_the_files_are_fixed(it: Site, kept: list[dict[str, Any]]) -> None:
    program = it.program
    it.acme()
    it.secret()
    await it.reloaded(result="complete", left_out=0, chatbots=3)
    rows = await program.settled()
    assert {row["state"] for row in rows} == {"delivered"}, "waiting leads died of a broken file"
    events = (await program.run("events", "list", "--json", "--state", "unrecognised")).json()
    assert [each["chatbot"] for each in events] == ["acme"]
    assert (await program.run("deliveries", "replay", events[0]["id"])).status == 0
    quarantine = (await program.run("quarantine", "list", "--json")).json()
    assert {each["chatbot"] for each in quarantine} == {"acme", "other"}
    released = next(each["id"] for each in quarantine if each["chatbot"] == "other")
    assert (await program.run("quarantine", "release", str(released))).status == 0
    await program.settled()
    arrived = [each.fields["lead"] for each in it.crm.records]
    assert len(arrived) == len(set(arrived)) == 4
    assert {each["SessionID"] for each in kept} <= set(arrived)


async def test_what_all_need_must_be_good(tmp_path: Path) -> None:
    async with site(tmp_path) as it:
        common = (it.folder / "common.yaml").read_text()
        for broken in (common + "nonsense: 1\n", common + "  - [", ""):
            it.save("common", broken)
            done = await it.program.run("serve", str(it.folder))
            assert done.status == 1, "it would have opened another store"
            assert "common.yaml" in done.errors
            assert not (tmp_path / "leadbridge.db").exists()
