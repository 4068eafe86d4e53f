"""Pictures that show the same, and whether any of them is tested on while its sibling is learned from."""

from collections import defaultdict
from collections.abc import Set
from dataclasses import asdict, dataclass, replace

import numpy as np

from pipeline.data.audit.finding import Checked, Finding, Material, Shown
from pipeline.data.lookalikes import BURST, REPEATS, SAME_FILE, Link, cluster_links
from pipeline.data.sample import Split
from pipeline.data.split.leaks import FORBIDDEN, Leak, leaks

AGREEMENT = 0.5
"""Where somebody named the groups, at least this share of look-alikes must be of one group for the others to mean anything."""
SHOWN = 12


@dataclass(frozen=True)
class Siblings:
    """Clusters of pictures that show the same part, as far as they can be trusted."""

    links: tuple[Link, ...]
    clusters: tuple[tuple[int, ...], ...]
    """Indices of the pictures of each cluster of two or more, the largest first."""
    agreement: float | None
    """Share of look-alikes that are of one named group; None where no groups are named or there are no look-alikes."""

    @property
    def trusted(self) -> bool:
        """Look-alikes of two groups may well be one part."""
        return self.agreement is None or self.agreement >= AGREEMENT


def find_siblings(material: Material) -> Siblings:
    """Clusters of look-alikes; where these contradict the named groups, all parts look alike and only copies of a file count."""
    links = material.look_alikes.links
    group = [sample.group for sample in material.samples]
    judged = [group[link.first] == group[link.second] for link in links if link.way not in (SAME_FILE, BURST)]
    agreement = float(np.mean(judged)) if material.groups_are_named and judged else None
    siblings = Siblings(links, (), agreement)
    if not siblings.trusted:
        links = tuple(link for link in links if link.way == SAME_FILE)
    return replace(siblings, links=links, clusters=_clusters(links, len(group)))


def check_leakage(material: Material, siblings: Siblings) -> Checked:
    """Clusters, and every test or validation picture with a sibling where it must not be."""
    samples = material.samples
    findings = [Finding("note", material.look_alikes.bursts)] if material.look_alikes.bursts else []
    if not siblings.trusted:
        findings.append(
            Finding(
                "note",
                f"only {siblings.agreement:.0%} of look-alikes are of one of the groups named: parts look alike here anyway, so "
                "only copies of one file are taken for siblings",
            )
        )
    known = [leak for leak in leaks(samples) if leak.reason != "look-alike"]
    copies = {(leak.test, leak.sibling_part) for leak in known if leak.reason == "same file"}
    found = [_described(leak) for leak in known] + _look_alike_leaks(material, siblings, copies)
    tested = [sample for sample in samples if sample.split == "test"]
    leaking = {leak["test"] for leak in found} & {sample.path for sample in tested}
    rows = tuple(
        (
            Shown(material.file(leak["test"]), f"{leak['part']}: {leak['test']}"),
            Shown(material.file(leak["train"]), f"{leak['sibling_part']}: {leak['train']} ({leak['reason']})"),
        )
        for leak in _spread(found)
    )
    # Where the groups are named, training goes by the groups; looks can only make one doubt them.
    sure = bool(known) or not material.groups_are_named
    if found and material.split_is_brought and sure:
        findings.append(
            Finding(
                "error",
                f"the split leaks: {len(leaking)} of {len(tested)} test pictures have a sibling outside the test part"
                + _reasons(found),
                "A figure on this test part is worth nothing. Split by group: pipeline split DATASET --fresh.",
                rows,
            )
        )
    elif found:
        findings.append(
            Finding(
                "warning",
                f"by the groups named nothing leaks, but {len(leaking)} of {len(tested)} test pictures look like another part's"
                + _reasons(found),
                "Check whether these are one part under two names; if so, give them one group in groups.csv.",
                rows,
            )
        )
    repeated = sum(link.way in REPEATS for link in siblings.links)
    largest = max((len(cluster) for cluster in siblings.clusters), default=1)
    together = sum(map(len, siblings.clusters))
    findings.append(
        Finding(
            "note",
            f"{together} of {len(samples)} pictures are in {len(siblings.clusters)} clusters of siblings, the largest of "
            f"{largest}; {repeated} are repeats of one file or picture",
            "" if material.groups_are_named else "Nobody named the groups, so these clusters stand in for them.",
            tuple(_row(material, cluster) for cluster in siblings.clusters[:SHOWN]),
        )
    )
    if largest > max(3, len(samples) / 2):
        findings.append(
            Finding(
                "error" if not material.groups_are_named else "warning",
                f"one cluster holds {largest} of {len(samples)} pictures: parts cannot be told apart by their looks",
                "Name the groups in groups.csv, or by group_regex in dataset.yaml.",
            )
        )
    return Checked(
        tuple(findings),
        {
            "clusters": [[samples[index].path for index in cluster] for cluster in siblings.clusters],
            "clusters_from": [
                *material.look_alikes.limits,
                *([material.look_alikes.bursts] if material.look_alikes.bursts else []),
            ],
            "look_alikes_of_one_group": siblings.agreement,
            "split": "brought" if material.split_is_brought else "by group, as train would make it",
            "test_pictures": len(tested),
            "leaking_test_pictures": len(leaking),
            "leaks": found,
        },
    )


