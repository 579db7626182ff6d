"""Plan of a run: how much is measured, in full or quickly, and what may be changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.profiles.layout import LAYOUTS


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of one profile; its attributes go into the results as `settings`.

    Attributes:
        rounds: How often every contender is started anew for the closed loop; the rounds alternate.
        levels: Closed loop: requests in flight.
        closed_s: Closed loop: seconds of each measurement.
        warm_up_s: Seconds under the same load before each measurement.
        open_rate: Open loop: requests a second that all are asked for.
        open_s: Open loop: seconds at that rate; 0 leaves the open loop out.
        fractions: Open loop: further rates, as shares of each contender's measured maximum.
        fraction_s: Open loop: seconds at each of those.
        sweep_in_flight: Sweeps: requests in flight.
        sweep_s: Sweeps: seconds of each measurement; 0 leaves the sweeps out.
        sweep_products: Sweeps: products of a request; none leaves all sweeps out but that over what is cached.
        all_cores_levels: Sweeps: requests in flight where there is an API worker for each core.
    """

    rounds: int = 3
    levels: tuple[int, ...] = (1, 16, 64, 300, 500)
    closed_s: float = 7
    warm_up_s: float = 2
    open_rate: float = 300
    open_s: float = 60
    fractions: tuple[float, ...] = (0.5, 0.8)
    fraction_s: float = 12
    sweep_in_flight: int = 64
    sweep_s: float = 5
    sweep_products: tuple[int, ...] = (10, 50, 100, 300, 1000)
    all_cores_levels: tuple[int, ...] = (64, 300, 500)

    def lasting(self, seconds: float) -> Plan:
        """Return the same plan with measurements, and warm-ups at most, of so many seconds."""
        return replace(
            self,
            closed_s=seconds,
            open_s=seconds if self.open_s else 0,
            fraction_s=seconds,
            sweep_s=seconds if self.sweep_s else 0,
            warm_up_s=min(self.warm_up_s, seconds),
        )


@dataclass(frozen=True, slots=True)
class Extent:
    """What a run comprises unless told otherwise.

    Attributes:
        light: Plan of the profile `light`.
        others: Plan of every other profile.
        profiles: Which are measured.
        left_out: Contenders that are not.
    """

    light: Plan
    others: Plan
    profiles: tuple[str, ...] = tuple(LAYOUTS)
    left_out: tuple[str, ...] = ()

    def plan(self, profile: str) -> Plan:
        """Return the plan of a profile."""
        return self.light if profile == "light" else self.others


FULL = Extent(
    light=Plan(),
    others=Plan(levels=(1, 64, 300), open_s=30, fractions=(), sweep_products=()),
)
BRIEF = Extent(
    light=Plan(rounds=2, levels=(1, 64, 500), closed_s=3, warm_up_s=1, open_s=0, fractions=(), sweep_s=0),
    others=Plan(rounds=2, levels=(64,), closed_s=3, warm_up_s=1, open_s=0, fractions=(), sweep_s=0),
    left_out=("fastapi-tuned", "litserve", "bentoml-default"),
)
"""All profiles in twelve minutes on two cores."""
_QUICK = Plan(rounds=1, levels=(1, 64), closed_s=3, open_s=10, fractions=(), sweep_s=0)
QUICK = Extent(light=_QUICK, others=_QUICK, profiles=("light",))
"""Shows whether all is well; too short to be quoted."""
