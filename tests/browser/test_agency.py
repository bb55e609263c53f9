"""What an agency asks of its month: where a lead is, who has trouble, who fell silent. Each within a few clicks."""

import re
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, expect

from bridge.event import EventState, timestamp
from bridge.operations.chatbots import is_silent
from bridge.operations.figures import change, lasting, percent
from bridge.operations.tally import PERIODS, TallyTotals
from bridge.store.interface import DeliveryState
from bridge.store.tally import bucket_of, day_of
from tests.browser import scene
from tests.browser.agency import Agency, serving
from tests.browser.conftest import SECONDS
from tests.browser.person import Person
from tests.browser.scene import Scene

pytestmark = pytest.mark.thorough

MILLISECONDS = SECONDS * 1000
DENSE = 24
"""Most pixels of a row, so that 40 fit on a screen."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def agency(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agency]:
    async with serving(tmp_path_factory.mktemp("agency")) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def context(agency: Agency, chromium: Browser) -> AsyncIterator[BrowserContext]:
    """Somebody who has logged in."""
    found = await chromium.new_context(base_url=agency.url)
    page = await found.new_page()
    await Person(page).log_in()
    await page.close()
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="session")
async def person(context: BrowserContext) -> AsyncIterator[Person]:
    """Somebody on the first page; a fault of any page that was seen fails the test at its end."""
    somebody = Person(await context.new_page())
    await somebody.page.goto("/")
    yield somebody
    await somebody.page.close()
    assert somebody.complaints == []


def counted_totals(sent: Scene, today: int, days: int) -> dict[str, TallyTotals]:
    """Count from what was sent the numbers of the last days, by chatbot and for all."""
    found = {name: TallyTotals() for name in ("All", *scene.CHATBOTS)}
    for lead in sent.leads:
        for totals in (found["All"], found[lead.chatbot]):
            if today - day_of(lead.received_at) < days:
                totals.states[lead.state] += 1
                totals.waiting += [each.state for each in lead.deliveries.values()].count(DeliveryState.PENDING)
            for each in lead.deliveries.values():
                ended_at = lead.received_at + (1.0 if each.seconds is None else each.seconds)
                if each.state is DeliveryState.PENDING or today - day_of(ended_at) >= days:
                    continue
                totals.states[each.state] += 1
                totals.warned += each.warning
                if each.seconds is not None:
                    totals.buckets[bucket_of(lead.received_at, ended_at)] += 1
    return found


def counted_by_destination(sent: Scene, today: int, days: int) -> dict[str, TallyTotals]:
    """Count from what was sent the deliveries that ended in the last days, by destination."""
    found = {name: TallyTotals() for name in (*scene.DESTINATIONS, scene.REMOVED)}
    for lead in sent.leads:
        for name, each in lead.deliveries.items():
            ended_at = lead.received_at + (1.0 if each.seconds is None else each.seconds)
            if each.state is DeliveryState.PENDING or today - day_of(ended_at) >= days:
                continue
            found[name].states[each.state] += 1
            if each.seconds is not None:
                found[name].buckets[bucket_of(lead.received_at, ended_at)] += 1
    return found


async def report_rows(person: Person) -> list[list[str]]:
    """Return the cells of the report's numbers by chatbot."""
    shown = person.page.get_by_role("region", name="Report by chatbot").locator("tbody tr")
    rows: list[list[str]] = await shown.evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.firstChild.textContent.trim()))"
    )
    return rows


async def test_the_owner_reads_leads_by_chatbot_and_typical_time_of_the_week(agency: Agency, person: Person) -> None:
    today = day_of(time.time())
    week = counted_totals(agency.sent, today, 7)
    await person.click(person.page.get_by_role("link", name="Report by chatbot"))
    await expect(person.heading("Report: 7 days")).to_be_visible()
    assert person.clicks <= 1
    rows = await report_rows(person)
    assert {row[0]: row[1:] for row in rows} == {
        name: [
            *(str(each.received), str(each.delivered), percent(each.share)),
            *(lasting(each.quantile(0.5)), lasting(each.quantile(0.95))),
            *(str(each.waiting), str(each.dead), str(each.warned)),
        ]
        for name, each in week.items()
    }
    assert await person.barriers() == []
    await person.page.emulate_media(media="print")
    # The width of A4 between its margins.
    await person.page.set_viewport_size({"width": 680, "height": 1_000})
    assert await person.overflow() == 0
    await expect(person.page.get_by_role("navigation")).to_be_hidden()
    await expect(person.page.get_by_role("table").first).to_be_visible()