def _look_alike_leaks(material: Material, siblings: Siblings, told: Set[tuple[str, Split]]) -> list[dict[str, str]]:
    """Test and validation pictures in a cluster with a picture they must not know: one linked directly if there is any."""
    samples = material.samples
    linked: dict[int, list[Link]] = defaultdict(list)
    for link in sorted(siblings.links, key=lambda link: -link.similarity):
        linked[link.first].append(link)
        linked[link.second].append(link)
    found = []
    for cluster in siblings.clusters:
        for index in cluster:
            part = samples[index].split
            for forbidden in FORBIDDEN.get(part, ()) if part else ():
                direct = [link for link in linked[index] if samples[_other(link, index)].split == forbidden]
                others = [other for other in cluster if samples[other].split == forbidden]
                if not others or (samples[index].path, forbidden) in told:
                    continue
                sibling = _other(direct[0], index) if direct else others[0]
                way = direct[0].way if direct else "by way of others of their cluster"
                leak = Leak(samples[index].path, samples[sibling].path, "look-alike", part, forbidden)  # type: ignore[arg-type]
                found.append(_described(leak) | {"reason": f"look-alike: {way}"})
                break
    return found


def _row(material: Material, cluster: tuple[int, ...]) -> tuple[Shown, ...]:
    return tuple(Shown(material.samples[index].file, material.samples[index].path) for index in cluster[:8])


def _clusters(links: tuple[Link, ...], count: int) -> tuple[tuple[int, ...], ...]:
    members: dict[int, list[int]] = defaultdict(list)
    for index, cluster in enumerate(cluster_links(links, count).tolist()):
        members[cluster].append(index)
    return tuple(sorted((tuple(one) for one in members.values() if len(one) > 1), key=lambda one: (-len(one), one)))


def _other(link: Link, index: int) -> int:
    return link.second if link.first == index else link.first


def _described(leak: Leak) -> dict[str, str]:
    return {key: str(value) for key, value in asdict(leak).items()}


def _reasons(found: list[dict[str, str]]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for leak in found:
        if leak["part"] == "test":
            counts[leak["reason"]] += 1
    return " (" + ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda one: -one[1])) + ")"


def _spread(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """Some leaks of every reason, so that the report shows each kind."""
    by_reason: dict[str, list[dict[str, str]]] = defaultdict(list)
    for leak in found:
        by_reason[leak["reason"]].append(leak)
    return [leak for some in by_reason.values() for leak in some[: max(2, SHOWN // len(by_reason))]]
