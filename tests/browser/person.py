"""Somebody who looks at the dashboard with a browser, and notes what the browser complains about."""

from collections.abc import Mapping
from typing import Any

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import ConsoleMessage, Locator, Page, Request, Response, expect

OPERATOR = "the-token-of-an-operator"
SOME_ROWS = {"exclude": [["tbody tr:nth-child(n+13)"]]}
"""Part of a page that axe looks at: a hundred rows of one table are as one row is, and take as many times as long."""
SUBMIT = """([path, fields]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = path;
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("textarea");
    input.name = name;
    input.value = value;
    form.append(input);
  }
  document.body.append(form);
  form.submit();
}"""
FOCUS = """() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  const named = at.labels && at.labels.length ? at.labels[0].childNodes[0].textContent : at.textContent;
  return {
    name: (at.getAttribute("aria-label") || named || "").trim().split("\\n")[0].trim(),
    visible: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
      && box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
}"""


class Person:
    """Acts on a page. Whatever the browser says in its console, and any request that fails, is a complaint."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.clicks = 0
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def _failed(self, request: Request) -> None:
        # Chromium fetches the icon on its own time, and a page asks for its live parts: both are given up where the
        # page is left before the answer. A download ends the way to another page.
        goes_with_its_page = "/static/icon.svg" in request.url or request.resource_type == "fetch"
        goes_with_its_page = goes_with_its_page or request.url.partition("?")[0].endswith(".csv")
        if not (goes_with_its_page and request.failure == "net::ERR_ABORTED"):
            self.complaints.append(f"{request.url}: {request.failure}")

    async def log_in(self, token: str = OPERATOR) -> None:
        """Log in by the form."""
        await self.page.goto("/login")
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Log in").click()
        # On a phone the button to log out is folded.
        await expect(self.page.get_by_role("search")).to_be_visible()

    async def find(self, who: str) -> None:
        """Search the events."""
        await self.page.get_by_label("Find a lead").fill(who)
        await self.click(self.page.get_by_role("button", name="Find"))

    async def submit(self, path: str, fields: Mapping[str, str]) -> None:
        """Send a form to an address, as a page would."""
        async with self.page.expect_navigation():
            await self.page.evaluate(SUBMIT, [path, dict(fields)])

    async def click(self, target: Locator) -> None:
        """Click, and count it."""
        self.clicks += 1
        await target.click()

    async def rows(self) -> list[list[str]]:
        """Return the texts of the cells of the page's table, row by row."""
        found: list[list[str]] = await self.page.locator("tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        )
        return found

    async def open_found(self) -> None:
        """Open the one event that was found."""
        await self.results().click()
        await expect(self.page.locator("#answer")).to_be_visible()

    def results(self) -> Locator:
        """The links to the events that were found."""
        return self.page.locator("tbody a")

    def heading(self, name: str) -> Locator:
        """The page's own heading."""
        return self.page.get_by_role("heading", name=name, level=1)

    async def barriers(self) -> list[str]:
        """Give what axe finds that keeps somebody out. It is put into the page past its policy, by the debugger."""
        found = (await Axe().run(self.page, SOME_ROWS, {"resultTypes": ["violations"]})).response["violations"]
        return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found]

    async def overflow(self) -> int:
        """Give by how many pixels the page is wider than the window."""
        found: int = await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return found

    async def tab_to(self, name: str) -> list[str]:
        """Press Tab until this is in focus; give the names of all that came. What has it must show it."""
        passed: list[str] = []
        for _ in range(60):
            await self.page.keyboard.press("Tab")
            focus: dict[str, Any] = await self.page.evaluate(FOCUS)
            passed.append(focus["name"])
            assert focus["visible"], f"cannot see the focus on {focus['name']}"
            if focus["name"].startswith(name):
                return passed
        raise AssertionError(f"Tab does not lead to {name}, but to {passed}")

    def _told(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.type}: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")
