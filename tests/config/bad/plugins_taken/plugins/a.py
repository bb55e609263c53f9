from bridge.mapping.plugin_api import transform


@transform
def trim(value: str) -> str:
    return value


@transform(name="default")
def other(value: str) -> str:
    return value


@transform
def mine(value: str) -> str:
    return value
