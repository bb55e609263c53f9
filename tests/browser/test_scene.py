"""The scene itself: what the store holds is what was sent."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import create_engine, text

from bridge import app
from bridge.config.reload import load_files
from tests.browser import scene


def test_the_store_holds_what_was_sent(tmp_path: Path) -> None:
    built = scene.build(tmp_path, "http://127.0.0.1:9", time.time())
    with create_engine(f"sqlite:///{tmp_path}/leadbridge.db").begin() as connection:
        rows = connection.execute(text("SELECT state, count(*) AS sum FROM deliveries GROUP BY state"))
        stored = {row.state: row.sum for row in rows}
    sent = Counter(each.state.value for lead in built.leads for each in lead.deliveries.values())
    assert stored == sent
    assert min(stored.get(state, 0) for state in ("pending", "delivered", "dead")) > 5
    assert len({lead.chatbot for lead in built.leads}) == len(scene.CHATBOTS) - 1
    assert built.quarantined == 5
    config, _ = load_files(built.config, built.environ)
    assert set(config.destinations) == set(scene.DESTINATIONS)
    assert len(config.chatbots) == 40


def test_a_bridge_serves_it(tmp_path: Path) -> None:
    built = scene.build(tmp_path, "http://127.0.0.1:9", time.time())

    async def run() -> None:
        async with app.running(*load_files(built.config, built.environ)):
            pass

    asyncio.run(run())
