"""Settings of the `notify` connector."""

from pydantic import Field, SecretStr

from connectors.base import DestinationSettings, RouteSettings


class NotifySettings(DestinationSettings):
    """People who receive a message about each lead."""

    to: tuple[SecretStr, ...] = Field(
        min_length=1,
        max_length=20,
        description="Addresses in Apprise's form (github.com/caronc/apprise/wiki): e-mail `mailtos://`, Slack "
        "`slack://`, Teams `workflows://`, SMS through Twilio `twilio://`, and about a hundred more. They hold "
        "passwords and tokens, so write `${NAME}`.",
        examples=["${SALES_EMAIL_URL}"],
    )


class NotifyRoute(RouteSettings):
    """Settings of a route to people."""

    subject: str = Field(
        default="{{ chatbot }}: {{ FirstName }} {{ LastName }}",
        description="Subject: a field of the event or a template. SMS and most chats show it as the first line.",
        examples=["New lead: {{ FirstName }} {{ LastName }}"],
        min_length=1,
    )
    text: str | None = Field(
        default=None,
        description="Text: a field of the event or a template. Default: a line `name: value` for each mapped field.",
        examples=["{{ Email }} {{ PhoneNumber }} {{ Content }}"],
    )
