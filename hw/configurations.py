"""Named configurations of the engine, and those that a user describes in a TOML file or as `hw.params.HwParams`.

full
    8 x 16 multipliers for an ECP5-85F; the default. Banks of 64 KiB hold every map of a CIFAR ResNet-18.
half
    8 x 8 multipliers for an ECP5-45F, with banks of 32 KiB: from the third stage on a ResNet-18 fits whole.
small
    8 x 4 multipliers, banks of 16 KiB and a bus of 32 bits: quick to simulate, quick to place and route.
tiny
    8 x 2 multipliers for small networks of up to 128 channels. Less than 1 Mbit of memory in all, as of an iCE40UP5K.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cdgate.errors import UserError
from hw.params import HwParams

__all__ = ["CONFIGS", "DEFAULT", "Configuration", "configuration"]

#: The configurations by name. Neither the table nor a configuration can be changed.
CONFIGS: Mapping[str, HwParams] = MappingProxyType(
    {
        # Twice the entries save two cycles in a thousand, but leave an ECP5-85F too few block RAMs to route.
        # Maps of 112 columns, as of images of 224x224.
        "full": HwParams(in_par=16, rq_lanes=4, bank_words=4096, ring_entries=512, psum_slots=16, max_map=128),
        "half": HwParams(in_par=8, rq_lanes=2, bank_words=4096, ring_entries=1024, psum_slots=16),
        "small": HwParams(in_par=4, rq_lanes=1, bank_words=4096, ring_entries=1024, psum_slots=16, axi_bits=32),
        # A slice of a 3x3 layer of 64 channels takes 288 entries of the ring.
        "tiny": HwParams(in_par=2, rq_lanes=1, bank_words=8192, ring_entries=512, psum_slots=8, max_slices=16),
    }
)

#: Name of the configuration that is used where none is named.
DEFAULT = "full"

#: What files and Verilog modules can be called.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


@dataclass(frozen=True)
class Configuration:
    """An engine and its name, which files and Verilog modules of it have, too.

    Attributes
    ----------
    name
        A letter, then letters, digits and ``_``, 32 at most.
    params
        The choices.
    """

    name: str
    params: HwParams


def configuration(source: str | Path | HwParams | Configuration = DEFAULT) -> Configuration:
    """Return the configuration that a name, a TOML file or choices stand for.

    Parameters
    ----------
    source
        A name of `CONFIGS`; the path of a file that ends with ``.toml``, whose keys are the parameters of
        `hw.params.HwParams` and whose name becomes the configuration's; or the choices themselves, which are called
        by a name of `CONFIGS` if they are one of these, and otherwise ``own_`` and a number that depends on them.

    Raises
    ------
    UserError
        If there is no such configuration or file, or the file has a key or a value that it must not have.
    """
    if isinstance(source, Configuration):
        return source
    if isinstance(source, HwParams):
        known = next((name for name, params in CONFIGS.items() if params == source), None)
        return Configuration(known or f"own_{hashlib.sha256(repr(source).encode()).hexdigest()[:8]}", source)
    if not isinstance(source, str | Path):
        raise UserError(f"configuration must be a name, a path or an HwParams, not a {type(source).__name__}")
    if str(source) in CONFIGS:
        return Configuration(str(source), CONFIGS[str(source)])
    path = Path(source)
    if path.suffix != ".toml":
        names = ", ".join(CONFIGS)
        raise UserError(f"configuration must be one of {names} or a file that ends with .toml, not {str(source)!r}")
    return Configuration(_name(path), _read(path))


def _name(path: Path) -> str:
    if not _NAME.fullmatch(path.stem) or path.stem in CONFIGS:
        raise UserError(
            f"configuration file {path}: its name must be a letter, then letters, digits and _, 32 at most, and none "
            f"of {', '.join(CONFIGS)}"
        )
    return path.stem


def _read(path: Path) -> HwParams:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a mark of the encoding
    except OSError as error:
        raise UserError(f"configuration file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"configuration file {path} must be TOML: {error}") from None
    known = [field.name for field in dataclasses.fields(HwParams)]
    for key in values:
        if key not in known:
            raise UserError(f"configuration file {path}: key must be one of {', '.join(known)}, not {key!r}")
    try:
        return HwParams(**values)
    except UserError as error:
        raise UserError(f"configuration file {path}: {error}") from None
