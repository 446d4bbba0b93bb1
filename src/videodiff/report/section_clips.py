"""Players: samples of one seed beside each other, reconstructions, nearest training clips, long videos."""

from __future__ import annotations

from collections.abc import Sequence

from videodiff.comparison.record import Clips, Comparison, ModelClips
from videodiff.report.markup import Html, element, join
from videodiff.report.number_format import plain
from videodiff.report.player import Column, Reel, control_bar, player_grid


class ClipSections:
    """All sections with players; they share one reel.

    Args:
        comparison: names, order and distances.
        clips: what is shown.

    Raises:
        ValueError: if clips belong to no model of the comparison.
    """

    def __init__(self, comparison: Comparison, clips: Clips) -> None:
        names = [model.name for model in comparison.models]
        strangers = sorted(set(clips.models) - set(names))
        if strangers:
            raise ValueError(
                f"clips of {strangers[0]!r}, but the comparison has {', '.join(names) or 'no model'}"
            )
        self.comparison, self.reel, self.fps, self.words = comparison, Reel(), clips.fps, clips.words
        self.shown: list[tuple[int, str, ModelClips]] = [
            (i, name, clips.models[name]) for i, name in enumerate(names) if name in clips.models
        ]
        self.real = self.reel.add(clips.real)
        self.samples = {name: self.reel.add(found.samples) for _, name, found in self.shown}

    def _cells(self, places: list[tuple[int, int]], words: str) -> list[Html | None]:
        return [self.reel.player(place, f"{words} {i}") for i, place in enumerate(places)]

    def _played(
        self,
        note: str,
        columns: list[Column],
        places: list[tuple[int, int]],
        caption: str,
        wide: bool = False,
        words: Sequence[str] = (),
    ) -> Html:
        """What is shown, the controls with a slider through the longest of the clips at `places`, and the players."""
        rows = [str(k) for k in range(max(len(column.cells) for column in columns))]
        frames = max(self.reel.groups[group].shape[1] for group, _ in places)
        grid = player_grid(columns, rows, caption, wide, words)
        return join(element("p", note, class_="note"), control_bar(frames, self.fps), grid)

    def samples_section(self) -> Html | None:
        """Sample i of every model from the same seed, and real clips to judge them by."""
        columns = [Column("real", None, self._cells(self.real, "real clip"))]
        columns += [
            Column(name, i, self._cells(self.samples[name], f"{name}, sample"))
            for i, name, _ in self.shown
            if self.samples[name]  # of a model whose first stage alone is trained yet there are none
        ]
        places = [*self.real, *(place for found in self.samples.values() for place in found)]
        if not places:
            return None
        note = (
            "Row i holds sample i of every model, generated from the same noise. Nothing was selected. Real clips are "
            "other videos of the data and belong to no seed."
        )
        if any(self.words):
            note += " The words under a row are what its samples were told."
        return self._played(note, columns, places, "samples", words=self.words)

    def reconstructions_section(self) -> Html | None:
        """Real clips and what the first stages make of them."""
        columns, shown = [], []
        for i, name, found in self.shown:
            if found.reconstructions is not None and len(found.reconstructions):
                places = self.reel.add(found.reconstructions)
                columns.append(Column(name, i, self._cells(places, f"{name}, reconstruction")))
                shown += places
        if not columns:
            return None
        rows = max(len(column.cells) for column in columns)
        real = Column("real", None, self._cells(self.real, "real clip")[:rows])
        note = (
            "Real clips after encoding and decoding by a model's first stage: its samples cannot look better."
        )
        return self._played(note, [real, *columns], [*self.real[:rows], *shown], "reconstructions")

    def nearest_section(self) -> Html | None:
        """Beside each sample the training clip that is nearest to it."""
        columns, shown = [], []
        records = {model.name: model.nearest for model in self.comparison.models}
        for i, name, found in self.shown:
            if found.nearest is None or not len(found.nearest):
                continue
            places = self.reel.add(found.nearest)
            shown += places
            entries = records[name]
            cells: list[Html | None] = []
            for k, place in enumerate(places):
                entry = entries[k] if k < len(entries) else {}
                cells.append(self._pair(name, int(entry.get("sample", k)), place, entry))
            columns.append(Column(name, i, cells))
        if not columns:
            return None
        note = (
            "Left the sample, right its nearest training clip; the number is their root mean square difference "
            "in grey levels (0 to 255), then the number of that clip. A sample that repeats a training clip would be "
            "near 0."
        )
        return self._played(note, columns, shown, "nearest training clips", wide=True)

    def _pair(self, name: str, sample: int, place: tuple[int, int], entry: dict[str, object]) -> Html:
        mine = self.samples[name]
        left = self.reel.player(mine[sample], f"{name}, sample {sample}") if sample < len(mine) else None
        number = entry.get("train", "")
        found = entry.get("name", number)
        right = self.reel.player(place, f"training clip {found} nearest to sample {sample}")
        distance = entry.get("distance")
        words = plain(float(distance), 3) if isinstance(distance, int | float) else ""
        caption = element("span", words, element("small", f" #{number}"), class_="under", title=str(found))
        return element("div", left, right, caption, class_="pair")

    def long_section(self) -> Html | None:
        """Videos far longer than a training clip."""
        columns, shown = [], []
        for i, name, found in self.shown:
            if found.long is not None and len(found.long):
                places = self.reel.add(found.long)
                columns.append(Column(name, i, self._cells(places, f"{name}, long video")))
                shown += places
        if not columns:
            return None
        words = " and ".join(map(str, sorted({self.reel.groups[group].shape[1] for group, _ in shown})))
        note = (
            f"Each has {words} frames, generated window by window; the slider here steps through all of them."
        )
        return self._played(note, columns, shown, "long videos")
