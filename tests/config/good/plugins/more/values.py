from bridge.mapping.plugin_api import transform


@transform
def pick(value: str, among: list[str]) -> str:
    """The value, if it is among these."""
    return value if value in among else ""


@transform(name="scaled")
def scale(value: object, factor: float, round_it: bool = False) -> object:
    """A number that many times as large."""
    number = float(str(value)) * factor
    return round(number) if round_it else number