async def test_home_and_the_report_have_the_numbers_of_what_was_sent(agency: Agency, person: Person) -> None:
    today = day_of(time.time())
    rows = (
        await person.page.get_by_role("region", name="Leads and speed")
        .locator("tbody tr")
        .evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))")
    )
    for days, row in zip(PERIODS, rows, strict=True):
        now, longer = (counted_totals(agency.sent, today, each) for each in (days, 2 * days))
        whole, both = now["All"], longer["All"]
        assert [cell.split(" ")[0] for cell in (row[1], row[5], *row[6:])] == [
            str(each) for each in (whole.received, whole.missing, *whole.bands)
        ]
        assert row[1].split(" ", 1)[1:] == [x for x in [change(whole.received, both.received - whole.received)] if x]
        assert row[5].split(" ")[1] == f"{2 * whole.missing - both.missing:+d}"
        assert row[2].startswith(percent(whole.share))
        assert row[3].startswith(lasting(whole.quantile(0.5)))
        assert row[4].startswith(lasting(whole.quantile(0.95)))
        report = await (await person.page.request.get(f"/api/report?days={days}")).json()
        assert {each["chatbot"] or "All": each["numbers"] for each in (report["whole"], *report["chatbots"])} == {
            name: {
                "leads": each.received,
                "delivered": each.delivered,
                "waiting": each.waiting,
                "dead": each.dead,
                "warnings": each.warned,
                "share": each.share,
                "median": each.quantile(0.5),
                "p95": each.quantile(0.95),
            }
            for name, each in now.items()
        }
        assert report["whole"]["before"]["leads"] == both.received - whole.received
    month = counted_totals(agency.sent, today, 30)["All"]
    said = f"{month.delivered} delivered, {month.waiting} waiting, {month.dead} not delivered"
    await expect(person.page.get_by_role("img", name=f"Deliveries of 30 days: {said}")).to_be_visible()
    await person.page.get_by_text("As a table").click()
    table = person.page.get_by_role("region", name="Deliveries by day").locator("tbody tr")
    await expect(table).to_have_count(30)
    await expect(person.page.locator(".needs")).to_contain_text(f"{scene.SILENT}: silent")
    assert await person.barriers() == []


async def test_a_salesperson_finds_a_lead_by_a_part_of_the_name_and_reads_why_it_waits(
    agency: Agency, person: Person
) -> None:
    lead = next(
        each
        for each in reversed(agency.sent.leads)
        if each.deliveries.get(scene.UNREACHABLE, None)
        and each.deliveries[scene.UNREACHABLE].state is DeliveryState.PENDING
    )
    await person.find(f"{lead.first_name[-2:]} {lead.last_name[:4]}".upper())
    waiting = person.page.locator("tbody tr", has_text=f"{scene.UNREACHABLE}: waiting").filter(has_text=lead.chatbot)
    await person.click(waiting.get_by_role("link").first)
    answer = person.page.locator("#answer")
    await expect(answer).to_contain_text(
        re.compile(
            f"Not in {scene.UNREACHABLE} yet. The destination could not be reached. Failing since .+ Next try at"
        )
    )
    assert person.clicks <= 3
    assert lead.first_name in await person.page.locator("h1").inner_text()


async def test_the_operator_finds_the_troubled_and_the_silent_client(agency: Agency, person: Person) -> None:
    await person.click(person.page.get_by_role("link", name="Chatbots"))
    await expect(person.heading("Chatbots")).to_be_visible()
    rows = await person.rows()
    assert person.clicks <= 2
    today = day_of(time.time())
    accepted = [each for each in agency.sent.leads if each.state is EventState.ACCEPTED]
    days = {name: sorted({day_of(x.received_at) for x in accepted if x.chatbot == name}) for name in scene.CHATBOTS}
    silent = {name for name in scene.CHATBOTS if is_silent(days[name], today)}
    assert scene.SILENT in silent
    assert {row[0].split()[0] for row in rows if "silent" in row[0]} == silent
    assert {row[0].split()[0] for row in rows[: len(silent)]} == silent
    assert rows[len(silent)][0] == scene.TROUBLED
    unused = next(row for row in rows if row[0].startswith(scene.UNUSED))
    assert unused[1:] == ["0", "", "-", "-", "0", "0", "-", "-"]

    week = Counter(each.chatbot for each in accepted if today - day_of(each.received_at) < 7)
    waiting, dead = agency.by_chatbot(DeliveryState.PENDING), agency.by_chatbot(DeliveryState.DEAD)
    shown = {row[0].split()[0]: [int(row[at].split()[0]) for at in (1, 5, 6)] for row in rows}
    assert shown == {name: [week[name], waiting[name], dead[name]] for name in scene.CHATBOTS}
    totals = counted_totals(agency.sent, today, 7)
    trends = await person.page.locator("svg.trend").evaluate_all("all => all.map(each => each.ariaLabel)")
    month = counted_totals(agency.sent, today, 30)
    assert [each.partition(",")[0] for each in trends] == [
        f"{month[row[0].split()[0]].received} leads in 30 days" for row in rows
    ]
    assert {row[0].split()[0]: row[3:5] for row in rows} == {
        name: [percent(totals[name].share), lasting(totals[name].quantile(0.5))] for name in scene.CHATBOTS
    }
    times = await person.page.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [7, 8].map(at => row.cells[at].querySelector('time')?.dateTime))"
    )
    last = {each.chatbot: timestamp(each.received_at) for each in accepted}
    signed = {each.chatbot: timestamp(each.received_at) for each in agency.sent.leads}
    assert {row[0].split()[0]: pair for row, pair in zip(rows, times, strict=True)} == {
        name: [last.get(name), signed.get(name)] for name in scene.CHATBOTS
    }
    assert await person.barriers() == []


