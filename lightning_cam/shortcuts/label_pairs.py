"""Of images with several labels, which receives a cue from which, and which pairs are shams."""

from collections import Counter
from collections.abc import Collection

import torch

from lightning_cam.shortcuts.counts import conflicts
from lightning_cam.shortcuts.pairing import Pairing, TestedProbe


def plan_for_labels(subjects: TestedProbe, per_host: int) -> Pairing:
    """Each host beside ``per_host`` donors, planned once for all labels and cues, without a random number.

    A host's next donor differs in the label that has had the fewest conflicts, this host's first; of such
    donors it is the one that was used least, then the one that differs in most labels. A host is whichever
    image is answered rightly for a label.
    """
    labels, right = subjects.labels.cpu(), subjects.right.cpu()
    count, places = len(labels), range(labels.shape[1])
    everyone = torch.arange(count)
    # By host, of each donor the labels in which they are in conflict.
    differing: list[dict[int, list[int]]] = [{} for _ in everyone]
    for host, others in enumerate(differing):
        found = conflicts(labels, right, torch.full_like(everyone, host), everyone)
        for donor, place in found.nonzero().tolist():
            others.setdefault(donor, []).append(place)
    total, used = dict.fromkeys(places, 0), [0] * count
    own: list[Counter[int]] = [Counter() for _ in everyone]
    pairs: dict[tuple[int, int], None] = {}
    for _ in range(per_host):
        for host, others in enumerate(differing):
            if not others:
                continue
            possible = {place for found in others.values() for place in found}
            neediest = min(possible, key=lambda place: (own[host][place], total[place], place))
            donors = [donor for donor in others if neediest in others[donor] and (host, donor) not in pairs]
            if not donors:
                continue
            donor = min(donors, key=lambda one: (used[one], -len(others[one]), (one - host) % count))
            pairs[host, donor] = None
            used[donor] += 1
            for place in others[donor]:
                own[host][place] += 1
                total[place] += 1
    return _pairing(list(pairs), subjects)


def shams_for_labels(subjects: TestedProbe, hosts: Collection[int], places: Collection[int]) -> Pairing:
    """Each of ``hosts`` beside the next donor that is alike in as many of the labels ``places`` as any."""
    labels = subjects.labels.tolist()
    pairs = []
    for host in sorted(hosts):
        following = [*range(host + 1, len(labels)), *range(host)]
        alike = [
            sum(labels[host][place] == labels[donor][place] >= 0 for place in places) for donor in following
        ]
        if any(alike):
            pairs.append((host, following[alike.index(max(alike))]))
    return _pairing(pairs, subjects)


def _pairing(pairs: list[tuple[int, int]], subjects: TestedProbe) -> Pairing:
    found = torch.tensor(pairs, dtype=torch.int64, device=subjects.labels.device).reshape(-1, 2)
    return Pairing(found[:, 0], found[:, 1])
