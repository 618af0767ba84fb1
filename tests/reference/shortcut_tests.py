"""Predictivity, reliance, pairs and the rule a second time: float64, plain loops, no cleverness. Nothing here calls the package."""

from math import inf, log, sqrt

import numpy as np

Array = np.ndarray


# --- Predictivity


def units(features: Array) -> Array:
    """Each feature without its mean, in units of its spread; constant ones are left out, unless all are."""
    found = []
    for d in range(features.shape[1]):
        values = features[:, d]
        middle = values.sum() / len(values)
        spread = sqrt(((values - middle) ** 2).sum() / (len(values) - 1))
        if spread > 1e-6 * max(abs(value) for value in values.tolist()):
            found.append((values - middle) / spread)
    return np.array(found).T if found else np.zeros_like(features)


def class_means(features: Array, labels: list[int]) -> dict[int, Array]:
    return {
        label: sum(row for row, own in zip(features, labels, strict=True) if own == label)
        / labels.count(label)
        for label in sorted(set(labels))
    }


def scatter_of(features: Array, labels: list[int]) -> Array:
    means = class_means(features, labels)
    return sum(
        np.outer(row - means[own], row - means[own]) for row, own in zip(features, labels, strict=True)
    )


def shrinkage(features: Array, labels: list[int]) -> tuple[float, float]:
    """Ledoit and Wolf's share, and the variance that is shrunk to."""
    n, dims = len(features), min(features.shape)
    means = class_means(features, labels)
    rows = [row - means[own] for row, own in zip(features, labels, strict=True)]
    covariance = scatter_of(features, labels) / n
    level = max(float(np.trace(covariance)) / dims, 1e-12)
    distance = float((covariance**2).sum()) - dims * level**2
    noise = sum(float(((np.outer(row, row) - covariance) ** 2).sum()) for row in rows) / n**2
    return min(max(noise / max(distance, 1e-300), 0.01), 1.0), level


def scores(
    row: Array,
    features: Array,
    labels: list[int],
    classes: int,
    share: float,
    level: float,
    count: int,
    freedom: int,
) -> list[float]:
    """Log likelihood and log prior of each class, of a row, by a classifier of these features.

    Args:
        count: How many images the scatter is taken to be of.
        freedom: What the scatter is divided by.
    """
    scatter = (1 - share) * scatter_of(features, labels) + share * level * count * np.eye(features.shape[1])
    means = class_means(features, labels)
    found = []
    for label in range(classes):
        if label not in means:
            found.append(-inf)
            continue
        apart = row - means[label]
        distance = float(apart @ np.linalg.solve(scatter, apart)) * freedom
        found.append(log(labels.count(label) / len(labels)) - distance / 2)
    return found


def without_itself(
    features: Array, labels: list[int], classes: int, refit_all: bool = False
) -> list[list[float]]:
    """Each image's scores by a classifier that is fitted to the others: their class means and their scatter.

    Args:
        refit_all: Whether units and shrinkage, too, are the others' own; else they are those of all.
    """
    n, found = len(features), []
    everyone = units(features)
    share, level = shrinkage(everyone, labels)
    present = len(set(labels))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        rest = [labels[j] for j in others]
        own = everyone
        if refit_all:
            middle = features[others].mean(axis=0)
            spread = features[others].std(axis=0, ddof=1)
            own = np.where(
                spread > 1e-6 * abs(features).max(axis=0),
                (features - middle) / np.maximum(spread, 1e-300),
                0.0,
            )
            share, level = shrinkage(own[others], rest)
        found.append(scores(own[i], own[others], rest, classes, share, level, n, max(n - present, 1)))
    return found


def kappa(first: list[int], second: list[int]) -> float:
    """Agreement beyond that of chance."""
    n = len(first)
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(first.count(label) * second.count(label) for label in set(first)) / n**2
    return (agreed - chance) / (1 - chance) if chance < 1 else 0.0


def f1(said: list[int], labels: list[int], label: int) -> float:
    both = sum(a == b == label for a, b in zip(said, labels, strict=True))
    either = said.count(label) + labels.count(label)
    return 2 * both / either if either else 0.0


# --- Pairs