async def test_a_chatbots_page_has_its_numbers_and_its_problems(agency: Agency, person: Person) -> None:
    await person.page.goto(f"/chatbots/{scene.TROUBLED}")
    dead = agency.by_chatbot(DeliveryState.DEAD)[scene.TROUBLED]
    await expect(person.page.locator(".answer")).to_contain_text(f"{dead} deliveries were given up.")
    problems = person.page.locator("section", has=person.page.get_by_role("heading", name="Problems"))
    await expect(problems).to_contain_text("The destination refused the record.")
    await person.click(person.page.get_by_role("link", name="See why"))
    await expect(person.heading(f"Problems of {scene.TROUBLED}")).to_be_visible()
    cause = person.page.locator("section", has=person.page.get_by_role("heading", name=re.compile("refused")))
    await expect(cause).to_contain_text("The destination refused the record.")
    await expect(cause.get_by_role("link", name=f"{dead} deliveries")).to_be_visible()
    assert "@" not in (await cause.inner_text()).replace("@lakeside-dental.example", "")


async def test_every_destination_has_a_row_and_a_page(agency: Agency, person: Person) -> None:
    await person.page.goto("/destinations")
    rows = await person.rows()
    waiting, dead = Counter[str](), Counter[str]()
    for counts, state in ((waiting, DeliveryState.PENDING), (dead, DeliveryState.DEAD)):
        for (_, destination), count in agency.counted(state).items():
            counts[destination] += count
    assert {row[0]: [int(row[2]), int(row[4])] for row in rows} == {
        name: [waiting[name], dead[name]] for name in (*scene.DESTINATIONS, scene.REMOVED)
    }
    week = counted_by_destination(agency.sent, day_of(time.time()), 7)
    assert {row[0]: row[5:8] for row in rows} == {
        name: [str(each.delivered), percent(each.error_rate), lasting(each.quantile(0.5))]
        for name, each in week.items()
    }
    assert [row[:2] for row in rows[:2]] == [[scene.REMOVED, "removed"], [scene.UNREACHABLE, "paused"]]
    heights = await person.page.locator("tbody tr").evaluate_all("rows => rows.map(row => row.offsetHeight)")
    assert max(heights) <= DENSE
    await person.click(person.page.get_by_role("link", name=scene.UNREACHABLE, exact=True))
    await expect(person.heading(scene.UNREACHABLE)).to_be_visible()
    shown = person.page.locator("#now")
    await expect(shown).to_contain_text("The destination could not be reached.")
    await expect(shown).to_contain_text("It tries again at")
    await expect(shown.locator(".numbers")).to_contain_text(
        f"Waiting\n{waiting[scene.UNREACHABLE]}", use_inner_text=True
    )
    await expect(person.page.locator("tbody tr")).to_have_count(20)
    await expect(person.page.locator("section", has_text="Earlier pauses")).to_contain_text(
        "for 10 min: The destination did not answer in time."
    )
    totals = week[scene.UNREACHABLE]
    await expect(shown).to_contain_text(f"{totals.dead} of {totals.delivered + totals.dead} deliveries")
    calls = agency.calls(scene.UNREACHABLE)
    # A lane that begins tries its destination once at once, so there are more failures than the scene has made.
    (counted,) = re.findall(r"(\d+) of (\d+) attempts failed since", await shown.inner_text())
    failed, total = map(int, counted)
    assert total - failed == calls[True]
    assert failed > calls[False]
    await expect(shown).to_contain_text("typically 0.2 s, slow ones 0.2 s")
    assert await person.barriers() == []


