from pathlib import Path

import pytest

from bridge.config import Config, ConfigError
from bridge.config.reload import load_files, load_for_use, reload

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

    def reload(self) -> Config:
        self.config, self.files = reload(self.config, self.files)
        return self.config

    def restart(self) -> Config:
        """Start again with the texts that the running bridge has kept."""
        texts = {str(file): text for file, text in self.files.contents.items()}
        self.config, self.files = load_for_use(self.path, self.files.environ, lambda _: texts)
        return self.config

    def replaced(self) -> list[str]:
        """Return the files with errors of which the last good text is in use."""
        return [Path(each.file).stem for each in self.config.faults if each.in_use]

    def left_out(self) -> list[str]:
        return [Path(each.file).stem for each in self.config.faults if not each.in_use]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write(crm=CRM, acme=bot("acme"), other=bot("other"))
    made.start()
    return made


def mapped(config: Config, chatbot: str) -> object:
    values = {"Email": "a@b.co", "PhoneNumber": "1", "URI": "/"}
    return config.chatbots[chatbot].routes[0].mapping.apply(values)["email"]


def test_nothing_changed(folder: Folder) -> None:
    before = folder.config
    made = folder.reload()
    assert made.faults == ()
    assert made.destinations["crm"] is before.destinations["crm"]


def test_takes_over_what_changed(folder: Folder) -> None:
    folder.write(acme=bot("acme", field="PhoneNumber"), third=bot("third"), other=None)
    made = folder.reload()
    assert made.faults == ()
    assert set(made.chatbots) == {"acme", "third"}


@pytest.mark.parametrize("again", ["reload", "restart"])
def test_the_last_good_text_of_a_file_with_errors_is_used_and_the_others_go_live(folder: Folder, again: str) -> None:
    folder.write(acme=bot("acme", field="Emial"), other=bot("other", field="PhoneNumber"), third="a: [")
    made = getattr(folder, again)()
    assert (folder.replaced(), folder.left_out()) == (["acme"], ["third"])
    assert "Emial" in str(made.faults[0].problems[0])
    assert (mapped(made, "acme"), mapped(made, "other")) == ("a@b.co", "1")
    assert set(made.chatbots) == {"acme", "other"}
    folder.write(acme=bot("acme", field="URI"), third=bot("third"))
    made = folder.reload()
    assert made.faults == ()
    assert set(made.chatbots) == {"acme", "other", "third"}
    assert mapped(made, "acme") == "/"


@pytest.mark.parametrize("again", ["reload", "restart"])
def test_a_destination_that_is_still_routed_to_is_brought_back(folder: Folder, again: str) -> None:
    folder.write(crm=None, third=bot("third"))
    made = getattr(folder, again)()
    assert made.faults
    assert set(made.destinations) == {"crm"}
    assert set(made.chatbots) == {"acme", "other", "third"}


def test_a_destination_renamed_under_its_routes_is_taken_back(folder: Folder) -> None:
    folder.write(crm=CRM.replace("crm:", "crm2:"))
    made = folder.reload()
    assert folder.replaced() == ["acme", "crm", "other"]
    assert set(made.destinations) == {"crm"}


def test_a_name_given_twice_takes_the_change_back(folder: Folder) -> None:
    folder.write(aaa=bot("other"))
    made = folder.reload()
    assert made.faults
    assert set(made.chatbots) == {"acme", "other"}


def test_only_destinations_that_changed_are_made_anew(folder: Folder) -> None:
    folder.write(mail='destinations:\n  mail: {connector: http, url: "https://mail.example.com/"}\n')
    before = folder.reload().destinations
    folder.write(mail='destinations:\n  mail: {connector: http, url: "https://mail2.example.com/"}\n')
    after = folder.reload().destinations
    assert after["crm"] is before["crm"]
    assert after["mail"] is not before["mail"]


@pytest.mark.parametrize("again", ["reload", "restart"])
def test_the_last_good_text_of_an_unreadable_file_is_used(folder: Folder, again: str) -> None:
    folder.write(store='store: {url: "sqlite:///a.db"}\n')
    folder.reload()
    (folder.path / "acme.yaml").unlink()
    (folder.path / "acme.yaml").mkdir()
    made = getattr(folder, again)()
    assert folder.replaced() == ["acme"]
    assert "acme" in made.chatbots


def test_an_empty_folder_changes_nothing(folder: Folder) -> None:
    folder.write(crm=None, acme=None, other=None)
    made = folder.reload()
    assert made.faults
    assert set(made.chatbots) == {"acme", "other"}


def test_a_start_leaves_out_a_file_whose_last_good_text_has_an_error_now(folder: Folder) -> None:
    folder.write(secret=bot("third").replace("${KEY}", "${file:key}"))
    (folder.path / "key").write_text("a-signing-key-of-good-length")
    folder.reload()
    (folder.path / "key").unlink()
    folder.write(new=bot("new"))
    assert set(folder.reload().chatbots) == {"acme", "other", "third", "new"}
    assert (folder.replaced(), folder.left_out()) == (["secret"], [])
    folder.write(newer=bot("newer"))
    assert set(folder.restart().chatbots) == {"acme", "other", "new", "newer"}
    assert (folder.replaced(), folder.left_out()) == ([], ["secret"])


def test_a_file_that_is_all_there_is_may_have_an_error_beside_server_and_store(tmp_path: Path) -> None:
    file, environ = tmp_path / "all.yaml", {"KEY": "a-signing-key-of-good-length"}
    good = 'store: {url: "sqlite:///a.db"}\n' + CRM + bot("acme")
    file.write_text(good.replace("Email", "Emial"))
    texts = {str(file): good.encode()}
    config, _ = load_for_use(file, environ, lambda store: texts if store.url == "sqlite:///a.db" else {})
    assert mapped(config, "acme") == "a@b.co"
    with pytest.raises(ConfigError, match="Emial"):
        load_for_use(file, environ, lambda _: {})
    file.write_text(good.replace("sqlite:///a.db", "mysql://a.db"))
    with pytest.raises(ConfigError, match=r"store\.url"):
        load_for_use(file, environ, lambda _: texts)


def test_a_start_needs_the_texts_of_its_own_folder(folder: Folder, tmp_path: Path) -> None:
    folder.write(acme=bot("acme", field="Emial"))
    elsewhere = {str(tmp_path / "elsewhere" / "acme.yaml"): bot("acme").encode()}
    config, _ = load_for_use(folder.path, folder.files.environ, lambda _: elsewhere)
    assert set(config.chatbots) == {"other"}


def test_the_first_reading_must_be_good(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nonsense: 1")
    with pytest.raises(ConfigError):
        load_files(tmp_path, {})
