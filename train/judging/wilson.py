"""Confidence intervals for a share of successes."""

Z = 1.96  # standard deviations on each side of the mean that contain 95 % of a normal distribution


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share, by Wilson (1927, Journal of the American Statistical Association 22, 209-212).

    Args:
        successes: number of successful trials.
        trials: number of trials, at least 1.

    >>> [round(end, 3) for end in wilson(20, 40)]
    [0.352, 0.648]
    >>> [round(end, 3) for end in wilson(0, 10)]
    [0.0, 0.278]
    """
    share, z2 = successes / trials, Z * Z
    middle = share + z2 / (2 * trials)
    half = Z * (share * (1 - share) / trials + z2 / (4 * trials * trials)) ** 0.5
    return max((middle - half) / (1 + z2 / trials), 0.0), min((middle + half) / (1 + z2 / trials), 1.0)


def percent(successes: int, trials: int) -> str:
    """Returns a share with its interval as readable text.

    >>> percent(20, 40), percent(0, 0)
    ('50 % [35, 65]', 'no episode')
    """
    if not trials:
        return "no episode"
    low, high = wilson(successes, trials)
    return f"{100 * successes / trials:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
