"""What a start needs and somebody else has: the store, a port. A clear error, and nothing is disturbed."""

from pathlib import Path

import yaml

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program, run
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until


async def test_a_second_serve_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        await sender.deliver(lead())
        done = await run("serve", str(program.config), folder=tmp_path, environment=program.environment)
        assert done.status == 1, f"exit status {done.status}: {done.output}{done.errors}"
        assert "leadbridge.db" in done.errors, done.errors
        assert str(program.pid) in done.errors, f"it does not say which process has the store: {done.errors}"
        assert "Traceback" not in done.errors

        await sender.deliver(lead())
        await until(lambda: len(crm.records) == 2, f"the first program to go on delivering; {program.told()}")
        assert [row["state"] for row in await program.settled()] == ["delivered"] * 2
        assert not program.events("lane_lost"), "the first program's lane was taken away"


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with Sandbox() as crm:
        taken = crm.origin.removeprefix("http://")
        for listener in ("listen", "admin"):
            wanted = settings({"crm": http(crm.url)})
            wanted["server"][listener] = taken
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(wanted))
            environment = {**ENVIRONMENT, "LEADBRIDGE_CONFIG": "config.yaml"}
            done = await run("serve", folder=tmp_path, environment=environment)
            assert done.status == 1, f"{listener}: exit status {done.status}: {done.output}{done.errors}"
            assert taken in done.errors, f"{listener}: {done.errors}"
            assert "Traceback" not in done.errors, f"{listener}: {done.errors}"


async def test_restored_files_are_closed_to_others(tmp_path: Path) -> None:
    """A copy made with the usual umask can be read by every user of the machine, and so could its new log."""
    async with Sandbox() as crm, Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT) as program:
        await program.start()
        await program.kill()
        for each in files_of(tmp_path):
            each.chmod(0o664)
        doctor = await program.run("doctor")
        assert "leadbridge.db-wal: other users of this machine can open it (mode 664)" in doctor.output
        await program.start()
        assert {each["file"] for each in program.events("store_file_closed_to_others")} >= {"leadbridge.db"}
        backup = await program.run("db", "backup", "copy.db")
        assert backup.status == 0, backup.errors
        modes = {each.name: each.stat().st_mode & 0o777 for each in files_of(tmp_path)}
        assert modes.keys() >= {
            "leadbridge.db",
            "leadbridge.db-wal",
            "leadbridge.db-shm",
            "leadbridge.db.lock",
            "copy.db",
        }
        assert set(modes.values()) == {0o600}, modes
        assert await program.stop() == 0


def files_of(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if ".db" in each.name]
