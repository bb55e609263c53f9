"""The guard against request forgery (SSRF): network addresses that a connector may reach. Pure except for the sockets.

A destination's URL may come from somebody other than the operator. A name that looks public may resolve to the machine
itself, to its network, or to a cloud's metadata server, which hands out credentials. So the address is checked on the
socket that is about to connect (`guarded_sockets`); no spelling of a URL and no second DNS lookup gets around that.
`GuardedResolver` makes the same check earlier, for a clear message. `check_url` finds mistakes that are visible in the
configuration alone.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL


class Reach(Enum):
    """The network that an address belongs to."""

    PUBLIC = "public"
    PRIVATE = "private"
    """This machine or its own networks: reachable only for a destination with `allow_private`."""
    NEVER = "never"
    """Metadata servers of clouds, multicast, reserved and documentation ranges: no CRM has such an address."""


class AddressRefused(OSError):  # noqa: N818 - names the refused address, not a fault of the program
    """An address that the destination may not have; `strerror` is a line for the operator."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EACCES, message)


_PRIVATE = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # "this network", RFC 791; Linux connects 0.0.0.0 to the machine itself
        "10.0.0.0/8",  # RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link-local, RFC 3927
        "172.16.0.0/12",  # RFC 1918
        "192.168.0.0/16",  # RFC 1918
        "198.18.0.0/15",  # benchmarks between networks, RFC 2544; in use inside companies
        "::/128",  # unspecified; Linux connects it to the machine itself
        "::1/128",  # loopback, RFC 4291
        "64:ff9b:1::/48",  # NAT64 of a network's own, RFC 8215
        "fc00::/7",  # unique local, RFC 4193
        "fe80::/10",  # link-local, RFC 4291
        "fec0::/10",  # site-local, RFC 3879
    )
)
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Google, Azure, Oracle, OpenStack and most others
        "169.254.170.2",  # AWS, credentials of ECS tasks
        "169.254.170.23",  # AWS, credentials of EKS pods
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS, EKS over IPv6
        "fd20:ce::254",  # Google over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's virtual public address of the host
        "192.0.0.192",  # Oracle, older
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")  # the only block that IANA has assigned to the public network, RFC 4291
_TEREDO = IPv6Network("2001::/32")  # RFC 4380: tunnels to an arbitrary IPv4 address
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637, later than the tables of older Pythons
_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291: IPv4 in IPv6 sockets
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_6TO4 = IPv6Network("2002::/16")  # RFC 3056


def reach(address: str) -> Reach:
    """Return the network of an address in its usual text form (a zone after `%` is allowed).

    An IPv6 address that only carries an IPv4 address (mapped, NAT64, 6to4) belongs to the network of that IPv4 address.

    Raises:
        ValueError: the text is not an address in its usual form.
    """
    parsed = ip_address(address.partition("%")[0])
    return _reach(_carried(parsed) or parsed)


def check_address(address: str, *, allow_private: bool) -> None:
    """Raise `AddressRefused` unless the address may be reached. Metadata servers are always refused."""
    found = reach(address)
    if found is Reach.NEVER:
        raise AddressRefused(f"{address} is an address that no destination may have")
    if found is Reach.PRIVATE and not allow_private:
        raise AddressRefused(f"{address} is a private address; allow_private: true would allow it")


def check_url(url: URL, *, allow_private: bool) -> None:
    """Raise an error for mistakes in a destination's address that are visible without using the network.

    Raises:
        ValueError: a line for the operator that does not repeat the URL, which may hold secrets.
    """
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise ValueError("must begin with https:// and a host")
    if url.scheme == "http" and not allow_private:
        raise ValueError("must be https (plain http only with allow_private: true)")
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError("must not hold a user or password; put them into auth")
    _check_host(url.raw_host, allow_private=allow_private)


def guarded_sockets(*, allow_private: bool) -> Callable[[AddrInfoType], socket.socket]:
    """Return the socket factory for aiohttp. It checks the very address that the socket will connect to."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        check_address(str(address[0]), allow_private=allow_private)
        return socket.socket(family, kind, protocol)

    return make


class GuardedResolver(AbstractResolver):
    """Resolver that refuses a name if any of its addresses is forbidden.

    A public name with a private address among its answers is an attack (DNS rebinding) or a mistake, so the whole name
    is refused. aiohttp does not ask a resolver about addresses that are written out in a URL.

    Args:
        resolver: Looks names up.
        allow_private: True if names may have private addresses.
        within: Seconds that a lookup may take; None for no limit.
    """

    def __init__(self, resolver: AbstractResolver, *, allow_private: bool, within: float | None = None) -> None:
        self._resolver = resolver
        self._allow_private = allow_private
        self._within = within

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look up the name.

        Raises:
            OSError: The lookup fails; TimeoutError if it takes too long, `AddressRefused` if an address is forbidden.
        """
        try:
            async with asyncio.timeout(self._within):
                found = await self._resolver.resolve(host, port, family)
        except UnicodeError as error:  # an over-long or empty label, which Python refuses before the lookup
            raise OSError(errno.EINVAL, "not a host name") from error
        for each in found:
            check_address(each["host"], allow_private=self._allow_private)
        return found

    async def close(self) -> None:
        """Close the resolver behind this one."""
        await self._resolver.close()


def _reach(address: IPv4Address | IPv6Address) -> Reach:
    if address in _METADATA:
        return Reach.NEVER
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return Reach.PRIVATE
    if address.is_multicast or address.is_reserved or not address.is_global:
        return Reach.NEVER
    if isinstance(address, IPv6Address) and (
        address not in _GLOBAL_IPV6 or address in _TEREDO or address in _DOCUMENTATION
    ):
        return Reach.NEVER
    return Reach.PUBLIC


def _carried(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address inside an IPv6 address, if packets end up there."""
    if isinstance(address, IPv4Address):
        return None
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return IPv4Address(int(address) >> 80 & 0xFFFFFFFF) if address in _6TO4 else None


def _check_host(host: str, *, allow_private: bool) -> None:
    bare = host.rstrip(".")
    try:
        check_address(bare.replace("%25", "%"), allow_private=allow_private)
    except AddressRefused as refused:
        raise ValueError(refused.strerror) from None
    except ValueError:
        if _is_odd_ipv4(bare):
            raise ValueError("must write an IPv4 address as four decimal numbers") from None


def _is_odd_ipv4(host: str) -> bool:
    """Return True if the system would read the name as an IPv4 address: `127.1`, `0x7f000001`, `2130706433`."""
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return True
