"""How one metric is read: into which component of which layer, or that it is stored only, and why."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.settings.block import Block

Read = Literal["level", "change", "difference", "sum", "deviation"]


class Reader(Block):
    """One line of `metrics` in config.yaml.

    read        what becomes of the number: `level` = itself, `change` = relative to the one `over` hours
                before, `difference` = minus that one, `sum` = all of the last `over` hours, `deviation` =
                standard deviations from its mean over that time
    centre, scale, sign
                the component moves by sign * tanh((what was read - centre) / scale)
    half_life   hours after which it counts half
    of          asset = each symbol has its own, market = one for all
    stored      why it is kept and not read; then nothing else is given
    """

    layer: Literal["onchain", "sentiment"] | None = None
    component: Annotated[str, Field(pattern=r"^[a-z_]*$")] = ""
    read: Read = "level"
    over: Annotated[float, Field(gt=0, le=720)] = 24
    centre: float = 0
    scale: Annotated[float, Field(gt=0)] = 1
    sign: Literal[-1, 1] = 1
    half_life: Annotated[float, Field(gt=0)] = 24
    of: Literal["asset", "market"] = "asset"
    stored: str = ""

    @model_validator(mode="after")
    def read_or_stored(self) -> Self:
        if bool(self.stored) == (self.layer is not None):
            raise ValueError("must name a layer, or say why it is only stored")
        if self.stored and self.model_fields_set - {"stored"}:
            raise ValueError("is only stored, so nothing else may be given")
        if self.layer is not None and not self.component:
            raise ValueError("must name the component of its layer")
        return self
