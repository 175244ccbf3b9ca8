"""One day at a weather station: what its measurements mean for a person.

Each function is a node; its arguments name the nodes, inputs and params that it needs.
"""


def mean_temperature(temp_min: float, temp_max: float) -> float:
    """The middle of the day's two extremes, in °C, as weather services take it."""
    return round((temp_min + temp_max) / 2, 1)


def daily_range(temp_min: float, temp_max: float) -> float:
    """How far night and day were apart, in °C."""
    return round(temp_max - temp_min, 1)


def feels_like(mean_temperature: float, wind: float) -> float:
    """What it was like in the wind, in °C: the wind chill, which counts up to 10 °C and from 4.8 km/h."""
    kilometres_per_hour = wind * 3.6
    if mean_temperature > 10 or kilometres_per_hour < 4.8:
        return mean_temperature
    cooling: float = kilometres_per_hour**0.16
    return round(13.12 + 0.6215 * mean_temperature + (0.3965 * mean_temperature - 11.37) * cooling, 1)


def comfort(feels_like: float, cool_from: float, mild_from: float, warm_from: float) -> str:
    """A word for how it felt."""
    if feels_like < cool_from:
        return "cold"
    if feels_like < mild_from:
        return "cool"
    return "mild" if feels_like < warm_from else "warm"


def warnings(
    temp_min: float, temp_max: float, wind: float, precipitation: float, limits: dict[str, float]
) -> list[str]:
    """What one should have been warned of."""
    passed = {
        "frost": temp_min < limits["frost"],
        "heat": temp_max >= limits["heat"],
        "windy": wind >= limits["windy"],
        "downpour": precipitation >= limits["downpour"],
    }
    return [warning for warning, is_so in passed.items() if is_so]


def report(comfort: str, warnings: list[str], feels_like: float, daily_range: float) -> str:
    """The day in one line."""
    return f"{', '.join([comfort, *warnings])}: felt like {feels_like:.1f} °C, {daily_range:.1f} °C from night to day"