async def test_a_removed_destination_has_a_page_with_what_waits(agency: Agency, person: Person) -> None:
    await person.page.goto("/destinations")
    await person.click(person.page.get_by_role("link", name=scene.REMOVED, exact=True))
    await expect(person.heading(scene.REMOVED)).to_be_visible()
    waiting = sum(count for (_, name), count in agency.counted(DeliveryState.PENDING).items() if name == scene.REMOVED)
    await expect(person.page.locator("#now")).to_contain_text(f"no longer configured: {waiting} deliveries wait")
    await expect(person.page.get_by_role("button", name=f"Discard {waiting} waiting")).to_be_visible()
    await expect(person.page.get_by_role("button", name="Pause")).to_have_count(0)
    await expect(person.page.locator("#newest tbody tr")).to_have_count(20)
    assert await person.barriers() == []


async def test_home_says_what_needs_a_person_worst_first(agency: Agency, person: Person) -> None:
    needs = person.page.locator(".needs li")
    texts = [" ".join(each.split()) for each in await needs.all_inner_texts()]
    dead, waiting = Counter[str](), Counter[str]()
    for counts, state in ((waiting, DeliveryState.PENDING), (dead, DeliveryState.DEAD)):
        for (_, destination), count in agency.counted(state).items():
            counts[destination] += count
    unreachable = f"{waiting[scene.UNREACHABLE]} leads wait, the oldest for"
    assert texts[0].startswith(f"{scene.UNREACHABLE}: nothing is delivered. The destination could not be reached.")
    assert unreachable in texts[0]
    assert "Next try at" in texts[0]
    assert texts[1].startswith(f"{scene.REMOVED}: no longer configured, and leads wait for it.")
    assert texts[2].startswith(f"{scene.UNREACHABLE}: a lead waits too long.")
    assert texts[3].startswith(f"{scene.SILENT}: silent.")
    worst, count = max(dead.items(), key=lambda each: each[1])
    assert f"{count} deliveries to {worst} were given up. The destination refused the record." in texts
    assert any(each.startswith(f"{agency.sent.quarantined} requests of {scene.CHATBOTS[3]}") for each in texts)
    for at in range(await needs.count()):
        address = await needs.nth(at).get_by_role("link").first.get_attribute("href")
        assert (await person.page.request.get(address or "")).ok


async def test_a_report_of_whole_days_for_one_client(agency: Agency, person: Person) -> None:
    await person.page.goto("/tools/report")
    await person.page.get_by_role("link", name="7 whole days until yesterday").click()
    await person.page.locator("select[name=chatbot]").select_option(scene.TROUBLED)
    await person.page.get_by_role("button", name="Show").click()
    await expect(person.heading(f"Report of {scene.TROUBLED}: 7 days until yesterday")).to_be_visible()
    today = day_of(time.time())
    both, now = counted_totals(agency.sent, today, 8), counted_totals(agency.sent, today, 1)
    rows = await report_rows(person)
    numbers = [both[scene.TROUBLED].received - now[scene.TROUBLED].received]
    numbers.append(both[scene.TROUBLED].delivered - now[scene.TROUBLED].delivered)
    assert [(row[0], [int(each) for each in row[1:3]]) for row in rows] == [
        ("All", numbers),
        (scene.TROUBLED, numbers),
    ]
    problems = person.page.locator("section", has_text="Problems now")
    await expect(problems).to_contain_text("The destination refused the record.")
    await expect(problems).not_to_contain_text(scene.REMOVED)
    assert (await person.page.request.get("/tools/report?chatbot=nobody")).status == 404
    person.complaints.clear()
    await person.page.emulate_media(media="print")
    await expect(person.page.get_by_role("button", name="Show")).to_be_hidden()
    await expect(problems).to_be_visible()


async def test_the_problems_are_all_in_one_list_with_their_number_in_the_navigation(
    agency: Agency, person: Person
) -> None:
    await person.page.goto("/problems")
    titles = await person.page.locator("section h3").all_inner_texts()
    await expect(person.page.get_by_role("link", name=f"Problems ({len(titles)})")).to_be_visible()
    dead = Counter[str]()
    for (_, destination), count in agency.counted(DeliveryState.DEAD).items():
        dead[destination] += count
    for name, count in dead.items():
        cause = person.page.locator("section", has=person.page.get_by_role("heading", name=f"{name}: refused"))
        await expect(cause.get_by_role("link", name=re.compile(f"^{count} deliver"))).to_be_visible()
    odd = Counter(each.state for each in agency.sent.leads)[EventState.UNRECOGNISED]
    waiting = sum(count for (_, name), count in agency.counted(DeliveryState.PENDING).items() if name == scene.REMOVED)
    warned = Counter(
        name
        for lead in agency.sent.leads
        for name, each in lead.deliveries.items()
        if each.warning and lead.received_at + (each.seconds or 0.0) >= time.time() - scene.DAY
    )
    shown = " ".join((await person.page.locator("main").inner_text()).split())
    for text in (
        f"{scene.UNREACHABLE}: nothing is delivered",
        f"{scene.REMOVED}: no longer configured, and leads wait for it",
        f"{scene.REMOVED}, {waiting} waiting",
        f"{scene.SILENT}: silent",
        f"{agency.sent.quarantined} requests",
        f"{odd} events",
        *(f"{name}: delivered with a warning" for name in warned),
    ):
        assert text in shown, text
    assert len([each for each in titles if "with a warning" in each]) == len(warned)
    assert await person.barriers() == []


