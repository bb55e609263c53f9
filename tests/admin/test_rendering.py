"""Templates are rendered without a rest that only the garbage collector would find."""

import gc
import weakref

from bridge.admin.authentication import Caller, Role
from bridge.admin.dashboard.rendering import Rendering


class Value(str):
    """A value of a page."""

    __slots__ = ("__weakref__",)


def test_the_values_of_a_page_go_with_it() -> None:
    rendering, caller = Rendering(), Caller(Role.OPERATOR, "127.0.0.1")

    def shown() -> weakref.ref[Value]:
        said = Value("The lane is paused.")
        assert said in rendering.text("tools.html", caller, said=said, problem_count=0)
        return weakref.ref(said)

    gc.disable()
    try:
        assert shown()() is None
    finally:
        gc.enable()
