from pathlib import Path

import pytest

from bridge.config import ConfigError
from bridge.config.reload import Files, ReloadResult, defining_files, load_files, reload

CRM = """\
destinations:
  crm: {connector: http, url: "https://crm.example.com/leads"}
"""


def bot(name: str, to: str = "crm", field: str = "Email") -> str:
    return f"""\
chatbots:
  {name}:
    serial_number: serial-of-{name}
    signing_keys: ["${{KEY}}"]
    routes:
      - to: {to}
        fields: {{email: {field}}}
"""


class Folder:
    """A configuration in a folder, as it is reloaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **files: str | None) -> None:
        for name, text in files.items():
            if text is None:
                (self.path / f"{name}.yaml").unlink()
            else:
                (self.path / f"{name}.yaml").write_text(text)

    def start(self) -> None:
        self.config, self.files = load_files(self.path, {"KEY": "a-signing-key-of-good-length"})

    def reload(self) -> ReloadResult:
        made = reload(self.config, self.files)
        self.config, self.files = made.config, made.files
        return made

    def kept(self, made: ReloadResult) -> list[str]:
        return [file.stem for file in made.kept]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write(crm=CRM, acme=bot("acme"), other=bot("other"))
    made.start()
    return made


def test_nothing_changed(folder: Folder) -> None:
    before = folder.config
    made = folder.reload()
    assert (made.problems, made.kept) == ((), ())
    assert made.config.destinations["crm"] is before.destinations["crm"]


def test_takes_over_what_changed(folder: Folder) -> None:
    folder.write(acme=bot("acme", field="PhoneNumber"), third=bot("third"), other=None)
    made = folder.reload()
    assert made.problems == ()
    assert set(made.config.chatbots) == {"acme", "third"}


def test_a_file_with_errors_stays_as_it_was_and_the_others_go_live(folder: Folder) -> None:
    folder.write(acme=bot("acme", field="Emial"), other=bot("other", field="PhoneNumber"), third="a: [")
    made = folder.reload()
    assert folder.kept(made) == ["acme", "third"]
    assert len(made.problems) == 2
    assert "Emial" in str(made.problems[0])
    assert set(made.config.chatbots) == {"acme", "other"}
    folder.write(acme=bot("acme", field="URI"), third=bot("third"))
    made = folder.reload()
    assert made.problems == ()
    assert set(made.config.chatbots) == {"acme", "other", "third"}


def test_a_destination_that_is_still_routed_to_is_brought_back(folder: Folder) -> None:
    folder.write(crm=None, third=bot("third"))
    made = folder.reload()
    assert made.problems
    assert set(made.config.destinations) == {"crm"}
    assert set(made.config.chatbots) == {"acme", "other", "third"}


def test_a_destination_renamed_under_its_routes_is_taken_back(folder: Folder) -> None:
    folder.write(crm=CRM.replace("crm:", "crm2:"))
    made = folder.reload()
    assert made.problems
    assert set(made.config.destinations) == {"crm"}


def test_a_name_given_twice_takes_the_change_back(folder: Folder) -> None:
    folder.write(aaa=bot("other"))
    made = folder.reload()
    assert made.problems
    assert set(made.config.chatbots) == {"acme", "other"}


def test_only_destinations_that_changed_are_made_anew(folder: Folder) -> None:
    folder.write(mail='destinations:\n  mail: {connector: http, url: "https://mail.example.com/"}\n')
    folder.reload()
    before = folder.config.destinations
    folder.write(mail='destinations:\n  mail: {connector: http, url: "https://mail2.example.com/"}\n')
    after = folder.reload().config.destinations
    assert after["crm"] is before["crm"]
    assert after["mail"] is not before["mail"]


def test_an_unreadable_file_stays_as_it_was(folder: Folder) -> None:
    (folder.path / "acme.yaml").unlink()
    (folder.path / "acme.yaml").mkdir()
    made = folder.reload()
    assert folder.kept(made) == ["acme"]
    assert "acme" in made.config.chatbots


def test_an_empty_folder_changes_nothing(folder: Folder) -> None:
    folder.write(crm=None, acme=None, other=None)
    made = folder.reload()
    assert made.problems
    assert set(made.config.chatbots) == {"acme", "other"}


def test_says_in_which_file_something_stands(folder: Folder) -> None:
    files: Files = folder.files
    assert defining_files(files, "destinations", "crm") == [folder.path / "crm.yaml"]
    assert defining_files(files, "destinations", "nothing") == []


def test_the_first_reading_must_be_good(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nonsense: 1")
    with pytest.raises(ConfigError):
        load_files(tmp_path, {})
