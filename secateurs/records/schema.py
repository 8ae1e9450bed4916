"""What every part of a record is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """Part of a record. Unknown fields are refused, so that a typing slip is seen at once."""

    # Infinity and NaN as strings: JSON knows neither, and null would not read back as a number.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")