def pair_up(labels: list[int], turns: list[int]) -> list[tuple[int, int, int]]:
    """(host, donor of its class, donor of another class), turn by turn, class by class."""
    classes: list[int] = []
    for label in labels:
        if label >= 0 and label not in classes:
            classes.append(label)
    found = []
    for turn in turns:
        for label in classes:
            own = [i for i, one in enumerate(labels) if one == label]
            at = classes.index(label)
            others = classes[at + 1 :] + classes[:at]
            if len(own) == 1 or not others:
                continue
            for place, host in enumerate(own):
                giver = others[(place + turn * len(own)) % len(others)]
                donors = [i for i, one in enumerate(labels) if one == giver]
                same = own[(place + 1 + turn % (len(own) - 1)) % len(own)]
                found.append((host, same, donors[(place + turn) % len(donors)]))
    return found


def pair_up_one(labels: list[int], label: int, most: int) -> list[tuple[int, int, int]]:
    """Hosts of other classes in turn, each at most twice, the second time beside another of its own."""
    donors = [i for i, one in enumerate(labels) if one == label]
    classes: list[int] = []
    for one in labels:
        if one >= 0 and one != label and one not in classes and labels.count(one) > 1:
            classes.append(one)
    found: list[tuple[int, int, int]] = []
    for step in range(2 * len(labels)):
        for one in classes:
            own = [i for i, other in enumerate(labels) if other == one]
            if step >= 2 * len(own) or not donors or len(found) == most:
                continue
            place, turn = step % len(own), step // len(own)
            same = own[(place + 1 + turn % (len(own) - 1)) % len(own)]
            found.append((own[place], same, donors[len(found) % len(donors)]))
    return found


# --- Reliance


def reliance(
    pairs: list[tuple[int, int, int]], own: list[int], other: list[int], labels: list[int], classes: int
) -> tuple[float, float, float, float, int]:
    """Accuracy with the own class' cue, with another's, z, excess, and how many images."""
    hosts = sorted({host for host, _, _ in pairs})
    if not hosts:
        return 0.0, 0.0, 0.0, 0.0, 0
    right_own, right_other = {}, {}
    for host in hosts:
        places = [i for i, pair in enumerate(pairs) if pair[0] == host]
        right_own[host] = sum(own[i] == labels[host] for i in places) / len(places)
        right_other[host] = sum(other[i] == labels[host] for i in places) / len(places)
    present = sorted({labels[host] for host in hosts})
    members = {label: [host for host in hosts if labels[host] == label] for label in present}

    def balanced(right: dict[int, float]) -> float:
        return sum(sum(right[host] for host in some) / len(some) for some in members.values()) / len(present)

    lost = [right_own[host] - right_other[host] for host in hosts]
    middle = sum(lost) / len(lost)
    variance = sum((value - middle) ** 2 for value in lost) / (len(lost) - 1) if len(lost) > 1 else 0.0
    error = sqrt(sum(variance / len(some) for some in members.values())) / len(present)
    points = balanced(right_own) - balanced(right_other)
    z = points / max(error, 1 / (2 * len(hosts))) if len(hosts) > 1 else 0.0
    followed = sum(answer == labels[pair[2]] for answer, pair in zip(other, pairs, strict=True)) / len(pairs)
    wrong = sum(answer != labels[pair[0]] for answer, pair in zip(other, pairs, strict=True)) / len(pairs)
    excess = followed - wrong / (classes - 1) if classes > 2 else 0.0
    return balanced(right_own), balanced(right_other), z, excess, len(hosts)


def by_class(
    pairs: list[tuple[int, int, int]], own: list[int], other: list[int], labels: list[int]
) -> dict[int, tuple[float, float]]:
    """Of each class of hosts: what they lose, and how many more images its cue draws than their own cue does."""
    found = {}
    for label in sorted({labels[host] for host, _, _ in pairs}):
        hosts = [i for i, pair in enumerate(pairs) if labels[pair[0]] == label]
        given = [i for i, pair in enumerate(pairs) if labels[pair[2]] == label]
        lost = sum((own[i] == label) - (other[i] == label) for i in hosts) / len(hosts)
        drawn = sum((other[i] == label) - (own[i] == label) for i in given) / len(given) if given else 0.0
        found[label] = (lost, drawn)
    return found
