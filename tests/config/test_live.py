"""Reloading the real bridge: files on disk, real HTTP, a real store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from sqlalchemy import select

from bridge import app
from bridge.config.reload import load_files, load_for_use
from bridge.ingress.signature import sign
from bridge.operations.store_access import good_texts
from bridge.store import commands
from bridge.store.interface import DeliveryState, Pause
from bridge.store.preparation import driver_for
from bridge.store.schema import deliveries
from connectors.testing import Fault, Sandbox
from tests.building import KEY, NOW, SERIAL, Clock, lead


class Site:
    """A folder of configuration files and the bridge that runs on it."""

    def __init__(self, folder: Path, crm: Sandbox, store: str = "leadbridge.db") -> None:
        self.folder = folder
        self.crm = crm
        self.bridge: app.Running | None = None
        self.session: aiohttp.ClientSession | None = None
        self.write("server", "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\n")
        self.write("store", f"store: {{url: sqlite:///{folder}/{store}}}\n")
        self.destination("crm")
        self.chatbot()

    def write(self, name: str, text: str) -> None:
        """Replace a file as editors do: by another one of its name."""
        new = self.folder / f".{name}.new"
        new.write_text(text)
        new.rename(self.folder / f"{name}.yaml")

    def destination(self, name: str, extra: str = "") -> None:
        self.write(
            name, f"destinations:\n  {name}: {{connector: http, url: {self.crm.url}, allow_private: true{extra}}}\n"
        )

    def chatbot(self, to: str = "crm", name: str = "FirstName") -> None:
        fields = f"{{email: Email, name: {name}}}"
        self.write(
            "acme",
            f"chatbots:\n  acme:\n    serial_number: {SERIAL}\n    signing_keys: [{KEY.decode()}]\n"
            f"    routes: [{{to: {to}, fields: {fields}}}]\n",
        )

    async def send(self, **fields: Any) -> None:
        assert self.bridge
        assert self.session
        body = orjson.dumps(lead(**fields))
        headers = {"X-Webhook-Signature": sign(KEY, str(int(NOW)), body)}
        async with self.session.post(f"http://{self.bridge.listen}/webhook", data=body, headers=headers) as answer:
            assert (answer.status, await answer.read()) == (200, b'{"status":"success"}')

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    async def reloads(self, problems: int = 0) -> None:
        """Have the files read, until what is found is what is expected of them."""
        assert self.bridge
        async with asyncio.timeout(20):
            for _ in range(2):
                # The first one counted may have begun before the files were written.
                before = await self.metric("leadbridge_config_reloads_total")
                self.bridge.configuration.ask()
                while await self.metric("leadbridge_config_reloads_total") == before:
                    await asyncio.sleep(0.01)
        assert await self.metric("leadbridge_config_problems") == problems

    async def metric(self, name: str) -> float:
        assert self.bridge
        assert self.session
        async with self.session.get(f"http://{self.bridge.admin}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    @property
    def chatbots(self) -> set[str]:
        assert self.bridge
        return set(self.bridge.configuration().chatbots)


@pytest.fixture
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    folder = tmp_path / "configuration"
    folder.mkdir()
    async with Sandbox(key="email") as crm, aiohttp.ClientSession() as session:
        made = Site(folder, crm, getattr(request, "param", "leadbridge.db"))
        config, files = load_files(folder, {})
        async with app.running(config, files, Clock()) as made.bridge:
            made.session = session
            yield made


@pytest.mark.parametrize(
    "site", ["leadbridge.db", "../leadbridge.db"], ids=["beside_the_store", "apart"], indirect=True
)
async def test_a_changed_file_goes_live_by_itself(site: Site) -> None:
    await site.send(Email="before@example.com")
    await site.until(lambda: len(site.crm.records) == 1)
    site.chatbot(name="LastName")
    assert site.bridge
    before = site.bridge.configuration()
    await site.until(lambda: site.bridge is not None and site.bridge.configuration() is not before)
    await site.send(Email="after@example.com")
    await site.until(lambda: len(site.crm.records) == 2)
    assert [record.fields["name"] for record in site.crm.records] == ["David", "García"]


@pytest.mark.parametrize(
    "site", ["leadbridge.db", "../leadbridge.db"], ids=["beside_the_store", "apart"], indirect=True
)
async def test_a_changed_secret_file_goes_live_and_its_destination_is_tried_at_once(site: Site) -> None:
    secret = site.folder.parent / "token"
    secret.write_text("first-token-of-the-crm")
    # Without a reload the next probe would be in ten minutes.
    site.destination("crm", ", auth: {bearer: '${file:../token}'}, retry: {initial: 10m, max: 1h, jitter: 0}")
    await site.reloads()
    site.crm.faults.share(Fault.answers(401), 1.0)
    await site.send()
    assert site.bridge
    lanes = site.bridge.lanes
    await site.until(lambda: "crm" in lanes.running and lanes.running["crm"].pause is not None)
    site.crm.faults.clear()
    new = secret.with_name("new")
    new.write_text("second-token-of-the-crm")
    new.rename(secret)
    await site.until(lambda: len(site.crm.records) == 1)


async def test_a_changed_plugin_goes_live_and_so_does_a_file_that_waited_for_it(site: Site) -> None:
    def plugin(body: str) -> None:
        (site.folder / "plugins").mkdir(exist_ok=True)
        code = "from bridge.mapping.plugin_api import transform\n\n\n@transform\ndef {}\n"
        (site.folder / "plugins" / "words.py").write_text(code.format(body))

    async def named(name: str) -> None:
        before = len(site.crm.records)
        await site.send()
        await site.until(lambda: len(site.crm.records) > before)
        assert site.crm.records[-1].fields["name"] == name

    plugin("shout(value: str) -> str:\n    return value.upper()")
    site.write("server", "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\nplugins: [./plugins]\n")
    site.chatbot(name="'{{ FirstName | shout }}'")
    await site.reloads()
    await named("DAVID")

    async def changes(make: Callable[[], None]) -> None:
        assert site.bridge
        before = site.bridge.configuration()
        make()
        await site.until(lambda: site.bridge is not None and site.bridge.configuration() is not before)

    await changes(lambda: plugin("shout(value: str) -> str:\n    return value + '!'"))
    await named("David!")

    # The file needs a transform that its plug-in does not have yet.
    site.chatbot(name="'{{ FirstName | whisper }}'")
    await site.reloads(problems=1)
    await named("David!")
    await changes(lambda: plugin("whisper(value: str) -> str:\n    return value.lower()"))
    await named("david")


async def test_a_broken_file_is_said_and_stays_as_it_was(site: Site) -> None:
    site.write("acme", "chatbots: {acme: {serial_number: x")
    site.write("other", "chatbots: {other: {serial_number: other, signing_keys: [a-good-key-for-the-other]}}\n")
    await site.reloads(problems=1)
    assert site.chatbots == {"acme", "other"}
    await site.send()
    await site.until(lambda: len(site.crm.records) == 1)
    site.chatbot()
    await site.reloads()


async def test_queued_deliveries_are_mapped_as_the_configuration_in_use_says(site: Site) -> None:
    await site.send(Email="first@example.com")
    await site.until(lambda: len(site.crm.records) == 1)
    # Who has worked the lane until now may have used it up.
    site.destination("crm", ", rate_limit: {requests: 1, per: 1h}")
    await site.reloads()
    await site.send(Email="queued@example.com")
    site.chatbot(name="LastName")
    site.destination("crm")
    await site.reloads()
    await site.until(lambda: len(site.crm.records) == 2)
    assert site.crm.records[1].fields["name"] == "García"


async def test_deliveries_of_a_route_and_a_destination_that_are_gone_wait_for_the_names(site: Site) -> None:
    site.destination("dead")
    site.chatbot("dead")
    await site.reloads()
    assert site.bridge
    lanes, engine = site.bridge.lanes, driver_for(site.bridge.configuration().store.url).engine()
    with engine.begin() as connection:
        commands.pause_lane(connection, "dead", Pause("operator", "operator"))
    await site.until(lambda: "dead" in lanes.running and lanes.running["dead"].pause == Pause("operator", "operator"))
    await site.send()
    site.chatbot("crm")
    (site.folder / "dead.yaml").unlink()
    await site.reloads()
    assert set(site.bridge.configuration().destinations) == {"crm"}
    # A delivery to the other destination shows that the lanes work.
    await site.send(Email="second@example.com")
    await site.until(lambda: len(site.crm.records) == 1)

    def states() -> dict[str, str]:
        with engine.connect() as connection:
            return {row.destination: row.state for row in connection.execute(select(deliveries))}

    # The record arrives before its outcome is stored.
    await site.until(lambda: states()["crm"] == DeliveryState.DELIVERED)
    assert states()["dead"] == DeliveryState.PENDING
    site.destination("dead")
    site.chatbot("dead")
    await site.reloads()
    with engine.begin() as connection:
        commands.resume_lane(connection, "dead", NOW)
    await site.until(lambda: len(site.crm.records) == 2)


async def test_the_last_good_text_outlives_a_restart(site: Site) -> None:
    site.write("acme", "chatbots: {acme: {serial_number: x")
    site.write("other", "chatbots: {other: {serial_number: other, signing_keys: [a-good-key-for-the-other]}}\n")
    await site.reloads(problems=1)
    assert site.bridge
    store = site.bridge.configuration().store

    def texts() -> dict[str, bytes]:
        return {Path(name).stem: text for name, text in good_texts(store).items()}

    await site.until(lambda: "other" in texts())
    assert b"a-good-key-for-the-other" in texts()["other"]
    config, _ = load_for_use(site.folder, {}, good_texts)
    assert set(config.chatbots) == {"acme", "other"}
    assert [(Path(each.file).stem, each.in_use) for each in config.faults] == [("acme", True)]
    (site.folder / "acme.yaml").unlink()
    await site.reloads()
    await site.until(lambda: "acme" not in texts())


@pytest.mark.parametrize("reloads", [8, pytest.param(100, marks=pytest.mark.thorough)])
async def test_a_reload_storm_under_load_loses_nothing(site: Site, reloads: int) -> None:
    sent = 0
    storming = True

    async def load() -> None:
        nonlocal sent
        while storming:
            sent += 1
            await site.send(Email=f"storm{sent}@example.com")

    async def storm() -> None:
        nonlocal storming
        for number in range(reloads):
            if number % 2:
                site.write("acme", "chatbots: [broken")
            else:
                site.chatbot(name="LastName" if number % 4 else "FirstName")
                site.destination("crm", f", timeout: {10 + number}s")
            assert site.bridge
            before = await site.metric("leadbridge_config_reloads_total")
            site.bridge.configuration.ask()
            while await site.metric("leadbridge_config_reloads_total") == before:
                await asyncio.sleep(0.005)
        site.chatbot(name="URI")
        await site.reloads()
        assert await site.metric("leadbridge_config_reloads_total") >= reloads
        storming = False

    await asyncio.gather(storm(), load(), load())
    await site.send(Email="last@example.com")
    await site.until(lambda: len(site.crm.records) == sent + 1)
    last = next(record for record in site.crm.records if record.fields["email"] == "last@example.com")
    assert last.fields["name"] == "www.example.com"