async def test_a_clients_user_sees_its_own_numbers_and_nothing_of_others(
    agency: Agency, person: Person, chromium: Browser
) -> None:
    context = await chromium.new_context(base_url=person.page.url)
    client = Person(await context.new_page())
    await client.log_in(agency.sent.environ["CLIENT"])
    own, of_others = (
        {name for each in agency.sent.leads if (each.chatbot in scene.CLIENTS) is mine for name in each.deliveries}
        for mine in (True, False)
    )
    assert own & of_others, "they share a destination"
    foreign = {*scene.CHATBOTS, *scene.DESTINATIONS, scene.REMOVED} - own - {*scene.CLIENTS}
    for path in (
        *("", "leads", "chatbots", f"chatbots/{scene.TROUBLED}", "destinations", f"destinations/{max(own)}"),
        *("problems", "problems/quarantine", "tools", "tools/report?days=30"),
        "tools/playground",
    ):
        await client.page.goto(f"/{path}")
        shown = await client.page.content()
        assert [name for name in sorted(foreign) if re.search(rf"\b{name}\b", shown)] == [], path
        assert await client.barriers() == []
    today = day_of(time.time())
    for days in PERIODS:
        report = await (await client.page.request.get(f"/api/report?days={days}")).json()
        totals = counted_totals(agency.sent, today, days)
        assert {each["chatbot"]: each["numbers"]["leads"] for each in report["chatbots"]} == {
            name: totals[name].received for name in scene.CLIENTS
        }
        for part, numbers in (
            ("leads", "received"),
            ("dead", "dead"),
            ("waiting", "waiting"),
            ("delivered", "delivered"),
        ):
            counted = sum(getattr(totals[name], numbers) for name in scene.CLIENTS)
            assert report["whole"]["numbers"][part] == counted, part
    await client.page.goto("/destinations")
    dead = agency.counted(DeliveryState.DEAD)
    assert {row[0]: int(row[4]) for row in await client.rows()} == {
        name: sum(dead[chatbot, name] for chatbot in scene.CLIENTS) for name in own
    }
    other = next(lead for lead in agency.sent.leads if lead.chatbot == scene.SILENT)
    assert client.complaints == []
    for path in (
        f"leads/{other.event_id}",
        f"chatbots/{scene.SILENT}",
        f"destinations/{min(foreign & {*scene.DESTINATIONS})}",
    ):
        await client.page.goto(f"/{path}")
        await expect(client.heading("There is no such page")).to_be_visible()
    await context.close()


async def test_the_operator_replays_one_clients_dead_letters(agency: Agency, person: Person) -> None:
    """The last test of the module, because it changes the scene."""
    await person.page.goto("/chatbots")
    dead = agency.by_chatbot(DeliveryState.DEAD)[scene.TROUBLED]
    row = person.page.locator("tbody tr", has_text=scene.TROUBLED)
    await person.click(row.get_by_role("button", name=f"Replay {dead} …"))
    await person.click(person.page.get_by_role("button", name=f"Yes, replay {dead}"))
    await expect(person.page.locator("#run")).to_contain_text(f"{dead} of {dead}, done", timeout=MILLISECONDS)
    assert person.clicks <= 2
    await person.page.goto(f"/chatbots/{scene.TROUBLED}")
    numbers = person.page.locator(".numbers")
    await expect(numbers).to_contain_text("Waiting\n0", use_inner_text=True, timeout=MILLISECONDS)
    await expect(person.page.locator("#now")).to_contain_text("Every lead is delivered", timeout=MILLISECONDS)
    assert sorted(agency.taken) == sorted(
        lead.email
        for lead in agency.sent.leads
        for each in lead.deliveries.values()
        if lead.chatbot == scene.TROUBLED and each.state is DeliveryState.DEAD
    )
