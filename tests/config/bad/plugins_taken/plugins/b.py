from bridge.mapping.plugin_api import transform

from .a import mine  # the same transform again is no second one


@transform(name="mine")
def another(value: str) -> str:
    return mine(value)
