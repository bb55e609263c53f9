"""The page of the playground: the event that it begins with, and the difference to the route in use."""

import html
import re

from tests.admin.conftest import Desk
from tests.admin.test_pages import log_in


def rows(page: str) -> list[list[str]]:
    """Return the texts of the table of differences."""
    table = page[page.index('<table class="difference">') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    cells = (
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", each, re.DOTALL)
        for each in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)
    )
    return [[html.unescape(re.sub(r"<[^>]+>", "", each)) for each in row] for row in cells]


async def reveals(desk: Desk) -> int:
    entries = (await desk.ask("GET", "/api/audit?action=reveal"))[1]["entries"]
    return len(entries)


async def test_it_begins_with_the_last_event_and_its_route_masked(desk: Desk) -> None:
    await log_in(desk)
    page = (await desk.see("/tools/playground"))[1]
    assert "No event has come yet" in page
    await desk.send(FirstName="Adalbert", Email="adalbert@example.com")
    await desk.send(FirstName="Grace", Email="grace@example.com")
    await desk.settled()
    last, first = (await desk.ask("GET", "/api/events"))[1]["events"]
    page = (await desk.see("/tools/playground"))[1]
    assert f'name="id" value="{last["id"]}"' in page
    assert "<dt>email</dt>" in page
    assert "Its record under the route in use" in page
    assert "grace@" not in page
    assert "García" not in page
    page = (await desk.see(f"/tools/playground?event={first['id']}"))[1]
    assert f'name="id" value="{first["id"]}"' in page
    assert "Adalbert G." in page
    assert "adalbert@" not in page
    assert await reveals(desk) == 0
    assert (await desk.see("/tools/playground?event=0123456789abcdef"))[0] == 404
    assert (await desk.see("/tools/playground?event=nothing"))[0] == 400


async def test_it_shows_the_difference_to_the_route_in_use(desk: Desk) -> None:
    await log_in(desk)
    await desk.send(FirstName="Ada", LastName="Lovelace", Email="ada@example.com")
    await desk.settled()
    page = (await desk.see("/tools/playground"))[1]
    event = (await desk.ask("GET", "/api/events"))[1]["events"][0]["id"]
    form = {"route": "acme:0", "id": event, "begun": event}
    edited = "to: crm\nfields: {email: Email, name: FirstName, first: FirstName}"
    page = (await desk.post("/tools/playground", **form, yaml=edited))[1]
    assert "2 of 3 fields differ." in page
    assert rows(page) == [
        ["email", "same", "ada@example.com"],
        ["name", "changed", "Ada Lovelace", "Ada"],
        ["first", "added", "-", "Ada"],
    ]
    assert await reveals(desk) == 1
    page = (await desk.post("/tools/playground", **form, yaml="to: crm\nfields: {email: Email}"))[1]
    assert "1 of 2 fields differs." in page
    assert rows(page)[1] == ["name", "removed", "Ada Lovelace", "-"]
    # An event that is written takes the place of the one that the page began with.
    own = '{"Email": "grace@example.com"}'
    page = (await desk.post("/tools/playground", **form, yaml=edited, event=own))[1]
    assert rows(page)[0] == ["email", "same", "grace@example.com"]
    assert await reveals(desk) == 1
    # What is shown here is shown on the page of the lead too, and the other way round, as long as a reveal lasts.
    assert "ada@example.com" in (await desk.see(f"/leads/{event}"))[1]
    assert "ada@example.com" in (await desk.see("/tools/playground"))[1]
    await desk.post(f"/leads/{event}/mask")
    assert "ada@example.com" not in (await desk.see("/tools/playground"))[1]
    await desk.post(f"/leads/{event}")
    assert "ada@example.com" in (await desk.see("/tools/playground"))[1]
    assert await reveals(desk) == 2
    # The route in use needs an address.
    page = (
        await desk.post(
            "/tools/playground", **form, yaml="to: crm\nfields: {name: FirstName}", event='{"FirstName": "Ada"}'
        )
    )[1]
    assert "Under the route in use there is no record: field `email`: required, but empty" in html.unescape(page)
    assert rows(page) == [["name", "added", "-", "Ada"]]


async def test_an_error_keeps_the_route_and_the_event(desk: Desk) -> None:
    await log_in(desk)
    form = {"route": "acme:0", "yaml": "to: crm # mine", "event": "[1", "id": "", "begun": ""}
    status, page = await desk.post("/tools/playground", **form)
    assert status == 200
    assert "the event is not JSON" in page
    assert "to: crm # mine</textarea>" in page
    assert "[1</textarea>" in page
    status, page = await desk.post("/tools/playground", **{**form, "id": "0123456789abcdef"})
    assert status == 404
    assert "no event has this id" in page
    assert 'name="id" value="0123456789abcdef"' in page
    assert "to: crm # mine</textarea>" in page
