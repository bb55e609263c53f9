from bridge.plugins import transform


@transform
def shout(value: str, times=1) -> str:
    return value * times
